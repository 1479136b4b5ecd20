//! What a gRPC call is told where the application is not reached: a status that gRPC's clients
//! understand, in the place of a page that none of them reads.

use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::response::REQUEST_ID;
use crate::web::header::names::POWERED_BY;

const CONTENT_TYPE: &[u8] = b"application/grpc";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What does not stand for itself in a message: all but visible ASCII and spaces, and `%`.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Whether a request is a gRPC call: a `POST` over HTTP/2 of its type. `application/grpc-web` is for
/// browsers, and another protocol. A reverse proxy that asks at a wrong path and passes its client's
/// headers on may look like one; the answer's HTTP status denies that, too.
pub(crate) fn is_call(parts: &Parts) -> bool {
    let sent = parts.headers.get(header::CONTENT_TYPE);
    let rest = sent.and_then(|sent| sent.as_bytes().strip_prefix(CONTENT_TYPE));
    parts.version == Version::HTTP_2
        && parts.method == Method::POST
        && matches!(rest, Some([] | [b'+' | b';', ..]))
}

/// An answer of ours in gRPC's words: "Trailers-Only"
/// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses>), but for the HTTP
/// status, which stays: 200 would be permission to whoever asks about a call. Clients have to prefer
/// `grpc-status`; those that do not make the same code of the HTTP status and lose the message.
pub(crate) fn as_grpc(answer: &Response<Body>, message: &str) -> Response<Body> {
    let status = match answer.status() {
        status if status.is_client_error() || status.is_server_error() => status,
        // A redirect leads to the sign-in.
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
        if let Some(value) = answer.headers().get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The status code that stands for HTTP's
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
        let answer = Response::builder()
            .status(502)
            .header("x-request-id", "7")
            .header("retry-after", "5")
            .body(Body::from("a page"))
            .expect("an answer");
        let as_grpc = as_grpc(&answer, "100 %\n\u{e4}");
        assert_eq!(as_grpc.status(), 502);
        let said = |name: &str| as_grpc.headers()[name].to_str().expect("text");
        assert_eq!(said("content-type"), "application/grpc");
        assert_eq!(said("grpc-status"), "14");
        assert_eq!(said("grpc-message"), "100 %25%0A%C3%A4");
        assert_eq!(said("x-request-id"), "7");
        assert_eq!(as_grpc.headers().len(), 4);
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
            let answer = Response::builder().status(status).body(Body::empty());
            let as_grpc = as_grpc(&answer.expect("an answer"), "");
            assert_eq!(as_grpc.status(), expected, "{status}");
            assert_eq!(as_grpc.headers()["grpc-status"], code, "{status}");
        }
    }
}
