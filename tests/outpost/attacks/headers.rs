//! Headers that clients make up.

use authentik_proxy::config::Config;
use authentik_standin::{Provider, Standin};
use http::HeaderValue;

use super::{HOST, modes, signed_in, worlds};
use crate::forward_auth::dialects::{ALL, Surface};
use crate::support::{World, settings};

const IDENTITY: [&str; 7] = [
    "x-authentik-username",
    "x-authentik-groups",
    "x-authentik-entitlements",
    "x-authentik-email",
    "x-authentik-name",
    "x-authentik-uid",
    "x-authentik-jwt",
];

/// With none of these does anything open on any surface.
async fn open_nothing(headers: &[(&str, &str)]) {
    for world in worlds().await {
        for surface in ALL {
            for header in headers {
                let answer = surface.ask(&world, HOST, "/private", &[*header]).await;
                assert_eq!(answer.status(), surface.login(), "{surface:?} {header:?}");
            }
        }
        assert!(world.outpost.store().is_empty());
    }
}

#[tokio::test]
async fn ghsa_5wcc_hf24_rf5h_headers_that_no_proxy_sets_decide_nothing() {
    let own = "/outpost.goauthentik.io/ping";
    let open = "http://grafana.test/open";
    let forwarded = "host=grafana.test;proto=http;path=/outpost.goauthentik.io/ping";
    open_nothing(&[
        ("x-original-uri", own),
        ("x-original-uri", "/open"),
        ("x-original-uri", open),
        ("x-original-host", "other.test"),
        ("x-original-path", "/open"),
        ("x-rewrite-url", own),
        ("x-rewrite-url", "/open"),
        ("x-http-method-override", "OPTIONS"),
        ("x-accel-redirect", "/open"),
        ("x-auth-request-redirect", open),
        ("x-envoy-original-path", "/open"),
        ("x-host", "other.test"),
        ("forwarded", forwarded),
    ])
    .await;
}

#[tokio::test]
async fn ghsa_5wcc_hf24_rf5h_another_dialects_headers_decide_nothing_and_identity_headers_come_once()
 {
    for world in worlds().await {
        for (name, value, set_by) in [
            ("x-original-url", "http://grafana.test/open", "nginx"),
            ("x-forwarded-uri", "/open", "traefik or caddy"),
            ("x-forwarded-host", "grafana.test", "traefik or caddy"),
            ("x-forwarded-proto", "http", "traefik or caddy"),
        ] {
            for surface in ALL {
                let header = [(name, value)];
                let answer = surface.ask(&world, HOST, "/private", &header).await;
                let own = set_by.contains(&format!("{surface:?}").to_lowercase());
                let expected = if own { 500 } else { surface.login() };
                assert_eq!(answer.status(), expected, "{surface:?} {name}");
            }
        }
    }
}

#[tokio::test]
async fn ghsa_5wcc_hf24_rf5h_our_own_paths_are_no_free_pass() {
    for world in worlds().await {
        for surface in ALL {
            for (path, expected) in [
                ("/outpost.goauthentik.io/x", surface.login()),
                ("/outpost.goauthentik.io/auth/nginx", 403),
            ] {
                let answer = surface.ask(&world, HOST, path, &[]).await;
                assert_eq!(answer.status(), expected, "{surface:?} {path}");
            }
        }
    }
}

#[tokio::test]
async fn a_forwarded_host_of_another_application_opens_nothing() {
    let world = World::new(vec![
        Provider::forward_single("grafana", "http://grafana.test"),
        Provider::forward_single("secret", "http://secret.test"),
    ])
    .await;
    let cookies = signed_in(&world).await;
    let forged = [("cookie", cookies.as_str()), ("x-forwarded-host", HOST)];
    // Those two that do not set the header themselves.
    for surface in [Surface::Nginx, Surface::Envoy] {
        for (host, status) in [
            (HOST, 200),
            (
                "secret.test",
                // nginx may be meant to set it: it contradicts the URL.
                if surface.redirects() { 302 } else { 403 },
            ),
            ("unknown.test", if surface.redirects() { 400 } else { 500 }),
        ] {
            let answer = surface.ask(&world, host, "/", &forged).await;
            assert_eq!(answer.status(), status, "{surface:?} {host}");
        }
    }
}

#[tokio::test]
async fn cve_2026_40575_and_cve_2026_76835_forwarded_headers_of_untrusted_clients_decide_nothing() {
    for provider in modes() {
        let authentik = Standin::builder().start().await.expect("started");
        let more = [("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", "192.0.2.0/24")];
        let world = World::beside(authentik, vec![provider], &more).await;
        for surface in [Surface::Traefik, Surface::Caddy] {
            let answer = surface.ask(&world, HOST, "/open", &[]).await;
            assert_eq!(answer.status(), 500, "{surface:?}");
        }
        for surface in [Surface::Nginx, Surface::Envoy] {
            let forged = [("x-forwarded-uri", "/open"), ("x-forwarded-host", HOST)];
            let answer = surface.ask(&world, HOST, "/private", &forged).await;
            assert_eq!(answer.status(), surface.login(), "{surface:?}");
        }
    }
}

#[tokio::test]
async fn cve_2026_76835_not_everybody_is_trusted_by_default() {
    let authentik = Standin::builder().start().await.expect("started");
    let config = Config::from_pairs(settings(&authentik, &[])).expect("a configuration");
    let trusted = config.listen.trusted_proxies;
    for (address, expected) in [
        ("10.1.2.3", true),
        ("127.0.0.1", true),
        ("8.8.8.8", false),
        ("100.64.0.1", false),
        ("2001:db8::1", false),
    ] {
        let address: std::net::IpAddr = address.parse().expect("an address");
        let found = trusted.iter().any(|network| network.contains(&address));
        assert_eq!(found, expected, "{address}");
    }
}

#[tokio::test]
async fn cve_2026_34457_no_user_agent_opens_anything() {
    open_nothing(&[
        ("user-agent", "kube-probe/1.30"),
        ("user-agent", "GoogleHC/1.0"),
        ("user-agent", "ELB-HealthChecker/2.0"),
        ("user-agent", "Consul Health Check"),
        ("user-agent", "authentik-proxy"),
        ("user-agent", "goauthentik.io/outpost/2026.2.2"),
        ("user-agent", "/outpost.goauthentik.io/ping"),
    ])
    .await;
}

#[tokio::test]
async fn cve_2026_35051_no_prefix_opens_anything() {
    open_nothing(&[
        ("x-forwarded-prefix", "/public/"),
        ("x-forwarded-prefix", "/outpost.goauthentik.io"),
        ("x-forwarded-prefix", "http://grafana.test/public"),
        ("x-script-name", "/public/"),
    ])
    .await;
}

#[tokio::test]
async fn cve_2025_64484_and_kin_headers_in_other_spellings_decide_nothing_and_are_not_echoed() {
    let spellings = [
        ("x_original_url", "http://grafana.test/open"),
        ("x.original.url", "http://grafana.test/open"),
        ("x_forwarded_uri", "/open"),
        ("x.forwarded.uri", "/open"),
        ("x_forwarded_user", "admin"),
        ("x.authenticated.user", "admin"),
        ("x_authentik_username", "admin"),
        ("x.authentik.username", "admin"),
        ("x-authentik_username", "admin"),
    ];
    open_nothing(&spellings).await;
    for world in worlds().await {
        for surface in ALL {
            let answer = surface.ask(&world, HOST, "/open", &spellings).await;
            assert_eq!(answer.status(), 200, "{surface:?}");
            assert_eq!(answer.headers()["x-authentik-username"], "");
            for (name, _) in spellings {
                assert!(!answer.headers().contains_key(name), "{surface:?} {name}");
            }
        }
    }
}

#[tokio::test]
async fn ghsa_62c8_mh53_4cqv_connection_removes_no_identity_header() {
    for world in worlds().await {
        let cookies = signed_in(&world).await;
        let connection = "close, X-authentik-username, X-authentik-groups, Cookie, Authorization";
        for surface in ALL {
            let headers = [("cookie", cookies.as_str()), ("connection", connection)];
            let answer = surface.ask(&world, HOST, "/private", &headers).await;
            assert_eq!(answer.status(), 200, "{surface:?}");
            assert_eq!(answer.headers()["x-authentik-username"], "alice");
            assert_eq!(answer.headers()["x-authentik-groups"], "admins|users");
        }
    }
}

#[tokio::test]
async fn cve_2026_30851_and_go_2026_5346_every_identity_header_is_on_every_positive_answer() {
    for world in worlds().await {
        let cookies = signed_in(&world).await;
        let forged = IDENTITY.map(|name| (name, "forged"));
        for surface in ALL {
            let anonymous = surface.ask(&world, HOST, "/open", &forged).await;
            let mut headers = forged.to_vec();
            headers.push(("cookie", &cookies));
            let alice = surface.ask(&world, HOST, "/private", &headers).await;
            for (answer, absent) in [(&anonymous, &IDENTITY[..]), (&alice, &IDENTITY[2..3])] {
                assert_eq!(answer.status(), 200, "{surface:?}");
                for name in IDENTITY {
                    let values: Vec<_> = answer.headers().get_all(name).iter().collect();
                    assert_eq!(values.len(), 1, "{surface:?} {name}: {values:?}");
                    assert_ne!(values[0], "forged");
                    let empty = values[0] == HeaderValue::from_static("");
                    assert_eq!(empty, absent.contains(&name), "{surface:?} {name}");
                }
            }
        }
    }
}
