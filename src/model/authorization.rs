//! Whether a request is authorized, and why. Pure, so that the server and the command `rules` cannot
//! differ.

use std::fmt;
use std::net::IpAddr;

use http::Method;

use super::path::eager;
use super::{Application, Authority, Mode, RequestedUrl, RuleDecision};

/// The path prefix of the outpost's authorization endpoints.
const AUTH_ENDPOINTS: &str = "/outpost.goauthentik.io/auth/";

/// Whether a reverse proxy could take a path for that of an authorization endpoint. The response
/// would show the user's token to the page that sends the request.
fn is_auth_endpoint(path: &str) -> bool {
    const NAME: &[u8] = b"goauthentik";
    let mut parts = path.as_bytes().windows(NAME.len());
    // Few paths are encoded or contain the name, so that few are decoded eagerly.
    (path.contains('%') || parts.any(|part| part.eq_ignore_ascii_case(NAME)))
        && (path.contains(AUTH_ENDPOINTS)
            || eager(path).to_ascii_lowercase().contains(AUTH_ENDPOINTS))
}

/// A request to authorize.
#[derive(Debug, Clone, Copy)]
pub struct AuthorizationRequest<'a> {
    /// The URL.
    pub url: &'a RequestedUrl<'a>,
    /// The method, if it is known reliably.
    pub method: Option<&'a Method>,
    /// The client's address, if it is known reliably.
    pub client: Option<IpAddr>,
    /// Whether it is a CORS preflight request (Fetch standard section 4.8).
    pub preflight: bool,
    /// Another host of the same application by which the reverse proxy may have routed the
    /// request: an unauthenticated path has to be one there, too.
    pub routed_host: Option<Authority<'a>>,
}

/// Whether a request is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is allowed.
    Allow,
    /// The user has to sign in first.
    Login,
    /// It is denied, for every client or for this user.
    Deny,
}

/// Why a request is allowed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason<'a> {
    /// The path is that of an authorization endpoint; a page's script must not see the user's token.
    AuthEndpoint,
    /// A rule of the configuration file.
    Rule(RuleDecision<'a>),
    /// The user is signed in.
    SignedIn,
    /// A CORS preflight request, which this application allows.
    Preflight,
    /// This expression of authentik's list of unauthenticated paths.
    Unauthenticated(&'a str),
    /// No user is signed in.
    Anonymous,
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AuthEndpoint => f.write_str(
                "the path is that of an authorization endpoint of the outpost, which only reverse proxies may request",
            ),
            Self::Rule(rule) => write!(f, "{rule}"),
            Self::SignedIn => f.write_str("the user is signed in"),
            Self::Preflight => f.write_str("it is a CORS preflight request"),
            Self::Unauthenticated(rule) => {
                write!(f, "authentik's unauthenticated path {rule:?} matches")
            }
            Self::Anonymous => f.write_str("no rule matches and no user is signed in"),
        }
    }
}

impl Application {
    /// Decides on a request of a user with these `groups`, or of an anonymous client (`None`). The
    /// rules of the configuration file come first, a session next, authentik's list of
    /// unauthenticated paths last.
    #[must_use]
    pub fn decide(
        &self,
        request: &AuthorizationRequest<'_>,
        groups: Option<&[String]>,
    ) -> (Decision, Reason<'_>) {
        let url = request.url;
        // In proxy mode no reverse proxy asks; the outpost's own paths are never decided on here.
        if self.mode != Mode::Proxy && is_auth_endpoint(url.path()) {
            return (Decision::Deny, Reason::AuthEndpoint);
        }
        let policy = &self.policy;
        if let Some(rule) = policy.evaluate(url.path(), request.method, request.client) {
            let decision = match (rule, groups) {
                (RuleDecision::Allow(_), _) => Decision::Allow,
                (RuleDecision::Require(..), None) => Decision::Login,
                (RuleDecision::Require(_, required), Some(groups))
                    if groups.iter().any(|own| required.contains(own)) =>
                {
                    Decision::Allow
                }
                _ => Decision::Deny,
            };
            return (decision, Reason::Rule(rule));
        }
        if groups.is_some() {
            (Decision::Allow, Reason::SignedIn)
        } else if policy.cors_preflight && request.preflight {
            (Decision::Allow, Reason::Preflight)
        } else if let Some(rule) = self.unauthenticated(request) {
            (Decision::Allow, Reason::Unauthenticated(rule))
        } else {
            (Decision::Login, Reason::Anonymous)
        }
    }

    fn unauthenticated(&self, request: &AuthorizationRequest<'_>) -> Option<&str> {
        let rule = self.allowlist.matching(request.url)?;
        let is_open = |host| self.allowlist.matching(&request.url.at(host)).is_some();
        request.routed_host.is_none_or(is_open).then_some(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Allowlist, Mode, PathPattern, Policy, Rule};

    #[test]
    fn ap_2026_02_paths_of_authorization_requests_are_always_denied() {
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
            let request = AuthorizationRequest {
                url: &RequestedUrl::parse(&text).expect(path),
                method: None,
                client: None,
                preflight: false,
                routed_host: None,
            };
            let single = Application::sample("https://a.test", Mode::ForwardSingle);
            for groups in [None, Some(&users[..])] {
                let (_, reason) = single.decide(&request, groups);
                assert_eq!(reason == Reason::AuthEndpoint, denied, "{path} {groups:?}");
            }
            // No reverse proxy asks there.
            let proxy = Application::sample("https://a.test", Mode::Proxy);
            assert_ne!(
                proxy.decide(&request, None).1,
                Reason::AuthEndpoint,
                "{path}"
            );
        }
    }

    #[test]
    fn ap_2026_01_an_unauthenticated_path_has_to_be_one_at_each_host() {
        let domain = crate::model::CookieDomain::parse("home.test").expect("a domain");
        let mut application =
            Application::sample("https://auth.home.test", Mode::ForwardDomain(domain));
        application.allowlist = Allowlist::compile("^https://public\\.home\\.test/|/open$", true);
        for (path, routed_host, expected) in [
            ("/", None, Decision::Allow),
            ("/", Some("internal.home.test"), Decision::Login),
            ("/", Some("public.home.test"), Decision::Allow),
            ("/open", Some("internal.home.test"), Decision::Allow),
        ] {
            let text = format!("https://public.home.test{path}");
            let request = AuthorizationRequest {
                url: &RequestedUrl::parse(&text).expect(path),
                method: None,
                client: None,
                preflight: false,
                routed_host: routed_host.map(|host| Authority::parse(host).expect(host)),
            };
            let (decision, _) = application.decide(&request, None);
            assert_eq!(decision, expected, "{path} {routed_host:?}");
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
            ("/", None, false, Decision::Login),
            ("/", Some(&users[..]), false, Decision::Allow),
            ("/", None, true, Decision::Allow),
            ("/open", None, false, Decision::Allow),
            ("/admin", None, false, Decision::Login),
            ("/admin", None, true, Decision::Login),
            ("/admin", Some(&users), false, Decision::Deny),
            ("/admin", Some(&admins), false, Decision::Allow),
            ("/never", Some(&admins), true, Decision::Deny),
            ("/free", None, false, Decision::Allow),
            ("/open/../never", None, false, Decision::Deny),
            (
                "/outpost.goauthentik.io/auth/nginx",
                Some(&admins),
                true,
                Decision::Deny,
            ),
        ] {
            let text = format!("https://a.test{path}");
            let request = AuthorizationRequest {
                url: &RequestedUrl::parse(&text).expect(path),
                method: Some(&Method::GET),
                client: Some([192, 0, 2, 1].into()),
                preflight,
                routed_host: None,
            };
            let (decision, reason) = application.decide(&request, groups);
            assert_eq!(
                decision, expected,
                "{path} {groups:?} {preflight}: {reason}"
            );
        }
    }
}
