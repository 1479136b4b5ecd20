//! The four dialects in which reverse proxies ask, with one set of expectations.

use authentik_standin::Provider;
use bytes::Bytes;
use http::request::Builder;
use http::{Method, Request, Response, header};

use crate::support::{Browser, NAVIGATION, Outpost, World, get, location, raw};

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
    /// The request in which the reverse proxy asks about `http://<host><target>`: its target, its
    /// `Host`, and the headers that the proxy sets itself.
    fn question(
        self,
        method: &Method,
        host: &str,
        target: &str,
    ) -> (String, String, Vec<(&'static str, String)>) {
        let own = "/outpost.goauthentik.io/auth";
        let outpost = "outpost:9000".to_owned();
        let forwarded = || {
            vec![
                ("x-forwarded-method", method.to_string()),
                ("x-forwarded-proto", "http".to_owned()),
                ("x-forwarded-host", host.to_owned()),
                ("x-forwarded-uri", target.to_owned()),
                ("x-forwarded-for", "203.0.113.7".to_owned()),
            ]
        };
        match self {
            Self::Nginx => {
                let url = format!("http://{host}{target}");
                let headers = vec![
                    ("x-original-url", url),
                    ("x-original-method", method.to_string()),
                ];
                (format!("{own}/nginx"), outpost, headers)
            }
            Self::Traefik => (format!("{own}/traefik"), outpost, forwarded()),
            Self::Caddy => (format!("{own}/caddy"), outpost, forwarded()),
            Self::Envoy => (format!("{own}/envoy{target}"), host.to_owned(), vec![]),
        }
    }

    /// The request in which it asks whether the client may do that. Envoy asks with their method.
    pub(crate) fn request(self, method: Method, host: &str, target: &str) -> Builder {
        let (path, asked, own) = self.question(&method, host, target);
        let method = if self == Self::Envoy {
            method
        } else {
            Method::GET
        };
        let request = Request::builder().method(method).uri(path);
        let with = |request: Builder, (name, value)| request.header(name, value);
        let request = request.header(header::HOST, asked);
        own.into_iter().fold(request, with)
    }

    /// Asks about `http://<host><target>` with the client's own headers.
    pub(crate) async fn ask<O: Outpost>(
        self,
        world: &World<O>,
        host: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Response<Bytes> {
        let (_, at, _) = self.question(&Method::GET, host, target);
        self.ask_at(world, &at, host, target, headers).await
    }

    /// The same where the outpost is asked by the host `at`. Envoy's question is about that one.
    pub(crate) async fn ask_at<O: Outpost>(
        self,
        world: &World<O>,
        at: &str,
        host: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Response<Bytes> {
        let (path, _, own) = self.question(&Method::GET, host, target);
        let mut all: Vec<(&str, &str)> = own.iter().map(|(n, v)| (*n, v.as_str())).collect();
        all.extend_from_slice(headers);
        world.get(&path, at, &all).await
    }

    /// Asks with bytes that no client library would send: in the target, or as further lines of
    /// the head, each with its line end. Returns the whole answer.
    pub(crate) async fn ask_raw<O: Outpost>(
        self,
        world: &World<O>,
        host: &str,
        target: &str,
        lines: &[u8],
    ) -> String {
        let (path, asked, own) = self.question(&Method::GET, host, target);
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: {asked}\r\nConnection: close\r\n");
        for (name, value) in own {
            request = format!("{request}{name}: {value}\r\n");
        }
        let request = [request.as_bytes(), lines, b"\r\n"].concat();
        raw(world.address(), &request).await
    }

    /// Whether browsers see the outpost's own responses.
    pub(crate) fn redirects(self) -> bool {
        self != Self::Nginx
    }

    /// The response to a client that has to sign in.
    pub(crate) fn login(self) -> u16 {
        if self.redirects() { 302 } else { 401 }
    }
}

#[tokio::test]
async fn signs_in_and_passes_in_every_dialect() {
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
async fn a_published_dialect_serves_the_outposts_own_pages_too() {
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
        let headers = [&NAVIGATION[..], &[("cookie", &cookies)]].concat();
        let answer = surface.ask(&world, HOST, sign_out, &headers).await;
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
async fn an_unknown_host_is_told_as_the_vendor_tells_it() {
    let world = World::new(vec![
        Provider::forward_single("a", "http://a.test"),
        Provider::forward_single("b", "http://b.test"),
    ])
    .await;
    let answer = world.get("/", "c.test", &[]).await;
    assert_eq!(answer.status(), 400);
    let body: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
    assert_eq!(body["Message"], "no app for hostname");
    assert_eq!(body["Host"], "c.test");
}

#[tokio::test]
async fn the_vendors_assets_are_not_found_on_any_host() {
    let world = World::with_grafana().await;
    let asset = "/outpost.goauthentik.io/static/dist/x.css";
    assert_eq!(world.get(asset, "unknown", &[]).await.status(), 404);
}

#[tokio::test]
async fn the_outposts_own_pages_never_authorize_the_request_for_them() {
    // Without an end-session page, the outpost itself says that the user is signed out.
    let authentik = authentik_standin::Standin::builder()
        .start()
        .await
        .expect("started");
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    authentik.add_provider(grafana);
    authentik.patch_provider_silently(
        "grafana",
        serde_json::json!({"oidc_configuration": {"end_session_endpoint": null}}),
    );
    let world = World::beside(authentik, vec![], &[]).await;
    for surface in [Surface::Traefik, Surface::Caddy, Surface::Envoy] {
        let mut browser = Browser::default();
        browser.log_in(&world, HOST, "/").await;
        let cookies = browser.cookies(HOST);
        let sign_out = "/admin?X-authentik-logout=true";
        let headers = [&NAVIGATION[..], &[("cookie", &cookies)]].concat();
        let answer = surface.ask(&world, HOST, sign_out, &headers).await;
        assert!(
            !answer.status().is_success(),
            "{surface:?} {}",
            answer.status()
        );
    }
}

#[tokio::test]
async fn below_a_host_in_proxy_mode_the_question_has_the_applications_path() {
    const MIXED: &str = "mixed.test";
    let wiki = Provider {
        skip_path_regex: "/open$".into(),
        ..Provider::forward_single("wiki", "http://mixed.test/wiki")
    };
    let rest = Provider::proxy("rest", "http://mixed.test", "http://127.0.0.1:1");
    let world = World::new(vec![wiki, rest]).await;
    for (prefix, expected) in [("", 404), ("/wiki", 200)] {
        for (question, headers) in [
            (
                "nginx",
                vec![("x-original-url", "http://mixed.test/wiki/open")],
            ),
            (
                "traefik",
                vec![
                    ("x-forwarded-proto", "http"),
                    ("x-forwarded-host", MIXED),
                    ("x-forwarded-uri", "/wiki/open"),
                ],
            ),
            ("envoy/wiki/open", vec![]),
        ] {
            let target = format!("{prefix}/outpost.goauthentik.io/auth/{question}");
            let answer = get(world.address(), &target, MIXED, &headers).await;
            assert_eq!(answer.status(), expected, "{target}");
        }
    }
}
