//! The callback of a login.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::LoginFlow;
use super::cookies::{attempts_of, bound_to_browser, remove_cookies, sends_login_cookie};
use super::long_target;
use crate::gateway::auth::authentik_limiter::Attempt;
use crate::gateway::auth::new_session::cookie_attributes;
use crate::gateway::auth::session::SignInError;
use crate::gateway::error::{Denied, GatewayError, LoginFailure};
use crate::gateway::login_watch::{self, Step};
use crate::gateway::request::target::RequestTarget;
use crate::gateway::response::{GatewayResponse, append_cookie, html, redirect};
use crate::model::{Claims, SessionId};
use crate::oidc::{LoginState, OidcError, StateError, Tokens};
use crate::route::Site;
use crate::telemetry::metrics::LoginOutcome;
use crate::web::page::Page;
use crate::web::request::inbound::Source;
use crate::web::request::navigation::{accepts_html, is_prefetch};

/// Clear Site Data, section 3.1.
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
/// Callbacks that cannot be matched before an error page is shown instead of another login.
const MAX_ATTEMPTS: u8 = 2;
/// Logins after each other, without an effect, from which on the browser is told to empty its cache.
const REPEATS_BEFORE_CLEARING: u8 = 2;

impl LoginFlow {
    /// `/callback`: finishes a login, and redirects the browser to the return target.
    pub(super) async fn callback(
        &self,
        target: RequestTarget<'_>,
        query: &str,
    ) -> Result<GatewayResponse, GatewayError> {
        let site = target.site()?;
        check_callback(site, target)?;
        let (headers, source) = (target.headers, target.source);
        let now = self.authenticator.sessions.clock.now();
        let callback = Callback::read(query);
        // Several applications may share a host; the state's signature tells which one the login is for.
        let mut candidates = target.host.sites().map(|site| {
            let client_id = &site.application.client.id;
            let state = LoginState::verify(&callback.state, &site.keys.state, client_id, now);
            (site, state)
        });
        let (site, state) = candidates
            .find(|(_, state)| *state != Err(StateError::Invalid))
            .unwrap_or((site, Err(StateError::Invalid)));
        let home = || site.application.external.as_str().to_owned();
        let (known, attempt) = match &state {
            Ok(state) => (target_of(site, headers, state), state.attempt),
            Err(StateError::Expired(state)) => (target_of(site, headers, state), state.attempt),
            Err(StateError::Invalid) => (Some(home()), 1),
        };
        let target = known.clone().unwrap_or_else(home);
        let fail = |failure| {
            let target = target.clone();
            Err(GatewayError::Login {
                site: Arc::clone(site),
                failure,
                target,
            })
        };
        let mismatch = mismatch(site, headers, &state);
        watch_callback(site, headers, &state, mismatch);
        if let Some(denied) = callback.denied {
            // Anyone can start a login, and write a link with its state.
            return fail(LoginFailure::Denied(Denied {
                is_genuine: mismatch.is_none(),
                ..denied
            }));
        }
        let no_code = callback.code.is_empty().then_some("authentik sent no code");
        let mismatch = mismatch.or(no_code);
        let redeemed = match (mismatch, &state) {
            (None, Ok(state)) => match self
                .redeem(site, state, &callback.code, source, now)
                .await?
            {
                Ok(tokens) => Ok(tokens),
                Err(OidcError::CodeRefused) => Err("the code was used before or is too old"),
                Err(error) => return fail(LoginFailure::Oidc(error)),
            },
            (mismatch, _) => Err(mismatch.unwrap_or("the state is missing or not the outpost's")),
        };
        let reason = match redeemed {
            Ok(tokens) => {
                return self.finish(site, headers, tokens, known.as_deref()).await;
            }
            Err(reason) => reason,
        };
        if self.authenticator.current(site, headers).await?.is_some() {
            // A parallel tab or the back button: the user is signed in already.
            let reason = reason.to_owned();
            login_watch::step(site, || Step::AlreadySignedIn { reason });
            let response = self.land(site, headers, known.as_deref());
            return Ok(GatewayResponse::of(site, response));
        }
        if attempt < MAX_ATTEMPTS && known.is_some() {
            let reason = reason.to_owned();
            login_watch::step(site, || Step::StartedOver { reason });
            return self.begin(site, headers, target, attempt + 1);
        }
        fail(LoginFailure::Unmatched(reason))
    }

    /// Leads the browser to the return target.
    ///
    /// After a login that should have been needless the browser probably replays a stored redirect to
    /// the start, and does so for all redirects of a navigation through its history. A page ends this
    /// navigation, and its own asks the server. What is fresh in the cache is replayed even then, until
    /// the cache is empty.
    fn land(&self, site: &Arc<Site>, headers: &HeaderMap, target: Option<&str>) -> Response<Body> {
        let (form, _) = self.authenticator.sessions.cookies(site);
        let attempts = attempts_of(site, headers, form).next();
        let repeats = |target| attempts.map_or(0, |attempts| attempts.repeats_towards(target));
        let mut response = match target {
            Some(target) => match repeats(target) {
                0 => redirect(target),
                _ if !accepts_html(headers) => redirect(target),
                repeats => landing_page(site, target, repeats),
            },
            None => long_target::lost_page(site),
        };
        long_target::remove(&mut response, site, headers);
        response
    }

    async fn redeem(
        &self,
        site: &Arc<Site>,
        state: &LoginState,
        code: &str,
        source: Source,
        now: i64,
    ) -> Result<Result<Tokens, OidcError>, GatewayError> {
        let limiter = &self.authenticator.limiter;
        let running = limiter.acquire(source, Attempt::Code, now).await;
        let running =
            running.map_err(|limit| GatewayError::LimitExceeded(Arc::clone(site), limit))?;
        let verifier = site.keys.pkce_verifier(&state.state);
        let nonce = site.keys.nonce(&state.state);
        let party = &site.relying_party;
        let begun = Instant::now();
        let redeemed = party.redeem(code, verifier, &nonce, now).await;
        match &redeemed {
            Ok(_) => login_watch::step(site, || Step::CodeExchanged {
                milliseconds: begun.elapsed().as_millis().try_into().unwrap_or(u64::MAX),
            }),
            Err(OidcError::CodeRefused) => running.failed(),
            Err(_) => {}
        }
        Ok(redeemed)
    }

    /// Stores the session, and redirects to the return target. The id is new, against fixation, unless
    /// authentik authorized the browser's session again.
    async fn finish(
        &self,
        site: &Arc<Site>,
        headers: &HeaderMap,
        tokens: Tokens,
        target: Option<&str>,
    ) -> Result<GatewayResponse, GatewayError> {
        let sessions = &self.authenticator.sessions;
        let failed = |error| GatewayError::Store(Arc::clone(site), error);
        let continued = self.continued(site, headers, &tokens).await?;
        let is_continued = |id: &SessionId| continued.as_ref() == Some(id);
        let replaced: Vec<_> = sessions
            .ids(site, headers)
            .filter(|id| !is_continued(id))
            .collect();
        for old in replaced {
            sessions.store.revoke(&old.key()).await;
        }
        let renewed = match &continued {
            // It stays as old as it is, and a new cookie takes its place: another tab may be about to
            // bring one of its own.
            _ if sessions.in_cookies.is_some() => None,
            Some(id) => {
                let renewed = sessions.renew(site, id, tokens.clone()).await;
                renewed.map_err(failed)?
            }
            None => None,
        };
        let (session, cookies) = if let Some((session, cookie)) = renewed {
            (session, vec![cookie])
        } else {
            let created = sessions.sign_in(site, headers, tokens).await;
            created.map_err(|error| match error {
                SignInError::Store(error) => failed(error),
                SignInError::Cookie(error) => GatewayError::Login {
                    site: Arc::clone(site),
                    failure: LoginFailure::Cookie(error),
                    target: target
                        .unwrap_or(site.application.external.as_str())
                        .to_owned(),
                },
            })?
        };
        site.metrics.logins.count(LoginOutcome::Succeeded);
        login_watch::signed_in(site, &session, || {
            let attributes = cookie_attributes(site, 0);
            Step::SignedIn {
                secure: attributes.secure,
                domain: attributes.domain.map(str::to_owned),
            }
        });
        let mut response = self.land(site, headers, target);
        for cookie in cookies {
            append_cookie(&mut response, &cookie);
        }
        let (form, _) = sessions.cookies(site);
        if let Some(attempts) = attempts_of(site, headers, form).next() {
            let noted = self.login_cookie(site, &attempts.succeeded());
            append_cookie(&mut response, &noted);
        }
        let others = |sent| sent != form;
        remove_cookies(&mut response, site, headers, others);
        Ok(GatewayResponse {
            session: Some(session),
            ..GatewayResponse::of(site, response)
        })
    }

    /// The id of the browser's session, if these tokens are a new authorization of it: of the same user
    /// in the same session at authentik.
    async fn continued(
        &self,
        site: &Arc<Site>,
        headers: &HeaderMap,
        tokens: &Tokens,
    ) -> Result<Option<SessionId>, GatewayError> {
        if site.application.policy.reauthorize_interval.is_none() || tokens.claims.sid.is_none() {
            return Ok(None);
        }
        let found = self.authenticator.find(site, headers).await?;
        let is_same = |old: &Claims| old.sub == tokens.claims.sub && old.sid == tokens.claims.sid;
        let found = found.filter(|(_, old, _)| is_same(&old.claims));
        Ok(found.map(|(id, ..)| id))
    }
}

/// Why a callback does not belong to a login of this browser.
fn mismatch(
    site: &Site,
    headers: &HeaderMap,
    state: &Result<LoginState, StateError>,
) -> Option<&'static str> {
    match state {
        Err(StateError::Invalid) => Some("the state is missing or not the outpost's"),
        Err(StateError::Expired(_)) => Some("the login was started too long ago"),
        Ok(state) if bound_to_browser(site, headers, state) => None,
        Ok(_) => Some("the browser's login cookie is missing or belongs to another login"),
    }
}

/// Tells readers of logins that a browser came back from authentik, and which part of the login it
/// lacks.
fn watch_callback(
    site: &Site,
    headers: &HeaderMap,
    state: &Result<LoginState, StateError>,
    mismatch: Option<&str>,
) {
    match state {
        Ok(state) => login_watch::login(&state.state),
        Err(StateError::Expired(state)) => login_watch::login(&state.state),
        Err(StateError::Invalid) => {}
    }
    login_watch::step(site, || Step::Callback {
        problem: mismatch
            .map(|mismatch| match state {
                Ok(_) if !sends_login_cookie(site, headers) => "the browser sent no login cookie",
                Ok(_) => "the browser's login cookie belongs to another login",
                Err(_) => mismatch,
            })
            .map(str::to_owned),
    });
}

/// The return target of a login; `None` if the browser has lost it.
fn target_of(site: &Site, headers: &HeaderMap, state: &LoginState) -> Option<String> {
    if state.target_hash.is_empty() {
        Some(state.redirect.clone())
    } else {
        long_target::kept(site, headers, &state.target_hash)
    }
}

/// The page that leads on to the return target.
fn landing_page(site: &Site, target: &str, repeats: u8) -> Response<Body> {
    let page = Page {
        title: "Signed in",
        text: "The page that you asked for opens in a moment.",
        application: Some(&site.application.title),
        next: Some(target),
        ..Page::default()
    };
    let mut response = html(StatusCode::OK, &page);
    if repeats >= REPEATS_BEFORE_CLEARING {
        let cache = HeaderValue::from_static("\"cache\"");
        response.headers_mut().insert(CLEAR_SITE_DATA, cache);
    }
    response
}

/// Refuses a request that must not finish a login: a code can be used once.
fn check_callback(site: &Arc<Site>, target: RequestTarget<'_>) -> Result<(), GatewayError> {
    match *target.method {
        Method::GET if !is_prefetch(target.headers) => Ok(()),
        Method::GET | Method::HEAD => Err(GatewayError::Background(Arc::clone(site))),
        _ => Err(GatewayError::PageMethod {
            site: Arc::clone(site),
            allow: "GET, HEAD",
        }),
    }
}

/// The parameters of authentik's redirect. Its error redirects have a second `?` in the query.
pub(super) struct Callback {
    pub(super) code: String,
    pub(super) state: String,
    pub(super) denied: Option<Denied>,
}

impl Callback {
    pub(super) fn read(query: &str) -> Self {
        let query = query.replace('?', "&");
        let value = |name: &str| {
            let mut pairs = url::form_urlencoded::parse(query.as_bytes());
            pairs
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        Self {
            code: value("code").unwrap_or_default(),
            state: value("state").unwrap_or_default(),
            denied: value("error").map(|code| {
                let description = value("error_description").unwrap_or_default();
                Denied::new(&code, &description)
            }),
        }
    }
}
