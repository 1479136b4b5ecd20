//! Whether a request may pass: session cookie, rules, credentials, in this order. The same for forward
//! auth and reverse proxy.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::HeaderMap;

use super::authentik_limiter::AuthentikLimiter;
use super::authorize::{Denial, Permit, authorize};
use super::credentials::{self, CredentialCache, CredentialCheck};
use super::reauthorization::{Standing, may_lead_to_authentik};
use super::session::Sessions;
use super::session_watch::SessionWatch;
use super::token_refresh::Refresher;
use crate::gateway::error::GatewayError;
use crate::model::{AuthorizationRequest, SessionId};
use crate::route::{Live, LiveSession, Site};
use crate::telemetry::metrics::Rejection;
use crate::web::request::inbound::Source;

/// The result for a request that is not denied.
pub(crate) enum Admission {
    /// It may pass.
    Permitted {
        /// The proof.
        permit: Permit,
        /// `Set-Cookie` value with the session of the credentials, which spares the next check.
        cookie: Option<String>,
        /// Whether the `Authorization` header is for the outpost, and not for the application.
        credentials_consumed: bool,
    },
    /// The user has to sign in first; or the credentials are invalid, which never starts a login.
    Refused(Rejection),
}

/// Authenticates requests, and decides whether they may pass.
pub(crate) struct Authenticator {
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) limiter: Arc<AuthentikLimiter>,
    credentials: CredentialCache,
    refresher: Refresher,
    /// Whether authentik is connected, as far as that is known.
    live: Live,
}

/// A session that a request names, with its id and the time of the look-up.
type Found = (SessionId, Arc<LiveSession>, i64);

impl Authenticator {
    /// An authenticator with an empty cache of credentials.
    pub(crate) fn new(sessions: Sessions, refresher: Refresher, live: Live) -> Self {
        let (sessions, limiter) = (Arc::new(sessions), Arc::<AuthentikLimiter>::default());
        Self {
            credentials: CredentialCache::new(Arc::clone(&sessions), Arc::clone(&limiter)),
            sessions,
            limiter,
            refresher,
            live,
        }
    }

    /// Authenticates a request and authorizes it; a denial is an error.
    pub(crate) async fn admit(
        &self,
        site: &Arc<Site>,
        request: &AuthorizationRequest<'_>,
        headers: &HeaderMap,
        source: Source,
    ) -> Result<Admission, GatewayError> {
        let application = &site.application;
        let session = match self.find(site, headers).await? {
            Some((_, session, now)) if self.sessions.is_current(site, &session, now) => {
                Some(session)
            }
            // Boxed, because it is rare and large.
            Some(found) => Box::pin(self.reauthorized(site, request, headers, found)).await?,
            None => None,
        };
        let is_signed_in = session.is_some();
        let denied = |reason| GatewayError::Denied {
            site: Arc::clone(site),
            reason,
            is_signed_in,
        };
        match authorize(application, request, session) {
            Ok(permit) => {
                return Ok(Admission::Permitted {
                    permit,
                    cookie: None,
                    credentials_consumed: self.credentials.opened_session(site, headers),
                });
            }
            Err(Denial::Forbidden(reason)) => return Err(denied(reason)),
            Err(Denial::LoginRequired) => {}
        }
        // Boxed, because it is rare and large.
        let check: BoxFuture<'_, _> = Box::pin(self.credentials.check(site, headers, source));
        match check.await? {
            CredentialCheck::Valid(session, cookie) => {
                match authorize(application, request, Some(session)) {
                    Ok(permit) => Ok(Admission::Permitted {
                        permit,
                        cookie,
                        credentials_consumed: true,
                    }),
                    Err(Denial::Forbidden(reason)) => Err(denied(reason)),
                    Err(Denial::LoginRequired) => {
                        Ok(Admission::Refused(Rejection::InvalidCredentials))
                    }
                }
            }
            CredentialCheck::Absent => Ok(Admission::Refused(Rejection::LoginRequired)),
            CredentialCheck::Invalid => Ok(Admission::Refused(Rejection::InvalidCredentials)),
        }
    }

    /// Whether a request without a session has credentials for the outpost that are invalid.
    pub(crate) async fn refuses_credentials(
        &self,
        site: &Arc<Site>,
        headers: &HeaderMap,
        source: Source,
    ) -> Result<bool, GatewayError> {
        if credentials::are_absent(site, headers) || self.identify(site, headers).await?.is_some() {
            return Ok(false);
        }
        let check = self.credentials.check(site, headers, source).await?;
        Ok(matches!(check, CredentialCheck::Invalid))
    }

    /// The live session of this application that the request's cookie names. It is refreshed in the
    /// background if it is due.
    pub(crate) async fn identify(
        &self,
        site: &Arc<Site>,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<LiveSession>>, GatewayError> {
        let found = self.find(site, headers).await?;
        Ok(found.map(|(_, session, _)| session))
    }

    /// The session that the request's cookie names, if it needs no new authorization by authentik; with
    /// the time of the look-up.
    pub(crate) async fn current(
        &self,
        site: &Arc<Site>,
        headers: &HeaderMap,
    ) -> Result<Option<(Arc<LiveSession>, i64)>, GatewayError> {
        let found = self.find(site, headers).await?;
        let found = found.filter(|(_, session, now)| self.sessions.is_current(site, session, *now));
        Ok(found.map(|(_, session, now)| (session, now)))
    }

    /// The session as in [`Authenticator::identify`], with its id.
    pub(crate) async fn find(
        &self,
        site: &Arc<Site>,
        headers: &HeaderMap,
    ) -> Result<Option<Found>, GatewayError> {
        let found = self.sessions.find(site, headers).await;
        let found = found.map_err(|error| GatewayError::Store(Arc::clone(site), error))?;
        if let Some((id, session, now)) = &found {
            self.refresher.enqueue_if_due(id, site, session, *now);
        }
        Ok(found)
    }

    /// The session of a request, if the request may use it without a new authorization by authentik.
    async fn reauthorized(
        &self,
        site: &Arc<Site>,
        request: &AuthorizationRequest<'_>,
        headers: &HeaderMap,
        (id, session, now): Found,
    ) -> Result<Option<Arc<LiveSession>>, GatewayError> {
        // While authentik is away, its page would be none. Paths that need no session do not lead there.
        let leads_to_authentik = self.live.health().is_connected()
            && may_lead_to_authentik(request, headers)
            && matches!(
                authorize(&site.application, request, None),
                Err(Denial::LoginRequired)
            );
        let is_usable = |session: &LiveSession| match self.sessions.standing(site, session, now) {
            Standing::Current => true,
            Standing::Due => !leads_to_authentik,
            Standing::Suspended => false,
        };
        if is_usable(&session) {
            return Ok(Some(session));
        }
        // Another replica may have stored a new authorization.
        match self.sessions.store.reload(&id, &**site).await {
            Ok(found) => Ok(found.filter(|found| site.accepts(found) && is_usable(found))),
            Err(error) if self.sessions.standing(site, &session, now) == Standing::Suspended => {
                Err(GatewayError::Store(Arc::clone(site), error))
            }
            // A new authorization could not be stored.
            Err(_) => Ok(Some(session)),
        }
    }

    /// Watches the session of a request for as long as its response takes.
    pub(crate) fn watch(
        &self,
        site: &Arc<Site>,
        session: &Arc<LiveSession>,
        headers: &HeaderMap,
    ) -> SessionWatch {
        SessionWatch {
            session: Arc::clone(session),
            ids: self
                .sessions
                .watched_ids(site, headers, session)
                .chain(credentials::session_id(site, headers))
                .collect(),
            site: Arc::clone(site),
            sessions: Arc::clone(&self.sessions),
            refresher: self.refresher.clone(),
        }
    }
}
