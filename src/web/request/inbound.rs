//! The client and the host of a request. Forwarded headers count only from trusted peers.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName, Version, header, request::Parts};
use ipnet::IpNet;

use crate::model::Scheme;
use crate::web::header::names::{X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};

/// Networks whose forwarded headers are trusted.
#[derive(Debug, Clone)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts exactly these networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether `peer` is in one of them; an IPv4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub fn contains(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }
}

/// Longest `X-Forwarded-Host` that is read, in elements: each is looked up.
const MAX_FORWARDED_HOSTS: usize = 8;
/// Headers that reverse proxies add about the original request.
static FORWARDED: [&HeaderName; 3] = [&X_FORWARDED_FOR, &X_FORWARDED_HOST, &X_FORWARDED_PROTO];

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its address, or the one in a trusted load balancer's PROXY header.
    pub address: SocketAddr,
    /// `https` if the connection came to the outpost's TLS listener.
    pub scheme: Scheme,
}

impl From<SocketAddr> for Peer {
    /// A peer on a plain connection.
    fn from(address: SocketAddr) -> Self {
        let scheme = Scheme::Http;
        Self { address, scheme }
    }
}

/// The client and the host of a request, known before routing.
#[derive(Debug, Clone, Copy)]
pub struct Inbound<'a> {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// The client's address: the rightmost untrusted hop.
    pub client: IpAddr,
    /// Whether that is the client's own address, and not that of a trusted proxy.
    pub is_client_address: bool,
    /// Scheme of the client's request, as far as known.
    pub scheme: Scheme,
    /// Host that the request is for, unchecked.
    pub host: &'a str,
    /// Whether the peer's forwarded headers are trusted.
    pub trusted: bool,
    /// `X-Forwarded-Proto`, if present and trusted.
    pub forwarded_scheme: Option<Scheme>,
    /// The elements of `X-Forwarded-Host` before the last, unchecked, if the header is a list.
    earlier_hosts: Option<&'a str>,
}

impl<'a> Inbound<'a> {
    /// Reads a request. Forwarded headers of untrusted peers are ignored.
    #[must_use]
    pub fn read(parts: &'a Parts, peer: impl Into<Peer>, trusted: &TrustedProxies) -> Self {
        let peer = peer.into();
        let (scheme, peer) = (peer.scheme, peer.address.ip().to_canonical());
        let headers = &parts.headers;
        if !trusted.contains(peer) {
            return Self {
                peer,
                client: peer,
                is_client_address: true,
                scheme,
                host: own_host(parts),
                trusted: false,
                forwarded_scheme: None,
                earlier_hosts: None,
            };
        }
        let forwarded_scheme = text(headers, &X_FORWARDED_PROTO)
            .and_then(|schemes| Scheme::parse_forwarded(nearest(schemes)));
        let hosts = text(headers, &X_FORWARDED_HOST);
        let host = hosts.map(nearest_host);
        let client = forwarded_client(headers, peer, trusted);
        Self {
            peer,
            client,
            is_client_address: headers.contains_key(&X_FORWARDED_FOR) && client != peer,
            scheme: forwarded_scheme.unwrap_or(scheme),
            host: host.unwrap_or_else(|| own_host(parts)),
            trusted: true,
            forwarded_scheme,
            earlier_hosts: hosts
                .filter(|hosts| !is_too_long(hosts))
                .and_then(|hosts| Some(hosts.rsplit_once(',')?.0)),
        }
    }
}

/// The host of the request itself, unchecked and regardless of forwarded headers. A host in the
/// request target takes precedence over `Host` (RFC 9112 section 3.2.2).
#[must_use]
pub fn own_host(parts: &Parts) -> &str {
    let host = match parts.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => text(&parts.headers, &header::HOST),
    };
    host.unwrap_or_default()
}

/// Whether a request has two hosts. In HTTP/1.1 more than one `Host` line makes it invalid
/// (RFC 9112 section 3.2); in HTTP/2 one that is not `:authority` does (RFC 9113 section 8.3.1).
#[must_use]
pub fn names_two_hosts(parts: &Parts) -> bool {
    if parts.version != Version::HTTP_2 {
        return parts.headers.get_all(header::HOST).iter().nth(1).is_some();
    }
    let authority = parts.uri.authority();
    authority.is_some_and(|authority| {
        let authority = authority.as_str().as_bytes();
        let mut hosts = parts.headers.get_all(header::HOST).into_iter();
        hosts.any(|host| !host.as_bytes().eq_ignore_ascii_case(authority))
    })
}

/// The party that a request is counted for by limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A client.
    Client(IpAddr),
    /// A trusted proxy that does not name its client.
    Proxy(IpAddr),
}

/// What limits count as one client: an IPv4 address, or an IPv6 /64, which is assigned to one
/// customer.
#[must_use]
pub fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl Inbound<'_> {
    /// The party that the request is counted for.
    #[must_use]
    pub fn source(&self) -> Source {
        match self.known_client() {
            Some(client) => Source::Client(client_network(client)),
            None => Source::Proxy(client_network(self.peer)),
        }
    }

    /// The elements of `X-Forwarded-Host` before the last, unchecked, if the header is a list and
    /// trusted. The client may have written them.
    pub fn earlier_hosts(&self) -> impl Iterator<Item = &str> {
        let hosts = self.earlier_hosts.into_iter();
        hosts.flat_map(|hosts| hosts.split(',')).map(str::trim)
    }

    /// The client's address, unless a trusted proxy does not send it.
    #[must_use]
    pub fn known_client(&self) -> Option<IpAddr> {
        self.is_client_address.then_some(self.client)
    }
}

/// Whether a request has headers that reverse proxies add.
#[must_use]
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    FORWARDED.iter().any(|name| headers.contains_key(*name))
}

/// Why a header does not have exactly one valid value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OnceError {
    /// Absent.
    #[error("is missing")]
    Missing,
    /// Present more than once.
    #[error("is there more than once")]
    Repeated,
    /// With bytes that are not allowed in a URL.
    #[error("has characters outside of ASCII")]
    NotAscii,
}

/// The value of a header that has to occur exactly once.
pub fn once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, OnceError> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next().ok_or(OnceError::Missing)?;
    if values.next().is_some() {
        return Err(OnceError::Repeated);
    }
    value.to_str().map_err(|_| OnceError::NotAscii)
}

/// The last element of a list in a forwarded header: the one that the nearest hop added. The client
/// may have written the others.
#[must_use]
pub fn nearest(list: &str) -> &str {
    list.rsplit(',').next().unwrap_or(list).trim()
}

/// The same for `X-Forwarded-Host`; a list of more than `MAX_FORWARDED_HOSTS` as it is, which is
/// not a host.
#[must_use]
pub fn nearest_host(list: &str) -> &str {
    if is_too_long(list) {
        list
    } else {
        nearest(list)
    }
}

fn is_too_long(hosts: &str) -> bool {
    hosts.split(',').nth(MAX_FORWARDED_HOSTS).is_some()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let text = once(headers, name).ok()?.trim();
    (!text.is_empty()).then_some(text)
}

/// Walks `X-Forwarded-For` from the right past trusted hops. An element that is not an address
/// ends the walk: elements left of it cannot be trusted either.
fn forwarded_client(headers: &HeaderMap, peer: IpAddr, trusted: &TrustedProxies) -> IpAddr {
    let mut client = peer;
    for line in headers.get_all(&X_FORWARDED_FOR).into_iter().rev() {
        let Ok(line) = line.to_str() else {
            return client;
        };
        for hop in line.rsplit(',') {
            let Some(address) = address(hop.trim()) else {
                return client;
            };
            client = address;
            if !trusted.contains(client) {
                return client;
            }
        }
    }
    client
}

/// `1.2.3.4`, `1.2.3.4:5678`, `::1`, `[::1]` or `[::1]:1`.
fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri("/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn cve_2023_36456_and_cve_2024_47070_forwarded_for() {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")]);
        let long = "1.1.1.1,".repeat(1_300);
        for (peer, forwarded, expected) in [
            ("10.0.0.1:1", "1.2.3.4", "1.2.3.4"),
            ("10.0.0.1:1", "9.9.9.9, 1.2.3.4, 10.0.0.7", "1.2.3.4"),
            ("10.0.0.1:1", "1.2.3.4:5678", "1.2.3.4"),
            ("10.0.0.1:1", "[::1]:1", "::1"),
            ("10.0.0.1:1", "a", "10.0.0.1"),
            ("10.0.0.1:1", "", "10.0.0.1"),
            ("10.0.0.1:1", "999.1.1.1", "10.0.0.1"),
            ("10.0.0.1:1", &long, "10.0.0.1"),
            ("8.8.8.8:1", "1.2.3.4", "8.8.8.8"),
            ("[::ffff:10.0.0.1]:1", "1.2.3.4", "1.2.3.4"),
        ] {
            let parts = parts(&[("x-forwarded-for", forwarded)]);
            let peer: SocketAddr = peer.parse().expect(peer);
            let client = Inbound::read(&parts, peer, &trusted).client;
            assert_eq!(
                client.to_string(),
                expected,
                "{peer} {}",
                &forwarded[..forwarded.len().min(40)]
            );
        }
    }

    #[test]
    fn cve_2026_40575_forwarded_host_counts_from_trusted_peers_only() {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")]);
        let headers = [
            ("host", "own"),
            ("x-forwarded-host", "theirs"),
            ("x-forwarded-proto", "https"),
        ];
        let parts = parts(&headers);
        let read = |peer: &str| {
            let peer: SocketAddr = peer.parse().expect(peer);
            Inbound::read(&parts, peer, &trusted)
        };
        assert_eq!(
            (read("10.0.0.1:1").host, read("10.0.0.1:1").scheme),
            ("theirs", Scheme::Https)
        );
        assert_eq!(
            (read("8.8.8.8:1").host, read("8.8.8.8:1").scheme),
            ("own", Scheme::Http)
        );
        assert!(is_forwarded(&parts.headers));
    }
}
