//! The REST API against facts from the recordings.

use crate::recordings::text;
use crate::shape::assert_same;
use crate::support::{Answer, api, dialects, get_api, keys, send, send_over, server};
use std::sync::Arc;

use authentik_standin::{Dialect, Endpoint, Fault, Provider, Standin};
use http::StatusCode;
use http::header::{AUTHORIZATION, HOST};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const PROVIDERS: &str = "/api/v3/outposts/proxy/";

#[tokio::test]
async fn answers_have_the_recorded_fields() {
    for (dialect, recording) in dialects() {
        let (standin, _) = server(dialect).await;
        let recorded = &recording.api["api"];
        for (path, recorded) in [
            ("/api/v3/outposts/instances/", &recorded["outposts"]),
            (PROVIDERS, &recorded["providers"][2]),
            ("/api/v3/admin/version/", &recorded["version"]),
        ] {
            let answer = get_api(&standin, path).await;
            assert_eq!(answer.header("content-type"), recorded["content_type"]);
            assert_same(&answer.json(), &recorded["body"]);
        }
        let providers = get_api(&standin, PROVIDERS).await.json();
        assert_eq!(
            providers["results"][0]["oidc_configuration"]["issuer"],
            format!("http://{}/application/o/grafana/", standin.addr())
        );
    }
}

#[tokio::test]
async fn urls_follow_the_request_and_the_prefix() {
    let standin = Standin::builder()
        .path_prefix("auth")
        .start()
        .await
        .expect("a free port");
    standin.add_provider(Provider::forward_single(
        "grafana",
        "https://grafana.example.test",
    ));
    assert!(standin.url().as_str().ends_with("/auth/"));
    let mut request = api(&standin, "/auth/api/v3/outposts/proxy/");
    request
        .headers_mut()
        .insert(HOST, "auth.example.test".parse().expect("a valid header"));
    request.headers_mut().insert(
        "x-forwarded-proto",
        "https".parse().expect("a valid header"),
    );
    let oidc = send(&standin, request).await.expect("an answer").json();
    assert_eq!(
        oidc["results"][0]["oidc_configuration"]["jwks_uri"],
        "https://auth.example.test/auth/application/o/grafana/jwks/"
    );
    let outside = get_api(&standin, PROVIDERS).await;
    assert_eq!(outside.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn pages_are_counted_as_recorded() {
    let standin = Standin::builder().start().await.expect("a free port");
    let [_, (_, recording)] = dialects();
    let recorded = &recording.api["api"];
    let page = async |query: &str| get_api(&standin, &format!("{PROVIDERS}?{query}")).await;
    let pagination = async |number| {
        let page = page(&format!("page={number}&page_size=3")).await.json();
        page["pagination"].clone()
    };
    let empty = &recorded["no_outpost"]["body"]["pagination"];
    assert_eq!(pagination(1).await, *empty);
    for (number, _) in recording.providers().enumerate() {
        let host = format!("https://app{number}.example.test");
        standin.add_provider(Provider::forward_single(&format!("app{number}"), &host));
    }
    for number in 1..=3 {
        let expected = &recorded["providers"][number - 1]["body"]["pagination"];
        assert_eq!(pagination(number).await, *expected);
    }
    for query in ["page=99&page_size=3", "page=0&page_size=100", "page=x"] {
        let beyond = page(query).await;
        assert_eq!(beyond.status, StatusCode::NOT_FOUND);
        assert_eq!(beyond.json(), recorded["page_beyond_the_end"]["body"]);
    }
}

#[tokio::test]
async fn refusals_are_those_of_the_real_server() {
    let (standin, _) = server(Dialect::default()).await;
    let with = |token: Option<&str>, path: &str| {
        let mut request = api(&standin, path);
        request.headers_mut().remove(AUTHORIZATION);
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().expect("a valid header");
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        send(&standin, request)
    };
    let [_, (_, recording)] = dialects();
    let refused = |answer: &Answer, name: &str| {
        let recorded = &recording.api["api"][name];
        assert_eq!(answer.status.as_u16(), recorded["status"]);
        assert_eq!(answer.json(), recorded["body"]);
    };
    let outposts = "/api/v3/outposts/instances/";
    refused(&with(None, outposts).await.expect("an answer"), "no_token");
    let old = standin.token();
    standin.rotate_token("new-token");
    let rotated = with(Some(&old), outposts).await.expect("an answer");
    refused(&rotated, "rotated_token");
    let accepted = with(Some("new-token"), outposts).await.expect("an answer");
    assert_eq!(accepted.status, StatusCode::OK);
    let no_slash = &recording.api["api"]["no_slash"];
    for path in [text(&no_slash["path"]), "/nope/"] {
        let missing = get_api(&standin, path).await;
        assert_eq!(missing.status.as_u16(), no_slash["status"]);
        assert_eq!(missing.header("content-type"), no_slash["content_type"]);
    }
}

#[tokio::test]
async fn events_need_a_plain_address() {
    let (standin, _) = server(Dialect::default()).await;
    let post = async |client_ip: &str| {
        let event = json!({"action": "configuration_error", "app": "x", "client_ip": client_ip});
        let mut request = api(&standin, "/api/v3/events/events/").map(|_| event.to_string());
        *request.method_mut() = http::Method::POST;
        send(&standin, request).await.expect("an answer")
    };
    let refused = post("127.0.0.1:5555").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        refused.json(),
        json!({"client_ip": ["Enter a valid IPv4 or IPv6 address."]})
    );
    let accepted = post("127.0.0.1").await;
    assert_eq!(accepted.status, StatusCode::CREATED);
    assert_eq!(keys(&accepted.json()).len(), 9);
    assert_eq!(standin.events().len(), 1);
}

#[tokio::test]
async fn key_pairs_are_shown_to_those_who_use_them() {
    let (standin, _) = server(Dialect::default()).await;
    let id = standin.add_keypair("grafana.example.test");
    let path = format!("/api/v3/crypto/certificatekeypairs/{id}/");
    let unused = get_api(&standin, &path).await;
    assert_eq!(unused.status, StatusCode::NOT_FOUND);
    standin.patch_provider("grafana", json!({"certificate": id.to_string()}));
    let before = get_api(&standin, &path).await.json()["fingerprint_sha256"].clone();
    standin.renew_keypair(id);
    assert_ne!(
        get_api(&standin, &path).await.json()["fingerprint_sha256"],
        before
    );
    let key = get_api(&standin, &format!("{path}view_private_key/"))
        .await
        .json();
    assert!(
        key["data"]
            .as_str()
            .is_some_and(|pem| pem.starts_with("-----BEGIN PRIVATE KEY"))
    );
}

#[tokio::test]
async fn faults_spoil_answers_and_requests_are_recorded() {
    let (standin, _) = server(Dialect::default()).await;
    standin.fault(Endpoint::Any, Fault::Status(502));
    standin.fault(Endpoint::Providers, Fault::Truncated);
    assert_eq!(
        get_api(&standin, "/api/v3/admin/version/").await.status,
        502
    );
    assert!(send(&standin, api(&standin, PROVIDERS)).await.is_err());
    standin.fault(Endpoint::Providers, Fault::Reset);
    assert!(send(&standin, api(&standin, PROVIDERS)).await.is_err());
    standin.fault(Endpoint::Providers, Fault::MissingField("pk".to_owned()));
    assert!(
        get_api(&standin, PROVIDERS).await.json()["results"][0]
            .get("pk")
            .is_none()
    );
    standin.fault(Endpoint::Providers, Fault::ExtraFields);
    let body = get_api(&standin, PROVIDERS).await.json();
    assert!(
        body["results"][0]["oidc_configuration"]
            .get("field_of_the_future")
            .is_some()
    );
    standin.clear_faults();
    assert_eq!(
        get_api(&standin, "/api/v3/admin/version/").await.json()["version_current"],
        "2026.2.2"
    );
    let requests = standin.requests();
    assert_eq!(requests.len(), 6);
    assert_eq!(requests[1].path, PROVIDERS);
    assert_eq!(
        requests[1].header("Host"),
        Some(standin.addr().to_string().as_str())
    );
}

#[tokio::test]
async fn https_is_served_and_shows_in_urls() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der())
        .expect("a PKCS#8 key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the defaults fit")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("the key fits");
    let standin = Standin::builder()
        .tls(Arc::new(config))
        .start()
        .await
        .expect("a free port");
    standin.add_provider(Provider::forward_single(
        "grafana",
        "https://grafana.example.test",
    ));
    assert_eq!(standin.url().scheme(), "https");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the defaults fit")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(standin.addr())
        .await
        .expect("the server listens");
    let name = "localhost".try_into().expect("a host name");
    let stream = TlsConnector::from(Arc::new(client))
        .connect(name, stream)
        .await
        .expect("TLS");
    let body = send_over(stream, api(&standin, PROVIDERS))
        .await
        .expect("an answer")
        .json();
    let issuer = &body["results"][0]["oidc_configuration"]["issuer"];
    assert_eq!(issuer, &format!("{}application/o/grafana/", standin.url()));
}

#[tokio::test]
async fn what_hangs_is_answered_when_the_fault_is_cleared() {
    let (standin, _) = server(Dialect::default()).await;
    standin.fault(Endpoint::Version, Fault::Hang);
    let asked = get_api(&standin, "/api/v3/admin/version/");
    let cleared = async {
        standin
            .wait_requests(1, |request| request.path == "/api/v3/admin/version/")
            .await;
        standin.clear_faults();
    };
    let (answer, ()) = tokio::join!(asked, cleared);
    assert_eq!(answer.status, 200);
}
