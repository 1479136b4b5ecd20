//! Forward auth: a reverse proxy asks whether a request may pass.

use std::sync::Arc;

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::answer::{Answer, json};
use super::auth::{Decision, Permit, decide};
use super::credentials::Presented;
use super::endpoint::Endpoint;
use super::error::GatewayError;
use super::login::{append_cookie, target};
use super::surface::Surface;
use super::{Asked, Parted};
use crate::model::Question;
use crate::route::{Site, Snapshot};
use crate::web::identity;
use crate::web::inbound::Inbound;
use crate::web::navigation::{is_navigation, is_preflight};

impl Parted {
    /// One question, in any dialect: 200 with the identity headers, or what the person is to see
    /// instead.
    pub(super) async fn forward(
        &self,
        surface: Surface<'_>,
        parts: &Parts,
        inbound: &Inbound<'_>,
        snapshot: &Snapshot,
    ) -> Result<Answer, GatewayError> {
        let headers = &parts.headers;
        let url = surface.url(parts, inbound, &snapshot.table)?;
        let authority = url.authority();
        let site = snapshot
            .table
            .find(&authority, url.path())
            .ok_or_else(|| GatewayError::NoApplication(authority.to_string()))?;
        let method = surface.method(parts, inbound);
        if surface.is_shown() {
            // Where nothing else routes our own pages to us, they are asked about like any other.
            let target = url.path_and_query();
            let asked = Asked {
                authority,
                path: url.path(),
                method: &method,
                headers,
            };
            if let Some(page) = self.own_page(Endpoint::of(&target), asked, snapshot) {
                return page.await;
            }
        }
        let application = &site.application;
        let question = Question {
            url: &url,
            method: &method,
            client: inbound.client,
            preflight: is_preflight(&method, headers),
        };
        let denied = |reason| GatewayError::Denied {
            site: Arc::clone(site),
            reason,
        };
        if !snapshot.table.is_certain(&authority, url.path()) {
            let reason = "the path has several readings, in different applications of the host";
            return Err(denied(reason.to_owned()));
        }
        let session = self.identify(site, headers).await?;
        match decide(application, &question, session) {
            Decision::Allow(permit) => return Ok(allow(site, &permit, headers)),
            Decision::Deny(reason) => return Err(denied(reason)),
            Decision::Login => {}
        }
        let presented: BoxFuture<'_, _> = Box::pin(self.credentials(site, headers));
        match presented.await? {
            Presented::Good(session, cookie) => {
                match decide(application, &question, Some(session)) {
                    Decision::Allow(permit) => {
                        let mut answer = allow(site, &permit, headers);
                        if let Some(cookie) = cookie {
                            append_cookie(&mut answer.response, &cookie);
                        }
                        Ok(answer)
                    }
                    Decision::Deny(reason) => Err(denied(reason)),
                    Decision::Login => Ok(unauthorized(site, surface.is_shown())),
                }
            }
            Presented::Nothing
                if surface.is_shown()
                    && (application.policy.redirect_scripts || is_navigation(&method, headers)) =>
            {
                let target = target::of(application, Some(&url.to_string()));
                self.begin(site, headers, target, 1)
            }
            // Wrong credentials never start a browser's login.
            Presented::Nothing | Presented::Refused => Ok(unauthorized(site, surface.is_shown())),
        }
    }
}

/// 401: nginx sends people to `/start` on it; scripts are told what is the matter.
pub(super) fn unauthorized(site: &Arc<Site>, is_shown: bool) -> Answer {
    let status = StatusCode::UNAUTHORIZED;
    let response = if is_shown {
        let mut response = json(
            status,
            &serde_json::json!({
                "error": "login_required",
                "message": "Sign in first: open the application in a browser.",
                "url": site.application.external.as_str(),
            }),
        );
        let challenge = HeaderValue::from_static("Bearer realm=\"authentik\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
        response
    } else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response
    };
    Answer {
        quiet: true,
        ..Answer::of(site, response)
    }
}

/// 200 with the identity headers, which the reverse proxy copies to the application.
fn allow(site: &Arc<Site>, permit: &Permit, request: &HeaderMap) -> Answer {
    let mut headers = match permit.session() {
        Some(session) => session.headers.clone(),
        None => identity::nobody(),
    };
    for (name, value) in &site.meta {
        headers.insert(name, value.clone());
    }
    for (name, value) in &site.extra {
        headers.insert(name, value.current());
    }
    if let Some(agent) = request.get(header::USER_AGENT) {
        headers.insert(header::USER_AGENT, agent.clone());
    }
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers;
    Answer {
        session: permit.session().cloned(),
        quiet: true,
        ..Answer::of(site, response)
    }
}
