//! URLs that mean one thing to us and another to a server behind us.

use authentik_standin::Provider;

use super::{HOST, worlds};
use crate::forward_auth::dialects::{ALL, Surface};
use crate::support::{Browser, World};

#[tokio::test]
async fn cve_2025_54576_the_query_opens_nothing() {
    for world in worlds().await {
        for surface in ALL {
            for target in [
                "/admin?x=/open",
                "/admin?x=/public/",
                "/admin?/public/x",
                "/admin?x=http://grafana.test/public/",
                "/admin?x=https://grafana.test/open",
                "/admin?#/open",
            ] {
                let answer = surface.ask_raw(&world, HOST, target, b"").await;
                let expected = format!("HTTP/1.1 {} ", surface.login());
                assert!(
                    answer.starts_with(&expected),
                    "{surface:?} {target}: {answer}"
                );
            }
            for target in ["/open?x=1", "/public/x?/admin"] {
                let answer = surface.ask(&world, HOST, target, &[]).await;
                assert_eq!(answer.status(), 200, "{surface:?} {target}");
            }
        }
    }
}

#[tokio::test]
async fn ghsa_3q34_rx83_r6mq_cve_2026_95811_cve_2020_24660_ambiguous_paths_open_nothing() {
    for world in worlds().await {
        for surface in ALL {
            for target in [
                "/public/../admin",
                "/public/./x",
                "/public/%2e%2e/admin",
                "/public/%2e%2e%2fadmin",
                "/public/..%2fadmin",
                "/public/.%2e/admin",
                "/public/%252e%252e/admin",
                "/public//admin",
                "//public/x",
                "/public/;/admin",
                "/public/..;/admin",
                "/public/x;v=1",
                "/public/\\..\\admin",
                "/public/%5c..%5cadmin",
                "/public/%00",
                "/public/%0d%0ax",
                "/public/%ff",
                "/public/%3f/../../admin",
                "/public/x#/../../admin",
                "/public/x%23/../../admin",
                "/%70ublic/../admin",
                "/%6fpen",
                "/open/",
                "/OPEN",
            ] {
                if surface == Surface::Envoy && target.contains('#') {
                    // Envoy refuses it, and HTTP libraries, ours too, drop what follows.
                    continue;
                }
                let answer = surface.ask_raw(&world, HOST, target, b"").await;
                // As Envoy writes it, the target is in the request line: what has no business
                // there is refused before it is looked at.
                let refused = surface == Surface::Envoy && answer.starts_with("HTTP/1.1 400 ");
                let login = format!("HTTP/1.1 {} ", surface.login());
                assert!(
                    answer.starts_with(&login) || refused,
                    "{surface:?} {target}: {answer}"
                );
            }
        }
    }
}

#[tokio::test]
async fn ghsa_3q34_rx83_r6mq_no_path_leads_into_another_application_of_the_host() {
    let world = World::new(vec![
        Provider::forward_single("whole", "http://grafana.test"),
        Provider::forward_single("part", "http://grafana.test/part/"),
    ])
    .await;
    for (home, targets) in [
        (
            "/part/x",
            [
                "/part/../private",
                "/part/%2e%2e/private",
                "/part/%2e%2e%2fprivate",
                "/part/..;/private",
                "/part/x#/../../private",
            ],
        ),
        (
            "/x",
            [
                "/x/../part/private",
                "//part/private",
                "/x/..%2fpart/private",
                "/%70art/private",
                "/x;/../part/private",
            ],
        ),
    ] {
        let mut browser = Browser::default();
        browser.log_in(&world, HOST, home).await;
        let cookies = browser.cookies(HOST);
        let line = format!("Cookie: {cookies}\r\n");
        for surface in ALL {
            let answer = surface.ask_raw(&world, HOST, home, line.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{surface:?} {home}");
            let shown = |target: &&str| surface != Surface::Envoy || !target.contains('#');
            for target in targets.into_iter().filter(shown) {
                let answer = surface.ask_raw(&world, HOST, target, line.as_bytes()).await;
                assert!(
                    ["HTTP/1.1 403 ", "HTTP/1.1 400 "].contains(&&answer[..13]),
                    "{surface:?} {target}: {answer}"
                );
            }
        }
    }
}

/// URLs that are none, as nginx would report them.
#[tokio::test]
async fn cve_2021_32637_an_unusable_original_url_is_an_error() {
    for world in worlds().await {
        for url in [
            "",
            "/",
            "/open",
            "grafana.test/open",
            "//grafana.test/open",
            "http:/grafana.test/open",
            "http://",
            "http:///open",
            "ftp://grafana.test/open",
            "javascript://grafana.test/open",
            "http://grafana.test@evil.test/open",
            "http://u:p@grafana.test/open",
            "http://grafana.test:x/open",
        ] {
            let answer = ask_nginx(&world, url.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 500 "), "{url:?}: {answer}");
            assert!(answer.contains("\r\nx-authentik-proxy-error: "), "{url:?}");
        }
        for control in [
            b"http://grafana.test/public/\0",
            b"http://grafana.test/public/\x01",
        ] {
            let answer = ask_nginx(&world, control).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        }
    }
}

async fn ask_nginx(world: &World, url: &[u8]) -> String {
    let head =
        b"GET /outpost.goauthentik.io/auth/nginx HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let request = [head, b"X-Original-URL: ".as_slice(), url, b"\r\n\r\n"].concat();
    crate::support::raw(world.address(), &request).await
}

#[tokio::test]
async fn cve_2021_32637_forwarded_parts_that_are_no_url_are_an_error() {
    for world in worlds().await {
        for path in ["traefik", "caddy"] {
            let path = format!("/outpost.goauthentik.io/auth/{path}");
            let whole = [
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", HOST),
                ("x-forwarded-uri", "/open"),
            ];
            assert_eq!(world.get(&path, "outpost", &whole).await.status(), 200);
            for left_out in 0..whole.len() {
                let mut headers = whole.to_vec();
                headers.remove(left_out);
                let answer = world.get(&path, "outpost", &headers).await;
                assert_eq!(answer.status(), 500, "without {}", whole[left_out].0);
            }
            for (name, value) in [
                ("x-forwarded-proto", ""),
                ("x-forwarded-proto", "http, "),
                ("x-forwarded-proto", "http, ftp"),
                ("x-forwarded-host", ""),
                ("x-forwarded-host", "grafana.test, "),
                ("x-forwarded-host", "grafana.test, evil.test@grafana.test"),
                ("x-forwarded-host", "grafana.test;x"),
                ("x-forwarded-host", "grafana.test@evil.test"),
                ("x-forwarded-uri", "http://evil.test/open"),
                ("x-forwarded-uri", "open"),
                ("x-forwarded-uri", "@evil.test/open"),
                ("x-forwarded-uri", ":8080/open"),
                ("x-forwarded-proto", "http\u{e4}"),
            ] {
                let mut headers = whole.to_vec();
                headers.retain(|(known, _)| *known != name);
                headers.push((name, value));
                let answer = world.get(&path, "outpost", &headers).await;
                assert_eq!(answer.status(), 500, "{name}: {value}");
            }
        }
    }
}

/// RFC 3986 section 2: a URL is ASCII. Reverse proxies pass on what a client writes instead.
#[tokio::test]
async fn bytes_that_no_url_has_are_the_clients_fault() {
    let long = format!("/public/{}", "a".repeat(17_000));
    for world in worlds().await {
        for surface in ALL {
            for target in [
                "/public/\u{e4}",
                "/public?\u{e4}",
                "/\u{fc}/\u{1f600}",
                "/public/ x",
                "/public/\tx",
                "/public/\u{7f}",
                &long,
            ] {
                let answer = surface.ask_raw(&world, HOST, target, b"").await;
                // nginx replaces any other status.
                let expected = if surface == Surface::Nginx { 403 } else { 400 };
                let status = format!("HTTP/1.1 {expected} ");
                assert!(
                    answer.starts_with(&status)
                        // No header has it (RFC 9110 section 5.5).
                        || target.contains('\u{7f}') && answer.starts_with("HTTP/1.1 400 "),
                    "{surface:?} {target:?}: {answer}"
                );
                let has_reason = answer.contains("\r\nx-authentik-proxy-error: the client's URL");
                assert!(!answer.contains("must set it"), "{answer}");
                assert_eq!(has_reason, answer.starts_with("HTTP/1.1 403 "), "{answer}");
            }
        }
        for surface in [Surface::Nginx, Surface::Traefik, Surface::Caddy] {
            let answer = surface
                .ask_raw(&world, "gr\u{e4}fana.test", "/open", b"")
                .await;
            let expected = if surface == Surface::Nginx { 403 } else { 400 };
            let status = format!("HTTP/1.1 {expected} ");
            assert!(answer.starts_with(&status), "{surface:?}: {answer}");
        }
        let latin = ask_nginx(&world, b"http://grafana.test/public/\xff").await;
        assert!(latin.starts_with("HTTP/1.1 403 "), "{latin}");
        assert!(
            world.authentik.events().is_empty(),
            "no event blames the proxy"
        );
    }
}

#[tokio::test]
async fn cve_2021_32637_a_request_line_that_is_no_url_is_refused() {
    for world in worlds().await {
        for target in ["/public/\u{1}", "/public/\0"] {
            let answer = Surface::Envoy.ask_raw(&world, HOST, target, b"").await;
            let status = &answer[..answer.len().min(12)];
            assert_eq!(status, "HTTP/1.1 400", "{target:?}: {answer}");
        }
    }
}
