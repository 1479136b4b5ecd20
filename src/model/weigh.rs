//! What becomes of a request, and why: pure, so that the running program and the command that
//! explains it cannot differ.

use std::fmt;
use std::net::IpAddr;

use http::Method;

use super::{Application, RequestedUrl, Verdict};

/// Where reverse proxies ask us.
const OWN_CHECKS: &str = "/outpost.goauthentik.io/auth/";

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
    /// A page's script asks us through the reverse proxy; it must not see the person's token.
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
            Self::OwnCheck => f.write_str("it is our own endpoint for reverse proxies"),
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
        if url.path().contains(OWN_CHECKS) {
            return (Outcome::SignIn, Reason::OwnCheck);
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
        } else if let Some(rule) = self.allowlist.matching(url) {
            (Outcome::Pass, Reason::Unauthenticated(rule))
        } else {
            (Outcome::SignIn, Reason::Nobody)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Allowlist, Mode, PathPattern, Policy, Rule};

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
                Outcome::SignIn,
            ),
        ] {
            let text = format!("https://a.test{path}");
            let question = Question {
                url: &RequestedUrl::parse(&text).expect(path),
                method: Some(&Method::GET),
                client: Some([192, 0, 2, 1].into()),
                preflight,
            };
            let (outcome, reason) = application.weigh(&question, groups);
            assert_eq!(outcome, expected, "{path} {groups:?} {preflight}: {reason}");
        }
    }
}
