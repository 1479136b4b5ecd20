//! What becomes of a request, and why: pure, so that the running program and the command that
//! explains it cannot differ.

use std::fmt;
use std::net::IpAddr;

use http::Method;

use super::path::eager;
use super::{Application, Authority, Mode, RequestedUrl, Verdict};

/// Where reverse proxies send authorization requests.
const OWN_CHECKS: &str = "/outpost.goauthentik.io/auth/";

/// Whether a server in front could take a path for that of an authorization request: it would be
/// answered with the user's token, to the page that asks.
fn is_own_check(path: &str) -> bool {
    const NAME: &[u8] = b"goauthentik";
    let mut parts = path.as_bytes().windows(NAME.len());
    // Few paths are encoded or have the name, so that few are read eagerly.
    (path.contains('%') || parts.any(|part| part.eq_ignore_ascii_case(NAME)))
        && (path.contains(OWN_CHECKS) || eager(path).to_ascii_lowercase().contains(OWN_CHECKS))
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The URL.
    pub url: &'a RequestedUrl<'a>,
    /// The method, if somebody reliable tells.
    pub method: Option<&'a Method>,
    /// Who asks, if somebody reliable tells.
    pub client: Option<IpAddr>,
    /// Whether it is a CORS preflight request (Fetch standard section 4.8).
    pub preflight: bool,
    /// Another host of the same application by which the reverse proxy may have routed the
    /// request: an unauthenticated path has to be one there, too.
    pub routed_host: Option<Authority<'a>>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It passes.
    Pass,
    /// Somebody has to sign in first.
    SignIn,
    /// It does not, whoever asks or for this person.
    Deny,
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason<'a> {
    /// It is the path of authorization requests; a page's script must not see the user's token.
    OwnCheck,
    /// A rule of our own configuration file.
    Rule(Verdict<'a>),
    /// The person is signed in.
    SignedIn,
    /// A CORS preflight request, which this application lets pass.
    Preflight,
    /// This expression of authentik's list of unauthenticated paths.
    Unauthenticated(&'a str),
    /// Nobody is signed in.
    Nobody,
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnCheck => f.write_str(
                "it is the outpost's endpoint for authorization requests, which is for reverse proxies alone",
            ),
            Self::Rule(verdict) => write!(f, "{verdict}"),
            Self::SignedIn => f.write_str("the person is signed in"),
            Self::Preflight => f.write_str("it is a CORS preflight request"),
            Self::Unauthenticated(rule) => {
                write!(f, "authentik's unauthenticated path {rule:?} matches")
            }
            Self::Nobody => f.write_str("no rule matches and nobody is signed in"),
        }
    }
}

impl Application {
    /// Weighs a request of somebody in `groups`, or of nobody. The rules of our own configuration
    /// file come first, a session next, authentik's list of unauthenticated paths last.
    #[must_use]
    pub fn weigh(
        &self,
        question: &Question<'_>,
        groups: Option<&[String]>,
    ) -> (Outcome, Reason<'_>) {
        let url = question.url;
        // In proxy mode nothing in front asks; the outpost's own paths never come here.
        if self.mode != Mode::Proxy && is_own_check(url.path()) {
            return (Outcome::Deny, Reason::OwnCheck);
        }
        let policy = &self.policy;
        if let Some(verdict) = policy.verdict(url.path(), question.method, question.client) {
            let outcome = match (verdict, groups) {
                (Verdict::Allow(_), _) => Outcome::Pass,
                (Verdict::Require(..), None) => Outcome::SignIn,
                (Verdict::Require(_, required), Some(groups))
                    if groups.iter().any(|own| required.contains(own)) =>
                {
                    Outcome::Pass
                }
                _ => Outcome::Deny,
            };
            return (outcome, Reason::Rule(verdict));
        }
        if groups.is_some() {
            (Outcome::Pass, Reason::SignedIn)
        } else if policy.cors_preflight && question.preflight {
            (Outcome::Pass, Reason::Preflight)
        } else if let Some(rule) = self.unauthenticated(question) {
            (Outcome::Pass, Reason::Unauthenticated(rule))
        } else {
            (Outcome::SignIn, Reason::Nobody)
        }
    }

    fn unauthenticated(&self, question: &Question<'_>) -> Option<&str> {
        let rule = self.allowlist.matching(question.url)?;
        let is_open = |host| self.allowlist.matching(&question.url.at(host)).is_some();
        question.routed_host.is_none_or(is_open).then_some(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Allowlist, Mode, PathPattern, Policy, Rule};

    #[test]
    fn ap_2026_02_paths_of_authorization_requests_are_denied_to_everybody() {
        let users = ["users".to_owned()];
        for (path, denied) in [
            ("/outpost.goauthentik.io/auth/traefik", true),
            ("/foo/outpost.goauthentik.io/auth/nginx", true),
            ("/outpost.goauthentik.io/auth/envoy/x", true),
            ("/OUTPOST.goauthentik.io/auth/envoy/x", true),
            ("/outpost%2egoauthentik.io/auth/nginx", true),
            ("/outpost.goauthentik.io/x/..%2fauth/nginx", true),
            ("/outpost.goauthentik.io/start", false),
            ("/x%20y", false),
            ("/blog/goauthentik", false),
        ] {
            let text = format!("https://a.test{path}");
            let question = Question {
                url: &RequestedUrl::parse(&text).expect(path),
                method: None,
                client: None,
                preflight: false,
                routed_host: None,
            };
            let single = Application::sample("https://a.test", Mode::ForwardSingle);
            for groups in [None, Some(&users[..])] {
                let (_, reason) = single.weigh(&question, groups);
                assert_eq!(reason == Reason::OwnCheck, denied, "{path} {groups:?}");
            }
            // Nothing in front asks there.
            let proxy = Application::sample("https://a.test", Mode::Proxy);
            assert_ne!(proxy.weigh(&question, None).1, Reason::OwnCheck, "{path}");
        }
    }

    #[test]
    fn ap_2026_01_an_unauthenticated_path_has_to_be_one_at_each_host() {
        let domain = crate::model::CookieDomain::parse("home.test").expect("a domain");
        let mut application =
            Application::sample("https://auth.home.test", Mode::ForwardDomain(domain));
        application.allowlist = Allowlist::compile("^https://public\\.home\\.test/|/open$", true);
        for (path, routed_host, expected) in [
            ("/", None, Outcome::Pass),
            ("/", Some("internal.home.test"), Outcome::SignIn),
            ("/", Some("public.home.test"), Outcome::Pass),
            ("/open", Some("internal.home.test"), Outcome::Pass),
        ] {
            let text = format!("https://public.home.test{path}");
            let question = Question {
                url: &RequestedUrl::parse(&text).expect(path),
                method: None,
                client: None,
                preflight: false,
                routed_host: routed_host.map(|host| Authority::parse(host).expect(host)),
            };
            let (outcome, _) = application.weigh(&question, None);
            assert_eq!(outcome, expected, "{path} {routed_host:?}");
        }
    }

    #[test]
    fn rules_come_first_sessions_next_unauthenticated_paths_last() {
        let mut application = Application::sample("https://a.test", Mode::ForwardSingle);
        application.allowlist = Allowlist::compile("^/open|^/admin", false);
        let rule = |path: &str, action| Rule {
            path: Some(PathPattern::new(path).expect(path)),
            networks: vec![],
            methods: vec![],
            action,
        };
        application.policy = Policy {
            rules: vec![
                rule("^/admin", Action::Require(vec!["admins".into()])),
                rule("^/never", Action::Deny),
                rule("^/free", Action::Allow),
            ],
            cors_preflight: true,
            ..Policy::default()
        };
        let (admins, users) = (["admins".to_owned()], ["users".to_owned()]);
        for (path, groups, preflight, expected) in [
            ("/", None, false, Outcome::SignIn),
            ("/", Some(&users[..]), false, Outcome::Pass),
            ("/", None, true, Outcome::Pass),
            ("/open", None, false, Outcome::Pass),
            ("/admin", None, false, Outcome::SignIn),
            ("/admin", None, true, Outcome::SignIn),
            ("/admin", Some(&users), false, Outcome::Deny),
            ("/admin", Some(&admins), false, Outcome::Pass),
            ("/never", Some(&admins), true, Outcome::Deny),
            ("/free", None, false, Outcome::Pass),
            ("/open/../never", None, false, Outcome::Deny),
            (
                "/outpost.goauthentik.io/auth/nginx",
                Some(&admins),
                true,
                Outcome::Deny,
            ),
        ] {
            let text = format!("https://a.test{path}");
            let question = Question {
                url: &RequestedUrl::parse(&text).expect(path),
                method: Some(&Method::GET),
                client: Some([192, 0, 2, 1].into()),
                preflight,
                routed_host: None,
            };
            let (outcome, reason) = application.weigh(&question, groups);
            assert_eq!(outcome, expected, "{path} {groups:?} {preflight}: {reason}");
        }
    }
}
