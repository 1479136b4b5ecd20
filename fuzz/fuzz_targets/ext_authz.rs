//! Whatever Envoy sends becomes a question at our endpoint for Envoy, or nothing.
#![no_main]

use authentik_proxy::gateway::ext_authz::http_request;
use envoy_types::ext_authz::v3::pb::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|input: (&[u8], &str, &str, &str, Vec<(String, String)>)| {
    let (bytes, method, host, path, headers) = input;
    if let Ok(request) = CheckRequest::decode(bytes) {
        check(request);
    }
    let http = HttpRequest {
        method: method.to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        headers: headers.into_iter().collect(),
        ..HttpRequest::default()
    };
    check(CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            ..AttributeContext::default()
        }),
    });
});

fn check(request: CheckRequest) {
    if let Some(inner) = http_request(request) {
        let path = inner.uri().path();
        assert!(
            path.starts_with("/outpost.goauthentik.io/auth/envoy/"),
            "{path}"
        );
        assert_eq!(inner.headers().get_all("host").iter().count(), 1);
        assert!(inner.uri().authority().is_none());
    }
}
