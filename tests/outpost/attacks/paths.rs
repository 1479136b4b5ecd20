//! Paths that servers normalize differently, against rules that restrict and against applications
//! that share a host. What servers make of which path is in `src/model/path/servers.tsv`.

use std::net::SocketAddr;

use authentik_standin::nginx::{Nginx, Release, free_address};
use authentik_standin::{Provider, Standin, User};
use axum::Router;
use http::Uri;
use percent_encoding::percent_decode_str;

use super::{HOST, signed_in, worlds};
use crate::forward_auth::dialects::{ALL, Surface};
use crate::support::{Browser, PASSWORD, World, raw};

const RULES: &str = "applications: {grafana: {rules: [{path: ^/admin, action: require, groups: [admins]}, {path: ^/never, action: deny}]}}";

/// Decoded again and again, `A` in the end.
fn nested() -> String {
    format!("/%{}41", "25".repeat(6_000))
}

/// A world with the rules, and users inside and outside of the group.
async fn ruled(provider: Provider) -> World {
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_user(User {
        groups: vec!["users".into()],
        ..User::new("bob", PASSWORD)
    });
    World::with_file(authentik, vec![provider], RULES, &[]).await
}

/// The status of an answer. Envoy's question may be refused as no HTTP (400), or as one that leads
/// out of the path below which Envoy asks (404): Envoy denies with either.
async fn status(world: &World, surface: Surface, target: &str, cookies: &str) -> String {
    let line = format!("Cookie: {cookies}\r\n");
    let answer = surface.ask_raw(world, HOST, target, line.as_bytes()).await;
    let status = answer.get(9..12).unwrap_or_default();
    if surface == Surface::Envoy && matches!(status, "400" | "404") {
        return "403".to_owned();
    }
    status.to_owned()
}

#[tokio::test]
async fn ap_2026_03_a_rule_restricts_every_reading_of_a_path() {
    for provider in [
        Provider::forward_single("grafana", "http://grafana.test"),
        Provider::forward_domain("grafana", "http://auth.grafana.test", "grafana.test"),
    ] {
        let world = ruled(provider).await;
        let user = Browser::default().log_in_as(&world, HOST, "bob").await;
        let admin = Browser::default().log_in_as(&world, HOST, "alice").await;
        for surface in ALL {
            for target in [
                "/admin",
                "/%61dmin//../users",
                "/%61dmin",
                "/%2561dmin",
                "/ADMIN",
                "//admin",
                "//x/admin",
                "/x/../admin",
                "/x/%2e%2e/admin",
                "/x/..%2fadmin",
                "/x/..;/admin",
                "/;/admin",
                "/admin;v=1",
                "/admin%2Fx",
                "/admin%5Cx",
                "/admin%3Fx",
                "/admin%00",
                "/x%c0%af..%c0%afadmin",
                "/x/%u002e%u002e/admin",
                "/x%zz/../admin",
                "/x%5C..%5Cadmin",
                "/index.php/admin",
                "/(S(x))/admin",
                &nested(),
            ] {
                let found = status(&world, surface, target, &user).await;
                assert_eq!(found, "403", "{surface:?} {target}");
            }
            // Percent-encoding as such is no reason to refuse anything.
            for target in [
                "/caf%C3%A9/a%20b",
                "/%7Eusers/",
                "/api/v4/projects/group%2Fproject",
                "/users;sort=name/1",
                "/static//app.js",
                "/wiki/C%23",
                "/wiki/What%3F",
                "/100%25",
                "/DOMAIN%5Cuser",
                "/wiki/Inc.",
            ] {
                let found = status(&world, surface, target, &user).await;
                assert_eq!(found, "200", "{surface:?} {target}");
            }
            // Whoever may see what any server makes of it.
            for target in ["/%61dmin", "/ADMIN", "/admin%2Fx", "/admin;v=1", "//admin"] {
                let found = status(&world, surface, target, &admin).await;
                assert_eq!(found, "200", "{surface:?} {target}");
            }
            for target in ["/%6eever", "/x/../never", "/never/%c3%a4"] {
                let found = status(&world, surface, target, &admin).await;
                assert_eq!(found, "403", "{surface:?} {target}");
            }
        }
    }
}

#[tokio::test]
async fn ap_2026_03_unauthenticated_paths_alone_refuse_no_signed_in_user() {
    for world in worlds().await {
        let cookies = signed_in(&world).await;
        for surface in ALL {
            for target in [
                "/public/../admin",
                "/public//x",
                "//public/x",
                "/public/x;v=1",
                "/public/a%2Fb",
                "/public/%252e%252e/admin",
                "/public/%00",
                "/public/%ff",
                "/public/%zz",
                "/public/100%",
                "/public/%5C",
                "/public/caf%C3%A9%2F",
                &nested(),
            ] {
                let found = status(&world, surface, target, &cookies).await;
                assert_eq!(found, "200", "{surface:?} {target}");
                let found = status(&world, surface, target, "").await;
                // A login cannot return to targets of more than 8 KiB.
                let is_too_long = target.len() > 8 * 1024 && found == "414";
                let is_refused = found == surface.login().to_string() || is_too_long;
                assert!(is_refused, "{surface:?} {target}: {found}");
            }
        }
    }
}

/// An application that decodes a path once and resolves dots, and says which page that is.
async fn application(name: &'static str) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    let page = move |uri: Uri| async move {
        let decoded = percent_decode_str(uri.path()).decode_utf8_lossy();
        let mut segments: Vec<&str> = Vec::new();
        for segment in decoded.split('/') {
            match segment {
                "." => {}
                ".." => {
                    segments.pop();
                }
                name => segments.push(name),
            }
        }
        format!("{name} shows {}", segments.join("/"))
    };
    let app = Router::new().fallback(page);
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A server block that asks the outpost about every request, as `http://<host>`.
fn asking(front: SocketAddr, host: &str, outpost: SocketAddr, locations: &str) -> String {
    format!(
        "server {{
  listen {front};
  server_name {host};
  auth_request /question;
  {locations}
  location = /question {{
    internal;
    proxy_pass http://{outpost}/outpost.goauthentik.io/auth/nginx;
    proxy_pass_request_body off;
    proxy_set_header Content-Length \"\";
    proxy_set_header Host {host}:{port};
    proxy_set_header X-Original-URL http://{host}:{port}$request_uri;
  }}
}}",
        port = front.port()
    )
}

async fn ask(front: SocketAddr, target: &str, cookies: &str) -> String {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: grafana.localhost:{}\r\nConnection: close\r\nCookie: {cookies}\r\n\r\n",
        front.port()
    );
    raw(front, request.as_bytes()).await
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn ap_2026_03_behind_nginx_no_reading_of_an_application_escapes_a_rule() {
    let front = free_address().expect("a port");
    let host = format!("grafana.localhost:{}", front.port());
    let world = ruled(Provider::forward_single(
        "grafana",
        &format!("http://{host}"),
    ))
    .await;
    let application = application("grafana").await;
    let locations = format!("location / {{ proxy_pass http://{application}; }}");
    let block = asking(front, "grafana.localhost", world.address(), &locations);
    let nginx = Nginx::serving(Release::Installed, front, &block).await;
    let nginx = nginx.expect("nginx runs");
    let user = Browser::default().log_in_as(&world, &host, "bob").await;
    for target in [
        "/admin",
        "/%61dmin//../users",
        "/x/..%2fadmin",
        "/x/%2e%2e/admin",
        "/x/y/../..//./admin",
        "/%61dmin%2fusers",
    ] {
        let answer = ask(front, target, &user).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{target}: {answer}");
        assert!(!answer.contains("shows"), "{target}: {answer}");
    }
    for (target, page) in [
        ("/users", "grafana shows /users"),
        ("/group%2Fproject", "grafana shows /group/project"),
        ("/caf%C3%A9//x", "grafana shows /caf\u{e9}//x"),
    ] {
        let answer = ask(front, target, &user).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{target}: {answer}");
        assert!(answer.ends_with(page), "{target}: {answer}");
    }
    nginx.stop().await.expect("stopped");
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn ap_2026_03_behind_nginx_no_path_leads_into_another_application_of_the_host() {
    let front = free_address().expect("a port");
    let host = format!("grafana.localhost:{}", front.port());
    let world = World::new(vec![
        Provider::forward_single("whole", &format!("http://{host}")),
        Provider::forward_single("part", &format!("http://{host}/a/")),
    ])
    .await;
    let (whole, part) = (application("whole").await, application("part").await);
    let locations = format!(
        "location / {{ proxy_pass http://{whole}; }} location /a {{ proxy_pass http://{part}; }}"
    );
    let block = asking(front, "grafana.localhost", world.address(), &locations);
    let nginx = Nginx::serving(Release::Installed, front, &block).await;
    let nginx = nginx.expect("nginx runs");
    let mut browser = Browser::default();
    browser.log_in(&world, &host, "/").await;
    let cookies = browser.cookies(&host);
    for target in [
        "/%61/secret;%252f..%252f..%252fx",
        "/%61/secret",
        "//a/secret",
        "/x/../a/secret",
        "/a%2Fsecret",
        "/a%23/../a/secret",
    ] {
        let answer = ask(front, target, &cookies).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{target}: {answer}");
    }
    for (target, page) in [
        ("/users", "whole shows /users"),
        ("/group%2Fproject", "whole shows /group/project"),
        ("/x;y/z", "whole shows /x;y/z"),
    ] {
        let answer = ask(front, target, &cookies).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{target}: {answer}");
        assert!(answer.ends_with(page), "{target}: {answer}");
    }
    nginx.stop().await.expect("stopped");
}
