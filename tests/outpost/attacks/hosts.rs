//! AP-2026-01: the reverse proxy routes by one host and asks about another.

use std::net::SocketAddr;

use authentik_standin::{Provider, Standin};
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::support::{World, location, raw, text, within};

const NGINX: &str = "/outpost.goauthentik.io/auth/nginx";
const TRAEFIK: &str = "/outpost.goauthentik.io/auth/traefik";
const CADDY: &str = "/outpost.goauthentik.io/auth/caddy";
const START: &str = "/outpost.goauthentik.io/start";
const ENVOY: &str = "/outpost.goauthentik.io/auth/envoy/public/x";

/// Below `/public/`, public.test is open to everybody, internal.test is not; of the domain
/// home.test, all of open.home.test is.
fn providers() -> Vec<Provider> {
    let open = |provider, expressions: &str| Provider {
        skip_path_regex: expressions.into(),
        ..provider
    };
    vec![
        open(
            Provider::forward_single("public", "http://public.test"),
            "^/public/",
        ),
        Provider::forward_single("internal", "http://internal.test"),
        open(
            Provider::forward_domain("home", "http://auth.home.test", "home.test"),
            r"^http://open\.home\.test/",
        ),
        open(
            Provider::forward_single("first", "http://port.test:8443"),
            "^/public/",
        ),
        Provider::forward_single("second", "http://port.test:9443"),
    ]
}

pub(super) async fn world(more: &[(&str, &str)]) -> World {
    let authentik = Standin::builder().start().await.expect("started");
    World::beside(authentik, providers(), more).await
}

/// An authorization request about `http://<asked>/public/x`, in the dialect of `path`.
async fn ask(
    world: &World,
    path: &str,
    host: &str,
    asked: &str,
    more: &[(&str, &str)],
) -> Response<Bytes> {
    let url = format!("http://{asked}/public/x");
    let mut headers = more.to_vec();
    if path.starts_with(NGINX) {
        headers.push(("x-original-url", &url));
    } else if path != ENVOY {
        headers.extend([
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", asked),
            ("x-forwarded-uri", "/public/x"),
        ]);
    }
    world.get(path, host, &headers).await
}

const INGRESS: (&str, &str) = ("x-sent-from", "nginx-ingress-controller");

type Row<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)]);

#[tokio::test]
async fn ap_2026_01_what_authentik_documents_goes_on_working() {
    let world = world(&[]).await;
    let parameter = &format!("{NGINX}?host=public.test");
    let capitals = &format!("{NGINX}?host=PUBLIC.test.:80");
    let rows: &[Row<'_>] = &[
        // nginx with Host $host.
        (NGINX, "public.test", "public.test", &[]),
        (NGINX, "open.home.test", "open.home.test", &[]),
        // A Service name, or an address.
        (NGINX, "outpost:9000", "public.test", &[]),
        (NGINX, "outpost.company:9000", "public.test", &[]),
        (
            NGINX,
            "ak-outpost.authentik.svc.cluster.local:9000",
            "public.test",
            &[],
        ),
        (NGINX, "192.0.2.1:9000", "public.test", &[]),
        (NGINX, "[2001:db8::1]:9000", "public.test", &[]),
        // Through the domain provider's own host.
        (NGINX, "auth.home.test", "public.test", &[]),
        (NGINX, "AUTH.home.test.:443", "public.test", &[INGRESS]),
        (NGINX, "auth.home.test", "open.home.test", &[]),
        // ingress-nginx through an application's host, which its own reverse proxy forwards.
        (NGINX, "internal.test", "public.test", &[INGRESS]),
        (
            NGINX,
            "internal.test",
            "public.test",
            &[INGRESS, ("x-forwarded-host", "internal.test")],
        ),
        // With a snippet for X-Forwarded-Host.
        (
            NGINX,
            "outpost:9000",
            "public.test",
            &[INGRESS, ("x-forwarded-host", "public.test")],
        ),
        // Ports on one side only, or of a port mapping; case; trailing dots.
        (NGINX, "public.test", "public.test:80", &[]),
        (NGINX, "public.test:8080", "public.test", &[]),
        (NGINX, "public.test:8080", "public.test:80", &[]),
        (NGINX, "PUBLIC.test", "public.test", &[]),
        (NGINX, "public.test", "Public.TEST", &[]),
        (NGINX, "public.test.", "public.test", &[]),
        // The host that nginx routed by, as a parameter: counts instead of Host.
        (parameter, "internal.test", "public.test", &[INGRESS]),
        (parameter, "internal.test", "public.test", &[]),
        (capitals, "outpost:9000", "public.test", &[INGRESS]),
        // Traefik's Host is the address's.
        (TRAEFIK, "outpost:9000", "public.test", &[]),
        (TRAEFIK, "auth.home.test", "public.test", &[]),
        (TRAEFIK, "internal.test", "public.test", &[]),
        // Caddy's is the user's, or that of the outpost.
        (CADDY, "public.test", "public.test", &[]),
        (CADDY, "public.test:8080", "public.test:8080", &[]),
        (CADDY, "outpost.company:9000", "public.test", &[]),
        (CADDY, "auth.home.test", "public.test", &[]),
        // Envoy's is the user's, and X-Forwarded-Host the client's.
        (
            ENVOY,
            "public.test",
            "",
            &[("x-forwarded-host", "internal.test")],
        ),
    ];
    for (path, host, asked, more) in rows {
        let answer = ask(&world, path, host, asked, more).await;
        assert_eq!(answer.status(), 200, "{path} {host} {asked} {more:?}");
    }
}

#[tokio::test]
async fn ap_2026_01_hosts_of_different_applications_are_refused() {
    let world = world(&[]).await;
    let path = |parameters: &str| format!("{NGINX}?{parameters}");
    let (other, unknown) = (path("host=internal.test"), path("host=unknown.test"));
    let below = path("a=b&host=x.home.test:80");
    let (twice, empty) = (path("host=public.test&host=public.test"), path("host="));
    let (user, encoded) = (path("host=a@public.test"), path("host=public%2etest"));
    let rows: &[(Row<'_>, u16)] = &[
        ((NGINX, "internal.test", "public.test", &[]), 403),
        ((NGINX, "internal.test:8443", "public.test:80", &[]), 403),
        ((NGINX, "INTERNAL.test", "public.test", &[]), 403),
        ((NGINX, "internal.test.", "public.test", &[]), 403),
        ((NGINX, "x.home.test", "public.test", &[]), 403),
        ((NGINX, "public.test", "open.home.test", &[]), 403),
        ((NGINX, "port.test:9443", "port.test:8443", &[]), 403),
        // Only what ingress-nginx itself says is about the auth URL.
        (
            (
                NGINX,
                "internal.test",
                "public.test",
                &[("x-sent-from", "nginx")],
            ),
            403,
        ),
        (
            (NGINX, "internal.test", "public.test", &[INGRESS, INGRESS]),
            403,
        ),
        (
            (
                NGINX,
                "outpost:9000",
                "public.test",
                &[("x-forwarded-host", "internal.test")],
            ),
            403,
        ),
        (
            (
                NGINX,
                "public.test",
                "public.test",
                &[("x-forwarded-host", "internal.test:80")],
            ),
            403,
        ),
        ((&other, "outpost:9000", "public.test", &[INGRESS]), 403),
        ((&other, "public.test", "public.test", &[]), 403),
        ((&unknown, "outpost:9000", "public.test", &[INGRESS]), 403),
        ((&below, "outpost:9000", "public.test", &[]), 403),
        ((&twice, "outpost:9000", "public.test", &[]), 500),
        ((&empty, "outpost:9000", "public.test", &[]), 500),
        ((&user, "outpost:9000", "public.test", &[]), 500),
        ((&encoded, "outpost:9000", "public.test", &[]), 500),
        ((CADDY, "internal.test", "public.test", &[]), 400),
        ((CADDY, "internal.test:80", "PUBLIC.test.", &[]), 400),
    ];
    for ((path, host, asked, more), status) in rows {
        let answer = ask(&world, path, host, asked, more).await;
        assert_eq!(answer.status(), *status, "{path} {host} {asked} {more:?}");
        assert!(!answer.headers().contains_key("x-authentik-username"));
        if *status == 403 {
            let reason = &answer.headers()["x-authentik-proxy-error"];
            let reason = reason.to_str().expect("text");
            assert!(reason.contains("another application"), "{reason}");
        }
    }
    // nginx shows the reason nowhere but here: both hosts, and what to change.
    let answer = ask(&world, NGINX, "internal.test", "public.test", &[]).await;
    let reason = answer.headers()["x-authentik-proxy-error"].to_str();
    let reason = reason.expect("text");
    for part in [
        "about public.test",
        "Host names internal.test",
        "$scheme://$host$request_uri",
    ] {
        assert!(reason.contains(part), "{part} in {reason}");
    }
}

/// A domain is one application, and has expressions for whole URLs.
#[tokio::test]
async fn ap_2026_01_what_one_host_of_a_domain_opens_stays_shut_at_another() {
    let world = world(&[]).await;
    let parameter = &format!("{NGINX}?host=secret.home.test");
    for (path, host, more, login) in [
        (NGINX, "secret.home.test", &[][..], 401),
        (parameter.as_str(), "outpost:9000", &[INGRESS], 401),
        (CADDY, "secret.home.test", &[], 302),
    ] {
        let answer = ask(&world, path, host, "open.home.test", more).await;
        assert_eq!(answer.status(), login, "{path} {host}");
    }
}

/// `X-Sent-From` is a client's where nginx passes it on.
#[tokio::test]
async fn ap_2026_01_without_ingress_nginx_no_recipe_claims_it() {
    let world = world(&[(
        "AUTHENTIK_PROXY_FORWARD_AUTH__DIALECTS",
        "nginx,traefik,caddy,envoy",
    )])
    .await;
    let answer = ask(&world, NGINX, "internal.test", "public.test", &[INGRESS]).await;
    assert_eq!(answer.status(), 403);
    // A Service's name says nothing still.
    let answer = ask(&world, NGINX, "outpost:9000", "public.test", &[INGRESS]).await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn ap_2026_01_over_http_2_the_authority_counts() {
    let world = world(&[]).await;
    for (authority, path, asked, status) in [
        ("public.test", NGINX, "public.test", 200),
        ("internal.test", NGINX, "public.test", 403),
        ("internal.test:80", NGINX, "public.test", 403),
        ("internal.test", CADDY, "public.test", 400),
        ("public.test", ENVOY, "", 200),
        ("internal.test", ENVOY, "", 302),
    ] {
        let mut request = Request::get(format!("http://{authority}{path}"))
            .header("x-original-url", format!("http://{asked}/public/x"));
        if path == CADDY {
            request = request
                .header("x-forwarded-proto", "http")
                .header("x-forwarded-host", asked)
                .header("x-forwarded-uri", "/public/x");
        }
        let request = request.header("accept", "text/html").body(Body::empty());
        let (answer, _) = http2(world.address(), request.expect("a request")).await;
        assert_eq!(answer, status, "{authority} {path} {asked}");
    }
}

/// The nearest reverse proxy adds the last element; the client may have written the others.
#[tokio::test]
async fn ap_2026_01_of_a_list_of_hosts_the_last_counts_and_none_contradicts_it() {
    let world = world(&[]).await;
    // Caddy's own host is not hidden by an element of the list.
    let hosts = "other.home.test, open.home.test";
    let answer = ask(&world, CADDY, "secret.home.test", hosts, &[]).await;
    assert_eq!(answer.status(), 400);
    for path in [TRAEFIK, CADDY] {
        for (hosts, status) in [
            ("public.test", 200),
            ("evil.test, public.test", 200),
            ("public.test,public.test", 200),
            ("@, public.test", 200),
            ("open.home.test,other.home.test", 302),
            // Open at the last, not at the one that the request may have been routed by.
            ("open.home.test", 200),
            ("secret.home.test, open.home.test", 302),
            ("@, secret.home.test, open.home.test", 302),
            ("other.home.test, secret.home.test, open.home.test", 400),
            ("public.test, internal.test", 400),
            ("internal.test, public.test", 400),
            ("internal.test, evil.test, public.test", 400),
            ("public.test, evil.test", 400),
        ] {
            let answer = ask(&world, path, "outpost:9000", hosts, &[]).await;
            assert_eq!(answer.status(), status, "{path} {hosts}");
        }
        let many = ["public.test"; 9].join(",");
        for hosts in [&many, "public.test,"] {
            let answer = ask(&world, path, "outpost:9000", hosts, &[]).await;
            assert_eq!(answer.status(), 500, "{path} {hosts}");
            let forwarded = [("x-forwarded-host", hosts)];
            let answer = world.get(START, "public.test", &forwarded).await;
            assert_eq!(answer.status(), 400, "{hosts}");
        }
        for (scheme, callback) in [
            ("http", "http%3A%2F%2Finternal.test"),
            ("ws", "http%3A%2F%2Finternal.test"),
            ("https, WS", "http%3A%2F%2Finternal.test"),
            ("ftp,http", "http%3A%2F%2Finternal.test"),
            ("wss", "http%3A%2F%2Finternal.test"),
        ] {
            let headers = [
                ("x-forwarded-proto", scheme),
                ("x-forwarded-host", "internal.test"),
                ("x-forwarded-uri", "/x"),
            ];
            let answer = world.get(path, "outpost:9000", &headers).await;
            assert_eq!(answer.status(), 302, "{path} {scheme}");
            let location = location(&answer);
            assert!(location.contains(callback), "{path} {scheme}: {location}");
        }
    }
}

#[tokio::test]
async fn ap_2026_01_a_request_with_two_host_lines_is_refused() {
    let world = world(&[]).await;
    for hosts in [
        ["public.test", "internal.test"],
        ["internal.test", "public.test"],
    ] {
        for (path, status) in [(NGINX, "500"), (ENVOY, "400")] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {}\r\nHost: {}\r\nX-Original-URL: http://public.test/public/x\r\nConnection: close\r\n\r\n",
                hosts[0], hosts[1]
            );
            let answer = raw(world.address(), request.as_bytes()).await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{path} {hosts:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn ap_2026_01_requests_that_do_not_show_the_host_are_counted() {
    let world = world(&[]).await;
    let parameter = &format!("{NGINX}?host=public.test");
    for (path, host, asked, more) in [
        (NGINX, "public.test", "public.test", &[][..]),
        (NGINX, "outpost:9000", "public.test", &[]),
        (NGINX, "auth.home.test", "public.test", &[]),
        (NGINX, "outpost:9000", "public.test", &[INGRESS]),
        (parameter, "outpost:9000", "public.test", &[INGRESS]),
        (TRAEFIK, "outpost:9000", "public.test", &[]),
        (CADDY, "public.test", "public.test", &[]),
        (CADDY, "outpost:9000", "public.test", &[]),
        (ENVOY, "public.test", "", &[]),
    ] {
        let answer = ask(&world, path, host, asked, more).await;
        assert_eq!(answer.status(), 200, "{path} {host}");
    }
    ask(&world, NGINX, "internal.test", "public.test", &[]).await;
    let admin = world.outpost.metrics_addresses()[0];
    let metrics = text(&crate::support::get(admin, "/metrics", "x", &[]).await);
    for (dialect, requests, unverified) in [
        ("nginx", 3, 2),
        ("ingress-nginx", 2, 1),
        ("traefik", 1, 0),
        ("caddy", 2, 1),
        ("envoy", 1, 0),
    ] {
        for (name, count) in [
            ("authorization_requests", requests),
            ("unverified_host_requests", unverified),
        ] {
            let labels = format!("host=\"public.test\",dialect=\"{dialect}\"}} {count}");
            let mut lines = metrics.lines();
            assert!(
                lines.any(|line| line.contains(name) && line.ends_with(&labels)),
                "{name} {labels} in {metrics}"
            );
        }
    }
    let refused = "host=\"\",reason=\"conflicting_hosts\"} 1";
    assert!(metrics.contains(refused), "{metrics}");
    let status = text(&crate::support::get(admin, "/status", "x", &[]).await);
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let nginx = serde_json::json!({
        "application": "public", "dialect": "nginx", "requests": 3, "unverified_hosts": 2
    });
    let counted = status["forward_auth"].as_array().expect("a list");
    assert!(counted.contains(&nginx), "{counted:?}");
}

/// One HTTP/2 request on a connection of its own: the status, and the body.
pub(super) async fn http2(address: SocketAddr, request: Request<Body>) -> (StatusCode, String) {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = within(handshake).await.expect("a handshake");
    tokio::spawn(connection);
    match within(sender.send_request(request)).await {
        Ok(answer) => {
            let (parts, body) = answer.into_parts();
            let body = within(body.collect()).await.expect("a body").to_bytes();
            (parts.status, String::from_utf8_lossy(&body).into_owned())
        }
        // Refused as malformed.
        Err(_) => (StatusCode::BAD_REQUEST, String::new()),
    }
}
