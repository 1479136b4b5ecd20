//! Credentials in `Authorization`: programs that cannot sign in with a browser. What authentik
//! says of them is remembered for a while, and asked once at a time.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};
use quick_cache::sync::Cache;
use secrecy::SecretString;
use tokio::sync::Semaphore;

use super::Parted;
use super::auth::session_keys;
use super::error::GatewayError;
use super::login;
use crate::model::{Session, SessionId, SessionKey};
use crate::oidc::{OidcError, Tokens};
use crate::route::Site;

/// Seconds for which credentials that were good are taken for good (CVE-2025-29928).
const GOOD_FOR: i64 = 60;
/// Seconds for which credentials that were refused are refused without asking.
const BAD_FOR: i64 = 5;
/// Verdicts that are remembered.
const REMEMBERED: usize = 2048;
/// Questions to authentik at a time: strangers can cause them.
const AT_A_TIME: usize = 32;
/// Longest header that is looked at, in bytes.
const MAX_LENGTH: usize = 8192;
/// User name under which an access token is sent as a password.
const TOKEN_USER: &str = "goauthentik.io/token";

/// What is known of credentials, by a keyed hash of them.
pub struct Verdicts {
    known: Cache<SessionKey, Verdict>,
    places: Semaphore,
}

#[derive(Clone)]
struct Verdict {
    /// `None`: refused.
    session: Option<Arc<Session>>,
    /// Unix seconds.
    since: i64,
}

impl Verdict {
    fn holds(&self, now: i64) -> bool {
        let age = now - self.since;
        match &self.session {
            Some(session) => (0..GOOD_FOR).contains(&age) && session.is_live(now),
            None => (0..BAD_FOR).contains(&age),
        }
    }
}

impl Default for Verdicts {
    fn default() -> Self {
        Self {
            known: Cache::new(REMEMBERED),
            places: Semaphore::new(AT_A_TIME),
        }
    }
}

/// What a request's `Authorization` header is worth.
pub(super) enum Presented {
    /// There is none, or it is not for us.
    Nothing,
    /// authentik refuses them, or they are of no kind that we know.
    Refused,
    /// They are somebody's. With the cookie that spares the next question, if authentik was asked.
    Good(Arc<Session>, Option<String>),
}

/// Credentials as sent (RFC 6750 section 2.1, RFC 7617).
enum Credentials {
    Bearer(SecretString),
    Basic(String, SecretString),
}

impl Credentials {
    fn parse(header: &str) -> Option<Self> {
        let (scheme, value) = header.split_once(' ')?;
        let value = value.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return (!value.is_empty()).then(|| Self::Bearer(value.into()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        if user == TOKEN_USER {
            return Some(Self::Bearer(password.into()));
        }
        Some(Self::Basic(user.to_owned(), password.into()))
    }
}

/// What the store knows the session by that a request's credentials opened, if they did.
pub(super) fn key(site: &Site, headers: &HeaderMap) -> Option<SessionKey> {
    if !site.application.intercept_header_auth {
        return None;
    }
    let value = headers.get(header::AUTHORIZATION)?;
    Some(site.keys.session_of(value.as_bytes()).key())
}

impl Parted {
    /// Whether a request's `Authorization` header is one that opened a session here, also where
    /// the session's cookie comes with it: then it is for us, and not for the application.
    pub(super) fn is_ours(&self, site: &Site, headers: &HeaderMap) -> bool {
        key(site, headers).is_some_and(|key| {
            session_keys(site, headers).any(|session| session == key)
                || self.verdicts.known.peek(&key).is_some()
        })
    }

    /// Looks at a request that no cookie opened anything for.
    pub(super) async fn credentials(
        &self,
        site: &Arc<Site>,
        headers: &HeaderMap,
    ) -> Result<Presented, GatewayError> {
        if !site.application.intercept_header_auth {
            return Ok(Presented::Nothing);
        }
        let mut values = headers.get_all(header::AUTHORIZATION).into_iter();
        let Some(value) = values.next() else {
            return Ok(Presented::Nothing);
        };
        let text = value.to_str().ok().filter(|text| text.len() <= MAX_LENGTH);
        let Some(credentials) = text
            .filter(|_| values.next().is_none())
            .and_then(Credentials::parse)
        else {
            return Ok(Presented::Refused);
        };
        let id = site.keys.session_of(value.as_bytes());
        let key = id.key();
        let stale = |verdict: &Verdict| !verdict.holds(self.clock.now());
        self.verdicts.known.remove_if(&key, stale);
        let place = match self.verdicts.known.get_value_or_guard_async(&key).await {
            Ok(Verdict { session: None, .. }) => return Ok(Presented::Refused),
            Ok(Verdict {
                session: Some(session),
                ..
            }) => return Ok(Presented::Good(session, None)),
            Err(place) => place,
        };
        let found =
            self.ask(site, &credentials)
                .await
                .map_err(|failure| GatewayError::Credentials {
                    site: Arc::clone(site),
                    failure,
                })?;
        let session = if let Some(tokens) = found {
            Some(self.open(site, &id, tokens).await?)
        } else {
            // They may have been good before.
            self.store.remove(&key).await?;
            None
        };
        let since = self.clock.now();
        // Fails only if the place is gone, and then nothing is remembered.
        let _ = place.insert(Verdict {
            session: session.as_ref().map(|(session, _)| Arc::clone(session)),
            since,
        });
        Ok(session.map_or(Presented::Refused, |(session, cookie)| {
            Presented::Good(session, Some(cookie))
        }))
    }

    async fn ask(
        &self,
        site: &Site,
        credentials: &Credentials,
    ) -> Result<Option<Tokens>, OidcError> {
        // Closed only with the program.
        let _place = self.verdicts.places.acquire().await;
        let now = self.clock.now();
        let party = &site.relying_party;
        match credentials {
            Credentials::Bearer(token) => Ok(party.introspect(token, now).await?.map(|claims| {
                let access_token = token.clone();
                Tokens {
                    claims,
                    access_token,
                }
            })),
            Credentials::Basic(user, password) => {
                party.client_credentials(user, password, now).await
            }
        }
    }

    /// Opens the session that belongs to the credentials, or opens it again.
    async fn open(
        &self,
        site: &Arc<Site>,
        id: &SessionId,
        tokens: Tokens,
    ) -> Result<(Arc<Session>, String), GatewayError> {
        let session = Arc::new(login::session(site, tokens));
        self.store.insert(id.key(), Arc::clone(&session)).await?;
        let cookie = self.session_cookie(site, id, session.expires_at);
        Ok((session, cookie))
    }
}
