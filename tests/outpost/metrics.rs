//! What the metrics listener says: counters of what became of requests and logins, and the status.

use authentik_standin::{Endpoint, Fault, Provider, Standin, nginx};
use serde_json::Value;

use crate::support::{Browser, Outpost, World, get, text, within};

const HOST: &str = "app.test";

/// The value of the sample with this name and these labels besides the outpost's name.
async fn sample(world: &World, name: &str, labels: &str) -> u64 {
    let page = text(&get(world.outpost.metrics_addresses()[0], "/metrics", "x", &[]).await);
    let name = format!("authentik_outpost_{name}{{");
    let labels = format!("{labels}}} ");
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(&name)?.split_once(&labels))
        .map(|(_, value)| value.parse().expect("a number"));
    value.unwrap_or_else(|| panic!("{name}…{labels} is missing in\n{page}"))
}

/// A host with rules, and one whose application is not there.
async fn world() -> World {
    let authentik = Standin::builder().start().await.expect("it starts");
    let nobody = nginx::free_address().expect("a port");
    let providers = vec![
        Provider::forward_single("app", "http://app.test"),
        Provider::proxy("gone", "http://gone.test", &format!("http://{nobody}")),
    ];
    let file = "applications: {app: {rules: [{path: ^/never, action: deny}]}}";
    World::with_file(authentik, providers, file, &[]).await
}

#[tokio::test]
async fn refusals_are_counted_by_reason() {
    let world = world().await;
    world.nginx("http://app.test/", "", &[]).await;
    world.nginx("http://app.test/never", "", &[]).await;
    let bearer = [("authorization", "Bearer nonsense")];
    world.nginx("http://app.test/", "", &bearer).await;
    world.nginx("http://nobody.test/", "", &[]).await;
    world
        .get("/outpost.goauthentik.io/auth/nginx", "outpost:9000", &[])
        .await;
    world.get("/nothing", HOST, &[]).await;
    for (host, reason) in [
        (HOST, "sign_in_required"),
        (HOST, "rule"),
        (HOST, "credentials"),
        (HOST, "not_found"),
        ("", "unknown_host"),
        ("", "misconfigured_proxy"),
    ] {
        let labels = format!("host=\"{host}\",reason=\"{reason}\"");
        let count = sample(&world, "proxy_refusals_total", &labels).await;
        assert_eq!(count, 1, "{labels}");
    }
    let store = format!("host=\"{HOST}\",reason=\"method\"");
    assert_eq!(sample(&world, "proxy_refusals_total", &store).await, 0);
}

#[tokio::test]
async fn logins_are_counted_by_outcome() {
    let world = world().await;
    Browser::default().log_in(&world, HOST, "/").await;
    // authentik is down when the code is redeemed.
    let mut browser = Browser::default();
    let callback = browser.sign_in(&world, HOST, "/").await;
    world.authentik.fault(Endpoint::Token, Fault::Status(500));
    browser.open(&world, HOST, &callback).await;
    // authentik says no.
    let denied = "/outpost.goauthentik.io/callback?error=access_denied&state=x";
    browser.open(&world, HOST, denied).await;
    for (outcome, expected) in [
        ("started", 2),
        ("succeeded", 1),
        ("invalid", 1),
        ("denied", 1),
    ] {
        let labels = format!("host=\"{HOST}\",outcome=\"{outcome}\"");
        let count = sample(&world, "proxy_logins_total", &labels).await;
        assert_eq!(count, expected, "{outcome}");
    }
}

#[tokio::test]
async fn applications_without_an_answer_are_counted_by_reason() {
    let world = world().await;
    let mut browser = Browser::default();
    browser.log_in(&world, "gone.test", "/").await;
    let answer = browser.open(&world, "gone.test", "/").await;
    assert_eq!(answer.status(), 502);
    for (reason, expected) in [("refused", 1), ("dns", 0)] {
        let labels = format!("host=\"gone.test\",reason=\"{reason}\"");
        let count = sample(&world, "proxy_upstream_errors_total", &labels).await;
        assert_eq!(count, expected, "{reason}");
    }
}

#[tokio::test]
async fn the_status_says_how_things_are() {
    let world = world().await;
    Browser::default().log_in(&world, HOST, "/").await;
    let status = async || {
        let answer = get(world.outpost.metrics_addresses()[0], "/status", "x", &[]).await;
        assert_eq!(answer.headers()["content-type"], "application/json");
        serde_json::from_slice::<Value>(answer.body()).expect("JSON")
    };
    within(async {
        while status().await["websocket"]["connected"] != true {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut seen = status().await;
    let age = seen["configuration"]["age_seconds"].take();
    assert!(age.as_i64().is_some_and(|age| age >= 0), "{age}");
    let outpost = world
        .outpost
        .live()
        .load()
        .outpost
        .clone()
        .expect("configured");
    assert_eq!(seen["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(seen["ready"], true);
    assert_eq!(seen["outpost"]["name"], outpost.name);
    assert_eq!(seen["configuration"]["loaded"], true);
    assert_eq!(seen["configuration"]["stale"], false);
    assert_eq!(seen["configuration"]["applications"], 2);
    assert_eq!(seen["store"]["kind"], "memory");
    assert_eq!(seen["store"]["sessions"], 1);
    // It is for operators, not for whoever reaches the applications.
    let outside = get(world.outpost.address(), "/status", HOST, &[]).await;
    assert_eq!(outside.status(), 404);
}
