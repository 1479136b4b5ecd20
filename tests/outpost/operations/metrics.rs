//! What the metrics listener says: counters of what became of requests and logins, and the status;
//! and what a real Prometheus makes of it.

use std::path::Path;
use std::time::Duration;

use authentik_standin::prometheus::Monitoring;
use authentik_standin::{Endpoint, Fault, Provider, Standin, nginx};
use serde_json::{Value, json};

use crate::proxy::programs::{ready, running};
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
    let closed = nginx::free_address().expect("a port");
    let providers = vec![
        Provider::forward_single("app", "http://app.test"),
        Provider::proxy("gone", "http://gone.test", &format!("http://{closed}")),
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
        (HOST, "login_required"),
        (HOST, "rule"),
        (HOST, "invalid_credentials"),
        (HOST, "not_found"),
        ("", "unknown_host"),
        ("", "misconfigured_proxy"),
    ] {
        let labels = format!("host=\"{host}\",reason=\"{reason}\"");
        let count = sample(&world, "proxy_rejected_requests_total", &labels).await;
        assert_eq!(count, 1, "{labels}");
    }
    let store = format!("host=\"{HOST}\",reason=\"method_not_allowed\"");
    assert_eq!(
        sample(&world, "proxy_rejected_requests_total", &store).await,
        0
    );
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
    let outpost = world.served();
    assert_eq!(seen["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(seen["ready"], true);
    assert_eq!(seen["outpost"]["name"], outpost.name);
    assert_eq!(seen["configuration"]["loaded"], true);
    assert_eq!(seen["configuration"]["stale"], false);
    assert_eq!(seen["configuration"]["applications"], 2);
    assert_eq!(seen["store"]["kind"], "memory");
    assert_eq!(seen["store"]["sessions"], 1);
    // It is for operators, not for clients of the applications.
    let outside = get(world.outpost.address(), "/status", HOST, &[]).await;
    assert_eq!(outside.status(), 404);
}

/// Asks Prometheus for the value of an expression now.
async fn query(prometheus: &Monitoring, expression: &str) -> Value {
    let encoded: String = url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
    let target = format!("/api/v1/query?query={encoded}");
    let answer = get(prometheus.address(), &target, "localhost", &[]).await;
    let mut answer: Value = serde_json::from_slice(answer.body()).expect("JSON");
    assert_eq!(answer["status"], "success", "{expression}: {answer}");
    answer["data"]["result"].take()
}

/// What the panels of the dashboard ask for, with everything selected.
fn panels() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("deploy/grafana/authentik-proxy.json"));
    let dashboard: Value = serde_json::from_str(&text.expect("it is there")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a list");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let expressions = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str());
    expressions
        .map(|expression| {
            let all = [
                ("$__rate_interval", "1m"),
                ("$__range", "1m"),
                ("$job", ".*"),
                ("$outpost", ".*"),
                ("$host", ".*"),
            ];
            all.iter()
                .fold(expression.to_owned(), |text, (variable, value)| {
                    text.replace(variable, value)
                })
        })
        .collect()
}

#[tokio::test]
#[ignore = "needs Prometheus"]
async fn a_prometheus_can_draw_the_dashboard_and_evaluate_the_alerts() {
    let world = world().await;
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yaml");
    let scraped = world.outpost.metrics_addresses()[0];
    let prometheus = running(Monitoring::scraping(scraped, &rules).await);
    ready(&prometheus).await;
    let taken = "count_over_time(authentik_outpost_info[1m])";
    within(async {
        // Rates take several scrapes, with something to count between them.
        loop {
            Browser::default().log_in(&world, HOST, "/").await;
            world.nginx("http://nobody.test/", "", &[]).await;
            let found = query(&prometheus, taken).await;
            let count = found[0]["value"][1].as_str().and_then(|v| v.parse().ok());
            if count.is_some_and(|count: u32| count > 4) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    let panels = panels();
    assert!(panels.len() > 25, "{panels:?}");
    for expression in panels {
        // Some show only what is not as it should be.
        let rare = expression.ends_with("> 0") || expression.contains("session_cache_requests");
        // A scrape that a busy machine let time out takes the series away until the next one.
        let drawn = tokio::time::timeout(Duration::from_mins(1), async {
            while query(&prometheus, &expression).await == json!([]) && !rare {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        assert!(drawn.await.is_ok(), "nothing to draw: {expression}");
    }
    let answer = get(prometheus.address(), "/api/v1/rules", "localhost", &[]).await;
    let answer: Value = serde_json::from_slice(answer.body()).expect("JSON");
    let rules = answer["data"]["groups"][0]["rules"]
        .as_array()
        .expect("a list");
    assert!(rules.len() > 8, "{rules:?}");
    for rule in rules {
        assert_eq!(rule["lastError"].as_str().unwrap_or_default(), "", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
    }
    prometheus.stop().await.expect("stopped");
}
