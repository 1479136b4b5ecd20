//! Credentials in `Authorization`, of API clients that cannot sign in with a browser. authentik's
//! answers are cached for a short time, and each credential is checked once at a time.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};
use quick_cache::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};

use super::authentik_limiter::{Attempt, AuthentikLimiter};
use super::session::Sessions;
use crate::gateway::error::GatewayError;
use crate::model::{Hint as _, SessionId, SessionKey};
use crate::oidc::{OidcError, Refusal, Tokens};
use crate::route::{LiveSession, Site};
use crate::store::StoreError;
use crate::telemetry::Throttle;
use crate::web::request::inbound::Source;

/// How long valid credentials are cached (CVE-2025-29928).
const VALID_TTL_SECONDS: i64 = 60;
/// How long refused credentials are cached.
const INVALID_TTL_SECONDS: i64 = 5;
/// How long a failure to check credentials is cached.
const FAILURE_TTL_SECONDS: i64 = 2;
/// Results in the cache.
const MAX_CACHED_RESULTS: usize = 2048;
/// Length of an `Authorization` header, in bytes.
const MAX_AUTHORIZATION_BYTES: usize = 8192;
/// User name under which an access token is sent as a password.
const TOKEN_USER: &str = "goauthentik.io/token";

/// Checks credentials, and caches the results by a keyed hash of the credentials.
pub(crate) struct CredentialCache {
    results: Cache<SessionKey, CachedResult>,
    /// Credentials that were valid when authentik was last asked. A cache of its own, so that guesses
    /// do not evict them.
    proven: Cache<SessionKey, ()>,
    sessions: Arc<Sessions>,
    limiter: Arc<AuthentikLimiter>,
    refused: Throttle,
}

#[derive(Clone)]
struct CachedResult {
    result: CredentialResult,
    /// Unix seconds.
    since: i64,
}

#[derive(Clone)]
enum CredentialResult {
    Valid(Arc<LiveSession>),
    Invalid,
    /// authentik could not be asked. Cached, so that waiting requests do not ask one by one.
    Failed(Arc<OidcError>),
    /// The credentials are valid, and their session could not be stored. Cached for the same reason.
    StoreFailed(StoreError),
}

impl CachedResult {
    fn holds(&self, now: i64) -> bool {
        let age = now - self.since;
        match &self.result {
            CredentialResult::Valid(session) => {
                (0..VALID_TTL_SECONDS).contains(&age) && session.is_live(now)
            }
            CredentialResult::Invalid => (0..INVALID_TTL_SECONDS).contains(&age),
            CredentialResult::Failed(_) | CredentialResult::StoreFailed(_) => {
                (0..FAILURE_TTL_SECONDS).contains(&age)
            }
        }
    }
}

/// The result of checking a request's `Authorization` header.
pub(crate) enum CredentialCheck {
    /// There are no credentials, or they are not for the outpost.
    Absent,
    /// authentik refused the credentials, or their scheme is not supported.
    Invalid,
    /// The credentials are a user's. With a session cookie if authentik was asked, which spares the
    /// next check.
    Valid(Arc<LiveSession>, Option<String>),
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

    /// The only `Authorization` header of a request, if its scheme is supported.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::AUTHORIZATION).into_iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        let text = value
            .to_str()
            .ok()
            .filter(|text| text.len() <= MAX_AUTHORIZATION_BYTES);
        text.and_then(Self::parse)
    }

    /// The id of the session for these credentials. The case of the scheme and the spaces around them
    /// do not matter.
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

    /// The kind of attempt, for the limiter.
    fn attempt(&self) -> Attempt<'_> {
        match self {
            Self::Bearer(_) => Attempt::Token,
            Self::Basic(user, _) => Attempt::Password(user),
        }
    }
}

/// Whether a request has no credentials, or they are not for the outpost.
pub(crate) fn are_absent(site: &Site, headers: &HeaderMap) -> bool {
    !site.application.intercept_header_auth || !headers.contains_key(header::AUTHORIZATION)
}

/// The id of the session for a request's credentials, if it has any.
pub(crate) fn session_id(site: &Site, headers: &HeaderMap) -> Option<SessionId> {
    if !site.application.intercept_header_auth {
        return None;
    }
    Credentials::read(headers).map(|credentials| credentials.session_id(site))
}

impl CredentialCache {
    /// An empty cache.
    pub(crate) fn new(sessions: Arc<Sessions>, limiter: Arc<AuthentikLimiter>) -> Self {
        Self {
            results: Cache::new(MAX_CACHED_RESULTS),
            proven: Cache::new(MAX_CACHED_RESULTS),
            sessions,
            limiter,
            refused: Throttle::default(),
        }
    }

    /// Whether a request's `Authorization` header opened a session at the outpost, even if the
    /// session's cookie is sent with it. It is then for the outpost, and not for the application.
    pub(crate) fn opened_session(&self, site: &Site, headers: &HeaderMap) -> bool {
        session_id(site, headers).is_some_and(|id| {
            self.sessions
                .ids(site, headers)
                .any(|session| session == id)
                || self.results.peek(&id.key()).is_some_and(|cached| {
                    // Credentials that authentik refused may be the application's.
                    matches!(cached.result, CredentialResult::Valid(_))
                })
        })
    }

    /// Checks the credentials of a request without a usable session cookie.
    pub(crate) async fn check(
        &self,
        site: &Arc<Site>,
        headers: &HeaderMap,
        source: Source,
    ) -> Result<CredentialCheck, GatewayError> {
        if are_absent(site, headers) {
            return Ok(CredentialCheck::Absent);
        }
        let Some(credentials) = Credentials::read(headers) else {
            self.log_refused(
                site,
                "the Authorization header is neither Basic nor Bearer",
                None,
            );
            return Ok(CredentialCheck::Invalid);
        };
        let id = credentials.session_id(site);
        let key = id.key();
        let Sessions { store, clock, .. } = &*self.sessions;
        let stale = |cached: &CachedResult| !cached.holds(clock.now());
        self.results.remove_if(&key, stale);
        let slot = match self.results.get_value_or_guard_async(&key).await {
            Ok(cached) => return check_of(site, cached.result, None),
            Err(slot) => slot,
        };
        let attempt = match self.proven.get(&key) {
            Some(()) => Attempt::Renewal,
            None => credentials.attempt(),
        };
        // If the limiter refuses, the slot is released and the next waiting request tries.
        let running = self.limiter.acquire(source, attempt, clock.now()).await;
        let running =
            running.map_err(|limit| GatewayError::LimitExceeded(Arc::clone(site), limit))?;
        let checked = self.check_at_authentik(site, &credentials).await;
        match &checked {
            Ok(Ok(_)) => {
                self.proven.insert(key, ());
                drop(running);
            }
            Ok(Err(refusal)) => {
                self.proven.remove(&key);
                running.failed();
                self.log_refused(site, &refusal.to_string(), refusal.hint().as_deref());
            }
            // The credentials are neither valid nor invalid.
            Err(_) => drop(running),
        }
        let (result, cookie) = match checked {
            Ok(Ok(tokens)) => match self.sessions.create(site, &id, tokens).await {
                Ok((session, cookie)) => (CredentialResult::Valid(session), cookie),
                Err(failure) => (CredentialResult::StoreFailed(failure), None),
            },
            Ok(Err(_)) => {
                // They may have been valid before.
                store.revoke_best_effort(&key).await;
                (CredentialResult::Invalid, None)
            }
            Err(failure) => (CredentialResult::Failed(Arc::new(failure)), None),
        };
        let since = clock.now();
        let cached = CachedResult { result, since };
        // Fails only if the slot is gone, and then nothing is cached.
        let _ = slot.insert(cached.clone());
        check_of(site, cached.result, cookie)
    }

    fn log_refused(&self, site: &Site, error: &str, hint: Option<&str>) {
        let application = site.application.slug.as_str();
        if self.refused.should_log(&format!("{application} {error}")) {
            tracing::warn!(application, error, hint, "credentials refused");
        }
    }

    async fn check_at_authentik(
        &self,
        site: &Site,
        credentials: &Credentials,
    ) -> Result<Result<Tokens, Refusal>, OidcError> {
        let now = self.sessions.clock.now();
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
}

/// The check that a result stands for.
fn check_of(
    site: &Arc<Site>,
    result: CredentialResult,
    cookie: Option<String>,
) -> Result<CredentialCheck, GatewayError> {
    match result {
        CredentialResult::Valid(session) => Ok(CredentialCheck::Valid(session, cookie)),
        CredentialResult::Invalid => Ok(CredentialCheck::Invalid),
        CredentialResult::Failed(failure) => Err(GatewayError::Credentials {
            site: Arc::clone(site),
            failure,
        }),
        CredentialResult::StoreFailed(failure) => {
            Err(GatewayError::Store(Arc::clone(site), failure))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cve_2025_29928_cached_results_expire_and_good_ones_with_the_session() {
        let session = || Arc::new(LiveSession::sample());
        let revoked = session();
        revoked.revoke();
        for (result, now, holds) in [
            (CredentialResult::Valid(session()), 159, true),
            (CredentialResult::Valid(session()), 160, false),
            (CredentialResult::Valid(session()), 99, false),
            (CredentialResult::Valid(revoked), 100, false),
            (CredentialResult::Invalid, 104, true),
            (CredentialResult::Invalid, 105, false),
            (
                CredentialResult::Failed(Arc::new(OidcError::Nonce)),
                101,
                true,
            ),
            (
                CredentialResult::Failed(Arc::new(OidcError::Nonce)),
                102,
                false,
            ),
        ] {
            let cached = CachedResult { result, since: 100 };
            assert_eq!(cached.holds(now), holds, "at {now}");
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
