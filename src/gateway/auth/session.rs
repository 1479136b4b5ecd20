//! Sessions of an application: how requests name them, and how they begin.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::reauthorization::{Standing, standing};
use super::verified_cookies::VerifiedCookies;
use crate::clock::Clock;
use crate::model::{CookieDomain, Refresh, Session, SessionId};
use crate::oidc::Tokens;
use crate::route::{LiveSession, Site, Store};
use crate::store::StoreError;
use crate::web::cookie::{self, Attributes, Form, Names};

/// Session cookies with a valid signature that are looked up for one request. Cookies with an invalid
/// signature do not count: those in front of the right one may come from another host of the domain,
/// which must not lock users out.
const MAX_SESSION_COOKIES: usize = 16;

/// Signatures that are computed for one request and one cookie name. Browsers keep fewer cookies for
/// a domain (Chromium and Firefox: 180).
const MAX_VERIFIED_COOKIES: usize = 256;

/// The sessions in the store, and the cookies that name them.
pub(crate) struct Sessions {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    /// The form of new cookies, where browsers accept it.
    pub(crate) cookie_form: Form,
    /// Lifetime of a session that is refreshed, in seconds.
    pub(crate) max_age: i64,
    pub(crate) verified: VerifiedCookies,
    /// How long a session goes on in the background after its reauthorization is due, in seconds.
    pub(crate) reauthorize_grace_period: i64,
}

impl Sessions {
    /// The live session of this application that the request's cookie names, with the time of the
    /// look-up. A cookie without a valid signature is ignored. One with the prefix `__Host-` comes
    /// first: no other host can have set it.
    pub(crate) async fn find(
        &self,
        site: &Site,
        headers: &HeaderMap,
    ) -> Result<Option<(SessionId, Arc<LiveSession>, i64)>, StoreError> {
        for id in self.ids(site, headers) {
            let Some(session) = self.store.load(&id, site).await? else {
                continue;
            };
            if !site.accepts(&session) {
                continue;
            }
            let now = self.clock.now();
            if self.store.touch(&id, &session, now).await? {
                return Ok(Some((id, session, now)));
            }
        }
        Ok(None)
    }

    /// The ids of the sessions that the request's cookies name.
    pub(crate) fn ids<'a>(
        &'a self,
        site: &'a Site,
        headers: &'a HeaderMap,
    ) -> impl Iterator<Item = SessionId> + 'a {
        let signed = move |(form, names): (Form, &'a Names)| {
            cookie::values(headers, &names.session)
                .filter(|value| cookie::has_shape(value))
                .take(MAX_VERIFIED_COOKIES)
                .filter_map(move |value| self.verified.session_id(&site.keys, value, form))
        };
        site.cookies
            .all()
            .flat_map(signed)
            .take(MAX_SESSION_COOKIES)
    }

    /// Stores the session of verified tokens under `id`, and makes its cookie.
    pub(crate) async fn create(
        &self,
        site: &Site,
        id: &SessionId,
        mut tokens: Tokens,
    ) -> Result<(Arc<LiveSession>, String), StoreError> {
        let now = self.clock.now();
        tokens.claims.iat.get_or_insert(now);
        let session = live_session(site, new_session(site, tokens, now));
        let stored = Arc::clone(&session);
        self.store.insert(id, site, stored).await?;
        let cookie = self.cookie(site, id, &session);
        Ok((session, cookie))
    }

    /// Stores the tokens of a new authorization in the place of a session's, under its id, so that its
    /// streams go on. `None` if the session was revoked meanwhile.
    pub(crate) async fn renew(
        &self,
        site: &Site,
        id: &SessionId,
        tokens: Tokens,
    ) -> Result<Option<(Arc<LiveSession>, String)>, StoreError> {
        let session = live_session(site, new_session(site, tokens, self.clock.now()));
        let stored = Arc::clone(&session);
        self.store.update(id, site, stored).await?;
        let found = self.store.load(id, site).await?;
        let is_stored = found.is_some_and(|found| found.has_same_token(&session));
        Ok(is_stored.then(|| {
            let cookie = self.cookie(site, id, &session);
            (session, cookie)
        }))
    }

    /// How far a session may be used at `now` (Unix seconds).
    pub(crate) fn standing(&self, site: &Site, session: &Session, now: i64) -> Standing {
        standing(site, session, self.reauthorize_grace_period, now)
    }

    /// Whether a session needs no new authorization by authentik at `now` (Unix seconds).
    pub(crate) fn is_current(&self, site: &Site, session: &Session, now: i64) -> bool {
        self.standing(site, session, now) == Standing::Current
    }

    /// The form of new cookies of an application, and their names.
    pub(crate) fn cookies<'a>(&self, site: &'a Site) -> (Form, &'a Names) {
        site.cookies.in_form(self.cookie_form)
    }

    fn cookie(&self, site: &Site, id: &SessionId, session: &Session) -> String {
        let (form, names) = self.cookies(site);
        let value = cookie::sign(&site.keys.session, id, form);
        // The cookie lasts until the end of the last refresh, not of the first token.
        let limit = |refresh: &Refresh| refresh.started_at.saturating_add(self.max_age);
        let end = session.refresh.as_ref().map_or(session.expires_at, limit);
        let attributes = cookie_attributes(site, end - self.clock.now());
        cookie::set(&names.session, &value, attributes)
    }
}

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
    let length = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    let headers = session.prepared().iter();
    site.metrics.observe_identity(headers.map(length).sum());
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
