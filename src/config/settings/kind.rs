//! The kinds of values, with the description of each that errors print.

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Socket addresses.
    Addresses,
    /// A whole number.
    Count,
    /// Dialects of forward auth.
    Dialects,
    /// A span of time.
    Duration,
    /// True or false.
    Flag,
    /// A host name or an address.
    Host,
    /// A log level.
    Level,
    /// IP networks.
    Networks,
    /// Hosts with ports.
    Nodes,
    /// The prefix of cookie names.
    CookiePrefix,
    /// A password.
    Password,
    /// A file.
    Path,
    /// Where sessions are kept.
    SessionStore,
    /// An amount of memory.
    Size,
    /// Free text.
    Text,
    /// How a certificate is verified.
    TlsReqs,
    /// A secret that is sent in an HTTP header.
    Token,
    /// A base URL.
    Url,
    /// A base URL, or a Unix socket.
    UrlOrSocket,
    /// A UUID.
    Uuid,
    /// What happens to logins while Redis is down.
    WhenDown,
    /// What happens to sessions that authentik cannot be asked about.
    WhenUnconfirmed,
}

impl Kind {
    /// Whether values are secrets, which are never shown.
    #[must_use]
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Password | Self::Token)
    }

    /// Whether a value can be written as a list.
    pub(crate) fn is_list(self) -> bool {
        matches!(
            self,
            Self::Addresses | Self::Dialects | Self::Networks | Self::Nodes
        )
    }

    /// Whether a value must be quoted in the file, because YAML and TOML may change it otherwise, as
    /// in `0123` and `1e5`.
    pub(crate) fn needs_quotes(self) -> bool {
        matches!(self, Self::Token | Self::Password | Self::Text)
    }

    /// The values that are accepted, with an example where that helps.
    #[must_use]
    pub fn expects(self) -> &'static str {
        match self {
            Self::Addresses => {
                "addresses such as 0.0.0.0:9000 or [::]:9000, separated by commas, or \"none\""
            }
            Self::CookiePrefix => "none or host",
            Self::Count => "a whole number",
            Self::Dialects => {
                "all, none, or some of nginx, ingress-nginx, traefik, caddy and envoy, separated by commas"
            }
            Self::Duration => "a duration such as 500ms, 25s, 10m or 1h30m, or a number of seconds",
            Self::Flag => "true or false (also yes, no, 1 and 0)",
            Self::Host => {
                "a host name or an address, without scheme and port, for example redis.company"
            }
            Self::Level => "trace, debug, info, warning or error",
            Self::Networks => {
                "networks such as 10.0.0.0/8 or single addresses, separated by commas, or \"none\""
            }
            Self::Nodes => {
                "hosts with ports such as redis-0.redis:26379 or [::1]:26379, separated by commas"
            }
            Self::Password => "the password",
            Self::Path => "the path of a file, for example /etc/ssl/company-ca.pem",
            Self::SessionStore => "memory, redis or cookie",
            Self::Size => "a size such as 64KiB or 64MiB, or a number of bytes",
            Self::Text => "text without control characters",
            Self::TlsReqs => "required or none",
            Self::Token => "the key of a token at authentik, without spaces and line breaks",
            Self::Url => "http:// or https:// with a host, for example https://authentik.company",
            Self::UrlOrSocket => {
                "http:// or https:// with a host, for example https://authentik.company, or a socket such as unix:///run/authentik.sock"
            }
            Self::Uuid => "a UUID, for example 3f0970c5-d6a3-43b2-9a36-d74665c6b24e",
            Self::WhenDown => "refuse or keep",
            Self::WhenUnconfirmed => "allow or refuse",
        }
    }
}
