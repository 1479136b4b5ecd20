//! Real programs behind the outpost.

use std::time::Duration;

use authentik_standin::prometheus::{Monitoring, program};
use authentik_standin::{Provider, Standin, User};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Browser, Outpost as _, PASSWORD, World, get, location, send, text, within};

/// A program that runs.
pub(crate) fn running(started: std::io::Result<Monitoring>) -> Monitoring {
    started.expect("Prometheus and AlertManager are there: scripts/test.sh fetches them")
}

/// The outpost in front of it, at `http://localhost` with this path, and who uses it.
struct Front {
    world: World,
    cookies: String,
}

impl Front {
    async fn of(program: &Monitoring) -> Self {
        let authentik = Standin::builder().start().await.expect("started");
        authentik.add_user(User {
            app_password: Some("app-pass".into()),
            ..User::new("robot", PASSWORD)
        });
        let internal = format!("http://{}", program.address());
        let provider = Provider::proxy("app", "http://localhost", &internal);
        let world = World::beside(authentik, vec![provider], &[]).await;
        let mut browser = Browser::default();
        browser.log_in(&world, "localhost", "/").await;
        let cookies = browser.cookies("localhost");
        Self { world, cookies }
    }

    async fn ask(
        &self,
        method: Method,
        target: &str,
        cookies: &str,
        (kind, body): (&str, &str),
    ) -> Response<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "localhost")
            .header("cookie", cookies)
            .header("content-type", kind)
            .body(Full::from(body.to_owned()))
            .expect("a request");
        within(send(self.world.address(), request)).await
    }

    async fn get(&self, target: &str) -> Response<Bytes> {
        let answer = self.ask(Method::GET, target, &self.cookies, ("", ""));
        answer.await
    }

    /// What an anonymous client is answered: never the program's own answer.
    async fn is_closed(&self, target: &str) {
        let answer = self.ask(Method::GET, target, "", ("", "")).await;
        let status = answer.status().as_u16();
        assert!([302, 401].contains(&status), "{target}: {status}");
    }
}

/// Waits until Prometheus serves more than `/-/healthy`, which it does at once.
pub(crate) async fn ready(prometheus: &Monitoring) {
    let address = prometheus.address();
    let ready = async {
        while get(address, "/-/ready", "localhost", &[]).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(ready).await;
}

fn parsed(answer: &Response<Bytes>) -> Value {
    let text = text(answer);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
#[ignore = "needs Prometheus"]
async fn prometheus_works_behind_the_outpost() {
    let prometheus = running(Monitoring::prometheus("http://localhost").await);
    ready(&prometheus).await;
    let front = Front::of(&prometheus).await;
    for target in ["/", "/-/healthy", "/api/v1/query?query=vector(7)"] {
        front.is_closed(target).await;
    }
    let healthy = front.get("/-/healthy").await;
    assert!(text(&healthy).contains("Healthy"), "{healthy:?}");

    // The start page leads to the page for queries, whatever that is called by now.
    let mut page = front.get("/").await;
    for _ in 0..3 {
        if page.status().is_redirection() {
            let next = location(&page);
            page = front.get(next.trim_start_matches("http://localhost")).await;
        }
    }
    assert_eq!(page.status(), 200);
    assert!(text(&page).contains("Prometheus"), "{}", text(&page));

    let value = |answer: &Response<Bytes>| parsed(answer)["data"]["result"][0]["value"][1].clone();
    let answer = front.get("/api/v1/query?query=vector(7)%2B1").await;
    assert_eq!(value(&answer), "8");
    let form = ("application/x-www-form-urlencoded", "query=vector(7)%2B2");
    let query = "/api/v1/query";
    let answer = front.ask(Method::POST, query, &front.cookies, form).await;
    assert_eq!(value(&answer), "9");
    prometheus.stop().await.expect("stopped");
}

#[tokio::test]
#[ignore = "needs AlertManager"]
async fn alertmanager_works_behind_the_outpost_below_a_path() {
    let external = "http://localhost/alerts/";
    let alertmanager = running(Monitoring::alertmanager(external).await);
    let front = Front::of(&alertmanager).await;
    for target in ["/alerts/", "/alerts/api/v2/status"] {
        front.is_closed(target).await;
    }
    assert_eq!(location(&front.get("/").await), "/alerts");
    assert_eq!(front.get("/alerts/-/healthy").await.status(), 200);
    let status = parsed(&front.get("/alerts/api/v2/status").await);
    assert!(status["versionInfo"]["version"].is_string(), "{status}");

    let silence = json!({
        "matchers": [{"name": "alertname", "value": "Quiet", "isRegex": false}],
        "startsAt": "2000-01-01T00:00:00Z",
        "endsAt": "2100-01-01T00:00:00Z",
        "createdBy": "alice",
        "comment": "a test",
    });
    let silence = silence.to_string();
    let (silences, body) = ("/alerts/api/v2/silences", ("application/json", &*silence));
    assert_eq!(
        front.ask(Method::POST, silences, "", body).await.status(),
        401
    );
    let made = front
        .ask(Method::POST, silences, &front.cookies, body)
        .await;
    let id = parsed(&made)["silenceID"].take();
    let listed = parsed(&front.get(silences).await);
    assert_eq!(
        listed.as_array().map(Vec::len),
        Some(1),
        "the refused one is none"
    );
    assert_eq!(listed[0]["id"], id);

    // Its own program signs in with an app password.
    let port = front.world.outpost.address().port();
    let amtool = |password: &str| {
        let url = format!("http://robot:{password}@localhost:{port}/alerts");
        let mut command = Command::new(program("amtool"));
        command.arg(format!("--alertmanager.url={url}"));
        command.args(["silence", "query"]).kill_on_drop(true);
        command
    };
    let output = within(amtool("app-pass").output()).await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("alertname=\"Quiet\""), "{said} {output:?}");
    let output = within(amtool("wrong").output()).await.expect("it runs");
    assert!(!output.status.success(), "{output:?}");
    alertmanager.stop().await.expect("stopped");
}
