//! AP-2026-01 through real servers, as authentik documents them.

use std::net::SocketAddr;

use authentik_standin::caddy::{self, Caddy};
use authentik_standin::nginx::{self, Nginx, free_address};
use axum::body::Body;
use http::Request;

use super::hosts::{http2, world};
use crate::support::raw;

/// nginx as authentik documents it, for two applications: `$host` and `$http_host` side by side.
fn documented(
    address: SocketAddr,
    http2: SocketAddr,
    application: SocketAddr,
    outpost: SocketAddr,
) -> String {
    let server = |host: &str| {
        format!(
            "server {{
    listen {address}; listen {http2} http2;
    server_name {host};
    location / {{
      auth_request /outpost.goauthentik.io/auth/nginx;
      error_page 401 = @sign_in;
      proxy_set_header Host $host;
      proxy_pass http://{application};
    }}
    location /outpost.goauthentik.io {{
      proxy_pass http://{outpost}/outpost.goauthentik.io;
      proxy_set_header Host $host;
      proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
      proxy_pass_request_body off; proxy_set_header Content-Length '';
    }}
    location @sign_in {{
      internal;
      return 302 /outpost.goauthentik.io/start?rd=$scheme://$http_host$request_uri;
    }}
  }}
  "
        )
    };
    format!(
        "server {{ listen {application}; location / {{ return 200 'the application at $host'; }} }}
  {}{}",
        server("public.test"),
        server("internal.test"),
    )
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn ap_2026_01_through_nginx_no_second_host_opens_another_application() {
    const INTERNAL: &str = "application at internal.test";
    // Without ingress-nginx, which a client could claim to be.
    let world = world(&[("AUTHENTIK_PROXY_FORWARD_AUTH__DIALECTS", "nginx")]).await;
    let free = || free_address().expect("a port");
    let (address, http2_address) = (free(), free());
    let servers = documented(address, http2_address, free(), world.address());
    let nginx = Nginx::serving(nginx::Release::Installed, address, &servers).await;
    let _nginx = nginx.expect("nginx runs");
    for (target, lines, expected) in [
        ("/public/x", "Host: public.test", 200),
        ("/public/x", "Host: PUBLIC.test.:8080", 200),
        ("http://public.test/public/x", "Host: public.test", 200),
        (
            "http://PUBLIC.test:80/public/x",
            "Host: public.test:80",
            200,
        ),
        ("/public/x", "Host: internal.test", 302),
        ("http://internal.test/public/x", "Host: public.test", 403),
        ("http://INTERNAL.test./public/x", "Host: public.test", 403),
        (
            "http://internal.test:80/public/x",
            "Host: public.test:8443",
            403,
        ),
        ("http://internal.test/public/x", "Host: PUBLIC.TEST", 403),
        ("http://internal.test/public/x", "Host: public.test.", 403),
        (
            "http://internal.test/public/x",
            "Host: public.test\r\nX-Sent-From: nginx-ingress-controller",
            403,
        ),
        (
            "http://internal.test/public/x",
            "Host: public.test\r\nX-Forwarded-Host: public.test",
            403,
        ),
        ("http://public.test/public/x", "Host: internal.test", 403),
        // nginx refuses these itself.
        ("/public/x", "Host: public.test\r\nHost: internal.test", 400),
        ("/public/x", "Host: internal.test\r\nHost: public.test", 400),
        ("http://a@internal.test/public/x", "Host: public.test", 400),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n");
        let answer = raw(address, request.as_bytes()).await;
        let status = format!("HTTP/1.1 {expected} ");
        assert!(answer.starts_with(&status), "{target} {lines}: {answer}");
        assert!(!answer.contains(INTERNAL), "{target} {lines}: {answer}");
    }
    for (authority, host, expected) in [
        ("public.test", None, Some(200)),
        ("internal.test", None, Some(302)),
        ("internal.test", Some("public.test"), None),
        ("public.test", Some("internal.test"), None),
    ] {
        let mut request = Request::get(format!("http://{authority}/public/x"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(Body::empty()).expect("a request");
        let (status, body) = http2(http2_address, request).await;
        assert!(
            expected.is_none_or(|expected| status == expected),
            "{authority} {host:?}: {status}"
        );
        assert!(!body.contains(INTERNAL), "{authority} {host:?}: {body}");
    }
}

/// As authentik documents it: a client in a private network chooses `X-Forwarded-Host`.
#[tokio::test]
#[ignore = "needs Caddy"]
async fn ap_2026_01_through_caddy_no_second_host_opens_another_application() {
    const INTERNAL: &str = "application at internal.test";
    let world = world(&[]).await;
    let address = free_address().expect("a port");
    let port = address.port();
    let site = |host: &str| {
        format!(
            "http://{host}:{port} {{
	bind 127.0.0.1
	route {{
		reverse_proxy /outpost.goauthentik.io/* http://{outpost}
		forward_auth http://{outpost} {{
			uri /outpost.goauthentik.io/auth/caddy
			copy_headers X-Authentik-Username
			trusted_proxies private_ranges 127.0.0.1/8
		}}
		respond \"the application at {host}\"
	}}
}}
",
            outpost = world.address()
        )
    };
    let sites = [site("public.test"), site("internal.test")].concat();
    let _caddy = Caddy::start(caddy::Release::Installed, address, &sites)
        .await
        .expect("Caddy runs");
    for (target, lines, expected) in [
        ("/public/x", format!("Host: public.test:{port}"), 200),
        ("/public/x", format!("Host: internal.test:{port}"), 302),
        (
            "/public/x",
            format!("Host: internal.test:{port}\r\nX-Forwarded-Host: public.test"),
            400,
        ),
        (
            "/public/x",
            format!("Host: INTERNAL.test:{port}\r\nX-Forwarded-Host: PUBLIC.test:80"),
            400,
        ),
    ] {
        let request = format!(
            "GET {target} HTTP/1.1\r\n{lines}\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(address, request.as_bytes()).await;
        let status = format!("HTTP/1.1 {expected} ");
        assert!(answer.starts_with(&status), "{target} {lines}: {answer}");
        assert!(!answer.contains(INTERNAL), "{target} {lines}: {answer}");
    }
    // Go's servers take the request line's host, for both.
    let request = format!(
        "GET http://internal.test:{port}/public/x HTTP/1.1\r\nHost: public.test:{port}\r\nConnection: close\r\n\r\n"
    );
    let answer = raw(address, request.as_bytes()).await;
    assert!(!answer.contains(INTERNAL), "{answer}");
}
