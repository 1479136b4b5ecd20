//! The types of values that have no type elsewhere.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use secrecy::SecretString;
use thiserror::Error;

/// Severity of a log line, with authentik's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// Details for developers.
    Debug,
    /// Normal events.
    Info,
    /// Events that may need attention.
    Warning,
    /// Failures.
    Error,
}

impl LogLevel {
    /// authentik's name of the level.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LogLevel {
    type Err = UnknownLogLevel;

    /// Reads a level in any case; `warn` is `warning`.
    fn from_str(text: &str) -> Result<Self, UnknownLogLevel> {
        match text.trim().to_ascii_lowercase().as_str() {
            "trace" => Ok(Self::Trace),
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warning),
            "error" => Ok(Self::Error),
            _ => Err(UnknownLogLevel),
        }
    }
}

/// The text names no [`LogLevel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("is not a log level")]
pub struct UnknownLogLevel;

/// The prefix of cookie names (RFC 6265bis section 4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookiePrefix {
    /// None, as the previous release reads them.
    None,
    /// `__Host-` where browsers accept it: over TLS, for one host.
    Host,
}

/// Where sessions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionStore {
    /// In the memory of this process.
    Memory,
    /// At Redis.
    Redis,
    /// Sealed in the browser's cookie.
    Cookie,
}

/// What happens to a session in a cookie that authentik cannot be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenUnconfirmed {
    /// It is used, and authentik is asked again.
    Allow,
    /// Its requests fail until authentik confirms it.
    Refuse,
}

/// The servers of Redis.
#[derive(Debug, Clone)]
pub enum RedisTopology {
    /// One server.
    Single(Node),
    /// The master that the Sentinels name.
    Sentinel {
        /// The Sentinels.
        nodes: Vec<Node>,
        /// The name of the master.
        master: String,
        /// User name for the Sentinels.
        username: Option<String>,
        /// Password for the Sentinels.
        password: Option<SecretString>,
    },
    /// A cluster, by some of its nodes.
    Cluster(Vec<Node>),
}

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Host name or address, an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What happens to a login while Redis is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenDown {
    /// It fails with an error page.
    Refuse,
    /// The session is kept in memory, and stored when Redis is back.
    Keep,
}

/// How a server's certificate is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsReqs {
    /// Not at all.
    None,
    /// It must be valid for the host and signed by a trusted authority.
    Required,
}

/// Whether a listener at `address` leaves IPv4 to another one of `addresses`, on the same port.
#[must_use]
pub fn is_v6_only(address: SocketAddr, addresses: &[SocketAddr]) -> bool {
    let is_same_port = |other: &&SocketAddr| other.port() == address.port() && address.port() != 0;
    address.is_ipv6()
        && addresses
            .iter()
            .filter(is_same_port)
            .any(SocketAddr::is_ipv4)
}

/// The address by which a listener at `address`, one of `addresses`, is reached on this host: loopback
/// if it listens on all interfaces. That is IPv4 for `[::]`, which is bound for both families and, on
/// hosts without IPv6, for IPv4 alone.
#[must_use]
pub fn reachable(address: SocketAddr, addresses: &[SocketAddr]) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() && is_v6_only(address, addresses) => {
            Ipv6Addr::LOCALHOST.into()
        }
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
