//! Where a login leads, and what is written into redirects.

use authentik_standin::Provider;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::{HOST, worlds};
use crate::forward_auth::dialects::{ALL, Surface};
use crate::support::{Browser, World, location};

/// The host that a browser would go to.
fn host_of(location: &str) -> String {
    assert!(
        location.bytes().all(|b| b.is_ascii_graphic()),
        "{location:?}"
    );
    let url = Url::parse(location).expect("a URL");
    assert_eq!(url.scheme(), "http", "{location}");
    url.host_str().expect("a host").to_owned()
}

/// Logs in towards `wanted`, as it stands and percent-encoded; returns where that ends.
async fn landings(world: &World, wanted: &str) -> Vec<String> {
    let encoded = utf8_percent_encode(wanted, NON_ALPHANUMERIC).to_string();
    let as_it_stands = wanted.parse::<http::uri::PathAndQuery>().is_ok();
    let mut landings = Vec::new();
    let written = [Some(encoded.as_str()), as_it_stands.then_some(wanted)];
    for rd in written.into_iter().flatten() {
        let mut browser = Browser::default();
        landings.push(browser.log_in(world, HOST, rd).await);
    }
    landings
}

#[tokio::test]
async fn cve_2017_1000070_and_kin_a_whole_login_never_ends_elsewhere() {
    let long = format!("http://grafana.test/{}", "a".repeat(5000));
    for world in worlds().await {
        for wanted in [
            "//evil.test",
            "///evil.test",
            "/\\evil.test",
            "/\t/evil.test",
            "/%09/evil.test",
            "\\\\evil.test",
            "http:evil.test",
            "http:///evil.test",
            "http://grafana.test@evil.test",
            "http://grafana.test:x@evil.test/",
            "http://grafana.test\\.evil.test/",
            "http://grafana.test\0.evil.test/",
            "javascript:alert(1)",
            "javascript://grafana.test/%0aalert(1)",
            "data:text/html,x",
            ".evil.test",
            "HTTP://EVIL.TEST",
            "http://\u{fb01}grafana.test/",
            "http://xn--grafana-9za.test/",
            "http://evil.test?http://grafana.test/",
            "http://evil.test#grafana.test",
            "/\r\nLocation: http://evil.test",
            &long,
        ] {
            for landing in landings(&world, wanted).await {
                let host = host_of(&landing);
                let own = host == HOST || host == "auth.grafana.test";
                assert!(own, "{wanted:?} -> {landing}");
            }
        }
    }
}

#[tokio::test]
async fn cve_2017_1000070_a_modified_state_leads_nowhere() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let wanted = "http://grafana.test/page";
    for world in worlds().await {
        for keep_signature in [true, false] {
            let mut browser = Browser::default();
            let callback = browser.sign_in(&world, HOST, wanted).await;
            let (before, state) = callback.split_once("&state=").expect("a state");
            let [head, claims, mac] = state.split('.').collect::<Vec<_>>()[..] else {
                panic!("{state} is no JWT");
            };
            let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
            let claims = String::from_utf8(claims).expect("JSON");
            let evil = claims.replace(wanted, "http://evil.test/");
            assert_ne!(evil, claims, "there is something to change");
            let evil = URL_SAFE_NO_PAD.encode(evil);
            let state = if keep_signature {
                format!("{head}.{evil}.{mac}")
            } else {
                format!("{unsigned}.{evil}.")
            };
            let forged = format!("{before}&state={state}");
            let answer = browser.open(&world, HOST, &forged).await;
            // It starts over, towards the application's own page.
            let callback = Browser::authorize(&world, &location(&answer));
            let answer = browser.open(&world, HOST, &callback).await;
            assert_ne!(host_of(&location(&answer)), "evil.test");
        }
    }
}

#[tokio::test]
async fn cve_2024_52289_and_cve_2026_41569_hosts_are_compared_label_by_label() {
    // With a second application, so that no application answers for every host.
    let domain = Provider::forward_domain("domain", "http://auth.grafana.test", "grafana.test");
    let other = Provider::forward_single("other", "http://other.test");
    let mut open = domain;
    open.skip_path_regex = "/open$".into();
    let world = World::new(vec![open, other]).await;
    for surface in ALL {
        let answer = surface.ask(&world, "any.grafana.test", "/open", &[]).await;
        assert_eq!(answer.status(), 200, "{surface:?}");
        for host in [
            "evilgrafana.test",
            "fooagrafana.test",
            "grafana.test.evil.tld",
            "grafanaxtest",
        ] {
            let answer = surface.ask(&world, host, "/open", &[]).await;
            let expected = if surface.redirects() { 400 } else { 500 };
            assert_eq!(answer.status(), expected, "{surface:?} {host}");
        }
    }
    for wanted in [
        "http://evilgrafana.test/",
        "http://fooagrafana.test/",
        "http://grafana.test.evil.tld/",
        "http://grafana.test@evil.tld/",
        "http://grafanaxtest/",
    ] {
        for landing in landings(&world, wanted).await {
            assert_eq!(host_of(&landing), "auth.grafana.test", "{wanted}");
        }
    }
    for landing in landings(&world, "http://deep.any.grafana.test/x").await {
        assert_eq!(landing, "http://deep.any.grafana.test/x");
    }
}

#[tokio::test]
async fn cve_2024_21499_only_http_and_https_are_schemes() {
    for world in worlds().await {
        for proto in [
            "javascript",
            "data",
            "ftp",
            "http://evil.test/?",
            "http:",
            "https;x",
            " ",
        ] {
            for path in ["traefik", "caddy"] {
                let headers = [
                    ("x-forwarded-proto", proto),
                    ("x-forwarded-host", HOST),
                    ("x-forwarded-uri", "/page"),
                ];
                let path = format!("/outpost.goauthentik.io/auth/{path}");
                let answer = world.get(&path, "outpost", &headers).await;
                assert_eq!(answer.status(), 500, "{proto}");
                assert!(!answer.headers().contains_key("location"));
            }
            // Where the header is not needed, it is not heeded.
            let mut browser = Browser::default();
            let headers = [("x-forwarded-proto", proto)];
            let answer = Surface::Envoy.ask(&world, HOST, "/page", &headers).await;
            browser.keep(HOST, answer.headers());
            let callback = Browser::authorize(&world, &location(&answer));
            let answer = browser.open(&world, HOST, &callback).await;
            assert_eq!(location(&answer), "http://grafana.test/page", "{proto}");
        }
    }
}

#[tokio::test]
async fn cve_2026_57209_what_is_no_host_comes_into_no_header() {
    for world in worlds().await {
        let start = "/outpost.goauthentik.io/start?rd=/";
        for host in [
            "",
            "grafana.test;x",
            "grafana.test\"x",
            "grafana.test x",
            "grafana.test,evil.test",
            "grafana.test/x",
            "grafana.test@evil.test",
            "grafana.test:8080:x",
            "gr\u{e4}fana.test",
            "grafana.test\r\nHost: evil.test",
            "grafana.test\r\n X: y",
            "grafana.test\rSet-Cookie: x",
        ] {
            for path in [start, "/outpost.goauthentik.io/auth/envoy/page", "/page"] {
                let request =
                    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
                let answer = crate::support::raw(world.address(), request.as_bytes()).await;
                // Envoy's own fault, where it is Envoy that asks.
                let expected = if path.contains("/auth/") && !answer.starts_with("HTTP/1.1 400 ") {
                    "HTTP/1.1 500 "
                } else {
                    "HTTP/1.1 400 "
                };
                assert!(answer.starts_with(expected), "{path} {host:?}: {answer}");
                let (head, _) = answer.split_once("\r\n\r\n").expect("a head");
                assert!(
                    !head.contains("location:") && !head.contains("set-cookie:"),
                    "{head}"
                );
                assert!(!head.contains("evil"), "{head}");
            }
        }
    }
}
