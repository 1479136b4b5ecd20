//! The only function that permits a request.

use std::sync::Arc;

use crate::model::{Application, AuthorizationRequest, Decision};
use crate::route::LiveSession;

/// Proof that a request is allowed. Made by [`authorize`] alone.
pub(crate) struct Permit(Option<Arc<LiveSession>>);

impl Permit {
    /// The user's session; none if the request is allowed without one.
    pub(crate) fn session(&self) -> Option<&Arc<LiveSession>> {
        self.0.as_ref()
    }
}

/// Why a request is not permitted.
pub(crate) enum Denial {
    /// Only a signed-in user may be allowed.
    LoginRequired,
    /// The request is denied, for every client or for this user; with the reason for operators.
    Forbidden(String),
}

/// Authorizes a request from what is known of it; does no I/O.
pub(crate) fn authorize(
    application: &Application,
    request: &AuthorizationRequest<'_>,
    session: Option<Arc<LiveSession>>,
) -> Result<Permit, Denial> {
    let groups = session.as_deref().map(|session| &*session.claims.groups);
    match application.decide(request, groups) {
        (Decision::Allow, _) => Ok(Permit(session)),
        (Decision::Login, _) => Err(Denial::LoginRequired),
        (Decision::Deny, reason) => Err(Denial::Forbidden(reason.to_string())),
    }
}
