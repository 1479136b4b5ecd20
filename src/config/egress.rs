//! How requests reach authentik: directly, through a forward proxy, or over a Unix socket.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use http::Uri;
use percent_encoding::percent_decode_str;
use url::Url;

use super::layers::Reader;
use super::proxies::{self, Proxies, Proxy};
use super::settings::SOCKET_SCHEME;

/// The host that requests over a socket name, as with curl and Docker.
const SOCKET_HOST: &str = "localhost";

/// How requests reach authentik. Never used for applications. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Egress {
    socket: Option<Arc<Path>>,
    proxies: Proxies,
}

/// Where a connection for a request leads to. Its text completes "reached …", without credentials.
#[derive(Debug, Clone, Copy)]
pub enum NextHop<'a> {
    /// The host of the URL.
    Direct,
    /// A forward proxy.
    Proxy(&'a Proxy),
    /// A Unix socket.
    Socket(&'a Path),
}

impl fmt::Display for NextHop<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("directly"),
            Self::Proxy(proxy) => write!(f, "through the proxy {proxy}"),
            Self::Socket(path) => write!(f, "over the socket {}", path.display()),
        }
    }
}

impl Egress {
    /// Reads the environment, for an authentik at `host`; problems are recorded.
    pub(super) fn read(reader: &mut Reader<'_>, host: Option<&Url>) -> Self {
        Self {
            socket: host.and_then(socket),
            proxies: proxies::read(reader),
        }
    }

    /// Through one proxy, for `discover`; loopback directly. `source` tells where its URL is from. `None`
    /// if that is not the URL of an HTTP proxy.
    #[must_use]
    pub fn through(source: &'static str, url: &str) -> Option<Self> {
        Some(Self {
            socket: None,
            proxies: Proxies::one(source, url)?,
        })
    }

    /// Where a connection for requests to `uri` leads to.
    #[must_use]
    pub fn next_hop(&self, uri: &Uri) -> NextHop<'_> {
        let is_authentik = uri.scheme_str() == Some("http")
            && uri.authority().is_some_and(|name| name == SOCKET_HOST);
        match self.socket.as_deref() {
            Some(socket) if is_authentik => NextHop::Socket(socket),
            _ => {
                let proxy = self.proxies.towards(uri);
                proxy.map_or(NextHop::Direct, NextHop::Proxy)
            }
        }
    }
}

/// The base URL of requests to an authentik at `host`.
#[must_use]
pub fn base_url(host: &Url) -> Url {
    let over_socket = || Url::parse(&format!("http://{SOCKET_HOST}/")).ok();
    let is_socket = host.scheme() == SOCKET_SCHEME;
    is_socket
        .then(over_socket)
        .flatten()
        .unwrap_or_else(|| host.clone())
}

/// The socket that a URL names.
fn socket(host: &Url) -> Option<Arc<Path>> {
    let path = percent_decode_str(host.path()).decode_utf8_lossy();
    (host.scheme() == SOCKET_SCHEME).then(|| Path::new(path.as_ref()).into())
}
