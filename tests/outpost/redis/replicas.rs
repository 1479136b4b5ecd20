//! Several replicas of the outpost on one Redis.

use authentik_proxy::app::App;
use authentik_standin::{Endpoint, Fault, Provider, Standin};

use super::server::{self, Server};
use crate::forward_auth::dialects::ALL;
use crate::login::refresh::{age_tokens, grafana, refreshes};
use crate::support::{Browser, World, furnish, location, start, within};

pub(crate) const HOST: &str = "grafana.test";
pub(crate) const PAGE: &str = "http://grafana.test/d/x";

/// An authentik with one application, without outposts.
pub(crate) async fn authentik() -> Standin {
    let authentik = Standin::builder().start().await.expect("started");
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    furnish(&authentik, vec![grafana]);
    authentik
}

/// A replica that is configured; its websocket may still be connecting.
pub(crate) async fn replica(authentik: &Standin, redis: &Server) -> World {
    replica_with(authentik, redis, &[]).await
}

pub(crate) async fn replica_with(
    authentik: &Standin,
    redis: &Server,
    more: &[(&str, &str)],
) -> World {
    let port = redis.port();
    let mut settings = server::settings(&port).to_vec();
    settings.extend_from_slice(more);
    let outpost: App = start(authentik, &settings).await;
    let world = World {
        authentik: authentik.clone(),
        outpost,
    };
    world
        .until(|world| world.outpost.live().load().outpost.is_some())
        .await;
    world
}

/// A replica with a websocket, and one without, which hears nothing from authentik.
pub(crate) async fn told_and_untold(authentik: &Standin, redis: &Server) -> (World, World) {
    let told = replica(authentik, redis).await;
    within(authentik.wait_websocket()).await;
    authentik.refuse_websockets(true);
    (told, replica(authentik, redis).await)
}

/// What the replica answers to somebody with these cookies.
pub(crate) async fn status(world: &World, browser: &Browser) -> u16 {
    let cookies = browser.cookies(HOST);
    world.nginx(PAGE, &cookies, &[]).await.status().as_u16()
}

/// Waits for an answer that comes by itself.
pub(crate) async fn becomes(world: &World, browser: &Browser, wanted: u16) {
    let cookies = browser.cookies(HOST);
    world.until_nginx_gets(PAGE, &cookies, wanted).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn issue_25248_a_thousand_requests_in_turns_need_one_login() {
    let (authentik, redis) = (authentik().await, Server::start(&[]).await);
    let mut replicas = vec![replica(&authentik, &redis).await];
    let mut browser = Browser::default();
    browser.log_in(&replicas[0], HOST, PAGE).await;
    for count in 2..=3 {
        replicas.push(replica(&authentik, &redis).await);
        for request in 0..1_000 {
            let answer = status(&replicas[request % count], &browser).await;
            assert_eq!(answer, 200, "{request} at {count} replicas");
        }
    }
    let answer = replicas[2].nginx(PAGE, &browser.cookies(HOST), &[]).await;
    assert_eq!(answer.headers()["x-authentik-username"], "alice");
    assert_eq!(answer.headers()["x-authentik-groups"], "admins|users");
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_login_begins_at_one_replica_and_finishes_at_another() {
    let (authentik, redis) = (authentik().await, Server::start(&[]).await);
    let here = replica(&authentik, &redis).await;
    let there = replica(&authentik, &redis).await;
    let mut browser = Browser::default();
    let callback = browser.sign_in(&here, HOST, PAGE).await;
    let answer = browser.open(&there, HOST, &callback).await;
    assert_eq!(location(&answer), PAGE);
    assert_eq!(status(&here, &browser).await, 200);
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn issue_18098_a_restart_of_a_replica_signs_no_user_out() {
    let (authentik, redis) = (authentik().await, Server::start(&[]).await);
    let before = replica(&authentik, &redis).await;
    let mut browser = Browser::default();
    browser.log_in(&before, HOST, PAGE).await;
    before.outpost.stop().await;
    let after = replica(&authentik, &redis).await;
    assert_eq!(status(&after, &browser).await, 200);
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_session_that_ends_at_authentik_ends_on_every_replica() {
    let (authentik, redis) = (authentik().await, Server::start(&[]).await);
    let (told, untold) = told_and_untold(&authentik, &redis).await;
    let mut browser = Browser::default();
    browser.log_in(&told, HOST, PAGE).await;
    assert_eq!(status(&untold, &browser).await, 200);
    assert_eq!(authentik.websockets(), 1, "nobody tells the second one");
    authentik.end_sessions_of("alice");
    becomes(&told, &browser, 401).await;
    becomes(&untold, &browser, 401).await;
    let third = replica(&authentik, &redis).await;
    assert_eq!(status(&third, &browser).await, 401);
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_sign_out_ends_the_users_sessions_on_every_replica() {
    let (authentik, redis) = (authentik().await, Server::start(&[]).await);
    let here = replica(&authentik, &redis).await;
    let there = replica(&authentik, &redis).await;
    let (mut laptop, mut phone) = (Browser::default(), Browser::default());
    laptop.log_in(&here, HOST, PAGE).await;
    phone.log_in(&there, HOST, PAGE).await;
    let kept = phone.cookies(HOST);
    assert_eq!(status(&there, &laptop).await, 200);
    laptop.sign_out(&here, HOST).await;
    becomes(&there, &phone, 401).await;
    becomes(&there, &laptop, 401).await;
    let stolen = here.nginx(PAGE, &kept, &[]).await;
    assert_eq!(stolen.status(), 401);
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_session_that_ended_while_no_replica_listened_is_found_when_it_is_read() {
    let (authentik, redis) = (authentik().await, Server::start(&[]).await);
    let before = replica(&authentik, &redis).await;
    let mut browser = Browser::default();
    browser.log_in(&before, HOST, PAGE).await;
    before.outpost.stop().await;
    authentik.end_sessions_of("alice");
    let after = replica(&authentik, &redis).await;
    becomes(&after, &browser, 401).await;
    let third = replica(&authentik, &redis).await;
    assert_eq!(status(&third, &browser).await, 401);
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn who_reads_redis_learns_nothing() {
    let (authentik, redis) = (authentik().await, Server::start(&[]).await);
    let world = replica(&authentik, &redis).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, PAGE).await;
    let answer = world.nginx(PAGE, &browser.cookies(HOST), &[]).await;
    let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
    let mut secrets = vec![
        header("x-authentik-jwt"),
        header("x-authentik-uid"),
        header("x-authentik-email"),
        "alice".into(),
        "admins".into(),
        "grafana".into(),
    ];
    secrets.extend(authentik.sids_of("alice"));
    for cookie in browser.cookies(HOST).split("; ") {
        let value = cookie.split_once('=').expect("a cookie").1;
        secrets.extend(value.split('.').map(str::to_owned));
    }
    // A token's payload tells everything, also without its signature.
    let token = header("x-authentik-jwt");
    secrets.extend(token.split('.').map(str::to_owned));
    secrets.retain(|secret| secret.len() > 4);
    let dump = redis.dump().await;
    assert!(dump.contains("authentik-proxy:session:"), "{dump}");
    for name in dump.lines().filter(|line| line.starts_with("authentik")) {
        assert!(name.starts_with("authentik-proxy:"), "{name}");
    }
    for secret in secrets {
        assert!(!dump.contains(&secret), "{secret} in {dump}");
    }
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn issue_5015_replicas_refresh_a_session_once() {
    let authentik = Standin::builder().start().await.expect("started");
    furnish(&authentik, vec![grafana()]);
    let redis = Server::start(&[]).await;
    let replicas = [
        replica(&authentik, &redis).await,
        replica(&authentik, &redis).await,
    ];
    let mut browser = Browser::default();
    age_tokens(&authentik, 60);
    browser.log_in(&replicas[0], HOST, "/").await;
    age_tokens(&authentik, 0);
    let cookies = browser.cookies(HOST);
    let requests = (0..20).map(|n: usize| replicas[n % 2].nginx(PAGE, &cookies, &[]));
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!(answer.status(), 200);
    }
    let refresh = |r: &authentik_standin::Recorded| r.body.contains("grant_type=refresh_token");
    authentik.wait_requests(1, refresh).await;
    for replica in &replicas {
        assert_eq!(status(replica, &browser).await, 200);
    }
    assert_eq!(refreshes(&authentik), 1);
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_session_whose_tokens_live_less_than_a_claim_goes_on() {
    let authentik = Standin::builder().start().await.expect("started");
    furnish(&authentik, vec![grafana()]);
    age_tokens(&authentik, 60);
    let redis = Server::start(&[]).await;
    let world = replica(&authentik, &redis).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    // Signed in until then, however long the claim of one refresh would last.
    let refreshed = async |world: &World, count: usize| {
        while refreshes(&authentik) < count {
            assert_eq!(status(world, &browser).await, 200);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within(refreshed(&world, 3)).await;
    authentik.fault(Endpoint::Token, Fault::Status(503));
    within(refreshed(&world, 4)).await;
    authentik.clear_faults();
    let other = replica(&authentik, &redis).await;
    within(refreshed(&other, 5)).await;
    assert_eq!(status(&other, &browser).await, 200);
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn cve_2026_25748_a_store_that_fails_opens_nothing() {
    let (authentik, mut redis) = (authentik().await, Server::start(&[]).await);
    let here = replica(&authentik, &redis).await;
    let there = replica(&authentik, &redis).await;
    let mut browser = Browser::default();
    browser.log_in(&here, HOST, PAGE).await;
    redis.kill().await;
    // A session that is good, as far as this replica can tell: it never saw it.
    let cookies = browser.cookies(HOST);
    let headers = [("cookie", cookies.as_str())];
    for surface in ALL {
        let answer = surface.ask(&there, HOST, "/d/x", &headers).await;
        let expected = if surface.redirects() { 503 } else { 500 };
        assert_eq!(answer.status(), expected, "{surface:?}");
        assert!(!answer.headers().contains_key("x-authentik-username"));
    }
    assert_eq!(status(&here, &browser).await, 200, "who is known passes");
}
