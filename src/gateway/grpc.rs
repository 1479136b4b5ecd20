//! Responses to gRPC calls that do not reach their application: a gRPC status in place of an HTML page.

use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::response::REQUEST_ID;
use crate::web::header::names::POWERED_BY;

const CONTENT_TYPE: &[u8] = b"application/grpc";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Characters that are percent-encoded in a message: all but visible ASCII and spaces, and `%`.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Whether a request is a gRPC call: a `POST` over HTTP/2 with a `Content-Type` of gRPC.
/// `application/grpc-web` is another protocol, for browsers. A misconfigured reverse proxy that copies
/// the headers of its client may look like a call as well; the HTTP status denies it, too.
pub(crate) fn is_call(parts: &Parts) -> bool {
    let sent = parts.headers.get(header::CONTENT_TYPE);
    let rest = sent.and_then(|sent| sent.as_bytes().strip_prefix(CONTENT_TYPE));
    parts.version == Version::HTTP_2
        && parts.method == Method::POST
        && matches!(rest, Some([] | [b'+' | b';', ..]))
}

/// A response of the outpost in gRPC's form "Trailers-Only"
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses>), except for the HTTP
/// status, which is kept: a reverse proxy that asks about a call takes 200 for permission. Clients have
/// to prefer `grpc-status`; others derive the same code from the HTTP status and lose the message.
pub(crate) fn as_grpc(response: &Response<Body>, message: &str) -> Response<Body> {
    let status = match response.status() {
        status if status.is_client_error() || status.is_server_error() => status,
        // A redirect to the login.
        _ => StatusCode::UNAUTHORIZED,
    };
    let mut headers = HeaderMap::new();
    let kind = HeaderValue::from_static("application/grpc");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(STATUS, HeaderValue::from_static(code(status)));
    let message = utf8_percent_encode(message, ENCODED).to_string();
    if let Ok(message) = HeaderValue::from_str(&message) {
        headers.insert(MESSAGE, message);
    }
    for name in [POWERED_BY, REQUEST_ID] {
        if let Some(value) = response.headers().get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let mut grpc = Response::new(Body::empty());
    *grpc.status_mut() = status;
    *grpc.headers_mut() = headers;
    grpc
}

/// The gRPC status of an HTTP status
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "13",
        StatusCode::UNAUTHORIZED => "16",
        StatusCode::FORBIDDEN => "7",
        StatusCode::NOT_FOUND => "12",
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => "14",
        _ => "2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_post_over_http_2_of_grpcs_type() {
        let call = (Method::POST, Version::HTTP_2, "application/grpc");
        for ((method, version, kind), expected) in [
            (call.clone(), true),
            ((call.0.clone(), call.1, "application/grpc+proto"), true),
            ((call.0.clone(), call.1, "application/grpc;a=b"), true),
            ((call.0.clone(), call.1, "application/grpc-web"), false),
            (
                (call.0.clone(), call.1, "application/grpc-web+proto"),
                false,
            ),
            ((call.0.clone(), call.1, "application/json"), false),
            ((call.0, Version::HTTP_11, call.2), false),
            ((Method::GET, call.1, call.2), false),
        ] {
            let request = http::Request::builder()
                .method(&method)
                .version(version)
                .header(header::CONTENT_TYPE, kind);
            let (parts, ()) = request.body(()).expect("a request").into_parts();
            assert_eq!(is_call(&parts), expected, "{method} {version:?} {kind}");
        }
    }

    #[test]
    fn messages_are_percent_encoded_and_nothing_else_stays() {
        let response = Response::builder()
            .status(502)
            .header("x-request-id", "7")
            .header("retry-after", "5")
            .body(Body::from("a page"))
            .expect("a response");
        let grpc = as_grpc(&response, "100 %\n\u{e4}");
        assert_eq!(grpc.status(), 502);
        let header = |name: &str| grpc.headers()[name].to_str().expect("text");
        assert_eq!(header("content-type"), "application/grpc");
        assert_eq!(header("grpc-status"), "14");
        assert_eq!(header("grpc-message"), "100 %25%0A%C3%A4");
        assert_eq!(header("x-request-id"), "7");
        assert_eq!(grpc.headers().len(), 4);
    }

    #[test]
    fn no_status_is_permission() {
        for (status, expected, code) in [
            (200, 401, "16"),
            (302, 401, "16"),
            (400, 400, "13"),
            (401, 401, "16"),
            (403, 403, "7"),
            (404, 404, "12"),
            (429, 429, "14"),
            (500, 500, "2"),
            (502, 502, "14"),
            (503, 503, "14"),
            (504, 504, "14"),
        ] {
            let response = Response::builder().status(status).body(Body::empty());
            let grpc = as_grpc(&response.expect("a response"), "");
            assert_eq!(grpc.status(), expected, "{status}");
            assert_eq!(grpc.headers()["grpc-status"], code, "{status}");
        }
    }
}
