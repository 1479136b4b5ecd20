//! Parser of the PROXY protocol, versions 1 and 2, by which a load balancer for TCP names the client
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! Own code, since no crate passes the tests below: `ppp` 2.3 takes a header that is cut within the
//! destination port for malformed instead of incomplete, `proxy-header` 0.1 reads on after a line that
//! has ended too early, accepts any byte after `PROXY`, and neither bounds the length of version 2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE_1: &[u8] = b"PROXY ";
const SIGNATURE_2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 1: bytes of the line, with its end.
const MAX_LINE_BYTES: usize = 107;
/// Version 2: bytes after the first 16: addresses and TLVs.
const MAX_LENGTH_BYTES: usize = 4096;

/// The first bytes of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// Too few bytes to tell.
    Incomplete,
    /// Not a PROXY header.
    Absent,
    /// A header of this length in bytes, and the client if it names one.
    Present(usize, Option<SocketAddr>),
    /// A PROXY header that is malformed or of an unknown family.
    Malformed,
}

/// Parses the header at the start of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Header {
    let begins = |signature: &[u8]| {
        let common = bytes.len().min(signature.len());
        bytes[..common] == signature[..common]
    };
    if begins(SIGNATURE_2) {
        return version_2(bytes).unwrap_or(Header::Incomplete);
    }
    if begins(SIGNATURE_1) {
        return version_1(bytes);
    }
    Header::Absent
}

fn version_1(bytes: &[u8]) -> Header {
    let searched = &bytes[..bytes.len().min(MAX_LINE_BYTES)];
    let Some(end) = searched.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < MAX_LINE_BYTES {
            Header::Incomplete
        } else {
            Header::Malformed
        };
    };
    let Ok(line) = std::str::from_utf8(&bytes[SIGNATURE_1.len()..end]) else {
        return Header::Malformed;
    };
    let words: Vec<&str> = line.split(' ').collect();
    let client = match *words {
        ["UNKNOWN", ..] => return Header::Present(end + 2, None),
        ["TCP4", source, _, port, _] => client::<Ipv4Addr>(source, port),
        ["TCP6", source, _, port, _] => client::<Ipv6Addr>(source, port),
        _ => None,
    };
    client.map_or(Header::Malformed, |client| {
        Header::Present(end + 2, Some(client))
    })
}

fn client<A: std::str::FromStr + Into<IpAddr>>(source: &str, port: &str) -> Option<SocketAddr> {
    let address: A = source.parse().ok()?;
    Some(SocketAddr::new(address.into(), port.parse().ok()?))
}

/// `None` if there are too few bytes.
fn version_2(bytes: &[u8]) -> Option<Header> {
    let (head, rest) = bytes.split_first_chunk::<16>()?;
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if length > MAX_LENGTH_BYTES {
        return Some(Header::Malformed);
    }
    let addresses = rest.get(..length)?;
    let client = match (head[12], head[13]) {
        // LOCAL, such as a health check of the load balancer itself; or a family without addresses.
        (0x20, _) | (0x21, 0x00) => None,
        (0x21, 0x11) => {
            let Some(found) = addresses.first_chunk::<12>() else {
                return Some(Header::Malformed);
            };
            let mut source = [0; 4];
            source.copy_from_slice(&found[..4]);
            Some((Ipv4Addr::from(source).into(), [found[8], found[9]]))
        }
        (0x21, 0x21) => {
            let Some(found) = addresses.first_chunk::<36>() else {
                return Some(Header::Malformed);
            };
            let mut source = [0; 16];
            source.copy_from_slice(&found[..16]);
            Some((Ipv6Addr::from(source).into(), [found[32], found[33]]))
        }
        _ => return Some(Header::Malformed),
    };
    let client: Option<(IpAddr, [u8; 2])> = client;
    let client = client.map(|(ip, port)| SocketAddr::new(ip, u16::from_be_bytes(port)));
    Some(Header::Present(16 + length, client))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> SocketAddr {
        text.parse().expect(text)
    }

    fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).expect("short");
        let mut header = SIGNATURE_2.to_vec();
        header.extend([command, family]);
        header.extend(length.to_be_bytes());
        header.extend(addresses);
        header
    }

    #[test]
    fn both_versions_are_parsed_byte_by_byte() {
        let v6 = [
            [0x20, 1, 0xd, 0xb8].as_slice(),
            &[0; 11],
            &[7],
            &[0; 16],
            &[0x1f, 0x90, 1, 0xbb],
        ]
        .concat();
        for (header, client) in [
            (
                b"PROXY TCP4 203.0.113.7 10.0.0.1 5678 443\r\n".to_vec(),
                Some(socket("203.0.113.7:5678")),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 5678 443\r\n".to_vec(),
                Some(socket("[2001:db8::7]:5678")),
            ),
            (b"PROXY UNKNOWN ffff::1 x 1 2\r\n".to_vec(), None),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (
                binary(
                    0x21,
                    0x11,
                    &[203, 0, 113, 7, 10, 0, 0, 1, 0x16, 0x2e, 1, 0xbb],
                ),
                Some(socket("203.0.113.7:5678")),
            ),
            (binary(0x21, 0x21, &v6), Some(socket("[2001:db8::7]:8080"))),
            // TLVs after the addresses are skipped.
            (
                binary(
                    0x21,
                    0x11,
                    &[203, 0, 113, 7, 10, 0, 0, 1, 0x16, 0x2e, 1, 0xbb, 4, 0, 1, 9],
                ),
                Some(socket("203.0.113.7:5678")),
            ),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x21, 0x00, &[1, 2, 3]), None),
        ] {
            for length in 0..header.len() {
                assert_eq!(parse(&header[..length]), Header::Incomplete, "{length}");
            }
            let expected = Header::Present(header.len(), client);
            assert_eq!(parse(&header), expected);
            let followed = [header.as_slice(), b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&followed), expected);
        }
    }

    #[test]
    fn other_bytes_are_absent_or_malformed() {
        for other in [
            b"GET / HTTP/1.1\r\n".as_slice(),
            b"POST",
            b"PROPFIND",
            b"PRI * HTTP/2.0",
            b"\x16\x03\x01",
            b"\r\nG",
            b"proxy TCP4",
        ] {
            assert_eq!(parse(other), Header::Absent, "{other:?}");
        }
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        for bad in [
            b"PROXY TCP4 203.0.113.7 10.0.0.1 5678\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 ::1 5678 443\r\n".to_vec(),
            b"PROXY TCP4 a b 1 2\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 99999 443\r\n".to_vec(),
            b"PROXY UDP4 203.0.113.7 10.0.0.1 1 2\r\n".to_vec(),
            b"PROXY \xff\r\n".to_vec(),
            long,
            binary(0x21, 0x11, &[1, 2, 3]),
            binary(0x21, 0x21, &[0; 12]),
            binary(0x31, 0x11, &[0; 12]),
            binary(0x21, 0x11, &[0; 5000]),
        ] {
            assert_eq!(parse(&bad), Header::Malformed, "{bad:?}");
        }
    }
}
