//! Real reverse proxies with the configurations in `deploy/recipes`, in front of an application that
//! shows what reaches it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use authentik_standin::caddy::{self, Caddy};
use authentik_standin::haproxy::{self, HaProxy};
use authentik_standin::nginx::free_address;
use authentik_standin::{Provider, Standin};
use axum::Router;
use http::HeaderMap;
use tokio::process::Command;

use crate::support::{Browser, NAVIGATION, SIGN_OUT, World, get, location, text, within};

const FORGED: [(&str, &str); 6] = [
    ("x-authentik-username", "forged"),
    // alice has none: our answer has the header, empty.
    ("x-authentik-entitlements", "forged"),
    ("x-authentik-uid", "forged"),
    ("x_authentik_groups", "forged"),
    ("x-authentik_name", "forged"),
    ("X_AUTHENTIK_EMAIL", "forged"),
];

fn recipe(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/recipes")
        .join(file)
}

/// A recipe with what it says to replace replaced; all of it has to be there.
fn replaced(file: &str, replacements: &[(&str, &str)]) -> String {
    let text = std::fs::read_to_string(recipe(file)).expect("text");
    let replace = |text: String, (from, to): &(&str, &str)| {
        assert!(text.contains(from), "{from:?} in {file}");
        text.replace(from, to)
    };
    replacements.iter().fold(text, replace)
}

/// An application that answers with the headers of the request, a line each, in lower case.
async fn application() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    let show = |headers: HeaderMap| async move {
        let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))
        };
        headers.iter().map(line).collect::<String>()
    };
    let app = Router::new().fallback(show);
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Names for what a reverse proxy is set up between.
struct Between {
    front: SocketAddr,
    host: String,
    application: SocketAddr,
}

impl Between {
    async fn new() -> Self {
        let front = free_address().expect("a port");
        Self {
            front,
            host: format!("grafana.localhost:{}", front.port()),
            application: application().await,
        }
    }

    async fn world(&self) -> World {
        let authentik = Standin::builder().start().await.expect("started");
        let providers = vec![
            Provider {
                skip_path_regex: "^/open$".into(),
                ..Provider::forward_single("grafana", &format!("http://{}", self.host))
            },
            Provider::forward_single("other", "http://other.localhost"),
        ];
        let file = "applications: {grafana: {rules: [{path: ^/never, action: deny}]}}";
        World::with_file(authentik, providers, file, &[]).await
    }

    async fn get(&self, target: &str, cookies: &str) -> http::Response<bytes::Bytes> {
        let mut headers = FORGED.to_vec();
        headers.push(("cookie", cookies));
        get(self.front, target, &self.host, &headers).await
    }

    async fn sign_out(&self, cookies: &str) -> http::Response<bytes::Bytes> {
        let headers = [&NAVIGATION[..], &FORGED, &[("cookie", cookies)]].concat();
        get(self.front, SIGN_OUT, &self.host, &headers).await
    }

    /// Opens a page and follows redirects within the host, up to authentik's.
    async fn start(&self, world: &World, browser: &mut Browser, page: &str) -> String {
        let mut target = page.to_owned();
        for _ in 0..3 {
            let answer = self.get(&target, &browser.cookies(&self.host)).await;
            assert_eq!(answer.status(), 302, "{target} {answer:?}");
            browser.keep(&self.host, answer.headers());
            let location = location(&answer);
            if location.starts_with(world.authentik.url().as_str()) {
                return location;
            }
            target = location;
        }
        panic!("{target} does not lead to authentik");
    }

    /// In, around and out again.
    async fn story(&self, world: &World) {
        let page = "/d/x%2Fy?orgId=1&var=%20a+b";
        let mut browser = Browser::default();
        let authorize = self.start(world, &mut browser, page).await;
        let callback = Browser::authorize(world, &authorize);
        let answer = self.get(&callback, &browser.cookies(&self.host)).await;
        browser.keep(&self.host, answer.headers());
        let landing = format!("http://{}{page}", self.host);
        assert_eq!(location(&answer), landing, "byte for byte");

        // The application sees the person, and nothing that the client made up.
        let cookies = browser.cookies(&self.host);
        let answer = self.get(page, &cookies).await;
        assert_eq!(answer.status(), 200);
        let seen = text(&answer);
        for line in [
            "x-authentik-username: alice\n",
            "x-authentik-groups: admins|users\n",
        ] {
            assert!(seen.contains(line), "{line} in {seen}");
        }
        assert!(!seen.contains("forged"), "{seen}");
        // Not where everybody passes either …
        let seen = text(&self.get("/open", "").await);
        assert!(seen.contains("host: "), "the application answers: {seen}");
        assert!(
            !seen.contains("forged") && !seen.contains("alice"),
            "{seen}"
        );
        // … and what nobody may see is not shown.
        let denied = self.get("/never", &cookies).await;
        assert_eq!(denied.status(), 403);
        assert!(!text(&denied).contains("host: "), "{}", text(&denied));
        for asked in ["nginx", "traefik", "caddy", "envoy/x"] {
            let target = format!("/outpost.goauthentik.io/auth/{asked}");
            let answer = self.get(&target, &cookies).await;
            assert!(answer.status().is_client_error(), "{asked}: {answer:?}");
            assert!(!answer.headers().contains_key("x-authentik-jwt"));
        }

        // Out by the person's own wish, and then by authentik's.
        let answer = self.sign_out(&cookies).await;
        assert!(location(&answer).contains("/end-session/"), "{answer:?}");
        assert_eq!(self.get(page, &cookies).await.status(), 302);
        browser.forget();
        let authorize = self.start(world, &mut browser, page).await;
        let callback = Browser::authorize(world, &authorize);
        let answer = self.get(&callback, &browser.cookies(&self.host)).await;
        browser.keep(&self.host, answer.headers());
        let cookies = browser.cookies(&self.host);
        assert_eq!(self.get(page, &cookies).await.status(), 200);
        world.authentik.end_sessions_of("alice");
        world.until(|world| world.outpost.store().is_empty()).await;
        assert_eq!(self.get(page, &cookies).await.status(), 302);
    }
}

/// Neither the application nor a redirect when the outpost is gone.
async fn shut_without_outpost(between: &Between, world: World) {
    world.outpost.stop().await;
    let answer = between.get("/open", "").await;
    assert!(
        answer.status().is_server_error() || answer.status() == 403,
        "{answer:?}"
    );
    assert!(!text(&answer).contains("host: "));
}

#[tokio::test]
#[ignore = "needs Caddy"]
async fn cve_2026_30851_and_go_2026_5346_behind_caddy_nothing_forged_is_seen() {
    let between = Between::new().await;
    let world = between.world().await;
    let site = format!("http://{} {{\n\tbind 127.0.0.1", between.host);
    let sites = replaced(
        "caddy/Caddyfile",
        &[
            ("app.example.com {", &site),
            (" outpost:9000", &format!(" {}", world.address())),
            (" app:8080", &format!(" {}", between.application)),
        ],
    );
    let _caddy = Caddy::start(caddy::Release::Installed, between.front, &sites)
        .await
        .expect("Caddy is installed: apt-get install caddy");
    between.story(&world).await;
    shut_without_outpost(&between, world).await;
}

#[tokio::test]
#[ignore = "needs Caddy"]
async fn the_caddyfile_is_valid_as_it_stands() {
    let mut caddy = Command::new("caddy");
    caddy.args(["validate", "--adapter", "caddyfile", "--config"]);
    let directory = tempfile::tempdir().expect("a directory");
    let output = caddy
        .arg(recipe("caddy/Caddyfile"))
        .env("XDG_DATA_HOME", directory.path())
        .env("XDG_CONFIG_HOME", directory.path())
        .output();
    let output = within(output).await.expect("Caddy is installed");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    assert!(!complaints.contains("not formatted"), "{complaints}");
}

#[tokio::test]
#[ignore = "needs HAProxy"]
async fn behind_haproxy_nothing_forged_is_seen() {
    let between = Between::new().await;
    let world = between.world().await;
    let configuration = replaced(
        "haproxy/haproxy.cfg",
        &[
            (
                "/etc/haproxy/haproxy.lua",
                recipe("haproxy/haproxy.lua").to_str().expect("text"),
            ),
            (
                "bind :443 ssl crt /etc/haproxy/app.example.com.pem",
                &format!("bind {}", between.front),
            ),
            ("127.0.0.1:9000", &world.address().to_string()),
            ("127.0.0.1:8080", &between.application.to_string()),
        ],
    );
    let _haproxy = HaProxy::start(haproxy::Release::Installed, between.front, &configuration)
        .await
        .expect("HAProxy is installed: apt-get install haproxy");
    between.story(&world).await;
    shut_without_outpost(&between, world).await;
}
