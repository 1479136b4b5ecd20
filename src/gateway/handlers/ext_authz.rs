//! Envoy's `ext_authz` over gRPC (`envoy.service.auth.v3.Authorization/Check`): the same authorization
//! request as over HTTP, in protobuf. Every failure is a denial, so that `failure_mode_allow` never
//! decides.

use std::time::Duration;

use axum::body::Body;
use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse, DeniedHttpResponse,
    HeaderAppendAction, HeaderValue, HeaderValueOption, HttpResponse, HttpStatus, OkHttpResponse,
};
use envoy_types::pb::google::rpc;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tonic::{Code, Status};
use tower::Service as _;
use tower_http::timeout::TimeoutBody;

use super::forward_auth::ENVOY_HEADERS_TO_REMOVE;
use crate::web::header::names::POWERED_BY;
use crate::web::request::inbound::Peer;

/// Size of a message: the head of a request, and Envoy's further attributes.
const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// Answers one gRPC request. `handle` answers the same authorization request over HTTP.
pub(crate) async fn answer<H>(
    handle: H,
    body_timeout: Duration,
    peer: Peer,
    mut request: Request<Incoming>,
) -> Response<Body>
where
    H: Fn(Peer, Request<Body>) -> BoxFuture<'static, Response<Body>> + Send + Sync + 'static,
{
    request.extensions_mut().insert(peer);
    let request = request.map(|body| TimeoutBody::new(body_timeout, body));
    let server = AuthorizationServer::new(Check(handle));
    let mut server = server.max_decoding_message_size(MAX_MESSAGE_BYTES);
    match server.call(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

struct Check<H>(H);

#[tonic::async_trait]
impl<H> Authorization for Check<H>
where
    H: Fn(Peer, Request<Body>) -> BoxFuture<'static, Response<Body>> + Send + Sync + 'static,
{
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, Status> {
        let peer = request.extensions().get::<Peer>().copied();
        let answer = match peer.zip(http_request(request.into_inner())) {
            Some((peer, request)) => convert((self.0)(peer, request).await).await,
            None => denial(StatusCode::BAD_REQUEST, Vec::new(), String::new()),
        };
        Ok(tonic::Response::new(answer))
    }
}

/// The request as Envoy would send it over HTTP; `None` if it has no path.
#[must_use]
pub fn http_request(request: CheckRequest) -> Option<Request<Body>> {
    let http = request.attributes?.request?.http?;
    // Anything else after the prefix would make it another endpoint.
    // A fragment would be lost here, while Envoy passes it on.
    if !http.path.starts_with('/') || http.path.contains('#') {
        return None;
    }
    let mut builder = Request::builder()
        .method(http.method.as_str())
        .uri(format!("/outpost.goauthentik.io/auth/envoy{}", http.path))
        .header(header::HOST, http.host);
    for (name, value) in &http.headers {
        // Pseudo-headers are no headers, and the host is set above.
        if !name.starts_with(':') && !name.eq_ignore_ascii_case("host") {
            builder = builder.header(name, value);
        }
    }
    builder.body(Body::empty()).ok()
}

async fn convert(response: Response<Body>) -> CheckResponse {
    let (parts, body) = response.into_parts();
    if parts.status == StatusCode::OK {
        return permission(&parts.headers);
    }
    let headers = parts.headers.iter().filter(|(name, _)| is_for_envoy(name));
    let headers = headers.filter_map(|(name, value)| option(name, value));
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let body = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
    denial(parts.status, headers.collect(), body)
}

fn permission(headers: &HeaderMap) -> CheckResponse {
    let (mut set, mut add, mut remove) = (Vec::new(), Vec::new(), Vec::new());
    // A header of the response itself would become one of the request.
    let is_for_request = |name: &HeaderName| is_for_envoy(name) && *name != header::CACHE_CONTROL;
    for (name, value) in headers.iter().filter(|(name, _)| is_for_request(name)) {
        if *name == header::SET_COOKIE {
            add.extend(option(name, value));
        } else if *name == ENVOY_HEADERS_TO_REMOVE {
            let names = value.to_str().unwrap_or_default().split(',');
            remove.extend(names.map(str::to_owned));
        } else if value.is_empty() {
            // Envoy keeps the client's own header if the value is empty.
            remove.push(name.to_string());
        } else {
            set.extend(option(name, value));
        }
    }
    let ok = OkHttpResponse {
        headers: set,
        headers_to_remove: remove,
        response_headers_to_add: add,
        ..OkHttpResponse::default()
    };
    response(Code::Ok, HttpResponse::OkResponse(ok))
}

fn denial(status: StatusCode, headers: Vec<HeaderValueOption>, body: String) -> CheckResponse {
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus {
            code: status.as_u16().into(),
        }),
        headers,
        body,
    };
    response(Code::PermissionDenied, HttpResponse::DeniedResponse(denied))
}

fn response(code: Code, http_response: HttpResponse) -> CheckResponse {
    CheckResponse {
        status: Some(rpc::Status {
            code: code.into(),
            ..rpc::Status::default()
        }),
        http_response: Some(http_response),
        ..CheckResponse::default()
    }
}

/// Whether a header is not about the outpost's own connection.
fn is_for_envoy(name: &HeaderName) -> bool {
    *name != POWERED_BY && *name != header::USER_AGENT && *name != header::CONTENT_LENGTH
}

fn option(name: &HeaderName, value: &http::HeaderValue) -> Option<HeaderValueOption> {
    let action = if *name == header::SET_COOKIE {
        HeaderAppendAction::AppendIfExistsOrAdd
    } else {
        HeaderAppendAction::OverwriteIfExistsOrAdd
    };
    Some(HeaderValueOption {
        header: Some(HeaderValue {
            key: name.to_string(),
            value: String::from_utf8(value.as_bytes().to_vec()).ok()?,
            raw_value: Vec::new(),
        }),
        append_action: action.into(),
        ..HeaderValueOption::default()
    })
}
