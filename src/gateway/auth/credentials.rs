//! Credentials in `Authorization`: programs that cannot sign in with a browser. What authentik
//! says of them is remembered for a while, and asked once at a time.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};
use quick_cache::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};

use crate::gateway::Parted;
use crate::gateway::auth::authentik_limiter::{Attempt, AuthentikLimiter, too_many};
use crate::gateway::auth::session::{session_ids, unavailable};
use crate::gateway::error::GatewayError;
use crate::gateway::handlers::login;
use crate::model::{Session, SessionId, SessionKey};
use crate::oidc::{OidcError, Tokens};
use crate::route::Site;
use crate::store::StoreError;
use crate::web::request::inbound::Source;

/// Seconds for which credentials that were good are taken for good (CVE-2025-29928).
const GOOD_FOR: i64 = 60;
/// Seconds for which credentials that were refused are refused without asking.
const BAD_FOR: i64 = 5;
/// Seconds for which authentik is not asked again after it could not be asked.
const FAILED_FOR: i64 = 2;
/// Verdicts that are remembered.
const REMEMBERED: usize = 2048;
/// Longest header that is looked at, in bytes.
const MAX_LENGTH: usize = 8192;
/// User name under which an access token is sent as a password.
const TOKEN_USER: &str = "goauthentik.io/token";

/// What is known of credentials, by a keyed hash of them.
pub struct Verdicts {
    known: Cache<SessionKey, Verdict>,
    /// What was good when authentik was last asked. Apart, so that guesses do not displace it.
    proven: Cache<SessionKey, ()>,
    pub(crate) limiter: AuthentikLimiter,
}

#[derive(Clone)]
struct Verdict {
    finding: Finding,
    /// Unix seconds.
    since: i64,
}

#[derive(Clone)]
enum Finding {
    Good(Arc<Session>),
    Refused,
    /// authentik could not be asked. Remembered, so that those who wait do not ask one by one.
    Failed(Arc<OidcError>),
    /// They are good, and their session could not be stored. Remembered for the same reason.
    Unkept(StoreError),
}

impl Verdict {
    fn holds(&self, now: i64) -> bool {
        let age = now - self.since;
        match &self.finding {
            Finding::Good(session) => (0..GOOD_FOR).contains(&age) && session.is_live(now),
            Finding::Refused => (0..BAD_FOR).contains(&age),
            Finding::Failed(_) | Finding::Unkept(_) => (0..FAILED_FOR).contains(&age),
        }
    }
}

impl Default for Verdicts {
    fn default() -> Self {
        Self {
            known: Cache::new(REMEMBERED),
            proven: Cache::new(REMEMBERED),
            limiter: AuthentikLimiter::default(),
        }
    }
}

/// What a request's `Authorization` header is worth.
pub(crate) enum Presented {
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

    /// The one header of `Authorization` that a request may have, unless it is of no kind that we
    /// know.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::AUTHORIZATION).into_iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        let text = value.to_str().ok().filter(|text| text.len() <= MAX_LENGTH);
        text.and_then(Self::parse)
    }

    /// The session that they open, however they are spelled: the case of the scheme and the spaces
    /// around them say nothing.
    fn session_id(&self, site: &Site) -> SessionId {
        let spelled = match self {
            Self::Bearer(token) => format!("Bearer {}", token.expose_secret()),
            Self::Basic(user, password) => {
                let pair = format!("{user}:{}", password.expose_secret());
                format!("Basic {}", STANDARD.encode(pair))
            }
        };
        site.keys
            .session_of(SecretString::from(spelled).expose_secret().as_bytes())
    }

    /// What it is to authentik.
    fn attempt(&self) -> Attempt<'_> {
        match self {
            Self::Bearer(_) => Attempt::Token,
            Self::Basic(user, _) => Attempt::Password(user),
        }
    }
}

/// The session that a request's credentials opened, if they did.
pub(crate) fn session_id(site: &Site, headers: &HeaderMap) -> Option<SessionId> {
    if !site.application.intercept_header_auth {
        return None;
    }
    Credentials::read(headers).map(|credentials| credentials.session_id(site))
}

impl Parted {
    /// Whether a request's `Authorization` header is one that opened a session here, also where
    /// the session's cookie comes with it: then it is for us, and not for the application.
    pub(crate) fn is_ours(&self, site: &Site, headers: &HeaderMap) -> bool {
        session_id(site, headers).is_some_and(|id| {
            session_ids(site, headers).any(|session| session == id)
                || self.verdicts.known.peek(&id.key()).is_some_and(|verdict| {
                    // What was refused may well be good for the application.
                    matches!(verdict.finding, Finding::Good(_))
                })
        })
    }

    /// Looks at a request that no cookie opened anything for.
    pub(crate) async fn credentials(
        &self,
        site: &Arc<Site>,
        headers: &HeaderMap,
        source: Source,
    ) -> Result<Presented, GatewayError> {
        if !site.application.intercept_header_auth {
            return Ok(Presented::Nothing);
        }
        if !headers.contains_key(header::AUTHORIZATION) {
            return Ok(Presented::Nothing);
        }
        let Some(credentials) = Credentials::read(headers) else {
            return Ok(Presented::Refused);
        };
        let id = credentials.session_id(site);
        let key = id.key();
        let stale = |verdict: &Verdict| !verdict.holds(self.clock.now());
        self.verdicts.known.remove_if(&key, stale);
        let place = match self.verdicts.known.get_value_or_guard_async(&key).await {
            Ok(verdict) => return presented(site, verdict.finding, None),
            Err(place) => place,
        };
        let attempt = match self.verdicts.proven.get(&key) {
            Some(()) => Attempt::Renewal,
            None => credentials.attempt(),
        };
        // Without a turn the place is given up: those who wait for it try by themselves.
        let limiter = &self.verdicts.limiter;
        let running = limiter.acquire(source, attempt, self.clock.now()).await;
        let running = running.map_err(too_many(site))?;
        let asked = self.ask(site, &credentials).await;
        match &asked {
            Ok(Some(_)) => {
                self.verdicts.proven.insert(key, ());
                drop(running);
            }
            Ok(None) => {
                self.verdicts.proven.remove(&key);
                running.failed();
            }
            // Nothing was found out.
            Err(_) => drop(running),
        }
        let (finding, cookie) = match asked {
            Ok(Some(tokens)) => match self.open(site, &id, tokens).await {
                Ok((session, cookie)) => (Finding::Good(session), Some(cookie)),
                Err(failure) => (Finding::Unkept(failure), None),
            },
            Ok(None) => {
                // They may have been good before.
                self.store.forget(&key).await;
                (Finding::Refused, None)
            }
            Err(failure) => (Finding::Failed(Arc::new(failure)), None),
        };
        let since = self.clock.now();
        let verdict = Verdict { finding, since };
        // Fails only if the place is gone, and then nothing is remembered.
        let _ = place.insert(verdict.clone());
        presented(site, verdict.finding, cookie)
    }

    async fn ask(
        &self,
        site: &Site,
        credentials: &Credentials,
    ) -> Result<Option<Tokens>, OidcError> {
        let now = self.clock.now();
        let party = &site.relying_party;
        match credentials {
            Credentials::Bearer(token) => Ok(party.introspect(token, now).await?.map(|claims| {
                let access_token = token.clone();
                Tokens {
                    claims,
                    access_token,
                    refresh_token: None,
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
    ) -> Result<(Arc<Session>, String), StoreError> {
        let session = Arc::new(login::session(site, tokens, self.clock.now()));
        let kept = Arc::clone(&session);
        self.store.insert(id, &**site, kept).await?;
        let cookie = self.session_cookie(site, id, &session);
        Ok((session, cookie))
    }
}

fn presented(
    site: &Arc<Site>,
    finding: Finding,
    cookie: Option<String>,
) -> Result<Presented, GatewayError> {
    match finding {
        Finding::Good(session) => Ok(Presented::Good(session, cookie)),
        Finding::Refused => Ok(Presented::Refused),
        Finding::Failed(failure) => Err(GatewayError::Credentials {
            site: Arc::clone(site),
            failure,
        }),
        Finding::Unkept(failure) => Err(unavailable(site)(failure)),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::model::Claims;

    #[test]
    fn cve_2025_29928_verdicts_end_and_good_ones_with_the_session() {
        let session = || {
            let claims = Claims::default();
            Arc::new(Session::new(
                "c",
                claims,
                "t".into(),
                1_000,
                HeaderMap::new(),
            ))
        };
        let ended = session();
        ended.end();
        for (finding, now, holds) in [
            (Finding::Good(session()), 159, true),
            (Finding::Good(session()), 160, false),
            (Finding::Good(session()), 99, false),
            (Finding::Good(ended), 100, false),
            (Finding::Refused, 104, true),
            (Finding::Refused, 105, false),
            (Finding::Failed(Arc::new(OidcError::Nonce)), 101, true),
            (Finding::Failed(Arc::new(OidcError::Nonce)), 102, false),
        ] {
            let verdict = Verdict {
                finding,
                since: 100,
            };
            assert_eq!(verdict.holds(now), holds, "at {now}");
        }
    }

    #[test]
    fn reads_bearer_and_basic_credentials() {
        let kind = |header: &str| match Credentials::parse(header) {
            None => "none".to_owned(),
            Some(Credentials::Bearer(_)) => "bearer".into(),
            Some(Credentials::Basic(user, _)) => format!("basic {user}"),
        };
        for (header, expected) in [
            ("Bearer abc", "bearer"),
            ("bearer  abc ", "bearer"),
            ("Bearer ", "none"),
            ("Bearer", "none"),
            ("Basic dTpw", "basic u"),
            ("basic dTpwOng=", "basic u"),
            ("Basic dXA=", "none"),
            ("Basic !!!", "none"),
            ("Basic /w==", "none"),
            ("Basic Z29hdXRoZW50aWsuaW8vdG9rZW46eA==", "bearer"),
            ("Digest x", "none"),
            ("", "none"),
        ] {
            assert_eq!(kind(header), expected, "{header:?}");
        }
    }
}
