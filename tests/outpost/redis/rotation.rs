//! Secrets that change while replicas share a Redis.

use std::collections::BTreeMap;
use std::time::Duration;

use authentik_standin::Standin;
use authentik_standin::nginx::free_address;
use rcgen::{CertificateParams, KeyPair};

use crate::login::refresh::age_tokens;
use crate::operations::process::Process;
use crate::redis::forms::sentinel;
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

/// An outpost with these settings, and the cookies of a user who is signed in there.
async fn signed_in(variables: &[(&str, &str)]) -> (World<Process>, String) {
    let authentik = authentik().await;
    let outpost = Process::beside(&authentik, variables).await;
    outpost.wait_line("configuration loaded").await;
    let world = World { authentik, outpost };
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, PAGE).await;
    let cookies = browser.cookies(HOST);
    (world, cookies)
}

/// Expects that the session goes on and another can begin, and that no secret was logged.
async fn goes_on(mut world: World<Process>, cookies: &str, secrets: &[&str]) {
    assert_eq!(world.nginx(PAGE, cookies, &[]).await.status(), 200);
    let mut another = Browser::default();
    another.log_in(&world, HOST, PAGE).await;
    let metrics = text(&get(world.outpost.metrics(), "/metrics", "x", &[]).await);
    assert!(
        metrics.contains("authentik_outpost_redis_up 1"),
        "{metrics}"
    );
    for line in world.outpost.lines() {
        let line = line.to_string();
        for secret in secrets {
            assert!(!line.contains(secret), "{line}");
        }
    }
    world.outpost.stop().await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_new_password_is_read_when_redis_refuses_the_old_one() {
    let (old, new) = ("the-password-before", "the-password-after");
    let redis = Server::start(&["--requirepass", old]).await;
    let volume = Volume::new(&[("password", old)]);
    let (port, reference) = (redis.port(), volume.reference("password"));
    let mut variables = settings(&port).to_vec();
    variables.push(("AUTHENTIK_REDIS__PASSWORD", &reference));
    let (world, cookies) = signed_in(&variables).await;

    run(&redis, old, &["CONFIG", "SET", "requirepass", new]).await;
    for kind in ["normal", "pubsub"] {
        run(&redis, new, &["CLIENT", "KILL", "TYPE", kind]).await;
    }
    world.outpost.wait_line("cannot be reached").await;
    assert_eq!(world.nginx(PAGE, &cookies, &[]).await.status(), 200);
    volume.replace(&[("password", new)]);
    let line = world.outpost.wait_line("configuration reloaded").await;
    assert_eq!(line["applied"], "redis.password");
    let connected = format!("{} is connected", redis.address());
    world.outpost.wait_lines(&connected, 2).await;
    goes_on(world, &cookies, &[old, new]).await;
}

/// The connections of a user of Redis: whether each is a subscription, by its number.
async fn connections(redis: &Server, user: &str) -> BTreeMap<u64, bool> {
    let list: String = redis.run(&["CLIENT", "LIST"]).await;
    let user = format!("user={user}");
    let connection = |line: &str| {
        let mut words = line.split(' ');
        let id = words.next()?.strip_prefix("id=")?.parse().ok()?;
        let is_theirs = line.split(' ').any(|word| word == user);
        is_theirs.then(|| (id, words.any(|word| word == "sub=1")))
    };
    list.lines().filter_map(connection).collect()
}

/// Waits until a user has a connection and a subscription, all with numbers that are not in `before`.
async fn connected_anew(redis: &Server, user: &str, before: &BTreeMap<u64, bool>) {
    until(async || {
        let now = connections(redis, user).await;
        let has = |subscribed| now.values().any(|it| *it == subscribed);
        has(true) && has(false) && now.keys().all(|id| !before.contains_key(id))
    })
    .await;
}

/// Waits for what Redis does not announce.
async fn until(holds: impl AsyncFn() -> bool) {
    let held = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(held).await;
}

/// A cluster of one node.
async fn cluster() -> Server {
    let bus = free_address().expect("a port").port().to_string();
    let node = Server::start(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await;
    node.run::<()>(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"])
        .await;
    until(async || {
        let info = node.run::<String>(&["CLUSTER", "INFO"]).await;
        info.contains("cluster_state:ok")
    })
    .await;
    node
}

/// While Redis accepts both passwords, the client of a cluster, which keeps its own, is replaced: it
/// opens later connections with the new one.
#[tokio::test]
#[ignore = "needs Redis"]
async fn a_cluster_is_connected_again_with_a_new_password() {
    let (old, new) = ("the-password-before", "the-password-after");
    let redis = cluster().await;
    let rule = async |rule: String| {
        redis.run::<()>(&["ACL", "SETUSER", "outpost", &rule]).await;
    };
    for rights in ["on", "allkeys", "allchannels", "allcommands"] {
        rule(rights.to_owned()).await;
    }
    rule(format!(">{old}")).await;
    let volume = Volume::new(&[("password", old)]);
    let (node, reference) = (redis.address().to_string(), volume.reference("password"));
    let variables = [
        ("AUTHENTIK_PROXY_REDIS__CLUSTER", node.as_str()),
        ("AUTHENTIK_REDIS__USERNAME", "outpost"),
        ("AUTHENTIK_REDIS__PASSWORD", &reference),
    ];
    let (world, cookies) = signed_in(&variables).await;
    connected_anew(&redis, "outpost", &BTreeMap::new()).await;

    rule(format!(">{new}")).await;
    let commands = |all: &BTreeMap<u64, bool>| {
        let commands = all.iter().filter(|(_, subscribed)| !**subscribed);
        commands.map(|(id, _)| *id).collect::<Vec<_>>()
    };
    let before = commands(&connections(&redis, "outpost").await);
    volume.replace(&[("password", new)]);
    let line = world.outpost.wait_line("configuration reloaded").await;
    assert_eq!(line["applied"], "redis.password");
    until(async || {
        let now = commands(&connections(&redis, "outpost").await);
        !now.is_empty() && now.iter().all(|id| !before.contains(id))
    })
    .await;

    rule(format!("<{old}")).await;
    let before = connections(&redis, "outpost").await;
    redis
        .run::<i64>(&["CLIENT", "KILL", "USER", "outpost"])
        .await;
    connected_anew(&redis, "outpost", &before).await;
    assert_eq!(world.outpost.complaints(), [""; 0]);
    goes_on(world, &cookies, &[old, new]).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_new_password_of_the_sentinels_is_read_when_they_refuse_the_old_one() {
    let (old, new) = ("the-password-before", "the-password-after");
    let redis = Server::start(&[]).await;
    let sentinel = sentinel(&redis, &format!("requirepass {old}\n")).await;
    let volume = Volume::new(&[("password", old)]);
    let (node, reference) = (sentinel.address().to_string(), volume.reference("password"));
    let variables = [
        ("AUTHENTIK_PROXY_REDIS__SENTINELS", node.as_str()),
        ("AUTHENTIK_PROXY_REDIS__SENTINEL_MASTER", "main"),
        ("AUTHENTIK_PROXY_REDIS__SENTINEL_PASSWORD", &reference),
    ];
    let (world, cookies) = signed_in(&variables).await;

    let rule = format!(">{new}");
    let change = ["ACL", "SETUSER", "default", "resetpass", &rule];
    run(&sentinel, old, &change).await;
    let cut = async || {
        for kind in ["normal", "pubsub"] {
            redis.run::<i64>(&["CLIENT", "KILL", "TYPE", kind]).await;
        }
    };
    cut().await;
    world.outpost.wait_line("cannot be reached").await;
    assert_eq!(world.nginx(PAGE, &cookies, &[]).await.status(), 200);
    volume.replace(&[("password", new)]);
    let line = world.outpost.wait_line("configuration reloaded").await;
    assert_eq!(line["applied"], "redis.sentinel_password");
    let connected = format!("{node} is connected");
    world.outpost.wait_lines(&connected, 2).await;
    goes_on(world, &cookies, &[old, new]).await;
}

/// A certificate for 127.0.0.1 of an authority of its own, and its key.
fn certificate() -> [String; 2] {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).expect("names");
    let certificate = certificate.self_signed(&key).expect("a certificate");
    [certificate.pem(), key.serialize_pem()]
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn redis_with_a_certificate_of_another_authority_is_connected_without_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let ([old, old_key], [new, new_key]) = (certificate(), certificate());
    let port = free_address().expect("a port").port().to_string();
    let redis = Server::start(&[
        "--tls-port",
        &port,
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        &write("old.pem", &old),
        "--tls-key-file",
        &write("old.key", &old_key),
    ])
    .await;
    let volume = Volume::new(&[("ca.pem", &old)]);
    let authority = volume.path("ca.pem");
    let mut variables = settings(&port).to_vec();
    variables.extend([
        ("AUTHENTIK_REDIS__TLS", "true"),
        ("AUTHENTIK_REDIS__TLS_CA_CERT", authority.as_str()),
    ]);
    let (world, cookies) = signed_in(&variables).await;
    connected_anew(&redis, "default", &BTreeMap::new()).await;

    volume.replace(&[("ca.pem", &new)]);
    world.outpost.wait_line("configuration reloaded").await;
    assert_eq!(world.nginx(PAGE, &cookies, &[]).await.status(), 200);
    let files = [write("new.pem", &new), write("new.key", &new_key)];
    redis
        .run::<()>(&[
            "CONFIG",
            "SET",
            "tls-cert-file",
            &files[0],
            "tls-key-file",
            &files[1],
        ])
        .await;
    let before = connections(&redis, "default").await;
    for kind in ["normal", "pubsub"] {
        redis.run::<i64>(&["CLIENT", "KILL", "TYPE", kind]).await;
    }
    connected_anew(&redis, "default", &before).await;
    assert_eq!(world.outpost.complaints(), [""; 0]);
    goes_on(world, &cookies, &[]).await;
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
