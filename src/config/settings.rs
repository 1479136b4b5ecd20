//! What a setting is. The file's keys, the variables, their defaults, `--help` and the suggestions
//! for misspelled names are all made from [`SETTINGS`]; a setting is described nowhere else.

use std::borrow::Cow;
use std::fmt::Write as _;

pub use super::table::SETTINGS;

/// The variable that names the configuration file, as `--config` does.
pub const FILE_VARIABLE: &str = "AUTHENTIK_PROXY_CONFIG";

/// What the names of variables begin with that authentik's own outpost does not know.
pub const OWN_PREFIX: &str = "AUTHENTIK_PROXY_";

/// Variables of authentik's own outpost that are accepted and have no effect here, so that an
/// existing deployment's environment works unchanged.
pub const IGNORED_VARIABLES: &[&str] = &[
    "AUTHENTIK_DEBUG",
    "AUTHENTIK_DISABLE_UPDATE_CHECK",
    "AUTHENTIK_ERROR_REPORTING__ENABLED",
];

/// One thing that an operator can set.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its place in the file: `section.name`.
    pub key: &'static str,
    /// What applies when it is not set.
    pub fallback: Fallback,
    /// What a value looks like.
    pub kind: Kind,
    /// What it is for, in one line.
    pub about: &'static str,
    /// What else an operator may want to know, as whole sentences; often empty.
    pub detail: &'static str,
    /// Its variable where authentik's own outpost has one; otherwise made from `key`.
    vendor_variable: Option<&'static str>,
}

/// What applies when a setting is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing: the program refuses to start.
    Required,
    /// The feature is off, or decided elsewhere.
    Unset,
    /// This value, written as an operator would.
    Value(&'static str),
}

/// What a value looks like.
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
    /// Yes or no.
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
    /// A secret with inner freedom.
    Password,
    /// A file.
    Path,
    /// An amount of memory.
    Size,
    /// Free text.
    Text,
    /// What is asked of a certificate.
    TlsReqs,
    /// A secret that travels in an HTTP header.
    Token,
    /// A base URL.
    Url,
    /// A UUID.
    Uuid,
    /// What becomes of logins that cannot be stored.
    WhenDown,
}

impl Setting {
    /// The setting with this key in the file.
    #[must_use]
    pub fn by_key(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    /// The variable that sets it: authentik's own name if there is one, otherwise made from the
    /// key (`shutdown.timeout` is `AUTHENTIK_PROXY_SHUTDOWN__TIMEOUT`).
    #[must_use]
    pub fn variable(&self) -> Cow<'static, str> {
        self.vendor_variable
            .map_or_else(|| self.derived_variable().into(), Cow::Borrowed)
    }

    /// Whether its value must never be shown.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Password | Kind::Token)
    }

    /// The same setting with something more to say about it than fits a line.
    pub(super) const fn more(self, detail: &'static str) -> Self {
        Self { detail, ..self }
    }

    /// The variable that the key alone would give.
    pub(super) fn derived_variable(&self) -> String {
        let mut name = OWN_PREFIX.to_owned();
        for (depth, part) in self.key.split('.').enumerate() {
            let separator = if depth == 0 { "" } else { "__" };
            // Writing to a `String` cannot fail.
            let _ = write!(name, "{separator}{}", part.to_ascii_uppercase());
        }
        name
    }
}

impl Kind {
    /// What a value must be, for an operator, with an example where that helps.
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
            Self::Size => "a size such as 64KiB or 64MiB, or a number of bytes",
            Self::Text => "text without control characters",
            Self::TlsReqs => "required or none",
            Self::Token => "the key of a token at authentik, without spaces and line breaks",
            Self::Url => "http:// or https:// with a host, for example https://authentik.company",
            Self::Uuid => "a UUID, for example 3f0970c5-d6a3-43b2-9a36-d74665c6b24e",
            Self::WhenDown => "refuse or keep",
        }
    }
}

/// A setting that authentik's own outpost has, under the same name.
pub(super) const fn vendor(
    key: &'static str,
    variable: &'static str,
    kind: Kind,
    fallback: Fallback,
    about: &'static str,
) -> Setting {
    Setting {
        key,
        fallback,
        kind,
        about,
        detail: "",
        vendor_variable: Some(variable),
    }
}

/// A setting of this program alone.
pub(super) const fn own(
    key: &'static str,
    kind: Kind,
    fallback: Fallback,
    about: &'static str,
) -> Setting {
    Setting {
        key,
        fallback,
        kind,
        about,
        detail: "",
        vendor_variable: None,
    }
}
