//! The session of a request, and the only function that permits a request.

use std::sync::Arc;

use http::HeaderMap;

use crate::gateway::Parted;
use crate::gateway::error::GatewayError;
use crate::model::{Application, AuthorizationRequest, Decision, Session, SessionId};
use crate::route::Site;
use crate::store::StoreError;
use crate::web::cookie::{self, Form, Names};

/// Session cookies with a valid signature that are looked up for one request. Cookies with an invalid
/// signature do not count: those in front of the right one may come from another host of the domain,
/// which must not lock users out.
const MAX_SESSION_COOKIES: usize = 16;

/// Signatures that are computed for one request and one cookie name. Browsers keep fewer cookies for
/// a domain (Chromium and Firefox: 180).
const MAX_VERIFIED_COOKIES: usize = 256;

/// Proof that a request is allowed. Made by [`authorize`] alone.
pub(crate) struct Permit(Option<Arc<Session>>);

impl Permit {
    /// The user's session; none if the request is allowed without one.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        self.0.as_ref()
    }
}

/// Why a request is not permitted.
pub(crate) enum Denial {
    /// Only a signed-in user may be allowed.
    LoginRequired,
    /// The request is denied, whoever sends it or for this user; with the reason for operators.
    Forbidden(String),
}

impl Parted {
    /// The live session of this application that the request's cookie names. A cookie without a
    /// valid signature is ignored. One with the prefix `__Host-` comes first: no other host can have
    /// set it.
    pub(crate) async fn identify(
        &self,
        site: &Arc<Site>,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Session>>, GatewayError> {
        for id in session_ids(site, headers) {
            let found = self.store.load(&id, &**site).await;
            let Some(session) = found.map_err(store_error(site))? else {
                continue;
            };
            if *session.client_id != *site.application.client.id {
                continue;
            }
            let now = self.clock.now();
            let used = self.store.touch(&id, &session, now).await;
            if used.map_err(store_error(site))? {
                self.refresher.consider(&id, site, &session, now);
                return Ok(Some(session));
            }
        }
        Ok(None)
    }
}

/// Wraps an error of the session store with the application of the request.
pub(crate) fn store_error(site: &Arc<Site>) -> impl FnOnce(StoreError) -> GatewayError + use<'_> {
    |error| GatewayError::Store(Arc::clone(site), error)
}

/// The ids of the sessions that the request's cookies name.
pub(crate) fn session_ids<'a>(
    site: &'a Site,
    headers: &'a HeaderMap,
) -> impl Iterator<Item = SessionId> + 'a {
    let signed = move |(form, names): (Form, &'a Names)| {
        cookie::values(headers, &names.session)
            .filter(|value| cookie::has_shape(value))
            .take(MAX_VERIFIED_COOKIES)
            .filter_map(move |value| cookie::verify(&site.keys.session, value, form))
    };
    site.cookies
        .all()
        .flat_map(signed)
        .take(MAX_SESSION_COOKIES)
}

/// Authorizes a request from what is known of it; does no I/O.
pub(crate) fn authorize(
    application: &Application,
    request: &AuthorizationRequest<'_>,
    session: Option<Arc<Session>>,
) -> Result<Permit, Denial> {
    let groups = session.as_deref().map(|session| &*session.claims.groups);
    match application.decide(request, groups) {
        (Decision::Allow, _) => Ok(Permit(session)),
        (Decision::Login, _) => Err(Denial::LoginRequired),
        (Decision::Deny, reason) => Err(Denial::Forbidden(reason.to_string())),
    }
}
