//! Forward auth: a reverse proxy asks whether a request may pass.

use std::sync::Arc;

use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode, header};

use super::auth::{Decision, Permit, decide, identify};
use super::error::{GatewayError, OriginalUrlError};
use super::{Answer, Parted};
use crate::model::RequestedUrl;
use crate::route::{Site, Snapshot};
use crate::web::identity;

impl Parted {
    /// nginx's `auth_request` and ingress-nginx's `auth-url`: 200, 401 or 500.
    ///
    /// The application is the one whose URL is asked for: `X-Original-URL` is set by nginx on
    /// every subrequest, while `X-Forwarded-Host` would come through from the client.
    pub(super) async fn nginx(
        &self,
        parts: &Parts,
        snapshot: &Snapshot,
    ) -> Result<Answer, GatewayError> {
        let url = original_url(&parts.headers).map_err(GatewayError::OriginalUrl)?;
        let authority = url.authority();
        let site = snapshot
            .table
            .find(&authority, url.path())
            .ok_or_else(|| GatewayError::NoApplication(authority.to_string()))?;
        let session = identify(site, &self.store, &parts.headers).await?;
        Ok(match decide(site, &url, session) {
            Decision::Allow(permit) => {
                let mut answer = Answer::of(site, allow(site, &permit, &parts.headers));
                answer.session = permit.session().cloned();
                answer.quiet = true;
                answer
            }
            Decision::Login => denied(site),
        })
    }
}

/// 401, on which the reverse proxy sends people to `/start`.
fn denied(site: &Arc<Site>) -> Answer {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    Answer {
        quiet: true,
        ..Answer::of(site, response)
    }
}

/// 200 with the identity headers, which the reverse proxy copies to the application.
fn allow(site: &Site, permit: &Permit, request: &HeaderMap) -> Response<Body> {
    let mut headers = match permit.session() {
        Some(session) => session.headers.clone(),
        None => identity::nobody(),
    };
    for (name, value) in &site.meta {
        headers.insert(name, value.clone());
    }
    if let Some(agent) = request.get(header::USER_AGENT) {
        headers.insert(header::USER_AGENT, agent.clone());
    }
    let mut response = Response::new(Body::empty());
    *response.headers_mut() = headers;
    response
}

fn original_url(headers: &HeaderMap) -> Result<RequestedUrl<'_>, OriginalUrlError> {
    let mut values = headers.get_all("x-original-url").into_iter();
    let value = values.next().ok_or(OriginalUrlError::Missing)?;
    if values.next().is_some() {
        return Err(OriginalUrlError::Repeated);
    }
    let unusable = crate::model::RequestedUrlError::Character;
    let text = value
        .to_str()
        .map_err(|_| OriginalUrlError::Unusable(unusable))?;
    RequestedUrl::parse(text).map_err(OriginalUrlError::Unusable)
}
