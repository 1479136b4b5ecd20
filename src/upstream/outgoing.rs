//! The HTTP request for the application, made of the client's.

use axum::body::Body;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Uri, header};

use super::error::UpstreamError;
use super::headers;
use super::request::{Destination, ProxyRequest};
use super::upgrade::Upgrade;
use crate::model::UpstreamProtocol;

/// Builds the request, without its body.
pub(super) fn build(
    request: &ProxyRequest<'_>,
    destination: Destination<'_>,
    upgrade: Option<&Upgrade>,
    has_body: bool,
) -> Result<Request<Body>, UpstreamError> {
    let parts = request.parts;
    if headers::nominates_too_many(&parts.headers) {
        return Err(UpstreamError::Client);
    }
    let requested_host = HeaderValue::from_str(request.inbound.host);
    let requested_host = requested_host.map_err(|_| UpstreamError::Client)?;
    let host = request.host_header.clone();
    let host = host.unwrap_or_else(|| requested_host.clone());
    let chunked = has_body && destination.protocol == UpstreamProtocol::Http1;
    let mut headers = headers::outbound(request, requested_host, chunked);
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, upgrade.protocol().clone());
    }
    let target = parts.uri.path_and_query().cloned();
    let target = target.ok_or(UpstreamError::Client)?;
    let mut outgoing = Request::new(Body::empty());
    *outgoing.method_mut() = parts.method.clone();
    *outgoing.headers_mut() = headers;
    set_target(&mut outgoing, destination, target, host)?;
    Ok(outgoing)
}

/// Sets target and host of a request.
pub(super) fn set_target(
    request: &mut Request<Body>,
    destination: Destination<'_>,
    target: PathAndQuery,
    host: HeaderValue,
) -> Result<(), UpstreamError> {
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(target);
    match destination.protocol {
        UpstreamProtocol::Http1 => {
            request.headers_mut().insert(header::HOST, host);
        }
        // HTTP/2 has the host in the target, and nowhere else (RFC 9113 section 8.3.1).
        UpstreamProtocol::Http2 => {
            uri.scheme = Some(destination.backend.scheme().clone());
            let host = host.as_bytes().try_into();
            uri.authority = Some(host.map_err(|_| UpstreamError::Host)?);
        }
    }
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| UpstreamError::Client)?;
    Ok(())
}
