//! Sessions of an application: how requests name them, and how they begin.

use std::sync::Arc;

use http::HeaderMap;

use super::cookie_sessions::{CookieError, CookieSessions};
use super::new_session::{cookie_attributes, live_session, new_session};
use super::reauthorization::{Standing, standing};
use super::verified_cookies::VerifiedCookies;
use crate::clock::Clock;
use crate::gateway::login_watch::SessionCookie;
use crate::model::{Refresh, Session, SessionId};
use crate::oidc::Tokens;
use crate::route::{LiveSession, Site, Store};
use crate::store::StoreError;
use crate::web::cookie::{self, Form, Names};

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
    /// Where browsers have the sessions in their cookies.
    pub(crate) in_cookies: Option<CookieSessions>,
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
        if let Some(cookies) = &self.in_cookies {
            let found = cookies.find(site, headers).await?;
            return Ok(found.map(|(id, session)| (id, session, self.clock.now())));
        }
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
        let signed_ids = move |(form, names): (Form, &'a Names)| {
            cookie::values(headers, &names.session)
                .filter(|value| cookie::has_shape(value))
                .take(MAX_VERIFIED_COOKIES)
                .filter_map(move |value| self.verified.session_id(&site.keys, value, form))
        };
        let signed = self.in_cookies.is_none().then(|| site.cookies.all());
        let signed = signed.into_iter().flatten().flat_map(signed_ids);
        let sealed = self.in_cookies.iter();
        let sealed = sealed.flat_map(move |cookies| cookies.ids(site, headers));
        signed.chain(sealed).take(MAX_SESSION_COOKIES)
    }

    /// The session cookie of a request that has no session.
    pub(crate) fn without_session(&self, site: &Site, headers: &HeaderMap) -> SessionCookie {
        let is_sent = |(_, names): (Form, &Names)| {
            let mut values = cookie::values(headers, &names.session);
            values.next().is_some()
        };
        if self.ids(site, headers).next().is_some() {
            SessionCookie::Ended
        } else if site.cookies.all().any(is_sent) {
            SessionCookie::Invalid
        } else {
            SessionCookie::Missing
        }
    }

    /// The ids by which the session of a request is found again. Other sessions in its cookies may take
    /// its place if they end by themselves; those that are in cookies may be unconfirmed.
    pub(crate) fn watched_ids<'a>(
        &'a self,
        site: &'a Site,
        headers: &'a HeaderMap,
        session: &'a LiveSession,
    ) -> impl Iterator<Item = SessionId> + 'a {
        let is_same = |id: &SessionId| {
            let found = self.store.cached(&id.key());
            found.is_some_and(|found| found.has_same_token(session))
        };
        self.ids(site, headers)
            .filter(move |id| self.in_cookies.is_none() || is_same(id))
    }

    /// Begins the session of verified tokens: the session, and its `Set-Cookie` values.
    pub(crate) async fn sign_in(
        &self,
        site: &Site,
        headers: &HeaderMap,
        tokens: Tokens,
    ) -> Result<(Arc<LiveSession>, Vec<String>), SignInError> {
        let Some(cookies) = &self.in_cookies else {
            let (session, cookie) = self.create(site, &SessionId::random(), tokens).await?;
            return Ok((session, cookie.into_iter().collect()));
        };
        let form = self.cookies(site);
        Ok(cookies.create(site, form, headers, tokens)?)
    }

    /// Stores the session of verified tokens under `id`, and makes its cookie. Where browsers have the
    /// sessions in their cookies, it is in memory and has none.
    pub(crate) async fn create(
        &self,
        site: &Site,
        id: &SessionId,
        mut tokens: Tokens,
    ) -> Result<(Arc<LiveSession>, Option<String>), StoreError> {
        let now = self.clock.now();
        tokens.claims.iat.get_or_insert(now);
        let session = live_session(site, new_session(site, tokens, now));
        let stored = Arc::clone(&session);
        self.store.insert(id, site, stored).await?;
        let cookie = self.in_cookies.is_none();
        let cookie = cookie.then(|| self.cookie(site, id, &session));
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

/// Why a session does not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignInError {
    /// It cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The browser cannot have it.
    #[error(transparent)]
    Cookie(#[from] CookieError),
}
