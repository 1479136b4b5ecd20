//! The facts of a request: who asks, for which host; forwarded headers count from trusted peers.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, header, request::Parts};
use ipnet::IpNet;

use crate::model::Scheme;

/// Networks whose forwarded headers are believed.
#[derive(Debug, Clone)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts exactly these networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether `peer` is one of them; an IPv4 address mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }
}

/// Headers by which reverse proxies pass on what they saw.
const FORWARDED: [&str; 3] = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// What we know about a request before looking at what it asks for.
#[derive(Debug, Clone, Copy)]
pub struct Inbound<'a> {
    /// The person's address: the rightmost untrusted hop.
    pub client: IpAddr,
    /// Scheme that the person used, as far as we know.
    pub scheme: Scheme,
    /// Host that the request is for, unchecked.
    pub host: &'a str,
    /// Whether the peer's forwarded headers are believed.
    pub trusted: bool,
    /// `X-Forwarded-Proto`, if there and believed.
    pub forwarded_scheme: Option<Scheme>,
}

impl<'a> Inbound<'a> {
    /// Reads the facts. Headers of untrusted peers are ignored.
    #[must_use]
    pub fn read(parts: &'a Parts, peer: SocketAddr, trusted: &TrustedProxies) -> Self {
        let headers = &parts.headers;
        if !trusted.contains(peer.ip()) {
            return Self {
                client: peer.ip().to_canonical(),
                scheme: Scheme::Http,
                host: own_host(parts),
                trusted: false,
                forwarded_scheme: None,
            };
        }
        let forwarded_scheme = text(headers, "x-forwarded-proto").and_then(Scheme::parse);
        Self {
            client: forwarded_client(headers, peer.ip(), trusted),
            scheme: forwarded_scheme.unwrap_or(Scheme::Http),
            host: text(headers, "x-forwarded-host").unwrap_or_else(|| own_host(parts)),
            trusted: true,
            forwarded_scheme,
        }
    }
}

/// The host that the request itself is for, unchecked, whatever headers say of another one.
#[must_use]
pub fn own_host(parts: &Parts) -> &str {
    text(&parts.headers, header::HOST.as_str())
        .or_else(|| parts.uri.authority().map(http::uri::Authority::as_str))
        .unwrap_or_default()
}

/// Whether a request has headers by which reverse proxies pass on what they saw.
#[must_use]
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    FORWARDED.iter().any(|name| headers.contains_key(*name))
}

/// Why a header does not say one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OnceError {
    /// Not there.
    #[error("is missing")]
    Missing,
    /// There more than once.
    #[error("is there more than once")]
    Repeated,
    /// With bytes that no URL has.
    #[error("has characters outside of ASCII")]
    NotAscii,
}

/// The value of a header that has to occur exactly once.
pub fn once<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, OnceError> {
    let mut values = headers.get_all(name).into_iter();
    let value = values.next().ok_or(OnceError::Missing)?;
    if values.next().is_some() {
        return Err(OnceError::Repeated);
    }
    value.to_str().map_err(|_| OnceError::NotAscii)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let text = once(headers, name).ok()?.trim();
    (!text.is_empty()).then_some(text)
}

/// Walks `X-Forwarded-For` from the right past trusted hops. An element that is not an address
/// ends the walk: what stands left of it cannot be trusted either.
fn forwarded_client(headers: &HeaderMap, peer: IpAddr, trusted: &TrustedProxies) -> IpAddr {
    let mut client = peer.to_canonical();
    for line in headers.get_all("x-forwarded-for").into_iter().rev() {
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
        let read = |peer: &str| Inbound::read(&parts, peer.parse().expect(peer), &trusted);
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
