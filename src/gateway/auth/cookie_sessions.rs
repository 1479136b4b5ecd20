//! Sessions that browsers have in their cookies (`session.store: cookie`): read from the request, and
//! confirmed by authentik before their first use at this replica.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use http::HeaderMap;
use quick_cache::sync::Cache;
use tokio::time::{Instant, sleep_until, timeout};

use super::new_session::{cookie_attributes, live_session, new_session};
use crate::clock::Clock;
use crate::config::{self, WhenUnconfirmed};
use crate::model::{Hint as _, Session, SessionId, SessionKey};
use crate::oidc::Tokens;
use crate::route::{LiveSession, Site};
use crate::store::{CookieStore, SealError, StoreError};
use crate::telemetry::Throttle;
use crate::web::cookie::{self, Form, Names};
use crate::web::cookie_parts::{self, MAX_PARTS, Sent, Text, TooLarge, part_name};
use crate::web::header::identity::Identity;

/// How long a request waits for the confirmation of its session.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(2);
/// How long authentik is not asked again about a session that it could not be asked about, in seconds.
const RETRY_SECONDS: i64 = 10;
/// Results of confirmations that are remembered. Further ones are asked for again.
const MAX_RESULTS: usize = 65_536;
/// How long the tokens of a user who signs out are revoked at authentik, at most.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(2);
/// Tokens that are revoked at a sign-out. Those of further sessions of the user expire.
const MAX_REVOKED_TOKENS: usize = 16;

/// A session that cannot be given to the browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CookieError {
    /// It does not fit.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// The settings of sessions in cookies.
#[derive(Debug, Clone, Copy)]
pub struct CookieSettings {
    /// What a session may take in the `Cookie` header, in bytes.
    pub max_bytes: usize,
    /// What happens to sessions that authentik cannot be asked about.
    pub when_unconfirmed: WhenUnconfirmed,
    /// Introspections of first uses in a second, at most.
    pub confirmations_per_second: u32,
}

impl From<&config::Session> for CookieSettings {
    fn from(session: &config::Session) -> Self {
        Self {
            max_bytes: session.cookie_max_bytes,
            when_unconfirmed: session.when_unconfirmed,
            confirmations_per_second: session.introspections_per_second,
        }
    }
}

/// See the module.
pub(crate) struct CookieSessions {
    pub(crate) store: Arc<CookieStore<Identity>>,
    settings: CookieSettings,
    clock: Clock,
    results: Cache<SessionKey, Confirmation>,
    /// When the next introspection may begin.
    next: Mutex<Instant>,
    throttle: Throttle,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Confirmation {
    /// authentik confirmed it at the time of this connection to it.
    Active(u64),
    /// authentik reports that it ended.
    Ended,
    /// authentik could not be asked, or not in time; at this time (Unix seconds).
    Unknown(i64),
}

impl CookieSessions {
    pub(crate) fn new(
        store: Arc<CookieStore<Identity>>,
        settings: CookieSettings,
        clock: Clock,
    ) -> Self {
        Self {
            store,
            settings,
            clock,
            results: Cache::new(MAX_RESULTS),
            next: Mutex::new(Instant::now()),
            throttle: Throttle::default(),
        }
    }

    /// The live session of this application that the request's cookies hold. Does no I/O for a session
    /// that was used before.
    pub(super) async fn find(
        &self,
        site: &Site,
        headers: &HeaderMap,
    ) -> Result<Option<(SessionId, Arc<LiveSession>)>, StoreError> {
        for (_, names) in site.cookies.all() {
            for text in texts(site, names, headers) {
                let Some((id, session)) = self.read(site, names, &text) else {
                    continue;
                };
                // Boxed, because it is rare and large.
                let is_usable = self.store.is_confirmed(&session) || {
                    let confirmed: BoxFuture<'_, _> =
                        Box::pin(self.confirm(site, id.key(), &session));
                    confirmed.await?
                };
                if is_usable {
                    return Ok(Some((id, session)));
                }
            }
        }
        Ok(None)
    }

    /// The ids of the sessions that the request's cookies hold.
    pub(super) fn ids<'a>(
        &'a self,
        site: &'a Site,
        headers: &'a HeaderMap,
    ) -> impl Iterator<Item = SessionId> + 'a {
        site.cookies.all().flat_map(move |(_, names)| {
            let texts = texts(site, names, headers);
            texts.filter_map(move |text| Some(self.read(site, names, &text)?.0))
        })
    }

    /// The live session in a text, as this replica has it in memory or, if it has not, as it is read.
    fn read(
        &self,
        site: &Site,
        names: &Names,
        text: &Text<'_>,
    ) -> Option<(SessionId, Arc<LiveSession>)> {
        let id = site.sealer.id(&names.session, text.parts());
        let session = self.store.read(id.key(), || {
            let session = site.sealer.open(&names.session, &text.joined())?;
            Some(Arc::new(LiveSession::new(session, site)))
        })?;
        site.accepts(&session).then_some((id, session))
    }

    /// Begins the session of verified tokens: the session and its `Set-Cookie` values, which also
    /// remove what the browser has of an earlier one.
    pub(super) fn create(
        &self,
        site: &Site,
        (form, names): (Form, &Names),
        headers: &HeaderMap,
        mut tokens: Tokens,
    ) -> Result<(Arc<LiveSession>, Vec<String>), CookieError> {
        let now = self.clock.now();
        tokens.claims.iat.get_or_insert(now);
        let session = new_session(site, tokens, now);
        let session = Session {
            expires_at: self.store.expiry(session.expires_at),
            // It cannot be used: not every reverse proxy passes a new cookie on with each response.
            refresh: None,
            ..session
        };
        let text = site.sealer.seal(&names.session, &session)?;
        let attributes = cookie_attributes(site, session.expires_at - now);
        let max_bytes = self.settings.max_bytes;
        let mut cookies = cookie_parts::split(&names.session, &text, attributes, max_bytes)?;
        let id = site.sealer.id(&names.session, [text.as_bytes()]);
        let count = cookies.len();
        cookies.extend(removals(site, headers, |sent, index| {
            sent == form && index >= count
        }));
        let session = live_session(site, session);
        self.store.begin(id.key(), &session);
        Ok((session, cookies))
    }

    /// Whether a session may be used that authentik has not confirmed yet. Requests of one session wait
    /// for one introspection.
    async fn confirm(
        &self,
        site: &Site,
        key: SessionKey,
        session: &LiveSession,
    ) -> Result<bool, StoreError> {
        let (now, listening) = (self.clock.now(), self.store.listening());
        let is_stale = |result: &Confirmation| match result {
            Confirmation::Active(confirmed) => *confirmed != listening,
            Confirmation::Ended => false,
            Confirmation::Unknown(since) => now - since >= RETRY_SECONDS,
        };
        self.results.remove_if(&key, is_stale);
        let result = match self.results.get_value_or_guard_async(&key).await {
            Ok(result) => result,
            Err(slot) => {
                let result = self.introspect(site, session, listening).await;
                if result == Confirmation::Ended {
                    self.store.end(&key);
                }
                // Fails only if the slot is gone, and then nothing is remembered.
                let _ = slot.insert(result);
                result
            }
        };
        match result {
            Confirmation::Active(confirmed) => {
                self.store.confirm(session, confirmed);
                Ok(!session.is_revoked())
            }
            Confirmation::Ended => Ok(false),
            Confirmation::Unknown(_) => {
                let allows = self.settings.when_unconfirmed == WhenUnconfirmed::Allow;
                if allows && !self.store.may_have_forgotten(session) {
                    return Ok(!session.is_revoked());
                }
                Err(StoreError::unconfirmed())
            }
        }
    }

    async fn introspect(&self, site: &Site, session: &LiveSession, listening: u64) -> Confirmation {
        let unknown = Confirmation::Unknown(self.clock.now());
        let Some(turn) = self.turn(Instant::now()) else {
            self.warn("too many sessions are used for the first time", None);
            return unknown;
        };
        let answer = timeout(CONFIRM_TIMEOUT, async {
            sleep_until(turn).await;
            site.relying_party.is_active(&session.access_token).await
        });
        match answer.await {
            Ok(Ok(true)) => Confirmation::Active(listening),
            Ok(Ok(false)) => {
                tracing::info!(
                    user = session.claims.preferred_username,
                    "session ended at authentik"
                );
                Confirmation::Ended
            }
            Ok(Err(error)) => {
                self.warn(&error.to_string(), error.hint().as_deref());
                unknown
            }
            Err(_) => {
                self.warn("authentik did not answer within 2 s", None);
                unknown
            }
        }
    }

    /// When an introspection of a request at `now` may begin; `None` if that is too late for the request.
    fn turn(&self, now: Instant) -> Option<Instant> {
        let pause = Duration::from_secs(1) / self.settings.confirmations_per_second.max(1);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        // A second's worth may begin at once.
        let earliest = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let turn = (*next).max(earliest);
        if turn > now + CONFIRM_TIMEOUT {
            return None;
        }
        *next = turn + pause;
        Some(turn)
    }

    fn warn(&self, error: &str, hint: Option<&str>) {
        if self.throttle.should_log(error) {
            let rule = match self.settings.when_unconfirmed {
                WhenUnconfirmed::Allow => "it is used as session.when_unconfirmed says",
                WhenUnconfirmed::Refuse => "it is refused as session.when_unconfirmed says",
            };
            tracing::warn!(
                error,
                hint,
                "a session from a cookie could not be confirmed: {rule}"
            );
        }
    }

    /// Revokes the tokens of sessions at authentik, so that other replicas learn of their end. What
    /// cannot be revoked in time is logged, and expires.
    pub(crate) async fn revoke_tokens(&self, sites: &[Arc<Site>], sessions: &[Arc<LiveSession>]) {
        let revoked = sessions
            .iter()
            .take(MAX_REVOKED_TOKENS)
            .map(|session| async {
                let mut sites = sites.iter();
                let site = sites.find(|site| *site.application.client.id == *session.client_id)?;
                site.relying_party.revoke(&session.access_token).await.err()
            });
        let failure = match timeout(REVOKE_TIMEOUT, join_all(revoked)).await {
            Ok(results) => results
                .into_iter()
                .flatten()
                .next()
                .map(|error| error.to_string()),
            Err(_) => Some("authentik did not answer within 2 s".to_owned()),
        };
        if let Some(error) = failure
            && self.throttle.should_log(&error)
        {
            tracing::warn!(
                error,
                "tokens of a user who signed out could not be revoked: other replicas may accept the user's cookies until they expire"
            );
        }
    }
}

/// The texts in the request's cookies that were sealed for this application, as far as their start
/// tells.
fn texts<'a>(
    site: &'a Site,
    names: &'a Names,
    headers: &'a HeaderMap,
) -> impl Iterator<Item = Text<'a>> {
    let is_sealed = |text: &[u8]| site.sealer.is_start(&names.session, text);
    Sent::read(headers, &names.session).texts(is_sealed)
}

/// `Set-Cookie` values that remove the session cookies of the browser for which `wanted` holds, by form
/// and number of the part.
pub(crate) fn removals(
    site: &Site,
    headers: &HeaderMap,
    wanted: impl Fn(Form, usize) -> bool,
) -> Vec<String> {
    let mut found = Vec::new();
    for (form, names) in site.cookies.all() {
        for index in (0..MAX_PARTS).filter(|index| wanted(form, *index)) {
            let name = part_name(&names.session, index);
            if cookie::values(headers, &name).next().is_some() {
                found.push(cookie::set(&name, "", cookie_attributes(site, 0)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ap_2026_04_introspections_of_first_uses_are_bounded_in_rate() {
        let settings = CookieSettings {
            max_bytes: 6_144,
            when_unconfirmed: WhenUnconfirmed::Allow,
            confirmations_per_second: 10,
        };
        let clock = Clock::manual(1_000);
        let metrics = crate::telemetry::metrics::Metrics::new();
        let store = crate::route::Store::cookie(1_000, clock.clone(), metrics.store());
        let store = Arc::clone(store.cookies().expect("of this kind"));
        let sessions = CookieSessions::new(store, settings, clock);
        let now = Instant::now() + Duration::from_secs(5);
        let turns = |now| {
            std::iter::from_fn(|| sessions.turn(now))
                .take(100)
                .collect()
        };
        let found: Vec<Instant> = turns(now);
        // One second's worth at once, and what can begin within two.
        assert_eq!(found.iter().filter(|turn| **turn <= now).count(), 11);
        assert_eq!(found.len(), 31);
        assert!(found.iter().all(|turn| *turn <= now + CONFIRM_TIMEOUT));
        let found: Vec<Instant> = turns(now + Duration::from_millis(200));
        assert_eq!(found.len(), 2);
    }
}
