//! Starts while authentik is down.

use authentik_standin::{Recorded, Standin};

use super::replicas::{HOST, PAGE, authentik, replica};
use super::server::{self, Server};
use crate::operations::process::Process;
use crate::support::{Browser, World, get, location, text, within};

async fn program(authentik: &Standin, settings: &[(&str, &str)]) -> World<Process> {
    World {
        authentik: authentik.clone(),
        outpost: Process::beside(authentik, settings).await,
    }
}

async fn metric(world: &World<Process>, line: &str) -> bool {
    let metrics = get(world.outpost.metrics(), "/metrics", "x", &[]).await;
    text(&metrics).lines().any(|found| found == line)
}

async fn ready(world: &World<Process>) -> u16 {
    let answer = world.get("/outpost.goauthentik.io/ready", "x", &[]).await;
    answer.status().as_u16()
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_replica_that_starts_while_authentik_is_down_serves_who_is_signed_in() {
    let (authentik, redis) = (authentik().await, Server::start(&[]).await);
    let before = replica(&authentik, &redis).await;
    let mut browser = Browser::default();
    browser.log_in(&before, HOST, PAGE).await;
    authentik.stop().await;
    before.outpost.stop().await;
    let dump = redis.dump().await;
    assert!(dump.contains("authentik-proxy:last-good:"), "{dump}");
    assert!(
        !dump.contains("client_secret") && !dump.contains("grafana"),
        "{dump}"
    );

    let port = redis.port();
    let settings = server::settings(&port);
    let after = program(&authentik, &settings).await;
    after
        .outpost
        .wait_line("serving the last good configuration")
        .await;
    assert_eq!(ready(&after).await, 200);
    let answer = after.nginx(PAGE, &browser.cookies(HOST), &[]).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-authentik-username"], "alice");
    assert_eq!(after.nginx(PAGE, "", &[]).await.status(), 401);
    assert!(metric(&after, "authentik_outpost_config_stale 1").await);

    within(authentik.start_again())
        .await
        .expect("the port is free");
    after
        .outpost
        .wait_line("configuration loaded from authentik")
        .await;
    assert!(metric(&after, "authentik_outpost_config_stale 0").await);
    assert_eq!(
        after
            .nginx(PAGE, &browser.cookies(HOST), &[])
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn without_redis_a_file_can_keep_the_configuration() {
    let authentik = authentik().await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("last-good");
    let path = path.to_str().expect("text");
    let settings = [("AUTHENTIK_PROXY_CONTROL__CACHE_FILE", path)];
    let before = program(&authentik, &settings).await;
    before.outpost.wait_line("configuration loaded").await;
    within(async {
        while !std::fs::exists(path).expect("a directory") {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    drop(before);
    authentik.stop().await;
    let after = program(&authentik, &settings).await;
    after
        .outpost
        .wait_line("serving the last good configuration")
        .await;
    let start = "/outpost.goauthentik.io/start?rd=/";
    let answer = after.get(start, HOST, &[]).await;
    assert!(location(&answer).contains("/application/o/authorize/"));
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn an_authentik_that_refuses_the_token_is_not_answered_with_old_news() {
    let (authentik, redis) = (authentik().await, Server::start(&[]).await);
    let before = replica(&authentik, &redis).await;
    let token = authentik.token();
    before.outpost.stop().await;
    authentik.rotate_token("another");
    let port = redis.port();
    let settings = [
        ("AUTHENTIK_TOKEN", token.as_str()),
        ("AUTHENTIK_REDIS__HOST", "127.0.0.1"),
        ("AUTHENTIK_REDIS__PORT", port.as_str()),
    ];
    authentik.clear_requests();
    let after = program(&authentik, &settings).await;
    after.outpost.wait_line("refuses the token").await;
    // What follows the first attempt is over when the second one begins.
    let list = |request: &Recorded| request.path.ends_with("/outposts/instances/");
    within(authentik.wait_requests(2, list)).await;
    assert_eq!(ready(&after).await, 503);
    let complaints = after.outpost.complaints();
    assert!(
        !complaints.iter().any(|line| line.contains("last good")),
        "{complaints:?}"
    );
}
