//! Programs that bring credentials in `Authorization`.

use authentik_standin::{Endpoint, Fault, Provider, Standin, User};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::support::{PASSWORD, World};
use crate::surfaces::{ALL, Surface};

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
async fn bearer_basic_and_token_as_password_pass_on_every_surface() {
    for surface in ALL {
        let world = world().await;
        let token = world.token_for("grafana");
        let bare = token.strip_prefix("Bearer ").expect("a bearer token");
        for credentials in [
            token.clone(),
            basic("goauthentik.io/token", bare),
            basic("robot", APP_PASSWORD),
        ] {
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
