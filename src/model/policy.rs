//! What an operator sets for one application in our own configuration file, beyond what authentik
//! knows of it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use http::{HeaderName, HeaderValue, Method, header};
use ipnet::IpNet;

use super::path::{PathPattern, Readings, Spellings, unambiguous};

/// The settings of one application.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Who may go where; the first rule that matches decides.
    pub rules: Vec<Rule>,
    /// Redirect scripts and websockets to the sign-in page, as the vendor's outpost does.
    pub redirect_scripts: bool,
    /// Let CORS preflight requests pass, which carry no cookie by definition.
    pub cors_preflight: bool,
    /// Believe nginx's `X-Original-Method`: only where nginx sets it on every subrequest, since it
    /// passes the client's own on otherwise.
    pub original_method: bool,
    /// How identity headers are made.
    pub identity: IdentityOptions,
    /// Headers that the application gets besides, last.
    pub headers: Vec<(HeaderName, HeaderSource)>,
    /// Names of further headers that say who a person is, such as those of authentik's
    /// `additionalHeaders`: a client's own never counts, also where a person has none.
    pub identity_headers: Vec<HeaderName>,
    /// What the application speaks, in mode `proxy`.
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
    /// Whether `X-authentik-jwt` carries the access token; `None` where that was not said for this
    /// application.
    pub send_jwt: Option<bool>,
    /// How characters outside of ASCII are sent.
    pub encoding: HeaderEncoding,
}

impl IdentityOptions {
    /// Whether the application gets the access token: as the vendor's outpost does, unless it was
    /// said otherwise.
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

/// Where the value of a further header comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HeaderSource {
    /// The configuration file.
    Value(HeaderValue),
    /// A file that is read again when it changes, such as a rotating token.
    File {
        /// The file.
        path: PathBuf,
        /// What stands before its content.
        prefix: String,
    },
}

/// One rule: all of its conditions have to hold.
#[derive(Debug, Clone)]
pub struct Rule {
    /// An expression for the path, unanchored; any path without one. What restricts holds without
    /// regard to case as well, and for further spellings of a path ([`PathPattern`]).
    pub path: Option<PathPattern>,
    /// Where the client is; anywhere if empty. Where nobody reliable tells, as for `methods`.
    pub networks: Vec<IpNet>,
    /// Any method if empty. Where nobody reliable tells the method, the rule restricts and does not
    /// open.
    pub methods: Vec<Method>,
    /// What then.
    pub action: Action,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Lets everybody pass, signed in or not.
    Allow,
    /// Lets nobody pass.
    Deny,
    /// Lets members of one of these groups pass.
    Require(Vec<String>),
}

/// What the rules say of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Rule number (from 1) lets everybody pass.
    Allow(usize),
    /// Rule number lets nobody pass.
    Deny(usize),
    /// Rule number asks for one of these groups.
    Require(usize, &'a [String]),
    /// Servers normalize the path differently, and a rule restricts what some of them make of it.
    Ambiguous,
}

impl fmt::Display for Verdict<'_> {
    /// The reason, for operators.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow(rule) => write!(f, "rule {rule} lets everybody pass"),
            Self::Deny(rule) => write!(f, "rule {rule} lets nobody pass"),
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

/// Whether a header delimits messages or sets our own cookies, which is not for attributes of people
/// to do.
#[must_use]
pub fn frames_message(name: &HeaderName) -> bool {
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
    /// Whether anything is decided by the method.
    #[must_use]
    pub fn looks_at_methods(&self) -> bool {
        self.cors_preflight || self.rules.iter().any(|rule| !rule.methods.is_empty())
    }

    /// What the rules say; `None` if none matches, so that a session decides.
    ///
    /// A rule restricts if it holds for any reading of the path, and opens only a path that every
    /// server takes for the same. Where the readings are not known, every rule that restricts a path
    /// may hold.
    #[must_use]
    pub fn verdict(
        &self,
        path: &str,
        method: Option<&Method>,
        client: Option<IpAddr>,
    ) -> Option<Verdict<'_>> {
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
                return Some(Verdict::Ambiguous);
            }
        }
        match restricting {
            // Whoever is in one of the groups may see what any server makes of it.
            Some(index) => match &self.rules[index].action {
                Action::Require(groups) => Some(Verdict::Require(index + 1, groups)),
                _ if agreed => Some(Verdict::Deny(index + 1)),
                _ => Some(Verdict::Ambiguous),
            },
            None if agreed => {
                let index = written?;
                unambiguous(path).map(|_| Verdict::Allow(index + 1))
            }
            None => None,
        }
    }

    /// What the rules say of a path of which the readings are not known.
    fn without_readings(
        &self,
        method: Option<&Method>,
        client: Option<IpAddr>,
    ) -> Option<Verdict<'_>> {
        for (index, rule) in self.rules.iter().enumerate() {
            if !rule.applies(method, client) {
                continue;
            }
            let every = rule
                .path
                .as_ref()
                .is_none_or(PathPattern::matches_everything);
            match &rule.action {
                // Opens nothing, and what comes after it would not be reached.
                Action::Allow if every => return None,
                Action::Allow => {}
                _ if !every => return Some(Verdict::Ambiguous),
                Action::Deny => return Some(Verdict::Deny(index + 1)),
                Action::Require(groups) => return Some(Verdict::Require(index + 1, groups)),
            }
        }
        None
    }
}

impl Rule {
    fn restricts(&self) -> bool {
        self.action != Action::Allow
    }

    /// Whether the conditions hold, but for the path.
    fn applies(&self, method: Option<&Method>, client: Option<IpAddr>) -> bool {
        let unknown = self.restricts();
        let near = |client: IpAddr| self.networks.iter().any(|net| net.contains(&client));
        (self.networks.is_empty() || client.map_or(unknown, near))
            && (self.methods.is_empty() || method.map_or(unknown, |method| self.has_method(method)))
    }

    /// What restricts holds for `post` as for `POST`, as many frameworks take it, and for `HEAD` as
    /// for `GET`, which the same page answers.
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
