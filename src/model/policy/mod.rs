//! The settings of one application in the configuration file, in addition to those at authentik.

pub(super) mod allowlist;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
use ipnet::IpNet;

use crate::model::path::{PathPattern, Readings, Spellings, unambiguous};

/// The settings of one application.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Access rules; the first one that matches decides.
    pub rules: Vec<Rule>,
    /// Redirect scripts and websockets to the sign-in page, as the vendor's outpost does.
    pub redirect_scripts: bool,
    /// Let CORS preflight requests pass, which carry no cookie by definition.
    pub cors_preflight: bool,
    /// Trust nginx's `X-Original-Method`: only where nginx sets it on every subrequest, since it
    /// passes on the client's own otherwise.
    pub original_method: bool,
    /// How long after a sign-in authentik authorizes the session again; zero for never, `None` if it is
    /// not set for this application.
    pub reauthorize_interval: Option<Duration>,
    /// How identity headers are made.
    pub identity: IdentityOptions,
    /// Additional request headers for the application, set last.
    pub headers: Vec<(HeaderName, HeaderSource)>,
    /// Names of additional identity headers, such as those of authentik's `additionalHeaders`: a
    /// client's own is always removed, also where the user has none.
    pub identity_headers: Vec<HeaderName>,
    /// The version of HTTP to the application, in mode `proxy`.
    pub upstream_protocol: UpstreamProtocol,
}

/// The version of HTTP that an application speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, as gRPC needs it: with prior knowledge (RFC 9113 section 3.3, "h2c") at an
    /// `http://` address, by ALPN at an `https://` one.
    Http2,
}

/// How identity headers are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IdentityOptions {
    /// Whether `X-authentik-jwt` carries the access token; `None` if it is not set for this
    /// application.
    pub send_jwt: Option<bool>,
    /// How characters outside of ASCII are sent.
    pub encoding: HeaderEncoding,
}

impl IdentityOptions {
    /// Whether the application gets the access token. The default is the vendor's: it does.
    #[must_use]
    pub fn sends_jwt(self) -> bool {
        self.send_jwt.unwrap_or(true)
    }
}

/// How characters outside of ASCII are sent in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderEncoding {
    /// As UTF-8 bytes, as the vendor's outpost does.
    #[default]
    Utf8,
    /// Percent-encoded, `%` included.
    Percent,
}

/// The source of an additional header's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HeaderSource {
    /// The configuration file.
    Value(HeaderValue),
    /// A file that is read again when it changes, such as a rotating token.
    File {
        /// The file.
        path: PathBuf,
        /// Text in front of its content.
        prefix: String,
    },
}

/// One rule: all of its conditions have to hold.
#[derive(Debug, Clone)]
pub struct Rule {
    /// An expression for the path, unanchored; any path without one. A rule that restricts also
    /// matches in any case, and other spellings of a path ([`PathPattern`]).
    pub path: Option<PathPattern>,
    /// Networks of the client; any if empty. If the address is not known reliably, as for `methods`.
    pub networks: Vec<IpNet>,
    /// Methods; any if empty. If the method is not known reliably, the rule matches if it restricts
    /// and not if it allows.
    pub methods: Vec<Method>,
    /// The action.
    pub action: Action,
}

/// The action of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Allows the request, with or without a session.
    Allow,
    /// Denies the request.
    Deny,
    /// Allows members of one of these groups.
    Require(Vec<String>),
}

/// The decision of the rules on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleDecision<'a> {
    /// The rule with this number (from 1) allows it.
    Allow(usize),
    /// The rule with this number denies it.
    Deny(usize),
    /// The rule with this number requires one of these groups.
    Require(usize, &'a [String]),
    /// Servers normalize the path differently, and a rule restricts what some of them make of it.
    Ambiguous,
}

impl fmt::Display for RuleDecision<'_> {
    /// The reason, for operators.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow(rule) => write!(f, "rule {rule} allows the request"),
            Self::Deny(rule) => write!(f, "rule {rule} denies the request"),
            Self::Require(rule, groups) => {
                write!(
                    f,
                    "rule {rule} requires one of the groups {}",
                    groups.join(", ")
                )
            }
            Self::Ambiguous => f.write_str(
                "ambiguous path: servers normalize it differently, and a rule may restrict what some make of it",
            ),
        }
    }
}

/// Whether a header frames messages or sets the outpost's cookies. Attributes of users must not set
/// such a header.
#[must_use]
pub fn is_framing_header(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONTENT_LENGTH
            | header::TRANSFER_ENCODING
            | header::CONNECTION
            | header::UPGRADE
            | header::TE
            | header::TRAILER
            | header::HOST
            | header::SET_COOKIE
    )
}

impl Policy {
    /// Whether a decision can depend on the method.
    #[must_use]
    pub fn uses_methods(&self) -> bool {
        self.cors_preflight || self.rules.iter().any(|rule| !rule.methods.is_empty())
    }

    /// The decision of the rules; `None` if none matches, so that a session decides.
    ///
    /// A rule restricts if it matches any reading of the path, and allows only a path that every
    /// server normalizes to the same. If the readings are unknown, every rule that restricts a path
    /// may match.
    #[must_use]
    pub fn evaluate(
        &self,
        path: &str,
        method: Option<&Method>,
        client: Option<IpAddr>,
    ) -> Option<RuleDecision<'_>> {
        if self.rules.is_empty() {
            return None;
        }
        let readings = Readings::of(path);
        let Some(readings) = readings.known() else {
            return self.without_readings(method, client);
        };
        let mut found = readings.flat_map(|reading| {
            let spellings = Spellings::of(reading);
            let first = |matches: &dyn Fn(&PathPattern) -> bool| {
                self.rules.iter().position(|rule| {
                    let path = rule.path.as_ref();
                    rule.applies(method, client)
                        && path.is_none_or(|path| {
                            let exact = path.matches(spellings.path());
                            exact || (rule.restricts() && matches(path))
                        })
                })
            };
            let any = first(&|path| path.matches_any(&spellings));
            // A rule that only another spelling matches must not hide a later one that restricts the
            // path as it stands.
            let exact = first(&|_| false).filter(|index| self.rules[*index].restricts());
            [Some(any), exact.filter(|_| exact != any).map(Some)]
                .into_iter()
                .flatten()
        });
        // There is always one, the path as it is written.
        let written = found.next()?;
        let mut agreed = true;
        let mut restricting = written.filter(|index| self.rules[*index].restricts());
        for other in found {
            agreed &= other == written;
            let Some(index) = other.filter(|index| self.rules[*index].restricts()) else {
                continue;
            };
            if *restricting.get_or_insert(index) != index {
                return Some(RuleDecision::Ambiguous);
            }
        }
        match restricting {
            // Members of one of the groups may see whatever any server makes of it.
            Some(index) => match &self.rules[index].action {
                Action::Require(groups) => Some(RuleDecision::Require(index + 1, groups)),
                _ if agreed => Some(RuleDecision::Deny(index + 1)),
                _ => Some(RuleDecision::Ambiguous),
            },
            None if agreed => {
                let index = written?;
                unambiguous(path).map(|_| RuleDecision::Allow(index + 1))
            }
            None => None,
        }
    }

    /// The decision of the rules on a path with unknown readings.
    fn without_readings(
        &self,
        method: Option<&Method>,
        client: Option<IpAddr>,
    ) -> Option<RuleDecision<'_>> {
        for (index, rule) in self.rules.iter().enumerate() {
            if !rule.applies(method, client) {
                continue;
            }
            let every = rule
                .path
                .as_ref()
                .is_none_or(PathPattern::matches_everything);
            match &rule.action {
                // Allows nothing, and the rules after it would not be reached.
                Action::Allow if every => return None,
                Action::Allow => {}
                _ if !every => return Some(RuleDecision::Ambiguous),
                Action::Deny => return Some(RuleDecision::Deny(index + 1)),
                Action::Require(groups) => return Some(RuleDecision::Require(index + 1, groups)),
            }
        }
        None
    }
}

impl Rule {
    fn restricts(&self) -> bool {
        self.action != Action::Allow
    }

    /// Whether all conditions but that on the path are met.
    fn applies(&self, method: Option<&Method>, client: Option<IpAddr>) -> bool {
        let unknown = self.restricts();
        let near = |client: IpAddr| self.networks.iter().any(|net| net.contains(&client));
        (self.networks.is_empty() || client.map_or(unknown, near))
            && (self.methods.is_empty() || method.map_or(unknown, |method| self.has_method(method)))
    }

    /// A rule that restricts `POST` restricts `post` as well, which many frameworks take for the same,
    /// and one for `GET` restricts `HEAD`, which the same page answers.
    fn has_method(&self, method: &Method) -> bool {
        if !self.restricts() {
            return self.methods.contains(method);
        }
        let is = |name: &str| method.as_str().eq_ignore_ascii_case(name);
        let mut methods = self.methods.iter();
        methods.any(|own| is(own.as_str()) || (*own == Method::GET && is("HEAD")))
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
