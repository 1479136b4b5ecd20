//! Who asks, and whether they may: the only place where a positive answer can come from.

use std::sync::Arc;

use http::HeaderMap;

use crate::gateway::Parted;
use crate::gateway::error::GatewayError;
use crate::model::{Application, Outcome, Question, Session, SessionId};
use crate::route::Site;
use crate::store::StoreError;
use crate::web::cookie::{self, Form, Names};

/// How many sessions a request may name. Cookies that we did not sign do not count: those in front
/// of the right one may come from another host of the domain, which must not lock users out.
const MAX_SESSIONS: usize = 16;

/// How many signatures are computed for a request and a name at most: browsers keep fewer cookies
/// for a domain (Chromium and Firefox: 180).
const MAX_VERIFIED: usize = 256;

/// Proof that a request may pass. Made by [`decide`] alone.
pub(crate) struct Permit(Option<Arc<Session>>);

impl Permit {
    /// The person, or nobody where the allow-list lets everybody through.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        self.0.as_ref()
    }
}

/// What becomes of a request.
pub(crate) enum Decision {
    /// It passes.
    Allow(Permit),
    /// Somebody has to sign in first.
    Login,
    /// Nobody, or not this person; with the reason for operators.
    Deny(String),
}

impl Parted {
    /// The live session of this application that the request's cookie names. A cookie that we did
    /// not sign is no cookie. One with the prefix `__Host-` comes before all others: no other host
    /// can have set it.
    pub(crate) async fn identify(
        &self,
        site: &Arc<Site>,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Session>>, GatewayError> {
        for id in session_ids(site, headers) {
            let found = self.store.load(&id, &**site).await;
            let Some(session) = found.map_err(unavailable(site))? else {
                continue;
            };
            if *session.client_id != *site.application.client.id {
                continue;
            }
            let now = self.clock.now();
            let used = self.store.note_use(&id, &session, now).await;
            if used.map_err(unavailable(site))? {
                self.refresher.consider(&id, site, &session, now);
                return Ok(Some(session));
            }
        }
        Ok(None)
    }
}

/// What an error of the store is to somebody who asks for an application.
pub(crate) fn unavailable(site: &Arc<Site>) -> impl FnOnce(StoreError) -> GatewayError + use<'_> {
    |error| GatewayError::Store(Arc::clone(site), error)
}

/// The sessions that the request's cookies name.
pub(crate) fn session_ids<'a>(
    site: &'a Site,
    headers: &'a HeaderMap,
) -> impl Iterator<Item = SessionId> + 'a {
    let signed = move |(form, names): (Form, &'a Names)| {
        cookie::values(headers, &names.session)
            .filter(|value| cookie::has_shape(value))
            .take(MAX_VERIFIED)
            .filter_map(move |value| cookie::verify(&site.keys.session, value, form))
    };
    site.cookies.all().flat_map(signed).take(MAX_SESSIONS)
}

/// Decides from what is known; does no I/O.
pub(crate) fn decide(
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
