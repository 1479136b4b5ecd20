//! Envoy's `ext_authz` over gRPC.

use std::collections::HashMap;
use std::convert::Infallible;

use authentik_standin::{Provider, Standin};
use bytes::Bytes;
use envoy_types::ext_authz::v3::pb::{CheckRequest, CheckResponse, HttpResponse};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::{
    AttributeContext, authorization_client::AuthorizationClient,
};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::support::{Browser, World, within};

const HOST: &str = "grafana.test";

async fn world(grafana: Provider) -> World {
    let authentik = Standin::builder().start().await.expect("started");
    let more = [("AUTHENTIK_PROXY_LISTEN__EXT_AUTHZ", "127.0.0.1:0")];
    World::beside(authentik, vec![grafana], &more).await
}

async fn check(world: &World, request: CheckRequest) -> CheckResponse {
    let address = world.outpost.ext_authz_addresses()[0];
    let client = AuthorizationClient::connect(format!("http://{address}")).await;
    let answer = client.expect("a connection").check(request).await;
    answer.expect("an answer").into_inner()
}

fn asking(path: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let headers = headers.iter().map(|(n, v)| ((*n).into(), (*v).into()));
    let mut headers: HashMap<String, String> = headers.collect();
    headers.insert(":path".into(), path.into());
    let http = HttpRequest {
        method: "GET".into(),
        path: path.into(),
        host: HOST.into(),
        headers,
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            ..AttributeContext::default()
        }),
    }
}

fn denied(answer: CheckResponse) -> (i32, HashMap<String, String>, String) {
    let Some(HttpResponse::DeniedResponse(denied)) = answer.http_response else {
        panic!("{answer:?} is no denial");
    };
    assert_ne!(answer.status.expect("a status").code, 0);
    let headers = denied
        .headers
        .into_iter()
        .filter_map(|option| option.header);
    let headers = headers.map(|header| (header.key, header.value)).collect();
    (denied.status.expect("a status").code, headers, denied.body)
}

#[tokio::test]
async fn grpc_signs_in_and_passes_with_identity_headers() {
    let world = world(Provider::forward_single("grafana", "http://grafana.test")).await;
    let page = "/d/x%2Fy?orgId=1";
    let (status, headers, _) = denied(check(&world, asking(page, &[])).await);
    assert_eq!(status, 302);
    let mut browser = Browser::default();
    let mut set = http::HeaderMap::new();
    set.insert(
        "set-cookie",
        headers["set-cookie"].parse().expect("a cookie"),
    );
    browser.keep(HOST, &set);
    let callback = Browser::authorize(&world, &headers["location"]);
    // The callback arrives by the very same question.
    let cookies = browser.cookies(HOST);
    let answer = check(&world, asking(&callback, &[("cookie", &cookies)])).await;
    let Some(HttpResponse::DeniedResponse(answer)) = answer.http_response else {
        panic!("the callback redirects");
    };
    let mut set = http::HeaderMap::new();
    for header in answer
        .headers
        .into_iter()
        .filter_map(|option| option.header)
    {
        match header.key.as_str() {
            "set-cookie" => {
                set.append("set-cookie", header.value.parse().expect("a cookie"));
            }
            "location" => assert_eq!(header.value, format!("http://{HOST}{page}")),
            _ => {}
        }
    }
    browser.keep(HOST, &set);
    let cookies = browser.cookies(HOST);
    let answer = check(&world, asking(page, &[("cookie", &cookies)])).await;
    assert_eq!(answer.status.expect("a status").code, 0);
    let Some(HttpResponse::OkResponse(ok)) = answer.http_response else {
        panic!("it passes");
    };
    let headers = ok.headers.into_iter().filter_map(|option| option.header);
    let headers: HashMap<_, _> = headers.map(|h| (h.key, h.value)).collect();
    assert_eq!(headers["x-authentik-username"], "alice");
    assert_eq!(headers["x-authentik-groups"], "admins|users");
    // AP-2026-02: what keeps caches from our answer is no header of the request.
    assert!(!headers.contains_key("cache-control"), "{headers:?}");
    // CVE-2026-30851: Envoy would leave the client's own header in place of an empty one.
    assert!(
        ok.headers_to_remove
            .contains(&"x-authentik-entitlements".to_owned())
    );
}

#[tokio::test]
async fn grpc_denies_what_it_does_not_understand() {
    let mut grafana = Provider::forward_single("grafana", "http://grafana.test");
    grafana.skip_path_regex = ".*".into();
    let world = world(grafana).await;
    for request in [
        CheckRequest::default(),
        asking("no slash", &[]),
        asking("/x", &[("bad name", "x")]),
        asking("/x", &[("cookie", "a\nb")]),
        asking("/\u{e4}", &[]),
        asking("/../x", &[]),
        // Decided without what follows `#`, and passed on with it.
        asking("/x#/../y", &[]),
    ] {
        let (status, _, _) = denied(check(&world, request).await);
        assert!(matches!(status, 400 | 401 | 404 | 500), "{status}");
    }
    let scripts = asking("/x/../y", &[("sec-fetch-mode", "cors")]);
    let (status, _, body) = denied(check(&world, scripts).await);
    assert_eq!(status, 401);
    assert!(body.contains("login_required"));
}

#[tokio::test]
async fn grpc_checks_of_an_application_in_proxy_mode_are_refused() {
    let mut provider = Provider::proxy("grafana", "http://grafana.test", "http://127.0.0.1:9");
    provider.skip_path_regex = "^/open$".into();
    let world = world(provider).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let cookies = browser.cookies(HOST);
    for question in [asking("/open", &[]), asking("/", &[("cookie", &cookies)])] {
        let (status, headers, _) = denied(check(&world, question).await);
        assert_eq!(status, 404);
        let told = headers.keys().any(|name| name.starts_with("x-authentik-"));
        assert!(!told, "{headers:?}");
    }
}

#[tokio::test]
async fn grpc_a_question_that_does_not_end_is_given_up() {
    let authentik = Standin::builder().start().await.expect("started");
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    let more = [
        ("AUTHENTIK_PROXY_LISTEN__EXT_AUTHZ", "127.0.0.1:0"),
        ("AUTHENTIK_PROXY_LISTEN__BODY_TIMEOUT", "300ms"),
    ];
    let world = World::beside(authentik, vec![grafana], &more).await;
    let address = world.outpost.ext_authz_addresses()[0];
    let stream = TcpStream::connect(address).await.expect("a connection");
    let stream = TokioIo::new(stream);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut sender, connection) = handshake.await.expect("a handshake");
    tokio::spawn(connection);
    let never = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
    let request = http::Request::post(format!(
        "http://{address}/envoy.service.auth.v3.Authorization/Check"
    ))
    .header("content-type", "application/grpc")
    .body(StreamBody::new(never))
    .expect("a request");
    let answer = within(sender.send_request(request)).await;
    let headers = answer.expect("an answer").into_parts().0.headers;
    assert!(headers.contains_key("grpc-status"), "{headers:?}");
    assert_ne!(headers["grpc-status"], "0");
}

#[tokio::test]
async fn grpc_a_forwarded_host_of_another_application_opens_nothing() {
    let authentik = Standin::builder().start().await.expect("started");
    let more = [("AUTHENTIK_PROXY_LISTEN__EXT_AUTHZ", "127.0.0.1:0")];
    let providers = vec![
        Provider::forward_single("grafana", "http://grafana.test"),
        Provider::forward_single("secret", "http://secret.test"),
    ];
    let world = World::beside(authentik, providers, &more).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let cookies = browser.cookies(HOST);
    // Over gRPC Envoy sends all headers of the client.
    let headers = [("cookie", cookies.as_str()), ("x-forwarded-host", HOST)];
    for (host, passes) in [(HOST, true), ("secret.test", false)] {
        let mut question = asking("/", &headers);
        let attributes = question.attributes.as_mut().expect("attributes");
        let request = attributes.request.as_mut().expect("a request");
        request.http.as_mut().expect("HTTP").host = host.into();
        let answer = check(&world, question).await;
        let code = answer.status.expect("a status").code;
        assert_eq!(code == 0, passes, "{host}");
    }
}

#[tokio::test]
async fn go_2026_5532_grpc_consumed_credentials_never_reach_the_application() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_user(authentik_standin::User {
        app_password: Some("app-pass".into()),
        ..authentik_standin::User::new("robot", "x")
    });
    let more = [("AUTHENTIK_PROXY_LISTEN__EXT_AUTHZ", "127.0.0.1:0")];
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    let world = World::beside(authentik, vec![grafana], &more).await;
    let credentials = format!("Basic {}", STANDARD.encode("robot:app-pass"));
    for times in 1..=2 {
        let asked = asking("/api", &[("authorization", &credentials)]);
        let Some(HttpResponse::OkResponse(ok)) = check(&world, asked).await.http_response else {
            panic!("it passes");
        };
        let removed = ok.headers_to_remove.contains(&"authorization".to_owned());
        assert!(removed, "also what was verified before, {times}");
    }
}

#[tokio::test]
async fn ap_2026_05_grpc_our_cookie_never_reaches_the_application() {
    let world = world(Provider::forward_single("grafana", "http://grafana.test")).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let own = browser.cookies(HOST);
    for (sent, set, removed) in [
        (own.clone(), None, true),
        (format!("a=1; {own}; b=2"), Some("a=1; b=2"), false),
    ] {
        let asked = asking("/", &[("cookie", &sent)]);
        let answer = check(&world, asked).await;
        let Some(HttpResponse::OkResponse(ok)) = answer.http_response else {
            panic!("it passes");
        };
        let told = ok
            .headers
            .iter()
            .filter_map(|option| option.header.as_ref());
        let told = told.filter(|header| header.key == "cookie");
        let told: Vec<_> = told.map(|header| header.value.as_str()).collect();
        assert_eq!(told, set.as_slice(), "{sent}");
        assert_eq!(ok.headers_to_remove.contains(&"cookie".to_owned()), removed);
        assert!(
            ok.response_headers_to_add.is_empty(),
            "nothing for the browser"
        );
    }
}
