//! Proxy mode: all traffic of an application passes through us.

use std::sync::Arc;

use axum::body::Body;
use http::Method;
use http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::gateway::Parted;
use crate::gateway::auth::authorize::Admission;
use crate::gateway::error::GatewayError;
use crate::gateway::handlers::forward_auth::{SIGN_IN, unauthorized};
use crate::gateway::handlers::login::{append_cookie, may_start_login, redirect, target};
use crate::gateway::response::GatewayResponse;
use crate::model::{AuthorizationRequest, RequestedUrl};
use crate::route::Site;
use crate::telemetry::metrics::Refusal;
use crate::upstream::Passage;
use crate::web::request::navigation::{is_preflight, overrides_method};

/// What stands for itself in a query: RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl Parted {
    /// One request for an application: its own answer, or what the person is to see instead.
    pub(in crate::gateway) async fn proxy(
        &self,
        passage: Passage<'_>,
        body: Body,
    ) -> Result<GatewayResponse, GatewayError> {
        let Passage {
            site,
            parts,
            inbound,
            ..
        } = passage;
        let (method, headers) = (&parts.method, &parts.headers);
        if matches!(*method, Method::CONNECT | Method::TRACE) {
            // TRACE would show the identity headers to the page that asks.
            return Err(GatewayError::Method(Arc::clone(site)));
        }
        let target = parts.uri.path_and_query();
        let target = target.map_or("/", PathAndQuery::as_str);
        let url = RequestedUrl::of_request(inbound.scheme, passage.host, target)
            .map_err(|_| GatewayError::Method(Arc::clone(site)))?;
        let is_overridden = site.application.policy.uses_methods() && overrides_method(headers);
        let request = AuthorizationRequest {
            url: &url,
            method: Some(method).filter(|_| !is_overridden),
            client: inbound.known_client(),
            preflight: !is_overridden && is_preflight(method, headers),
            routed_host: None,
        };
        match self
            .admit(site, &request, headers, inbound.source())
            .await?
        {
            Admission::Passed(pass) => {
                let credentials = pass.by_credentials || self.opened_session(site, headers);
                let mut answer = self
                    .pass_on(&pass.permit, passage, credentials, body)
                    .await?;
                if let Some(cookie) = pass.cookie {
                    append_cookie(&mut answer.response, &cookie);
                }
                Ok(answer)
            }
            Admission::Refused(Refusal::SignInRequired)
                if may_start_login(site, method, headers) =>
            {
                Ok(start(site, &url))
            }
            Admission::Refused(reason) => Ok(GatewayResponse {
                grpc_message: Some(SIGN_IN),
                ..unauthorized(site, true, reason)
            }),
        }
    }
}

/// Sends the browser to our own page that begins a login.
fn start(site: &Arc<Site>, url: &RequestedUrl<'_>) -> GatewayResponse {
    let application = &site.application;
    let target = target::of(application, Some(&url.path_and_query()));
    let home = application.external.as_str().trim_end_matches('/');
    let target = utf8_percent_encode(&target, ENCODED);
    let location = format!("{home}/outpost.goauthentik.io/start?rd={target}");
    GatewayResponse {
        grpc_message: Some(SIGN_IN),
        ..GatewayResponse::of(site, redirect(&location))
    }
}
