//! What an operator sets for one application in our own configuration file, beyond what authentik
//! knows of it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use http::{HeaderName, HeaderValue, Method, header};
use ipnet::IpNet;
use regex::Regex;

use super::path::{eager, unambiguous};

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
    /// An expression for the path, unanchored; any path without one.
    pub path: Option<Regex>,
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
    /// The path has several readings, and a rule that restricts holds for one of them.
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
            Self::Ambiguous => {
                f.write_str("the path has several readings, and a rule restricts one of them")
            }
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
    /// A path is read as it stands and as the most eager server behind us would read it; a rule
    /// lets everybody pass only if there is one reading, and restricts if either reading matches.
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
        let first = |path: &str| {
            let matches = |rule: &Rule| rule.matches(path, method, client);
            self.rules.iter().position(matches)
        };
        let (written, eager) = (first(path), first(&eager(path)));
        let restricts = |found: Option<usize>| {
            found.is_some_and(|index| self.rules[index].action != Action::Allow)
        };
        if written != eager {
            return (restricts(written) || restricts(eager)).then_some(Verdict::Ambiguous);
        }
        let index = written?;
        match &self.rules[index].action {
            Action::Allow => unambiguous(path).map(|_| Verdict::Allow(index + 1)),
            Action::Deny => Some(Verdict::Deny(index + 1)),
            Action::Require(groups) => Some(Verdict::Require(index + 1, groups)),
        }
    }
}

impl Rule {
    fn matches(&self, path: &str, method: Option<&Method>, client: Option<IpAddr>) -> bool {
        let unknown = self.action != Action::Allow;
        let near = |client: IpAddr| self.networks.iter().any(|net| net.contains(&client));
        self.path.as_ref().is_none_or(|rule| rule.is_match(path))
            && (self.networks.is_empty() || client.map_or(unknown, near))
            && (self.methods.is_empty()
                || method.map_or(unknown, |method| self.methods.contains(method)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(path: &str, networks: &[&str], action: Action) -> Rule {
        Rule {
            path: (!path.is_empty()).then(|| Regex::new(path).expect(path)),
            networks: networks.iter().map(|net| net.parse().expect(net)).collect(),
            methods: vec![],
            action,
        }
    }

    fn policy() -> Policy {
        Policy {
            rules: vec![
                rule("^/admin/open$", &[], Action::Allow),
                rule("^/admin", &[], Action::Require(vec!["admins".into()])),
                rule("^/never", &[], Action::Deny),
                rule("^/public/", &[], Action::Allow),
                rule("", &["192.0.2.0/24"], Action::Allow),
            ],
            ..Policy::default()
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let (policy, admins) = (policy(), ["admins".to_owned()]);
        for (path, client, expected) in [
            ("/", "198.51.100.1", None),
            ("/", "192.0.2.1", Some(Verdict::Allow(5))),
            ("/never/x", "192.0.2.1", Some(Verdict::Deny(3))),
            ("/public/x", "198.51.100.1", Some(Verdict::Allow(4))),
            ("/admin/open", "198.51.100.1", Some(Verdict::Allow(1))),
            ("/admin/x", "192.0.2.1", Some(Verdict::Require(2, &admins))),
        ] {
            let client = client.parse().expect("an address");
            assert_eq!(
                policy.verdict(path, Some(&Method::GET), Some(client)),
                expected,
                "{path} {client}"
            );
        }
    }

    #[test]
    fn ghsa_3q34_rx83_r6mq_no_reading_of_a_path_escapes_a_rule() {
        let (policy, stranger) = (policy(), "198.51.100.1".parse().expect("an address"));
        for path in [
            "/public/../admin",
            "/public/%2e%2e/admin",
            "/public/%2e%2e%2fadmin",
            "/public/..;/admin",
            "//admin",
            "/%61dmin",
            "/x/..\\never",
            "/admin/../never",
            "/public/%252e%252e/never",
        ] {
            let verdict = policy.verdict(path, Some(&Method::GET), Some(stranger));
            assert_eq!(verdict, Some(Verdict::Ambiguous), "{path}");
        }
        for path in ["/public//x", "/public/;x", "/public/./x", "/public/%2fx"] {
            assert_eq!(
                policy.verdict(path, Some(&Method::GET), Some(stranger)),
                None,
                "{path}"
            );
        }
    }

    #[test]
    fn conditions_hold_together() {
        let mut only_get = rule("^/x", &["192.0.2.0/24"], Action::Allow);
        only_get.methods = vec![Method::GET];
        let policy = Policy {
            rules: vec![only_get],
            ..Policy::default()
        };
        let (near, far) = ("192.0.2.1", "198.51.100.1");
        for (path, method, client, passes) in [
            ("/x", Method::GET, near, true),
            ("/x", Method::POST, near, false),
            ("/x", Method::GET, far, false),
            ("/y", Method::GET, near, false),
        ] {
            let client = client.parse().expect("an address");
            assert_eq!(
                policy.verdict(path, Some(&method), Some(client)).is_some(),
                passes
            );
            assert!(
                policy.verdict(path, None, Some(client)).is_none(),
                "nobody tells the method"
            );
            assert!(
                policy.verdict(path, Some(&method), None).is_none(),
                "nobody tells the client"
            );
        }
        let mut restricting = policy;
        restricting.rules[0].action = Action::Deny;
        let verdict = restricting.verdict("/x", None, None);
        assert_eq!(verdict, Some(Verdict::Deny(1)), "restricts all the same");
    }

    /// Rules as operators write them, anchored and not.
    fn rules() -> impl Strategy<Value = Vec<Rule>> {
        let path = proptest::sample::select(vec![
            "",
            "^/",
            "^/admin",
            "/admin",
            "^/public/",
            "public",
            "^/a$",
            "\\.\\.",
            "%",
            "x$",
            ";",
        ]);
        let action = prop_oneof![
            Just(Action::Allow),
            Just(Action::Deny),
            Just(Action::Require(vec!["admins".into()])),
        ];
        let network = proptest::sample::select(vec![&[][..], &["192.0.2.0/24"], &["10.0.0.0/8"]]);
        let rule = (path, network, action).prop_map(|(path, net, action)| rule(path, net, action));
        proptest::collection::vec(rule, 0..5)
    }

    /// Paths full of what servers read in different ways.
    fn paths() -> impl Strategy<Value = String> {
        let piece = proptest::sample::select(vec![
            "admin",
            "public",
            "a",
            "x",
            "..",
            ".",
            "%2e%2e",
            "%252e%252e",
            "%2f",
            "%5c",
            "\\",
            ";",
            ";v=1",
            "%61dmin",
            "//",
            "/",
            "%00",
            "%ff",
            "#",
            "%",
            "\u{e4}",
        ]);
        let pieces = proptest::collection::vec((piece, any::<bool>()), 0..7);
        pieces.prop_map(|pieces| {
            let add = |path: String, (piece, slash): (&str, bool)| {
                let slash = if slash { "/" } else { "" };
                format!("{path}{piece}{slash}")
            };
            pieces.into_iter().fold("/".to_owned(), add)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// What a rule restricts in either reading of a path is never open, and not left to a mere
        /// session either.
        #[test]
        fn ghsa_3q34_rx83_r6mq_random_rules_hold_for_every_reading(rules in rules(), path in paths()) {
            let client = "192.0.2.1".parse().expect("an address");
            let policy = Policy { rules, ..Policy::default() };
            let verdict = policy.verdict(&path, Some(&Method::GET), Some(client));
            let restricts = |path: &str| {
                let mut rules = policy.rules.iter();
                let first = rules.find(|rule| rule.matches(path, Some(&Method::GET), Some(client)));
                first.is_some_and(|rule| rule.action != Action::Allow)
            };
            let restricted = restricts(&path) || restricts(&eager(&path));
            let open = matches!(verdict, None | Some(Verdict::Allow(_)));
            prop_assert_ne!(restricted, open, "{} {:?}", path, verdict);
            if let Some(Verdict::Allow(_)) = verdict {
                prop_assert!(unambiguous(&path).is_some(), "{}", path);
            }
        }
    }
}
