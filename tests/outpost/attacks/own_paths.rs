//! AP-2026-02: clients that reach what only reverse proxies may ask.

use std::net::SocketAddr;

use authentik_standin::caddy::{self, Caddy};
use authentik_standin::nginx::{self, Nginx, free_address};
use authentik_standin::{Provider, Standin};
use http::header;

use super::{HOST, signed_in};
use crate::forward_auth::dialects::{ALL, Surface};
use crate::support::upstream::Upstream;
use crate::support::{World, get, raw, text};

/// grafana.test, of which everything is open below `/open`, and which gets credentials of a service.
async fn world(more: &[(&str, &str)]) -> World {
    let authentik = Standin::builder().start().await.expect("started");
    let grafana = Provider {
        skip_path_regex: "^/open|^/$|^/x$".into(),
        ..Provider::forward_single("grafana", "http://grafana.test")
    };
    let file = "applications: {grafana: {headers: {X-Own: service-secret}}}";
    World::with_file(authentik, vec![grafana], file, more).await
}

const START: &str = "/outpost.goauthentik.io/start?rd=/";

/// What clients sent to get past the filters of reverse proxies in front.
const SPELLINGS: [&str; 16] = [
    "/outpost.goauthentik.io/auth/envoy/..%2f..%2fauth%5Cenvoy%5Cz%2f..%2fstart",
    "/outpost.goauthentik.io/auth/envoy/open/..%2f..%2f..%2fstart",
    "/outpost.goauthentik.io/auth/envoy/%2e%2e/%2e%2e/start",
    "/outpost.goauthentik.io/auth/envoy/..;/..;/start",
    "/OUTPOST.goauthentik.io/outpost.goauthentik.io/auth/envoy/x",
    "/OUTPOST.goauthentik.io/outpost.goauthentik.io/auth/nginx",
    "/outpost%2egoauthentik.io/outpost.goauthentik.io/auth/nginx",
    "/outpost%2egoauthentik.io/outpost.goauthentik.io/auth/envoy/open",
    "/outpost%2egoauthentik.io/start/outpost.goauthentik.io/auth/envoy",
    "/outpost.goauthentik.io/start/outpost.goauthentik.io/auth/envoy/open",
    "/outpost.goauthentik.io/callback/outpost.goauthentik.io/auth/nginx",
    "/outpost.goauthentik.io/%61uth/nginx",
    "/outpost.goauthentik.io/x/../auth/nginx",
    "/outpost.goauthentik.io/x/..%2fauth/nginx",
    "//outpost.goauthentik.io/auth/nginx",
    "/foo/outpost.goauthentik.io/auth/traefik",
];

/// Sends every spelling to a reverse proxy, anonymously and signed in: nothing is answered as if a
/// reverse proxy had asked.
async fn are_refused(front: SocketAddr, host: &str, cookies: &str) {
    for target in SPELLINGS {
        for cookies in ["", cookies] {
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}\r\n\
                 X-Original-URL: http://{HOST}/open\r\nX-Forwarded-Proto: http\r\n\
                 X-Forwarded-Host: {HOST}\r\nX-Forwarded-Uri: /open\r\nConnection: close\r\n\r\n"
            );
            let answer = raw(front, request.as_bytes()).await;
            let head = answer.to_ascii_lowercase();
            assert!(!head.starts_with("http/1.1 2"), "{target}: {answer}");
            for shown in ["x-own", "service-secret", "x-authentik-jwt"] {
                assert!(!head.contains(shown), "{target}: {answer}");
            }
        }
    }
}

/// Straight to us, as from a reverse proxy that passes everything on.
#[tokio::test]
async fn ap_2026_02_no_spelling_of_an_own_path_is_answered() {
    let world = world(&[]).await;
    let cookies = signed_in(&world).await;
    are_refused(world.address(), HOST, &cookies).await;
    // Envoy's questions about paths of all kinds are answered as ever.
    for (path, status) in [
        ("/open", 200),
        // Nothing opens an encoded slash, but a session.
        ("/open/a%2Fb%20c", 302),
        ("/private/group%2Fname", 302),
        ("/private/x;v=1/..;/y", 302),
    ] {
        let answer = Surface::Envoy.ask(&world, HOST, path, &[]).await;
        assert_eq!(answer.status(), status, "{path}");
        let headers = [("cookie", cookies.as_str())];
        let answer = Surface::Envoy.ask(&world, HOST, path, &headers).await;
        assert_eq!(answer.status(), 200, "{path}");
    }
}

/// Locations that compare the path as nginx reads it, and pass it on as the client wrote it.
#[tokio::test]
#[ignore = "needs nginx"]
async fn ap_2026_02_behind_a_careless_nginx_no_spelling_is_answered() {
    let world = world(&[]).await;
    let cookies = signed_in(&world).await;
    let outpost = world.address();
    for locations in [
        format!(
            "location /outpost.goauthentik.io/auth/ {{ return 404; }}
             location /outpost.goauthentik.io/ {{ proxy_pass http://{outpost}; proxy_set_header Host {HOST}; }}"
        ),
        format!(
            "location ~ ^/outpost\\.goauthentik\\.io/(start|callback|sign_out) {{
               proxy_pass http://{outpost}; proxy_set_header Host {HOST};
             }}"
        ),
        // With a path here, nginx passes on what it has read.
        format!(
            "location /outpost.goauthentik.io/auth/ {{ return 404; }}
             location /outpost.goauthentik.io/ {{
               proxy_pass http://{outpost}/outpost.goauthentik.io/; proxy_set_header Host {HOST};
             }}"
        ),
    ] {
        let address = free_address().expect("a port");
        let servers = format!("server {{ listen {address}; {locations} }}");
        let nginx = Nginx::serving(nginx::Release::Installed, address, &servers).await;
        let nginx = nginx.expect("nginx runs");
        let start = get(address, START, HOST, &[("accept", "text/html")]);
        assert_eq!(start.await.status(), 302, "it leads to us: {locations}");
        are_refused(address, HOST, &cookies).await;
        nginx.stop().await.expect("stopped");
    }
}

/// Caddy compares paths without case and decoded, and passes them on as the client wrote them.
#[tokio::test]
#[ignore = "needs Caddy"]
async fn ap_2026_02_behind_a_careless_caddy_no_spelling_is_answered() {
    let world = world(&[]).await;
    let cookies = signed_in(&world).await;
    let address = free_address().expect("a port");
    let sites = format!(
        "http://grafana.test:{port} {{
	bind 127.0.0.1
	route {{
		respond /outpost.goauthentik.io/auth/* 404
		reverse_proxy /outpost.goauthentik.io/* http://{outpost}
		respond 404
	}}
}}
",
        port = address.port(),
        outpost = world.address()
    );
    let caddy = Caddy::start(caddy::Release::Installed, address, &sites).await;
    let _caddy = caddy.expect("Caddy runs");
    let host = format!("{HOST}:{}", address.port());
    let start = get(address, START, &host, &[("accept", "text/html")]);
    assert_eq!(start.await.status(), 302, "it leads to us");
    are_refused(address, &host, &cookies).await;
}

/// What only looks like an own path is the application's.
#[tokio::test]
async fn ap_2026_02_in_proxy_mode_other_paths_are_the_applications() {
    let mut upstream = Upstream::start().await;
    let address = format!("http://{}", upstream.address);
    let open = Provider {
        skip_path_regex: "^/foo/".into(),
        ..Provider::proxy("app", "http://app.test", &address)
    };
    let sub = Provider::proxy("sub", "http://sub.test/wiki/", &address);
    let world = World::new(vec![open, sub]).await;
    let page = [("accept", "text/html")];
    for (host, path, status) in [
        ("app.test", "/foo/outpost.goauthentik.io/auth/nginx", 200),
        ("app.test", "/foo/outpost.goauthentik.io/start", 200),
        ("app.test", "/bar/outpost.goauthentik.io/auth/nginx", 302),
        ("app.test", "/OUTPOST.goauthentik.io/start", 302),
        ("sub.test", "/wiki/outpost.goauthentik.io/unknown", 404),
        ("sub.test", "/wiki/outpost.goauthentik.io/ping", 204),
        ("sub.test", "/wiki/outpost.goauthentik.io/start", 302),
        ("sub.test", "/outpost.goauthentik.io/ping", 204),
        ("app.test", "/wiki/outpost.goauthentik.io/ping", 302),
    ] {
        let answer = world.get(path, host, &page).await;
        assert_eq!(answer.status(), status, "{host}{path}");
        let arrived = upstream.arrived();
        assert_eq!(arrived.is_some(), status == 200, "{host}{path}");
        if status == 302 && !path.starts_with("/wiki/outpost.goauthentik.io/start") {
            let location = answer.headers()[header::LOCATION].to_str().expect("text");
            let encoded = "outpost.goauthentik.io%2F";
            let own = location.contains("/outpost.goauthentik.io/start?rd=");
            assert!(own, "a sign-in for the page: {location} {encoded}");
        }
    }
}

/// 403 and why, once: not a sign-in that comes back to the same path.
#[tokio::test]
async fn ap_2026_02_asking_for_a_check_path_is_denied_and_does_not_loop() {
    let world = world(&[]).await;
    let cookies = signed_in(&world).await;
    for surface in ALL {
        for target in [
            "/outpost.goauthentik.io/auth/traefik",
            "/outpost.goauthentik.io/auth/nginx?x",
            "/outpost.goauthentik.io/auth/envoy/open",
            "/foo/outpost.goauthentik.io/auth/nginx",
            "/outpost%2egoauthentik.io/auth/caddy",
        ] {
            for cookies in ["", cookies.as_str()] {
                let headers = [("cookie", cookies), ("accept", "text/html")];
                let answer = surface.ask(&world, HOST, target, &headers).await;
                assert_eq!(answer.status(), 403, "{surface:?} {target}");
                assert!(!answer.headers().contains_key(header::LOCATION));
                if surface == Surface::Nginx {
                    let reason = &answer.headers()["x-authentik-proxy-error"];
                    let reason = reason.to_str().expect("text");
                    assert!(reason.contains("authorization endpoint"), "{reason}");
                }
            }
        }
    }
}

#[tokio::test]
async fn ap_2026_02_a_dialect_that_is_switched_off_is_not_found() {
    let names = ["nginx", "traefik", "caddy", "envoy"];
    for (surface, on) in ALL.into_iter().zip(names) {
        let dialects = ("AUTHENTIK_PROXY_FORWARD_AUTH__DIALECTS", on);
        let world = world(&[dialects]).await;
        for other in ALL {
            let answer = other.ask(&world, HOST, "/open", &[]).await;
            let expected = if other == surface { 200 } else { 404 };
            assert_eq!(answer.status(), expected, "{on}: {other:?}");
            assert_eq!(answer.headers().contains_key("x-own"), other == surface);
        }
        assert_eq!(world.get(START, HOST, &[]).await.status(), 302, "{on}");
    }
    let world = world(&[("AUTHENTIK_PROXY_FORWARD_AUTH__DIALECTS", "ingress-nginx")]).await;
    let sender = [("x-sent-from", "nginx-ingress-controller")];
    for (headers, expected) in [(&sender[..], 200), (&[], 404)] {
        let answer = Surface::Nginx.ask(&world, HOST, "/open", headers).await;
        assert_eq!(answer.status(), expected, "{headers:?}");
    }
}

#[tokio::test]
async fn ap_2026_02_a_listener_for_authorization_requests_has_them_alone() {
    let world = world(&[("AUTHENTIK_PROXY_LISTEN__FORWARD_AUTH", "127.0.0.1:0")]).await;
    let apart = world.outpost.forward_auth_addresses()[0];
    for surface in ALL {
        let request = |target| {
            let request = surface.request(http::Method::GET, HOST, target);
            request
                .body(http_body_util::Full::default())
                .expect("a request")
        };
        for (address, expected) in [(world.address(), 404), (apart, 200)] {
            let answer = crate::support::send(address, request("/open")).await;
            assert_eq!(answer.status(), expected, "{surface:?} {address}");
            assert_eq!(answer.headers().contains_key("x-own"), expected == 200);
        }
    }
    for (target, public, own) in [
        ("/outpost.goauthentik.io/ping", 204, 204),
        ("/outpost.goauthentik.io/ready", 200, 200),
        ("/outpost.goauthentik.io/start", 302, 404),
        ("/outpost.goauthentik.io/callback", 302, 404),
        ("/?X-authentik-logout=true", 403, 404),
        ("/outpost.goauthentik.io/x", 404, 404),
        ("/", 404, 404),
    ] {
        let answer = get(world.address(), target, HOST, &[]).await;
        assert_eq!(answer.status(), public, "{target} {}", text(&answer));
        let answer = get(apart, target, HOST, &[]).await;
        assert_eq!(answer.status(), own, "{target} {}", text(&answer));
    }
}

#[tokio::test]
async fn ap_2026_02_no_cache_keeps_an_answer_to_an_authorization_request() {
    let world = world(&[]).await;
    let cookies = signed_in(&world).await;
    for surface in ALL {
        for (host, target, cookies) in [
            (HOST, "/open", ""),
            (HOST, "/private", cookies.as_str()),
            (HOST, "/private", ""),
            (HOST, "/outpost.goauthentik.io/auth/nginx", ""),
            (HOST, "/outpost.goauthentik.io/start", ""),
            ("a b", "/open", ""),
        ] {
            let answer = surface
                .ask(&world, host, target, &[("cookie", cookies)])
                .await;
            let control = answer.headers().get_all(header::CACHE_CONTROL).iter();
            let control: Vec<_> = control.collect();
            assert_eq!(control, ["no-store"], "{surface:?} {host}{target}");
        }
    }
}
