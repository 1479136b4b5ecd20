//! The parts of a [`Config`](super::Config): plain data, valid by construction.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use thiserror::Error;
use url::Url;
use uuid::Uuid;

use crate::model::Dialects;

/// Where authentik is, and who we are there.
#[derive(Debug, Clone)]
pub struct Authentik {
    /// Base URL of the back channel: `http` or `https`, its path ends with `/`, without user,
    /// query and fragment. Required; `AUTHENTIK_HOST`.
    pub host: Url,
    /// Base URL that browsers can reach, in the same form. Without it they are sent to what
    /// authentik's own outpost configuration says, or to `host`; `AUTHENTIK_HOST_BROWSER`.
    pub host_browser: Option<Url>,
    /// API token of the outpost's service account: visible ASCII, not empty. Required;
    /// `AUTHENTIK_TOKEN`.
    pub token: SecretString,
    /// Whether authentik's certificate goes unverified. Default false; `AUTHENTIK_INSECURE`.
    pub insecure: bool,
    /// The outpost to serve. Without it, the one that the token lists; `AUTHENTIK_OUTPOST_ID`.
    pub outpost_id: Option<Uuid>,
}

/// Listeners, and what is accepted on them.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Plain HTTP. Default `0.0.0.0:9000`; `AUTHENTIK_LISTEN__HTTP`.
    pub http: Vec<SocketAddr>,
    /// HTTPS. Default `0.0.0.0:9443`; `AUTHENTIK_LISTEN__HTTPS`. Together with `http` not empty.
    pub https: Vec<SocketAddr>,
    /// Metrics and health. Default `0.0.0.0:9300`; `AUTHENTIK_LISTEN__METRICS`.
    pub metrics: Vec<SocketAddr>,
    /// Authorization requests over HTTP, which are answered there alone if there is one. Default
    /// none; `AUTHENTIK_PROXY_LISTEN__FORWARD_AUTH`.
    pub forward_auth: Vec<SocketAddr>,
    /// Envoy's `ext_authz` over gRPC. Default none; `AUTHENTIK_PROXY_LISTEN__EXT_AUTHZ`.
    pub ext_authz: Vec<SocketAddr>,
    /// Peers whose `X-Forwarded-*` headers are believed, without host bits. Default the private and loopback networks; `AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS`.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a client may take to send the head of a request. Default 30 s;
    /// `AUTHENTIK_PROXY_LISTEN__HEADER_TIMEOUT`.
    pub header_timeout: Duration,
    /// How long a connection may be idle before the next request. Default 60 s;
    /// `AUTHENTIK_PROXY_LISTEN__IDLE_TIMEOUT`.
    pub idle_timeout: Duration,
    /// How long a client may send nothing of a body that an application waits for. Default 60 s;
    /// `AUTHENTIK_PROXY_LISTEN__BODY_TIMEOUT`.
    pub body_timeout: Duration,
    /// How long a client may take nothing of what it is sent. Default 15 min, as long as Linux
    /// itself waits for an acknowledgement; `AUTHENTIK_PROXY_LISTEN__WRITE_TIMEOUT`.
    pub write_timeout: Duration,
    /// Connections open at once, over all listeners but those for metrics. Default 10,240;
    /// `AUTHENTIK_PROXY_LISTEN__MAX_CONNECTIONS`.
    pub max_connections: usize,
    /// Connections of one client address open at once; IPv6 addresses count by /64. Default 512;
    /// `AUTHENTIK_PROXY_LISTEN__MAX_CONNECTIONS_PER_CLIENT`.
    pub max_connections_per_client: usize,
    /// Connections of one trusted proxy open at once. Default 8,192;
    /// `AUTHENTIK_PROXY_LISTEN__MAX_CONNECTIONS_PER_PROXY`.
    pub max_connections_per_proxy: usize,
    /// Largest head of a request, in bytes, at least 8 KiB. Default 64 KiB;
    /// `AUTHENTIK_PROXY_LISTEN__MAX_HEADER_BYTES`.
    pub max_header_bytes: usize,
    /// Whether a trusted peer may name the client with the PROXY protocol. Default true;
    /// `AUTHENTIK_PROXY_LISTEN__PROXY_PROTOCOL`.
    pub proxy_protocol: bool,
}

/// Authorization requests of reverse proxies.
#[derive(Debug, Clone)]
pub struct ForwardAuth {
    /// The dialects that are answered over HTTP. Default all;
    /// `AUTHENTIK_PROXY_FORWARD_AUTH__DIALECTS`.
    pub dialects: Dialects,
}

/// Connections to applications that requests are passed on to.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// How long a connection may take, TLS included. Default 10 s;
    /// `AUTHENTIK_PROXY_UPSTREAM__CONNECT_TIMEOUT`.
    pub connect_timeout: Duration,
    /// How long an application may take to begin its answer. Default 5 min;
    /// `AUTHENTIK_PROXY_UPSTREAM__RESPONSE_TIMEOUT`.
    pub response_timeout: Duration,
}

/// Logging.
#[derive(Debug, Clone)]
pub struct Log {
    /// Least severe level that is written, until authentik says otherwise. Default info;
    /// `AUTHENTIK_LOG_LEVEL`.
    pub level: LogLevel,
}

/// Severity of a log line, with authentik's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// What a developer wants to know.
    Debug,
    /// What an operator wants to know.
    Info,
    /// Something to look at.
    Warning,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// The name that authentik gives it.
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

/// Exchange with authentik.
#[derive(Debug, Clone)]
pub struct Control {
    /// Time between two fetches of the configuration; `None` is what authentik says, its default.
    /// `AUTHENTIK_PROXY_CONTROL__REFRESH_INTERVAL`.
    pub refresh_interval: Option<Duration>,
    /// Largest random delay before a fetch, so that replicas do not ask together. Default 9 s;
    /// `AUTHENTIK_PROXY_CONTROL__REFRESH_JITTER`.
    pub refresh_jitter: Duration,
    /// Time between two signs of life on the websocket. Default 10 s;
    /// `AUTHENTIK_PROXY_CONTROL__HELLO_INTERVAL`.
    pub hello_interval: Duration,
    /// Longest pause between two attempts to connect. Default 30 s;
    /// `AUTHENTIK_PROXY_CONTROL__RECONNECT_MAX`.
    pub reconnect_max: Duration,
    /// How long one request to authentik may take. Default 10 s;
    /// `AUTHENTIK_PROXY_CONTROL__REQUEST_TIMEOUT`.
    pub request_timeout: Duration,
    /// Where the last good configuration is kept, sealed. Without it in Redis, if there is one;
    /// `AUTHENTIK_PROXY_CONTROL__CACHE_FILE`.
    pub cache_file: Option<PathBuf>,
}

/// Sessions of signed-in users.
#[derive(Debug, Clone)]
pub struct Session {
    /// Memory for cached sessions of Redis, in bytes, at least 1 MiB. Default 64 MiB;
    /// `AUTHENTIK_PROXY_SESSION__CACHE_BYTES`.
    pub cache_bytes: usize,
    /// How often authentik is asked whether an active session still stands. Default 600 s;
    /// `AUTHENTIK_PROXY_SESSION__RECHECK_INTERVAL`.
    pub recheck_interval: Duration,
    /// Most such questions per second. Default 10; `AUTHENTIK_PROXY_SESSION__RECHECK_PER_SECOND`.
    pub recheck_per_second: u32,
    /// How long a session that is refreshed may live in all. Default 168 h;
    /// `AUTHENTIK_PROXY_SESSION__MAX_AGE`.
    pub max_age: Duration,
    /// How long a session may go unused, at least a minute. Default for ever;
    /// `AUTHENTIK_PROXY_SESSION__IDLE_TIMEOUT`.
    pub idle_timeout: Option<Duration>,
    /// How long a login that was started can be completed. Default 3600 s;
    /// `AUTHENTIK_PROXY_SESSION__LOGIN_TIMEOUT`.
    pub login_timeout: Duration,
    /// The prefix of cookie names. Default none; `AUTHENTIK_PROXY_SESSION__COOKIE_PREFIX`.
    pub cookie_prefix: CookiePrefix,
    /// Whether positive answers of forward auth carry `Cookie` and `Authorization` as the
    /// application should see them. Default false; `AUTHENTIK_PROXY_SESSION__ECHO_CREDENTIALS`.
    pub echo_credentials: bool,
}

/// The prefix of cookie names (RFC 6265bis section 4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookiePrefix {
    /// None, as the previous release reads them.
    None,
    /// `__Host-` where browsers accept it: over TLS, for one host.
    Host,
}

/// What applications are told about users, where nothing else is said for one of them.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Whether `X-authentik-jwt` carries the access token. Default true, as the vendor's outpost
    /// does; `AUTHENTIK_PROXY_IDENTITY__SEND_JWT`.
    pub send_jwt: bool,
}

/// What the variables of OpenTelemetry say that its SDK does not decide by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traces {
    /// Whether there is a collector: `OTEL_EXPORTER_OTLP_ENDPOINT` or
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, and neither `OTEL_SDK_DISABLED` nor
    /// `OTEL_TRACES_EXPORTER=none`.
    pub wanted: bool,
    /// Whether the service has a name: `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES`.
    pub named: bool,
}

/// The order of events when the program is asked to stop.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// First, readiness fails while requests are still accepted, so that load balancers look
    /// elsewhere. Default 2 s; `AUTHENTIK_PROXY_SHUTDOWN__DELAY`.
    pub delay: Duration,
    /// Then, requests in flight may finish for at most this long. Default 25 s;
    /// `AUTHENTIK_PROXY_SHUTDOWN__TIMEOUT`.
    pub timeout: Duration,
}

/// Where sessions are shared between replicas. Present only when a place is set.
#[derive(Debug, Clone)]
pub struct Redis {
    /// Where it is.
    pub place: RedisPlace,
    /// Number of the database. Default 0; `AUTHENTIK_REDIS__DB`.
    pub db: u32,
    /// User of the access control list; `AUTHENTIK_REDIS__USERNAME`.
    pub username: Option<String>,
    /// Password; `AUTHENTIK_REDIS__PASSWORD`.
    pub password: Option<SecretString>,
    /// Whether to connect with TLS. Default false; `AUTHENTIK_REDIS__TLS`.
    pub tls: bool,
    /// What is asked of the server's certificate. Default required; `AUTHENTIK_REDIS__TLS_REQS`.
    pub tls_reqs: TlsReqs,
    /// PEM file of the authorities that may sign it; `AUTHENTIK_REDIS__TLS_CA_CERT`.
    pub tls_ca_cert: Option<PathBuf>,
    /// How long one command may take. Default 1 s; `AUTHENTIK_PROXY_REDIS__TIMEOUT`.
    pub timeout: Duration,
    /// How long a cached session is used unasked while news of its end may not arrive. Default
    /// 5 s; `AUTHENTIK_PROXY_REDIS__REVALIDATE`.
    pub revalidate: Duration,
    /// What becomes of logins that cannot be stored. Default refuse;
    /// `AUTHENTIK_PROXY_REDIS__WHEN_DOWN`.
    pub when_down: WhenDown,
}

/// Where Redis is.
#[derive(Debug, Clone)]
pub enum RedisPlace {
    /// One server; `AUTHENTIK_REDIS__HOST`, `AUTHENTIK_REDIS__PORT` (default 6379).
    Single(Node),
    /// Whichever server the Sentinels name.
    Sentinel {
        /// The Sentinels; `AUTHENTIK_PROXY_REDIS__SENTINELS`.
        nodes: Vec<Node>,
        /// What they call the server. Default mymaster; `AUTHENTIK_PROXY_REDIS__SENTINEL_MASTER`.
        master: String,
        /// User at the Sentinels; `AUTHENTIK_PROXY_REDIS__SENTINEL_USERNAME`.
        username: Option<String>,
        /// Password at the Sentinels; `AUTHENTIK_PROXY_REDIS__SENTINEL_PASSWORD`.
        password: Option<SecretString>,
    },
    /// A cluster, of which some nodes are named; `AUTHENTIK_PROXY_REDIS__CLUSTER`.
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

/// What becomes of a login while Redis cannot store it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenDown {
    /// It fails with a page that says so.
    Refuse,
    /// It holds at this replica, and is stored when Redis is back.
    Keep,
}

/// What is asked of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsReqs {
    /// Nothing: any certificate is accepted.
    None,
    /// It must be valid for the host and signed by a trusted authority.
    Required,
}

/// The command `discover`.
#[derive(Debug, Clone)]
pub struct Discover {
    /// API token with rights to read and write; `AUTHENTIK_PROXY_DISCOVER__TOKEN`.
    pub token: Option<SecretString>,
    /// Part of the mark on what was created: letters, digits, `.`, `_` and `-`. Default
    /// authentik-proxy; `AUTHENTIK_PROXY_DISCOVER__OWNER`.
    pub owner: String,
    /// Slug of the flow with which new providers authorize. Default
    /// default-provider-authorization-implicit-consent;
    /// `AUTHENTIK_PROXY_DISCOVER__AUTHORIZATION_FLOW`.
    pub authorization_flow: String,
    /// Slug of the flow with which new providers sign out. Default
    /// default-provider-invalidation-flow; `AUTHENTIK_PROXY_DISCOVER__INVALIDATION_FLOW`.
    pub invalidation_flow: String,
    /// Domain below which Services have their names. Default cluster.local;
    /// `AUTHENTIK_PROXY_DISCOVER__CLUSTER_DOMAIN`.
    pub cluster_domain: String,
    /// Time between two looks when nothing changes, at least 10 s. Default 10 min;
    /// `AUTHENTIK_PROXY_DISCOVER__INTERVAL`.
    pub interval: Duration,
}

/// All that the command `discover` needs to know of authentik, and of itself.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// As [`Authentik::host`].
    pub host: Url,
    /// As [`Discover::token`], which this command cannot do without.
    pub token: SecretString,
    /// As [`Authentik::insecure`].
    pub insecure: bool,
    /// The outpost that applications are assigned to; without it, the only one that is not
    /// embedded. `AUTHENTIK_OUTPOST_ID`.
    pub outpost_id: Option<Uuid>,
    /// As [`Control::request_timeout`]; holds for requests to Kubernetes, too.
    pub request_timeout: Duration,
    /// Certificates that are trusted in addition to the system's.
    pub tls: Tls,
    /// Logging, with `--watch`.
    pub log: Log,
    /// What concerns this command alone.
    pub discover: Discover,
}

/// Certificates that are trusted in addition to the system's, also of applications.
#[derive(Debug, Clone)]
pub struct Tls {
    /// PEM file of authorities trusted on connections to authentik and to applications;
    /// `AUTHENTIK_PROXY_TLS__CA_FILE`.
    pub ca_file: Option<PathBuf>,
}

/// Where a listener on this machine can be reached: one on all interfaces, by loopback.
#[must_use]
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
