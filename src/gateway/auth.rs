//! Who asks, and whether they may: the only place where a positive answer can come from.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::model::{Application, RequestedUrl, Session, SessionKey, Verdict};
use crate::route::Site;
use crate::store::{Store, StoreError};
use crate::web::cookie;

/// How many cookies of our name are looked at; more only come from somebody who tries.
const MAX_COOKIES: usize = 4;

/// Where reverse proxies ask us.
const OWN_CHECKS: &str = "/outpost.goauthentik.io/auth/";

/// Proof that a request may pass. Made by [`decide`] alone.
pub(super) struct Permit(Option<Arc<Session>>);

impl Permit {
    /// The person, or nobody where the allow-list lets everybody through.
    pub(super) fn session(&self) -> Option<&Arc<Session>> {
        self.0.as_ref()
    }
}

/// What becomes of a request.
pub(super) enum Decision {
    /// It passes.
    Allow(Permit),
    /// Somebody has to sign in first.
    Login,
    /// Nobody, or not this person; with the reason for operators.
    Deny(String),
}

/// What is asked for.
pub(super) struct Question<'a> {
    /// The URL.
    pub(super) url: &'a RequestedUrl<'a>,
    /// The method.
    pub(super) method: &'a Method,
    /// Who asks.
    pub(super) client: IpAddr,
    /// Whether it is a CORS preflight request (Fetch standard section 4.8).
    pub(super) preflight: bool,
}

/// The live session of this application that the request's cookie names. A cookie that we did not
/// sign is no cookie.
pub(super) async fn identify(
    site: &Site,
    store: &Store,
    headers: &HeaderMap,
) -> Result<Option<Arc<Session>>, StoreError> {
    let mut keys = [None; MAX_COOKIES];
    for (slot, key) in keys.iter_mut().zip(session_keys(site, headers)) {
        *slot = Some(key);
    }
    for key in keys.into_iter().flatten() {
        if let Some(session) = store.load(&key).await?
            && *session.client_id == *site.application.client.id
        {
            return Ok(Some(session));
        }
    }
    Ok(None)
}

/// What the store knows the sessions by that the request's cookies name.
pub(super) fn session_keys<'a>(
    site: &'a Site,
    headers: &'a HeaderMap,
) -> impl Iterator<Item = SessionKey> + 'a {
    cookie::values(headers, &site.cookie_name)
        .take(MAX_COOKIES)
        .filter_map(|value| cookie::verify(&site.keys.session, value))
        .map(|id| id.key())
}

/// Decides from what is known; does no I/O. The rules of our own configuration file come first, a
/// session next, authentik's list of unauthenticated paths last.
pub(super) fn decide(
    application: &Application,
    question: &Question<'_>,
    session: Option<Arc<Session>>,
) -> Decision {
    let url = question.url;
    if url.path().contains(OWN_CHECKS) {
        // A page's script asks us through the reverse proxy; it must not see the person's token.
        return Decision::Login;
    }
    let policy = &application.policy;
    match policy.verdict(url.path(), question.method, question.client) {
        None => {}
        Some(Verdict::Allow(_)) => return Decision::Allow(Permit(session)),
        Some(verdict @ (Verdict::Deny(_) | Verdict::Ambiguous)) => {
            return Decision::Deny(verdict.to_string());
        }
        Some(verdict @ Verdict::Require(_, groups)) => {
            return match session {
                None => Decision::Login,
                Some(session) if session.claims.groups.iter().any(|own| groups.contains(own)) => {
                    Decision::Allow(Permit(Some(session)))
                }
                Some(_) => Decision::Deny(verdict.to_string()),
            };
        }
    }
    let open =
        || (policy.cors_preflight && question.preflight) || application.allowlist.allows(url);
    if session.is_some() || open() {
        Decision::Allow(Permit(session))
    } else {
        Decision::Login
    }
}
