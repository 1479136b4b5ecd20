//! Secrets that change while replicas share a Redis.

use authentik_standin::Standin;

use crate::login::refresh::age_tokens;
use crate::operations::process::Process;
use crate::redis::replicas::{HOST, PAGE, authentik, becomes, replica_with, status};
use crate::redis::server::{Server, settings};
use crate::support::volume::Volume;
use crate::support::{Browser, World, get, text, within};

const NEW_TOKEN: &str = "the-token-after-rotation";

/// Runs a command with this password.
async fn run(redis: &Server, password: &str, words: &[&str]) {
    let url = format!("redis://:{password}@{}", redis.address());
    let client = redis::Client::open(url).expect("an address");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("connected");
    let mut command = redis::cmd(words[0]);
    command
        .arg(&words[1..])
        .exec_async(&mut connection)
        .await
        .expect("done");
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_new_password_is_read_when_redis_refuses_the_old_one() {
    let (old, new) = ("the-password-before", "the-password-after");
    let redis = Server::start(&["--requirepass", old]).await;
    let volume = Volume::new(&[("password", old)]);
    let authentik = authentik().await;
    let (port, reference) = (redis.port(), volume.reference("password"));
    let mut variables = settings(&port).to_vec();
    variables.push(("AUTHENTIK_REDIS__PASSWORD", &reference));
    let outpost = Process::beside(&authentik, &variables).await;
    outpost.wait_line("configuration loaded").await;
    let mut world = World { authentik, outpost };
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, PAGE).await;
    let cookie = browser.cookies(HOST);

    run(&redis, old, &["CONFIG", "SET", "requirepass", new]).await;
    for kind in ["normal", "pubsub"] {
        run(&redis, new, &["CLIENT", "KILL", "TYPE", kind]).await;
    }
    world.outpost.wait_line("cannot be reached").await;
    assert_eq!(world.nginx(PAGE, &cookie, &[]).await.status(), 200);
    volume.replace(&[("password", new)]);
    let line = world.outpost.wait_line("configuration reloaded").await;
    assert_eq!(line["applied"], "redis.password");
    let connected = format!("{} is connected", redis.address());
    world.outpost.wait_lines(&connected, 2).await;
    assert_eq!(world.nginx(PAGE, &cookie, &[]).await.status(), 200);
    let mut another = Browser::default();
    another.log_in(&world, HOST, PAGE).await;
    let metrics = text(&get(world.outpost.metrics(), "/metrics", "x", &[]).await);
    assert!(
        metrics.contains("authentik_outpost_redis_up 1"),
        "{metrics}"
    );
    for line in world.outpost.lines() {
        let line = line.to_string();
        assert!(!line.contains(old) && !line.contains(new), "{line}");
    }
    world.outpost.stop().await;
}

/// A replica with its token in a volume.
async fn with_token(authentik: &Standin, redis: &Server) -> (World, Volume) {
    let volume = Volume::new(&[("token", &authentik.token())]);
    let reference = volume.reference("token");
    let world = replica_with(authentik, redis, &[("AUTHENTIK_TOKEN", &reference)]).await;
    (world, volume)
}

/// Replaces the token of a replica, and waits until it is in use.
async fn renew(world: &World, volume: &Volume) {
    world.authentik.rotate_token(NEW_TOKEN);
    world.authentik.clear_requests();
    volume.replace(&[("token", NEW_TOKEN)]);
    let bearer = format!("Bearer {NEW_TOKEN}");
    let lists = |path: &str| path.ends_with("/outposts/proxy/");
    let asked = world.authentik.wait_requests(1, |request| {
        lists(&request.path) && request.header("authorization") == Some(&bearer)
    });
    within(asked).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_sign_out_reaches_replicas_with_another_token() {
    let (redis, authentik) = (Server::start(&[]).await, authentik().await);
    let (here, here_files) = with_token(&authentik, &redis).await;
    let (there, _there_files) = with_token(&authentik, &redis).await;
    let mut before = Browser::default();
    before.log_in(&there, HOST, PAGE).await;
    renew(&here, &here_files).await;
    let mut after = Browser::default();
    after.log_in(&here, HOST, PAGE).await;
    before.sign_out(&there, HOST).await;
    becomes(&here, &after, 401).await;

    after.log_in(&there, HOST, PAGE).await;
    let mut last = Browser::default();
    last.log_in(&here, HOST, PAGE).await;
    last.sign_out(&here, HOST).await;
    becomes(&there, &after, 401).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_removed_provider_is_remembered_with_a_new_token() {
    let (redis, authentik) = (Server::start(&[]).await, authentik().await);
    age_tokens(&authentik, 60);
    let (first, _first_files) = with_token(&authentik, &redis).await;
    let mut browser = Browser::default();
    browser.log_in(&first, HOST, PAGE).await;
    // It would end the session at Redis as well, because it has a copy.
    first.outpost.stop().await;
    let (world, volume) = with_token(&authentik, &redis).await;
    within(authentik.wait_websocket()).await;
    for attached in [false, true] {
        authentik.attach_provider("grafana", attached);
        let sites = usize::from(attached);
        world
            .until(|world| world.outpost.live().load().table.sites().len() == sites)
            .await;
    }
    assert_eq!(status(&world, &browser).await, 401);
    renew(&world, &volume).await;
    world
        .until(|world| world.outpost.live().load().table.sites().len() == 1)
        .await;
    assert_eq!(status(&world, &browser).await, 401);
}
