//! Signing in and out.

mod attempts;
#[cfg(test)]
mod recorded;
mod sign_out;
pub(in crate::gateway) mod target;

use std::sync::Arc;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret as _;

use crate::gateway::auth::authentik_limiter::{Attempt, limit_exceeded};
use crate::gateway::auth::session::{session_ids, store_error};
use crate::gateway::endpoint::Endpoint;
use crate::gateway::error::{GatewayError, LoginFailure};
use crate::gateway::handlers::forward_auth::unauthorized;
use crate::gateway::response::GatewayResponse;
use crate::gateway::{Parted, RequestTarget};
use crate::model::{ExternalUrl, Refresh, RequestedUrl, Session, SessionId};
use crate::oidc::{LoginState, OidcError, StateError, Tokens};
use crate::route::Site;
use crate::store::SessionContext as _;
use crate::telemetry::metrics::{LoginOutcome, Rejection};
use crate::web::cookie::{self, Attributes, Form, Names};
use crate::web::request::inbound::Source;
use crate::web::request::navigation::{is_navigation, is_prefetch};
use attempts::LoginAttempts;

/// Callbacks that could not be matched before a page is shown instead of another try.
const MAX_ATTEMPTS: u8 = 2;

/// Whether a target, an absolute URL, is our own callback.
fn is_callback(external: &ExternalUrl, target: &str) -> bool {
    RequestedUrl::parse(target).is_ok_and(|url| {
        let target = url.path_and_query();
        let endpoint = Endpoint::of(&target, |path| external.own_path(path));
        matches!(endpoint, Endpoint::Callback(_))
    })
}

/// A link that begins a login towards `target`.
pub(in crate::gateway) fn retry_url(target: &str) -> String {
    let target = utf8_percent_encode(target, NON_ALPHANUMERIC);
    format!("/outpost.goauthentik.io/start?rd={target}")
}

impl Parted {
    /// `/start?rd=…`: sends the browser to authentik.
    pub(in crate::gateway) fn start(
        &self,
        site: &Arc<Site>,
        method: &Method,
        headers: &HeaderMap,
        wanted: Option<&str>,
    ) -> Result<GatewayResponse, GatewayError> {
        if !may_start_login(site, method, headers) {
            // A script that nginx redirected here would only see authentik's page.
            return Ok(unauthorized(site, true, Rejection::LoginRequired));
        }
        if !matches!(*method, Method::GET | Method::HEAD | Method::POST) {
            return Err(GatewayError::PageMethod {
                site: Arc::clone(site),
                allow: "GET, HEAD, POST",
            });
        }
        let target = target::of(&site.application, wanted);
        if is_callback(&site.application.external, &target) {
            return Err(GatewayError::Login {
                site: Arc::clone(site),
                failure: LoginFailure::Misrouted,
                target: site.application.external.as_str().to_owned(),
            });
        }
        self.start_login_for(method, site, headers, target)
    }

    /// `/callback`: finishes a login and sends the person where they wanted to go.
    pub(in crate::gateway) async fn callback(
        &self,
        site: &Arc<Site>,
        candidates: Vec<Arc<Site>>,
        asked: RequestTarget<'_>,
        query: &str,
    ) -> Result<GatewayResponse, GatewayError> {
        let headers = asked.headers;
        let now = self.clock.now();
        let callback = Callback::read(query);
        // Several applications may share a host; the state's signature tells whose login it is.
        let verify = |site: Arc<Site>| {
            let client_id = &site.application.client.id;
            let verdict = LoginState::verify(&callback.state, &site.keys.state, client_id, now);
            (site, verdict)
        };
        let (site, state) = candidates
            .into_iter()
            .map(verify)
            .find(|(_, verdict)| *verdict != Err(StateError::Invalid))
            .unwrap_or_else(|| (Arc::clone(site), Err(StateError::Invalid)));
        let home = || site.application.external.as_str().to_owned();
        let (target, attempt) = match &state {
            Ok(state) => (state.redirect.clone(), state.attempt),
            Err(StateError::Expired(state)) => (state.redirect.clone(), state.attempt),
            Err(StateError::Invalid) => (home(), 1),
        };
        let fail = |failure| {
            let target = target.clone();
            Err(GatewayError::Login {
                site: Arc::clone(&site),
                failure,
                target,
            })
        };
        if let Some(denied) = callback.denied {
            return fail(denied);
        }
        let mismatch = match &state {
            Err(StateError::Invalid) => Some("the state is missing or not ours"),
            Err(StateError::Expired(_)) => Some("the login was started too long ago"),
            Ok(state) if !bound_to_browser(&site, headers, state) => {
                Some("the browser's login cookie is missing or belongs to another login")
            }
            Ok(_) if callback.code.is_empty() => Some("authentik sent no code"),
            Ok(_) => None,
        };
        let redeemed = match (mismatch, &state) {
            (None, Ok(state)) => match self
                .redeem(&site, state, &callback.code, asked.source, now)
                .await?
            {
                Ok(tokens) => Ok(tokens),
                Err(OidcError::CodeRefused) => Err("the code was used before or is too old"),
                Err(error) => return fail(LoginFailure::Oidc(error)),
            },
            (mismatch, _) => Err(mismatch.unwrap_or("the state is missing or not ours")),
        };
        let reason = match redeemed {
            Ok(tokens) => {
                return self.finish_login(&site, headers, tokens, &target).await;
            }
            Err(reason) => reason,
        };
        if self.identify(&site, headers).await?.is_some() {
            // A parallel tab or the back button: the person is signed in already.
            return Ok(GatewayResponse::of(&site, redirect(&target)));
        }
        if attempt < MAX_ATTEMPTS {
            return self.begin(&site, headers, target, attempt + 1);
        }
        fail(LoginFailure::Unmatched(reason))
    }

    /// Sends whoever asked by `method` to authentik, to come back to `target`. `HEAD` is told where
    /// a login would begin, and begins none: no cookie, nothing that counts.
    pub(in crate::gateway) fn start_login_for(
        &self,
        method: &Method,
        site: &Arc<Site>,
        headers: &HeaderMap,
        target: String,
    ) -> Result<GatewayResponse, GatewayError> {
        let mut answer = self.begin(site, headers, target, 1)?;
        if *method == Method::HEAD {
            answer.response.headers_mut().remove(header::SET_COOKIE);
        }
        Ok(answer)
    }

    /// Sends the browser to authentik, to come back to `target`.
    fn begin(
        &self,
        site: &Arc<Site>,
        headers: &HeaderMap,
        target: String,
        attempt: u8,
    ) -> Result<GatewayResponse, GatewayError> {
        let now = self.clock.now();
        let form = self.form(site);
        let sent = sent_attempts(site, headers).filter(|(sent, _)| *sent == form);
        let attempts = LoginAttempts::next(sent.map(|(_, attempts)| attempts), &target, now);
        if attempts.is_loop() {
            let reset = self.login_cookie(site, &attempts.reset()).into();
            return Err(GatewayError::Login {
                site: Arc::clone(site),
                failure: LoginFailure::Loop { reset },
                target,
            });
        }
        let random = SessionId::random().to_text();
        let state = LoginState {
            iss: LoginState::issuer(&site.application.client.id),
            sid: browser_binding(&attempts, form),
            redirect: target,
            exp: now + self.login_timeout,
            attempt,
            state: random,
        };
        let url = site.relying_party.authorize_url(
            state.sign(&site.keys.state),
            site.keys.nonce(&state.state),
            site.keys.pkce_verifier(&state.state),
        );
        site.metrics.logins.count(LoginOutcome::Started);
        let mut response = redirect(url.as_str());
        append_cookie(&mut response, &self.login_cookie(site, &attempts));
        Ok(GatewayResponse::of(site, response))
    }

    fn login_cookie(&self, site: &Site, attempts: &LoginAttempts) -> String {
        let lifetime = attributes(site, self.login_timeout);
        let (_, names) = site.cookies.in_form(self.cookie_form);
        cookie::set(&names.login, &attempts.to_text(), lifetime)
    }

    /// The form of the cookies that we hand out for an application.
    fn form(&self, site: &Site) -> Form {
        site.cookies.in_form(self.cookie_form).0
    }

    async fn redeem(
        &self,
        site: &Arc<Site>,
        state: &LoginState,
        code: &str,
        source: Source,
        now: i64,
    ) -> Result<Result<Tokens, OidcError>, GatewayError> {
        let limiter = &self.credential_cache.limiter;
        let running = limiter.acquire(source, Attempt::Code, now).await;
        let running = running.map_err(limit_exceeded(site))?;
        let verifier = site.keys.pkce_verifier(&state.state);
        let nonce = site.keys.nonce(&state.state);
        let party = &site.relying_party;
        let redeemed = party.redeem(code, verifier, &nonce, now).await;
        if matches!(redeemed, Err(OidcError::CodeRefused)) {
            running.failed();
        }
        Ok(redeemed)
    }

    /// Keeps the session under a fresh id (against fixation) and sends the person on.
    async fn finish_login(
        &self,
        site: &Arc<Site>,
        headers: &HeaderMap,
        tokens: Tokens,
        target: &str,
    ) -> Result<GatewayResponse, GatewayError> {
        let replaced: Vec<_> = session_ids(site, headers).map(|id| id.key()).collect();
        for old in replaced {
            self.store.revoke(&old).await;
        }
        let session = Arc::new(session(site, tokens, self.clock.now()));
        let id = SessionId::random();
        let kept = Arc::clone(&session);
        let inserted = self.store.insert(&id, &**site, kept).await;
        inserted.map_err(store_error(site))?;
        site.metrics.logins.count(LoginOutcome::Succeeded);
        let mut response = redirect(target);
        append_cookie(&mut response, &self.session_cookie(site, &id, &session));
        let form = self.form(site);
        if let Some((_, attempts)) = sent_attempts(site, headers).find(|(sent, _)| *sent == form) {
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

    pub(in crate::gateway) fn session_cookie(
        &self,
        site: &Site,
        id: &SessionId,
        session: &Session,
    ) -> String {
        let (form, names) = site.cookies.in_form(self.cookie_form);
        let value = cookie::sign(&site.keys.session, id, form);
        // A session that is refreshed must not lose its cookie on the way.
        let limit = |refresh: &Refresh| refresh.started_at.saturating_add(self.max_age);
        let ends = session.refresh.as_ref().map_or(session.expires_at, limit);
        let lifetime = attributes(site, ends - self.clock.now());
        cookie::set(&names.session, &value, lifetime)
    }
}

/// Whether a request without a session is sent to authentik, and not told that it needs one. What
/// a browser loads in advance never is: the user may not open it.
pub(in crate::gateway) fn may_start_login(
    site: &Site,
    method: &Method,
    headers: &HeaderMap,
) -> bool {
    let scripts = site.application.policy.redirect_scripts && !is_prefetch(headers);
    scripts || is_navigation(method, headers)
}

/// Refuses a callback that is no way to finish a login: a code is good for one use.
pub(in crate::gateway) fn check_callback(
    site: &Arc<Site>,
    asked: RequestTarget<'_>,
) -> Result<(), GatewayError> {
    match *asked.method {
        Method::GET if !is_prefetch(asked.headers) => Ok(()),
        Method::GET | Method::HEAD => Err(GatewayError::Background(Arc::clone(site))),
        _ => Err(GatewayError::PageMethod {
            site: Arc::clone(site),
            allow: "GET, HEAD",
        }),
    }
}

/// The session that verified tokens open, with its headers prepared.
pub(in crate::gateway) fn session(site: &Site, tokens: Tokens, started_at: i64) -> Session {
    let Tokens {
        claims,
        access_token,
        refresh_token,
    } = tokens;
    let expires_at = claims.exp.unwrap_or_default();
    let headers = site.headers(&claims, access_token.expose_secret());
    let length = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    site.metrics
        .observe_identity(headers.iter().map(length).sum());
    let client_id = &site.application.client.id;
    let refresh = refresh_token.map(|token| Refresh { token, started_at });
    Session::new(client_id, claims, access_token, expires_at, headers).refreshable(refresh)
}

/// What authentik's redirect says. Its error redirects have a second `?` in the query.
struct Callback {
    code: String,
    state: String,
    denied: Option<LoginFailure>,
}

impl Callback {
    fn read(query: &str) -> Self {
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
            denied: value("error").map(|code| LoginFailure::Denied {
                code: code.chars().take(64).collect(),
                description: value("error_description")
                    .unwrap_or_default()
                    .chars()
                    .take(256)
                    .collect(),
            }),
        }
    }
}

/// Whether the browser that comes back is the one that was sent. A login that began with a cookie
/// that no other host can set does not end with one that another host may have set.
fn bound_to_browser(site: &Site, headers: &HeaderMap, state: &LoginState) -> bool {
    sent_attempts(site, headers)
        .any(|(form, attempts)| browser_binding(&attempts, form) == state.sid)
}

/// What the state of a login says of the browser's cookie and of its form.
fn browser_binding(attempts: &LoginAttempts, form: Form) -> String {
    format!("{}{}", form.context(), attempts.browser.key().to_text())
}

fn sent_attempts<'a>(
    site: &'a Site,
    headers: &'a HeaderMap,
) -> impl Iterator<Item = (Form, LoginAttempts)> + 'a {
    site.cookies.all().flat_map(move |(form, names)| {
        let values = cookie::values(headers, &names.login).filter_map(LoginAttempts::parse);
        values.map(move |attempts| (form, attempts))
    })
}

/// Has the browser forget the session cookies that it sent in these forms.
fn remove_cookies(
    response: &mut Response<Body>,
    site: &Site,
    headers: &HeaderMap,
    forms: impl Fn(Form) -> bool,
) {
    let sent = |names: &Names| cookie::values(headers, &names.session).next().is_some();
    for (_, names) in site
        .cookies
        .all()
        .filter(|(form, names)| forms(*form) && sent(names))
    {
        append_cookie(
            response,
            &cookie::set(&names.session, "", attributes(site, 0)),
        );
    }
}

fn attributes(site: &Site, max_age: i64) -> Attributes<'_> {
    let application = &site.application;
    Attributes {
        secure: application.external.is_https(),
        domain: application
            .cookie_domain()
            .map(crate::model::CookieDomain::as_str),
        max_age,
    }
}

pub(in crate::gateway) fn redirect(to: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    let headers = response.headers_mut();
    // Targets are visible ASCII by construction.
    if let Ok(to) = HeaderValue::from_str(to) {
        headers.insert(header::LOCATION, to);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(in crate::gateway) fn append_cookie(response: &mut Response<Body>, cookie: &str) {
    if let Ok(mut cookie) = HeaderValue::from_str(cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
