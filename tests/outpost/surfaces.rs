//! The four dialects in which reverse proxies ask, with one set of expectations.

use authentik_standin::Provider;
use bytes::Bytes;
use http::Response;

use crate::support::{Browser, World, location};

const HOST: &str = "grafana.test";

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    Nginx,
    Traefik,
    Caddy,
    Envoy,
}

pub(crate) const ALL: [Surface; 4] = [
    Surface::Nginx,
    Surface::Traefik,
    Surface::Caddy,
    Surface::Envoy,
];

impl Surface {
    /// Asks about `https://<host><target>` with the person's own headers.
    pub(crate) async fn ask(
        self,
        world: &World,
        host: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Response<Bytes> {
        let url = format!("http://{host}{target}");
        let own = "/outpost.goauthentik.io/auth";
        let (path, asked, mut all): (_, _, Vec<(&str, &str)>) = match self {
            Self::Nginx => (
                format!("{own}/nginx"),
                "outpost:9000",
                vec![("x-original-url", &url), ("x-original-method", "GET")],
            ),
            Self::Traefik | Self::Caddy => (
                format!(
                    "{own}/{}",
                    if self == Self::Traefik {
                        "traefik"
                    } else {
                        "caddy"
                    }
                ),
                "outpost:9000",
                vec![
                    ("x-forwarded-method", "GET"),
                    ("x-forwarded-proto", "http"),
                    ("x-forwarded-host", host),
                    ("x-forwarded-uri", target),
                    ("x-forwarded-for", "203.0.113.7"),
                ],
            ),
            Self::Envoy => (format!("{own}/envoy{target}"), host, vec![]),
        };
        all.extend_from_slice(headers);
        world.get(&path, asked, &all).await
    }

    /// Whether people see our own answers.
    pub(crate) fn redirects(self) -> bool {
        self != Self::Nginx
    }
}

#[tokio::test]
async fn signs_in_and_passes_on_every_surface() {
    for surface in ALL {
        let world = World::with_grafana().await;
        let mut browser = Browser::default();
        let page = "/d/x%2Fy?orgId=1&var=%20a+b";
        let answer = surface.ask(&world, HOST, page, &[]).await;
        if surface.redirects() {
            assert_eq!(answer.status(), 302, "{surface:?}");
            browser.keep(HOST, answer.headers());
            let callback = Browser::authorize(&world, &location(&answer));
            let answer = browser.open(&world, HOST, &callback).await;
            assert_eq!(
                location(&answer),
                format!("http://{HOST}{page}"),
                "{surface:?}"
            );
        } else {
            assert_eq!(answer.status(), 401);
            browser.log_in(&world, HOST, "/").await;
        }
        let cookies = browser.cookies(HOST);
        let answer = surface
            .ask(&world, HOST, page, &[("cookie", &cookies)])
            .await;
        assert_eq!(answer.status(), 200, "{surface:?}");
        assert_eq!(answer.headers()["x-authentik-username"], "alice");
        assert!(answer.body().is_empty());
    }
}

#[tokio::test]
async fn a_surface_that_is_shown_serves_our_own_pages_too() {
    for surface in [Surface::Traefik, Surface::Caddy, Surface::Envoy] {
        let world = World::with_grafana().await;
        let mut browser = Browser::default();
        let answer = surface.ask(&world, HOST, "/page", &[]).await;
        browser.keep(HOST, answer.headers());
        let callback = Browser::authorize(&world, &location(&answer));
        // The callback comes through the very same question.
        let cookies = browser.cookies(HOST);
        let answer = surface
            .ask(&world, HOST, &callback, &[("cookie", &cookies)])
            .await;
        assert_eq!(
            location(&answer),
            format!("http://{HOST}/page"),
            "{surface:?}"
        );
        browser.keep(HOST, answer.headers());
        let cookies = browser.cookies(HOST);
        let answer = surface
            .ask(&world, HOST, "/page", &[("cookie", &cookies)])
            .await;
        assert_eq!(answer.status(), 200, "{surface:?}");
        let sign_out = "/any?X-authentik-logout=true";
        let answer = surface
            .ask(&world, HOST, sign_out, &[("cookie", &cookies)])
            .await;
        assert!(location(&answer).contains("end-session"), "{surface:?}");
        assert!(world.outpost.store().is_empty());
    }
}

#[tokio::test]
async fn issue_10057_scripts_and_websockets_get_401_instead_of_a_redirect() {
    let world = World::with_grafana().await;
    for surface in ALL {
        for header in [
            ("sec-fetch-mode", "cors"),
            ("x-requested-with", "XMLHttpRequest"),
            ("upgrade", "websocket"),
        ] {
            let answer = surface.ask(&world, HOST, "/api", &[header]).await;
            assert_eq!(answer.status(), 401, "{surface:?} {header:?}");
            if surface.redirects() {
                let body: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
                assert_eq!(body["error"], "login_required");
                assert!(answer.headers().contains_key("www-authenticate"));
            }
        }
    }
    let start = "/outpost.goauthentik.io/start?rd=/x";
    let answer = world.get(start, HOST, &[("sec-fetch-mode", "cors")]).await;
    assert_eq!(answer.status(), 401, "a script that nginx redirected");
}

#[tokio::test]
async fn cve_2021_32637_what_cannot_be_read_passes_nowhere() {
    let mut grafana = Provider::forward_single("grafana", "http://grafana.test");
    grafana.skip_path_regex = ".*".into();
    let world = World::new(vec![grafana]).await;
    for path in ["/auth/traefik", "/auth/caddy"] {
        let path = format!("/outpost.goauthentik.io{path}");
        let whole = [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", HOST),
            ("x-forwarded-uri", "/x"),
        ];
        assert_eq!(world.get(&path, "outpost", &whole).await.status(), 200);
        for left_out in 0..whole.len() {
            let mut headers = whole.to_vec();
            headers.remove(left_out);
            let answer = world.get(&path, "outpost", &headers).await;
            assert_eq!(answer.status(), 500, "without {}", whole[left_out].0);
        }
        for (name, value) in [
            ("x-forwarded-proto", "javascript"),
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "grafana.test;x"),
            ("x-forwarded-host", "grafana.test@evil.test"),
            ("x-forwarded-uri", "http://evil.test/"),
            ("x-forwarded-uri", "x"),
            ("x-forwarded-uri", "/\u{e4}"),
            ("x-forwarded-uri", "/a b"),
        ] {
            let mut headers = whole.to_vec();
            headers.retain(|(known, _)| *known != name);
            headers.push((name, value));
            let answer = world.get(&path, "outpost", &headers).await;
            assert_eq!(answer.status(), 500, "{name}: {value}");
        }
        let mut doubled = whole.to_vec();
        doubled.push(("x-forwarded-uri", "/y"));
        assert_eq!(world.get(&path, "outpost", &doubled).await.status(), 500);
    }
}

#[tokio::test]
async fn cve_2026_40575_forwarded_headers_of_strangers_decide_nothing() {
    let mut grafana = Provider::forward_single("grafana", "http://grafana.test");
    grafana.skip_path_regex = "^/open".into();
    let authentik = authentik_standin::Standin::builder()
        .start()
        .await
        .expect("started");
    let more = [("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", "192.0.2.0/24")];
    let world = World::beside(authentik, vec![grafana], &more).await;
    for surface in [Surface::Traefik, Surface::Caddy] {
        let answer = surface.ask(&world, HOST, "/open", &[]).await;
        assert_eq!(answer.status(), 500, "{surface:?}");
    }
}
