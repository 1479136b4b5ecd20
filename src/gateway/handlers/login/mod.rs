//! Login and sign-out.

mod attempts;
mod callback;
mod cookies;
pub(crate) mod form;
pub(crate) mod long_target;
#[cfg(test)]
mod recorded;
mod sign_out;
pub(crate) mod target;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, header};

use crate::gateway::auth::authenticator::Authenticator;
use crate::gateway::auth::new_session::cookie_attributes;
use crate::gateway::error::{GatewayError, LoginFailure};
use crate::gateway::login_watch::{self, Response, Step};
use crate::gateway::request::endpoint::Endpoint;
use crate::gateway::request::target::RequestTarget;
use crate::gateway::response::{GatewayResponse, append_cookie, redirect, unauthorized};
use crate::model::{ExternalUrl, RequestedUrl, SessionId};
use crate::oidc::LoginState;
use crate::route::Site;
use crate::telemetry::metrics::{LoginOutcome, Rejection};
use crate::web::cookie;
use crate::web::request::navigation::{is_navigation, is_prefetch};
use attempts::LoginAttempts;
use cookies::{attempts_of, browser_binding};

/// The pages of a login: start, callback and sign-out.
pub(crate) struct LoginFlow {
    pub(crate) authenticator: Arc<Authenticator>,
    /// Time between the start of a login and its callback, in seconds.
    pub(crate) login_timeout: i64,
}

impl LoginFlow {
    /// The response of a page, if `endpoint` is one. Boxed, so that these rare and large futures do
    /// not make that of every request larger.
    pub(crate) fn page<'a>(
        &'a self,
        endpoint: Endpoint<'a>,
        target: RequestTarget<'a>,
    ) -> Option<BoxFuture<'a, Result<GatewayResponse, GatewayError>>> {
        match endpoint {
            Endpoint::Start(query) => {
                Some(Box::pin(
                    async move { self.start_page(target, query).await },
                ))
            }
            Endpoint::Callback(query) => Some(Box::pin(self.callback(target, query))),
            Endpoint::SignOut(query) => Some(Box::pin(self.sign_out(target, query))),
            _ => None,
        }
    }

    /// `/start?rd=…`: redirects the browser to authentik.
    async fn start_page(
        &self,
        target: RequestTarget<'_>,
        query: &str,
    ) -> Result<GatewayResponse, GatewayError> {
        let requested = target::requested(query);
        // The return target tells the application of the login.
        let path = requested.as_deref().and_then(target::path);
        let site = RequestTarget {
            path: path.unwrap_or(target.path),
            ..target
        }
        .site()?;
        let RequestTarget {
            method,
            headers,
            source,
            ..
        } = target;
        let authenticator = &self.authenticator;
        if authenticator
            .refuses_credentials(site, headers, source)
            .await?
        {
            // An API client that nginx redirected here after the 401 of the authorization request.
            return Ok(unauthorized(
                site,
                headers,
                true,
                Rejection::InvalidCredentials,
            ));
        }
        if !may_start_login(site, method, headers) {
            // A script that nginx redirected here would get authentik's page.
            return Ok(unauthorized(site, headers, true, Rejection::LoginRequired));
        }
        if !matches!(*method, Method::GET | Method::HEAD | Method::POST) {
            return Err(GatewayError::PageMethod {
                site: Arc::clone(site),
                allow: "GET, HEAD, POST",
            });
        }
        let target = target::of(&site.application, requested.as_deref());
        let target = target.map_err(|_| too_long(site))?;
        if is_callback(&site.application.external, &target) {
            return Err(GatewayError::Login {
                site: Arc::clone(site),
                failure: LoginFailure::Misrouted,
                target: site.application.external.as_str().to_owned(),
            });
        }
        self.start(method, site, headers, target)
    }

    /// Starts a login that returns to `target`. The response to `HEAD` has the location and starts no
    /// login: no cookie, and no attempt that counts.
    pub(crate) fn start(
        &self,
        method: &Method,
        site: &Arc<Site>,
        headers: &HeaderMap,
        target: String,
    ) -> Result<GatewayResponse, GatewayError> {
        let mut response = self.begin(site, headers, target, 1)?;
        if *method == Method::HEAD {
            response.response.headers_mut().remove(header::SET_COOKIE);
        }
        Ok(response)
    }

    /// Redirects the browser to authentik, with the return target `target`.
    fn begin(
        &self,
        site: &Arc<Site>,
        headers: &HeaderMap,
        target: String,
        attempt: u8,
    ) -> Result<GatewayResponse, GatewayError> {
        let sessions = &self.authenticator.sessions;
        let now = sessions.clock.now();
        let (form, _) = sessions.cookies(site);
        let attempts = LoginAttempts::next(attempts_of(site, headers, form), &target, now);
        if attempts.is_loop() {
            let reset = self.login_cookie(site, &attempts.reset()).into();
            return Err(GatewayError::Login {
                site: Arc::clone(site),
                failure: LoginFailure::Loop { reset },
                target,
            });
        }
        let random = SessionId::random().to_text();
        let (short, long) = if long_target::is_long(&target) {
            (site.application.external.as_str().to_owned(), Some(target))
        } else {
            (target, None)
        };
        let state = LoginState {
            iss: LoginState::issuer(&site.application.client.id),
            sid: browser_binding(&attempts, form),
            redirect: short,
            target_hash: long.as_deref().map(long_target::hash).unwrap_or_default(),
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
        login_watch::login(&state.state);
        login_watch::step(site, || Step::Redirected {
            to: url.origin().ascii_serialization(),
            attempt,
        });
        let mut response = redirect(url.as_str());
        append_cookie(&mut response, &self.login_cookie(site, &attempts));
        if let Some(target) = long {
            long_target::keep(&mut response, site, &target, self.login_timeout);
        }
        Ok(GatewayResponse::of(site, response))
    }

    /// Tells readers of logins of a navigation without a session; `login` is the response that begins
    /// a login.
    pub(crate) fn watch_refused(
        &self,
        site: &Site,
        url: &RequestedUrl<'_>,
        (method, headers): (&Method, &HeaderMap),
        mode: &str,
        login: Response,
    ) {
        if !login_watch::is_observed() || !is_navigation(method, headers) {
            return;
        }
        login_watch::navigation(site, url, || Step::NoSession {
            mode: mode.to_owned(),
            cookie: self.authenticator.sessions.without_session(site, headers),
            response: if form::is_submission(method, headers) {
                Response::Unauthorized
            } else {
                login
            },
        });
    }

    fn login_cookie(&self, site: &Site, attempts: &LoginAttempts) -> String {
        let attributes = cookie_attributes(site, self.login_timeout);
        let (_, names) = self.authenticator.sessions.cookies(site);
        cookie::set(&names.login, &attempts.to_text(), attributes)
    }
}

/// The failure of a login whose return target is too long.
pub(crate) fn too_long(site: &Arc<Site>) -> GatewayError {
    GatewayError::Login {
        site: Arc::clone(site),
        failure: LoginFailure::TargetTooLong,
        target: site.application.external.as_str().to_owned(),
    }
}

/// Whether a request without a session starts a login, instead of a 401. Prefetches never do: the user
/// may not open the page.
pub(crate) fn may_start_login(site: &Site, method: &Method, headers: &HeaderMap) -> bool {
    let scripts = site.application.policy.redirect_scripts && !is_prefetch(headers);
    scripts || is_navigation(method, headers)
}

/// Whether a target, an absolute URL, is the application's callback.
fn is_callback(external: &ExternalUrl, target: &str) -> bool {
    RequestedUrl::parse(target).is_ok_and(|url| {
        let target = url.path_and_query();
        let endpoint = Endpoint::of(&target, |path| external.own_path(path));
        matches!(endpoint, Endpoint::Callback(_))
    })
}
