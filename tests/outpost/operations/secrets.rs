//! What must never be seen is not: not in the log at any level, not in metrics, not on pages.

use authentik_standin::{Endpoint, Fault, Provider, Signing, Standin, User};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::Response;
use nix::sys::signal::Signal;
use url::Url;

use crate::operations::process::Process;
use crate::support::{Browser, World, get, location, text};

const HOST: &str = "grafana.test";
const PAGE: &str = "http://grafana.test/d?apikey=sevensecretwords";

/// Things that must stay secret, with names for the message of a failure.
#[derive(Default)]
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn add(&mut self, name: &'static str, value: impl Into<String>) {
        let value = value.into();
        assert!(
            value.len() >= 16,
            "{name} is too short to be looked for: {value}"
        );
        self.0.push((name, value));
    }

    /// The parameters of a URL that stand for something.
    fn add_query(&mut self, url: &str) {
        let url = Url::parse("http://x").expect("a URL").join(url);
        for (name, value) in url.expect("a URL").query_pairs() {
            match &*name {
                "state" => self.add("state", value),
                "code" => self.add("authorization code", value),
                "nonce" => self.add("nonce", value),
                "id_token_hint" => self.add("access token", value),
                _ => {}
            }
        }
    }

    fn add_cookies(&mut self, cookies: &str) {
        for cookie in cookies.split("; ").filter(|cookie| !cookie.is_empty()) {
            let (_, value) = cookie.split_once('=').expect("a cookie");
            self.add("cookie", value);
        }
    }

    /// What went to authentik's OAuth endpoints.
    fn add_requests(&mut self, authentik: &Standin) {
        for request in authentik.requests() {
            for (name, value) in url::form_urlencoded::parse(request.body.as_bytes()) {
                match &*name {
                    "code" => self.add("authorization code", value),
                    "code_verifier" => self.add("PKCE verifier", value),
                    "token" => self.add("access token", value),
                    _ => {}
                }
            }
        }
    }

    /// How many different secrets have this name.
    fn count(&self, wanted: &str) -> usize {
        let named = self.0.iter().filter(|(name, _)| *name == wanted);
        let values: std::collections::HashSet<_> = named.map(|(_, value)| value).collect();
        values.len()
    }

    fn assert_absent(&self, place: &str, text: &str) {
        for (name, value) in &self.0 {
            // Half of a secret is half too much.
            let (first, second) = value.split_at(value.len() / 2);
            let found = text.contains(first) || text.contains(second);
            assert!(!found, "{name} in {place}: {text}");
        }
    }
}

/// An error page, which must have this status.
fn page(pages: &mut Vec<String>, answer: &Response<Bytes>, status: u16) {
    assert_eq!(answer.status(), status, "{answer:?}");
    pages.push(text(answer));
}

#[tokio::test]
async fn cve_2026_40166_no_secret_is_logged_counted_or_shown() {
    for signing in [Signing::Hs256, Signing::Es256] {
        let authentik = Standin::builder().log_level("trace");
        let authentik = authentik.start().await.expect("started");
        let grafana = Provider {
            signing,
            ..Provider::forward_single("grafana", "http://grafana.test")
        };
        let mut secrets = Secrets::default();
        secrets.add("client secret", &grafana.client_secret);
        secrets.add("cookie secret", &grafana.cookie_secret);
        secrets.add("API token", authentik.token());
        authentik.add_user(User {
            app_password: Some("robot-app-password-1".into()),
            ..User::new("robot", "robot-pass-1")
        });
        let level = [("AUTHENTIK_LOG_LEVEL", "trace")];
        let mut world = World::<Process>::running(authentik, vec![grafana], &level).await;
        let pages = use_it(&world, &mut secrets).await;
        secrets.add_requests(&world.authentik);
        for (name, least) in [
            ("state", 5),
            ("nonce", 5),
            ("cookie", 4),
            ("authorization code", 5),
            ("PKCE verifier", 5),
            ("access token", 1),
        ] {
            assert!(secrets.count(name) >= least, "too few to look for: {name}");
        }

        let metrics = get(world.outpost.metrics(), "/metrics", "x", &[]).await;
        secrets.assert_absent("metrics", &text(&metrics));
        world.outpost.stop().await;
        for page in &pages {
            secrets.assert_absent("a page", page);
        }
        // A page may lead back to where the user wanted to go.
        secrets.add("query", "sevensecretwords");
        let lines = world.outpost.lines();
        let debug = lines.iter().filter(|line| line["level"] == "debug");
        assert!(debug.count() >= 2, "the level is not what it should be");
        for line in lines {
            secrets.assert_absent("the log", &line.to_string());
        }
    }
}

/// Everything that handles secrets, well and badly. Returns error pages.
async fn use_it(world: &World<Process>, secrets: &mut Secrets) -> Vec<String> {
    let mut pages = Vec::new();
    // A login, requests with its session and with credentials of the application, a replay.
    let mut browser = Browser::default();
    let callback = start(world, &mut browser, secrets).await;
    let answer = browser.open(world, HOST, &callback).await;
    assert_eq!(location(&answer), PAGE);
    let cookies = browser.cookies(HOST);
    secrets.add_cookies(&cookies);
    secrets.add("app password", "robot-app-password-1");
    secrets.add("wrong password", "not-an-app-password-");
    let answer = world.nginx(PAGE, &cookies, &[]).await;
    let token = answer.headers()["x-authentik-jwt"].to_str().expect("text");
    secrets.add("access token", token);
    let basic = |user: &str, password: &str| {
        let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
        format!("Basic {credentials}")
    };
    for (credentials, status) in [
        (format!("Bearer {token}"), 200),
        (basic("robot", "robot-app-password-1"), 200),
        (basic("robot", "not-an-app-password-"), 401),
        (format!("Bearer {token}x"), 401),
    ] {
        let (_, secret) = credentials.split_once(' ').expect("a scheme");
        secrets.add("Authorization header", secret);
        let headers = [("authorization", &*credentials)];
        let answer = world.nginx(PAGE, "", &headers).await;
        assert_eq!(answer.status(), status, "{credentials}");
        let mut program = Browser::default();
        program.keep(HOST, answer.headers());
        secrets.add_cookies(&program.cookies(HOST));
        world.authentik.fault(Endpoint::Any, Fault::Status(500));
        let other = [("authorization", &*format!("{credentials}y"))];
        world.nginx(PAGE, "", &other).await;
        world.authentik.clear_faults();
    }
    let answer = browser.open(world, HOST, &callback).await;
    assert_eq!(answer.status(), 302, "already signed in");
    let odd = world.nginx(&format!("{PAGE} "), &cookies, &[]).await;
    let odd = odd.headers().get("x-authentik-proxy-error").cloned();
    pages.extend(odd.map(|reason| format!("{reason:?}")));
    page(
        &mut pages,
        &world
            .get("/?apikey=sevensecretwords", HOST, &[("cookie", &cookies)])
            .await,
        404,
    );

    // Refused by authentik.
    let mut other = Browser::default();
    let state = start(world, &mut other, secrets).await;
    let state = state.split_once("&state=").expect("a state").1;
    let denied = format!(
        "/outpost.goauthentik.io/callback?X-authentik-auth-callback=true?error=access_denied&error_description=no&state={state}"
    );
    page(&mut pages, &other.open(world, HOST, &denied).await, 403);

    // A code exchange that fails in every way that has its own message.
    for (fault, status) in [
        (Fault::Reset, 502),
        (Fault::Truncated, 502),
        (Fault::Status(500), 500),
        (Fault::Html, 500),
        (Fault::WrongJson, 500),
        (Fault::MissingField("token_type".into()), 500),
        (Fault::MissingField("access_token".into()), 500),
    ] {
        let mut other = Browser::default();
        let callback = start(world, &mut other, secrets).await;
        world.authentik.fault(Endpoint::Token, fault.clone());
        let answer = other.open(world, HOST, &callback).await;
        world.authentik.clear_faults();
        assert_eq!(answer.status(), status, "{fault:?}");
        page(&mut pages, &answer, status);
        secrets.add_cookies(&other.cookies(HOST));
    }

    // A browser without cookies, then with a code that authentik does not know.
    let mut other = Browser::default();
    let callback = start(world, &mut other, secrets).await;
    other.forget();
    let answer = other.open(world, HOST, &callback).await;
    secrets.add_query(&location(&answer));
    let callback = Browser::authorize(world, &location(&answer));
    let (before, state) = callback.split_once("&state=").expect("a state");
    let before = before.split_once("code=").expect("a code").0;
    let unknown = format!("{before}code=0123456789abcdef0123456789abcdef&state={state}");
    page(&mut pages, &other.open(world, HOST, &unknown).await, 400);

    // The control plane: another fetch, a gap with a re-check by introspection, signing out.
    world.outpost.signal(Signal::SIGUSR1);
    world.outpost.wait_lines("configuration loaded", 2).await;
    world
        .authentik
        .fault(Endpoint::Introspect, Fault::WrongJson);
    world.authentik.drop_websockets();
    world
        .outpost
        .wait_line("introspection of a session failed")
        .await;
    world.authentik.clear_faults();
    let answer = browser.sign_out(world, HOST).await;
    secrets.add_query(&location(&answer));
    world.authentik.end_sessions_of("alice");
    world.outpost.wait_line("authentik ended a session").await;
    pages
}

/// Starts a login towards a page; what comes by is secret. Returns the callback.
async fn start(world: &World<Process>, browser: &mut Browser, secrets: &mut Secrets) -> String {
    let wanted: String = url::form_urlencoded::byte_serialize(PAGE.as_bytes()).collect();
    let target = format!("/outpost.goauthentik.io/start?rd={wanted}");
    let answer = browser.open(world, HOST, &target).await;
    secrets.add_query(&location(&answer));
    secrets.add_cookies(&browser.cookies(HOST));
    let callback = Browser::authorize(world, &location(&answer));
    secrets.add_query(&callback);
    callback
}
