//! Programs that bring credentials in `Authorization`.

use authentik_standin::{Endpoint, Fault, Provider, Recorded, Standin, User};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::forward_auth::dialects::{ALL, Surface};
use crate::support::{Browser, PASSWORD, World, location, within};

const HOST: &str = "grafana.test";
const APP_PASSWORD: &str = "app-pass-1";

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A world whose alice has an app password, with a second application.
async fn world() -> World {
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_user(User {
        app_password: Some(APP_PASSWORD.into()),
        ..User::new("robot", PASSWORD)
    });
    let providers = vec![
        Provider::forward_single("grafana", "http://grafana.test"),
        Provider::forward_single("other", "http://other.test"),
    ];
    World::beside(authentik, providers, &[]).await
}

impl World {
    fn token_for(&self, application: &str) -> String {
        let live = self.outpost.live().load();
        let sites = live.table.sites();
        let site = sites.iter().find(|s| s.application.slug == application);
        let client_id = &site.expect("an application").application.client.id;
        format!(
            "Bearer {}",
            self.authentik.mint(client_id, "robot", json!({}))
        )
    }

    async fn ask(&self, surface: Surface, authorization: &str) -> http::Response<bytes::Bytes> {
        surface
            .ask(self, HOST, "/api", &[("authorization", authorization)])
            .await
    }
}

#[tokio::test]
async fn bearer_basic_and_token_as_password_pass_in_every_dialect() {
    for surface in ALL {
        for spelled in [
            |token: &str| format!("Bearer {token}"),
            |token: &str| basic("goauthentik.io/token", token),
            |_: &str| basic("robot", APP_PASSWORD),
        ] {
            // Of its own, since a token is one credential however it is sent.
            let world = world().await;
            let token = world.token_for("grafana");
            let bare = token.strip_prefix("Bearer ").expect("a bearer token");
            let credentials = spelled(bare);
            let answer = world.ask(surface, &credentials).await;
            assert_eq!(answer.status(), 200, "{surface:?} {credentials}");
            assert_eq!(answer.headers()["x-authentik-username"], "robot");
            assert!(!answer.headers().contains_key("authorization"));
            let cookie = answer.headers()["set-cookie"].to_str().expect("text");
            let cookie = cookie.split(';').next().expect("a cookie");
            let answer = surface
                .ask(&world, HOST, "/api", &[("cookie", cookie)])
                .await;
            assert_eq!(answer.status(), 200, "the cookie spares the question");
        }
    }
}

#[tokio::test]
async fn cve_2024_47077_a_token_of_another_application_is_refused() {
    let world = world().await;
    let token = world.token_for("other");
    for surface in ALL {
        assert_eq!(
            world.ask(surface, &token).await.status(),
            401,
            "{surface:?}"
        );
    }
}

/// authentik 2026.5 answers `active: true` to a provider's questions about tokens of the providers that
/// it federates, with the other provider's audience.
#[tokio::test]
async fn the_cause_of_a_refused_token_is_logged_without_the_token() {
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_user(User::new("robot", PASSWORD));
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    let client_id = grafana.client_id.clone();
    let world = World::running(authentik, vec![grafana], &[]).await;
    let federated = json!({"aud": "another-client"});
    let token = world.authentik.mint(&client_id, "robot", federated);
    for (token, cause, hint) in [
        (
            token.as_str(),
            "another provider issued it, such as a federated one",
            "are not accepted",
        ),
        (
            "unknown-token",
            "reports the bearer token as inactive",
            "request a new token",
        ),
    ] {
        for _ in 0..2 {
            let authorization = format!("Bearer {token}");
            let headers = [("authorization", authorization.as_str())];
            let answer = Surface::Nginx.ask(&world, HOST, "/api", &headers).await;
            assert_eq!(answer.status(), 401);
        }
        let logged = || {
            let lines = world.outpost.lines();
            let lines = lines
                .into_iter()
                .filter(|line| line.to_string().contains(cause));
            lines.collect::<Vec<_>>()
        };
        let line = world.outpost.wait_line(cause).await;
        assert_eq!(line["level"], "warning", "{line}");
        assert_eq!(line["application"], "grafana", "{line}");
        assert!(
            line["hint"]
                .as_str()
                .is_some_and(|said| said.contains(hint)),
            "{line}"
        );
        assert_eq!(logged().len(), 1, "once a minute");
        let all = format!("{:?}", world.outpost.lines());
        assert!(
            !all.contains(token) && !all.contains("another-client"),
            "{all}"
        );
    }
}

#[tokio::test]
async fn wrong_credentials_are_refused_without_a_login() {
    let world = world().await;
    for surface in ALL {
        for credentials in [
            "Bearer x",
            "Bearer ",
            "Basic",
            "Basic ???",
            "Negotiate abc",
            &basic("robot", PASSWORD),
            &basic("nobody", "x"),
            &basic("goauthentik.io/token", "x"),
            &format!("Bearer {}", "x".repeat(9000)),
        ] {
            let answer = world.ask(surface, credentials).await;
            assert_eq!(answer.status(), 401, "{surface:?} {credentials}");
            assert!(!answer.headers().contains_key("set-cookie"));
        }
    }
    assert!(world.outpost.store().is_empty());
}

#[tokio::test]
async fn the_same_credentials_are_asked_about_once_and_have_one_session() {
    let world = world().await;
    for credentials in [basic("robot", APP_PASSWORD), "Bearer wrong".into()] {
        world.authentik.clear_requests();
        let asked = (0..20).map(|_| world.ask(Surface::Nginx, &credentials));
        futures_util::future::join_all(asked).await;
        let asked = world.authentik.requests();
        let asked = asked.iter().filter(|r| r.path.contains("/application/o/"));
        assert_eq!(asked.count(), 1, "{credentials}");
    }
    assert_eq!(world.outpost.store().len(), 1);
}

#[tokio::test]
async fn credentials_are_the_applications_where_interception_is_off() {
    let mut grafana = Provider::forward_single("grafana", "http://grafana.test");
    grafana.intercept_header_auth = false;
    let world = World::new(vec![grafana]).await;
    world.authentik.clear_requests();
    assert_eq!(
        world.ask(Surface::Nginx, "Bearer theirs").await.status(),
        401
    );
    let shown = world.ask(Surface::Traefik, "Bearer theirs").await;
    assert_eq!(shown.status(), 302, "a login, as without credentials");
    assert!(
        world.authentik.requests().is_empty(),
        "their token is not ours to send"
    );
}

#[tokio::test]
async fn an_authentik_that_cannot_be_asked_is_no_refusal() {
    let world = world().await;
    world.authentik.fault(Endpoint::Token, Fault::Status(503));
    let credentials = basic("robot", APP_PASSWORD);
    assert_eq!(world.ask(Surface::Nginx, &credentials).await.status(), 500);
    assert_eq!(world.ask(Surface::Caddy, &credentials).await.status(), 502);
    world.authentik.clear_faults();
    // Not at once: those who wait do not ask one by one.
    let answered = async {
        while world.ask(Surface::Caddy, &credentials).await.status() != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), answered)
        .await
        .expect("it is asked again");
}

/// How often authentik was asked for tokens.
fn asked(world: &World) -> usize {
    let requests = world.authentik.requests();
    let requests = requests.iter();
    requests
        .filter(|request| request.path.ends_with("/application/o/token/"))
        .count()
}

/// What clients are told that have caused too many requests. nginx makes 500 of 429.
fn too_many(surface: Surface, answer: &http::Response<bytes::Bytes>) {
    if surface == Surface::Nginx {
        assert_eq!(answer.status(), 403);
    } else {
        assert_eq!(answer.status(), 429, "{surface:?}");
        assert!(answer.headers().contains_key("retry-after"), "{surface:?}");
    }
}

#[tokio::test]
async fn ap_2026_04_passwords_are_guessed_ten_times_a_minute() {
    for surface in ALL {
        let world = world().await;
        let ask = |from: &'static str, credentials: String| {
            let world = &world;
            async move {
                let headers = [("x-forwarded-for", from), ("authorization", &*credentials)];
                surface.ask(world, HOST, "/api", &headers).await
            }
        };
        world.authentik.clear_requests();
        let guesses = (0..100).map(|guess| ask("203.0.113.9", basic("robot", &guess.to_string())));
        let answers = futures_util::future::join_all(guesses).await;
        assert_eq!(asked(&world), 10, "{surface:?}");
        for answer in answers.iter().filter(|answer| answer.status() != 401) {
            too_many(surface, answer);
        }
        too_many(
            surface,
            &ask("203.0.113.9", basic("robot", APP_PASSWORD)).await,
        );
        // Neither is another user locked out there, nor the user elsewhere.
        let answer = ask("203.0.113.9", basic("alice", "wrong")).await;
        assert_eq!(answer.status(), 401, "{surface:?}");
        let answer = ask("203.0.113.10", basic("robot", APP_PASSWORD)).await;
        assert_eq!(answer.status(), 200, "{surface:?}");
    }
}

#[tokio::test]
async fn ap_2026_04_one_client_delays_no_other_one() {
    let world = std::sync::Arc::new(world().await);
    world.authentik.clear_requests();
    world.authentik.fault(Endpoint::Token, Fault::Hang);
    let (tell, mut refused) = tokio::sync::mpsc::unbounded_channel();
    for user in 0..200 {
        let (world, tell) = (std::sync::Arc::clone(&world), tell.clone());
        tokio::spawn(async move {
            let credentials = basic(&format!("user{user}"), "wrong");
            let headers = [
                ("x-forwarded-for", "203.0.113.9"),
                ("authorization", &credentials),
            ];
            let answer = Surface::Caddy.ask(&world, HOST, "/api", &headers).await;
            let _ = tell.send(answer);
        });
    }
    // Some are asked about, some wait, and the rest is refused while authentik does not answer.
    let token = |request: &Recorded| request.path.ends_with("/application/o/token/");
    within(world.authentik.wait_requests(8, token)).await;
    for _ in 0..80 {
        let answer = within(refused.recv()).await.expect("an answer");
        too_many(Surface::Caddy, &answer);
    }
    assert_eq!(asked(&world), 8);
    let other = std::sync::Arc::clone(&world);
    let other = tokio::spawn(async move {
        let credentials = basic("robot", APP_PASSWORD);
        let headers = [
            ("x-forwarded-for", "203.0.113.10"),
            ("authorization", &credentials),
        ];
        Surface::Caddy.ask(&other, HOST, "/api", &headers).await
    });
    within(world.authentik.wait_requests(9, token)).await;
    world.authentik.clear_faults();
    assert_eq!(within(other).await.expect("no panic").status(), 200);
}

#[tokio::test]
async fn ap_2026_04_one_credential_in_many_spellings_is_one_session() {
    let world = world().await;
    world.authentik.clear_requests();
    let credentials = basic("robot", APP_PASSWORD);
    let value = credentials.strip_prefix("Basic ").expect("basic");
    for spelled in [
        format!("Basic {value}"),
        format!("BASIC {value}"),
        format!("basic    {value}"),
    ] {
        let answer = world.ask(Surface::Nginx, &spelled).await;
        assert_eq!(answer.status(), 200, "{spelled}");
    }
    assert_eq!((asked(&world), world.outpost.store().len()), (1, 1));
}

#[tokio::test]
async fn ap_2026_04_codes_are_not_exchanged_without_end() {
    let world = world().await;
    let start = "/outpost.goauthentik.io/start?rd=/";
    let begun = world.get(start, HOST, &[]).await;
    let mut browser = Browser::default();
    browser.keep(HOST, begun.headers());
    let url = url::Url::parse(&location(&begun)).expect("a URL");
    let state = url.query_pairs().find(|(name, _)| name == "state");
    let state = state.expect("a state").1.into_owned();
    let cookies = browser.cookies(HOST);
    world.authentik.clear_requests();
    let mut statuses = Vec::new();
    for code in 0..200 {
        let callback = format!("/outpost.goauthentik.io/callback?code={code}&state={state}");
        let headers = [("x-forwarded-for", "203.0.113.9"), ("cookie", &cookies)];
        statuses.push(world.get(&callback, HOST, &headers).await.status());
    }
    assert_eq!(asked(&world), 120);
    assert!(
        statuses[120..].iter().all(|status| *status == 429),
        "{statuses:?}"
    );
}
