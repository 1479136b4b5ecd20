//! New sessions of an application, and the attributes of their cookies.

use std::sync::Arc;

use crate::model::{CookieDomain, Refresh, Session};
use crate::oidc::Tokens;
use crate::route::{LiveSession, Site};
use crate::web::cookie::Attributes;

/// The session of verified tokens.
pub(crate) fn new_session(site: &Site, tokens: Tokens, started_at: i64) -> Session {
    let Tokens {
        claims,
        access_token,
        refresh_token,
    } = tokens;
    let expires_at = claims.exp.unwrap_or_default();
    let client_id = &site.application.client.id;
    let refresh = refresh_token.map(|token| Refresh { token, started_at });
    Session::new(client_id, claims, access_token.into(), expires_at).refreshable(refresh)
}

/// A new session with its identity headers rendered, whose size is observed.
pub(crate) fn live_session(site: &Site, session: Session) -> Arc<LiveSession> {
    let session = LiveSession::new(session, site);
    let headers = session.prepared();
    site.metrics.observe_identity(headers.line_bytes());
    Arc::new(session)
}

/// The attributes of an application's cookies; `max_age` is in seconds.
pub(crate) fn cookie_attributes(site: &Site, max_age: i64) -> Attributes<'_> {
    let application = &site.application;
    Attributes {
        secure: application.external.is_https(),
        domain: application.cookie_domain().map(CookieDomain::as_str),
        max_age,
    }
}
