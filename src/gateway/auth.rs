//! Who asks, and whether they may: the only place where a positive answer can come from.

use std::sync::Arc;

use http::HeaderMap;

use super::Parted;
use super::error::GatewayError;
use crate::model::{Application, Outcome, Question, Session, SessionId};
use crate::route::Site;
use crate::store::StoreError;
use crate::web::cookie;

/// How many cookies of our name are looked at; more only come from somebody who tries.
const MAX_COOKIES: usize = 4;

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

impl Parted {
    /// The live session of this application that the request's cookie names. A cookie that we did
    /// not sign is no cookie.
    pub(super) async fn identify(
        &self,
        site: &Arc<Site>,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Session>>, GatewayError> {
        let mut ids = [const { None }; MAX_COOKIES];
        for (slot, id) in ids.iter_mut().zip(session_ids(site, headers)) {
            *slot = Some(id);
        }
        for id in ids.into_iter().flatten() {
            let found = self.store.load(&id, &**site).await;
            if let Some(session) = found.map_err(unavailable(site))?
                && *session.client_id == *site.application.client.id
            {
                self.refresher
                    .consider(&id, site, &session, self.clock.now());
                return Ok(Some(session));
            }
        }
        Ok(None)
    }
}

/// What an error of the store is to somebody who asks for an application.
pub(super) fn unavailable(site: &Arc<Site>) -> impl FnOnce(StoreError) -> GatewayError + use<'_> {
    |error| GatewayError::Store(Arc::clone(site), error)
}

/// The sessions that the request's cookies name.
pub(super) fn session_ids<'a>(
    site: &'a Site,
    headers: &'a HeaderMap,
) -> impl Iterator<Item = SessionId> + 'a {
    cookie::values(headers, &site.cookie_name)
        .take(MAX_COOKIES)
        .filter_map(|value| cookie::verify(&site.keys.session, value))
}

/// Decides from what is known; does no I/O.
pub(super) fn decide(
    application: &Application,
    question: &Question<'_>,
    session: Option<Arc<Session>>,
) -> Decision {
    let groups = session.as_deref().map(|session| &*session.claims.groups);
    match application.weigh(question, groups) {
        (Outcome::Pass, _) => Decision::Allow(Permit(session)),
        (Outcome::SignIn, _) => Decision::Login,
        (Outcome::Deny, reason) => Decision::Deny(reason.to_string()),
    }
}
