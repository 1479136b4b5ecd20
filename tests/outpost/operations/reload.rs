//! Secrets and the configuration file change while the program runs.

use authentik_standin::{Provider, Standin};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::operations::process::{Process, diagnostic};
use crate::support::volume::Volume;
use crate::support::{Browser, World, get, text, within};

const HOST: &str = "grafana.test";
const PAGE: &str = "http://grafana.test/";
const RELOADED: &str = "configuration reloaded";
const REFUSED: &str = "configuration cannot be reloaded, the previous one stays in use";
const NEW_TOKEN: &str = "the-token-after-rotation";

/// The file of a configuration that denies everything below this path.
fn denying(path: &str) -> String {
    format!("applications: {{grafana: {{rules: [{{path: ^{path}, action: deny}}]}}}}")
}

/// The program with its token and its file in a volume, and a signed-in user's cookie.
async fn world(file: &str) -> (World<Process>, Volume, String) {
    let authentik = Standin::builder().start().await.expect("started");
    let token = authentik.token();
    let volume = Volume::new(&[("token", &token), ("outpost.yaml", file)]);
    let (reference, path) = (volume.reference("token"), volume.path("outpost.yaml"));
    let more = [
        ("AUTHENTIK_TOKEN", reference.as_str()),
        ("AUTHENTIK_PROXY_CONFIG", path.as_str()),
    ];
    let providers = vec![Provider::forward_single("grafana", "http://grafana.test")];
    let world = World::running(authentik, providers, &more).await;
    world
        .outpost
        .wait_line("websocket to authentik is connected")
        .await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    (world, volume, browser.cookies(HOST))
}

async fn ask(world: &World<Process>, path: &str, cookie: &str) -> u16 {
    let url = format!("http://grafana.test{path}");
    world.nginx(&url, cookie, &[]).await.status().as_u16()
}

/// Waits until a rule applies: the control plane follows a moment after the log.
async fn becomes(world: &World<Process>, path: &str, cookie: &str, status: u16) {
    let url = format!("http://grafana.test{path}");
    world.until_nginx_gets(&url, cookie, status).await;
}

async fn settings_status(process: &Process) -> Value {
    let page = text(&get(process.metrics(), "/status", "x", &[]).await);
    let status: Value = serde_json::from_str(&page).expect("JSON");
    status["settings"].clone()
}

/// Whether the last attempt to read a source failed, as `/status` and the metrics say.
async fn failed(process: &Process, source: &str) -> bool {
    let status = settings_status(process).await;
    let sources = status["sources"].as_array().expect("a list");
    let found = sources.iter().find(|it| it["source"] == source);
    let found = found.expect("a source");
    assert!(found["read_at"].as_i64() > Some(0), "{found}");
    let failed = found["failed"].as_bool().expect("a boolean");
    let metrics = text(&get(process.metrics(), "/metrics", "x", &[]).await);
    let sample = format!(
        "authentik_outpost_settings_read_failed{{source=\"{source}\"}} {}\n",
        u8::from(failed)
    );
    assert!(metrics.contains(&sample), "{sample} in {metrics}");
    failed
}

#[tokio::test]
async fn a_new_token_replaces_a_revoked_one_without_a_gap() {
    let (mut world, volume, cookie) = world("").await;
    let sid = world.authentik.sids_of("alice").swap_remove(0);
    world.authentik.clear_requests();
    world.authentik.rotate_token(NEW_TOKEN);
    volume.replace(&[("token", NEW_TOKEN), ("outpost.yaml", "")]);
    world.outpost.signal(Signal::SIGHUP);
    let line = world.outpost.wait_line(RELOADED).await;
    assert_eq!(line["applied"], "authentik.token");
    world
        .outpost
        .wait_line("websocket to authentik is connected with the new token")
        .await;
    world.outpost.wait_lines("configuration loaded", 2).await;
    let bearer = format!("Bearer {NEW_TOKEN}");
    let requests = world.authentik.requests();
    let api = requests
        .iter()
        .filter(|it| it.path.starts_with("/api/v3/") || it.path.starts_with("/ws/outpost/"));
    for request in api {
        assert_eq!(
            request.header("authorization"),
            Some(&*bearer),
            "{}",
            request.path
        );
    }
    // The first was closed when the second was acknowledged.
    assert_eq!(world.authentik.websockets(), 1);
    assert_eq!(world.authentik.closes(), [Some(1000)]);
    assert_eq!(ask(&world, "/", &cookie).await, 200);
    assert!(!failed(&world.outpost, "authentik.token").await);
    world.authentik.end_session(&sid);
    world.outpost.wait_line("authentik ended a session").await;
    assert_eq!(ask(&world, "/", &cookie).await, 401);
    assert_eq!(world.outpost.complaints(), [""; 0]);
    let log = world.outpost.lines();
    assert!(!log.iter().any(|line| line.to_string().contains(NEW_TOKEN)));
    world.outpost.stop().await;
}

#[tokio::test]
async fn a_refusal_has_the_token_read_at_once() {
    let (mut world, volume, cookie) = world("").await;
    world.authentik.rotate_token(NEW_TOKEN);
    world.outpost.signal(Signal::SIGUSR1);
    world.outpost.wait_line("authentik refuses the token").await;
    assert_eq!(ask(&world, "/", &cookie).await, 200);
    volume.replace(&[("token", NEW_TOKEN), ("outpost.yaml", "")]);
    world.outpost.wait_lines("configuration loaded", 2).await;
    world
        .outpost
        .wait_line("websocket to authentik is connected with the new token")
        .await;
    assert_eq!(ask(&world, "/", &cookie).await, 200);
    world.outpost.stop().await;
}

#[tokio::test]
async fn a_changed_file_applies_to_the_next_request_and_sessions_stay() {
    let (mut world, volume, cookie) = world(&denying("/old")).await;
    let token = world.authentik.token();
    assert_eq!(ask(&world, "/old", &cookie).await, 403);
    // authentik need not be there.
    world.authentik.stop().await;
    volume.replace(&[("token", &token), ("outpost.yaml", &denying("/new"))]);
    // Nothing announces the change: it is found.
    let line = world.outpost.wait_line(RELOADED).await;
    assert_eq!(line["applied"], "applications");
    becomes(&world, "/old", &cookie, 200).await;
    for (path, status) in [("/old", 200), ("/new", 403), ("/", 200)] {
        assert_eq!(ask(&world, path, &cookie).await, status, "{path}");
    }
    world.outpost.stop().await;
}

#[tokio::test]
async fn of_two_changes_both_apply_or_none() {
    let (mut world, volume, cookie) = world(&denying("/old")).await;
    world.authentik.rotate_token(NEW_TOKEN);
    let bad = "applications: {grafana: {rules: [{path: ^/new, action: dney}]}}";
    volume.replace(&[("token", NEW_TOKEN), ("outpost.yaml", bad)]);
    world.outpost.signal(Signal::SIGHUP);
    let line = world.outpost.wait_line(REFUSED).await;
    assert_eq!(line["level"], "error");
    assert!(
        diagnostic(&line).contains("applications.grafana.rules[1]"),
        "{line}"
    );
    assert!(failed(&world.outpost, "config").await);
    assert!(!failed(&world.outpost, "authentik.token").await);
    assert_eq!(ask(&world, "/old", &cookie).await, 403);
    assert_eq!(ask(&world, "/new", &cookie).await, 200);

    volume.replace(&[("token", "not a token"), ("outpost.yaml", &denying("/new"))]);
    world.outpost.signal(Signal::SIGHUP);
    let lines = world.outpost.wait_lines(REFUSED, 2).await;
    assert!(
        diagnostic(&lines[1]).contains("AUTHENTIK_TOKEN"),
        "{lines:?}"
    );
    assert!(!lines[1].to_string().contains("not a token"), "{lines:?}");
    assert!(failed(&world.outpost, "authentik.token").await);
    assert!(!failed(&world.outpost, "config").await);
    assert_eq!(ask(&world, "/old", &cookie).await, 403);

    volume.replace(&[("token", NEW_TOKEN), ("outpost.yaml", &denying("/new"))]);
    world.outpost.signal(Signal::SIGHUP);
    let line = world.outpost.wait_line(RELOADED).await;
    assert_eq!(line["applied"], "authentik.token, applications");
    assert!(!failed(&world.outpost, "authentik.token").await);
    assert!(!failed(&world.outpost, "config").await);
    becomes(&world, "/old", &cookie, 200).await;
    assert_eq!(ask(&world, "/new", &cookie).await, 403);
    world.outpost.wait_lines("configuration loaded", 2).await;
    world.outpost.stop().await;
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_applies() {
    let (mut world, volume, cookie) = world(&denying("/old")).await;
    let token = world.authentik.token();
    let file = format!(
        "{}\nlog: {{level: debug}}\nupstream: {{connect_timeout: 3s}}",
        denying("/new")
    );
    volume.replace(&[("token", &token), ("outpost.yaml", &file)]);
    world.outpost.signal(Signal::SIGHUP);
    let line = world.outpost.wait_line("apply after a restart only").await;
    assert_eq!(line["level"], "warning");
    assert_eq!(line["settings"], "upstream.connect_timeout, log.level");
    becomes(&world, "/new", &cookie, 403).await;
    let status = settings_status(&world.outpost).await;
    assert_eq!(
        status["needs_restart"],
        serde_json::json!(["upstream.connect_timeout", "log.level"])
    );

    volume.replace(&[("token", &token), ("outpost.yaml", &denying("/new"))]);
    world.outpost.signal(Signal::SIGHUP);
    // The change may be found before the signal arrives, so that lines are not counted.
    within(async {
        while settings_status(&world.outpost).await["needs_restart"] != serde_json::json!([]) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.outpost.stop().await;
}

#[tokio::test]
async fn options_of_identity_headers_apply_to_sessions_that_exist() {
    let (mut world, volume, cookie) = world("").await;
    let jwt = async |world: &World<Process>| {
        let answer = world.nginx(PAGE, &cookie, &[]).await;
        assert_eq!(answer.status(), 200);
        answer.headers()["x-authentik-jwt"].len()
    };
    assert!(jwt(&world).await > 0);
    let token = world.authentik.token();
    for (file, is_sent) in [
        ("identity: {send_jwt: false}", false),
        (
            "identity: {send_jwt: false}\napplications: {grafana: {send_jwt: true}}",
            true,
        ),
    ] {
        volume.replace(&[("token", &token), ("outpost.yaml", file)]);
        world.outpost.signal(Signal::SIGHUP);
        world
            .outpost
            .wait_lines(RELOADED, 1 + usize::from(is_sent))
            .await;
        within(async {
            while (jwt(&world).await > 0) != is_sent {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    world.outpost.stop().await;
}

#[tokio::test]
async fn sighup_without_files_changes_nothing() {
    let authentik = Standin::builder().start().await.expect("started");
    let providers = vec![Provider::forward_single("grafana", "http://grafana.test")];
    let mut world = World::<Process>::running(authentik, providers, &[]).await;
    world.outpost.signal(Signal::SIGHUP);
    let line = world.outpost.wait_line(RELOADED).await;
    assert_eq!(line["applied"], "");
    assert_eq!(
        settings_status(&world.outpost).await["sources"],
        serde_json::json!([])
    );
    world.outpost.stop().await;
}
