//! What operators and people see of a Redis in trouble: the program itself, its log, its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use authentik_standin::nginx::free_address;
use authentik_standin::{Standin, User};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::replicas::{HOST, PAGE, authentik};
use super::server::Server;
use crate::operations::process::Process;
use crate::support::{Browser, World, get, text, within};

/// The program beside `authentik`, with a Redis at this port.
async fn program(authentik: &Standin, port: u16, more: &[(&str, &str)]) -> World<Process> {
    let port = port.to_string();
    let mut settings = vec![
        ("AUTHENTIK_REDIS__HOST", "127.0.0.1"),
        ("AUTHENTIK_REDIS__PORT", port.as_str()),
        ("AUTHENTIK_PROXY_REDIS__COMMAND_TIMEOUT", "2s"),
    ];
    settings.extend_from_slice(more);
    let outpost = Process::beside(authentik, &settings).await;
    outpost.wait_line("configuration loaded").await;
    World {
        authentik: authentik.clone(),
        outpost,
    }
}

async fn beside(redis: &Server, more: &[(&str, &str)]) -> World<Process> {
    program(&authentik().await, redis.address().port(), more).await
}

async fn status(world: &World<Process>, browser: &Browser) -> u16 {
    let answer = world.nginx(PAGE, &browser.cookies(HOST), &[]).await;
    answer.status().as_u16()
}

/// Whether a login ends with a page that says that sessions are unavailable, not with a redirect.
async fn is_refused(world: &World<Process>, browser: &mut Browser) {
    let callback = browser.sign_in(world, HOST, PAGE).await;
    let page = browser.open(world, HOST, &callback).await;
    assert_eq!(page.status(), 503);
    assert_eq!(page.headers()["retry-after"], "5");
    assert!(
        text(&page).contains("Sessions unavailable"),
        "{}",
        text(&page)
    );
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_start_without_redis_delays_no_request_and_recovers_by_itself() {
    let address = free_address().expect("a port");
    let world = program(&authentik().await, address.port(), &[]).await;
    let line = world.outpost.wait_line("cannot be reached").await;
    for (field, part) in [
        ("event", address.to_string().as_str()),
        ("error", "the connection was refused"),
        ("hint", "AUTHENTIK_REDIS__HOST"),
    ] {
        let text = line[field].as_str().unwrap_or_default();
        assert!(text.contains(part), "{part} in {line}");
    }
    let ping = world.get("/outpost.goauthentik.io/ping", "x", &[]).await;
    assert_eq!(ping.status(), 204);
    let mut browser = Browser::default();
    assert_eq!(status(&world, &browser).await, 401, "needs no sessions");
    is_refused(&world, &mut browser).await;
    let metrics = text(&get(world.outpost.metrics(), "/metrics", "x", &[]).await);
    let refused = format!(",host=\"{HOST}\",reason=\"store_unavailable\"}} 1\n");
    assert!(metrics.contains(&refused), "{metrics}");
    let _redis = Server::at(address, &[]).await;
    let connected = format!("{address} is connected");
    world.outpost.wait_line(&connected).await;
    browser.log_in(&world, HOST, PAGE).await;
    assert_eq!(status(&world, &browser).await, 200);
}

#[tokio::test]
async fn failures_are_logged_once_a_minute_and_without_the_password() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let attempts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&attempts);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut request = [0; 1024];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(b"-ERR busy with other things\r\n").await;
                }
            });
        }
    });
    let password = [("AUTHENTIK_REDIS__PASSWORD", "hunter2")];
    let world = program(&authentik().await, port, &password).await;
    within(async {
        while attempts.load(Ordering::Relaxed) < 8 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let complaints = world.outpost.complaints();
    assert!(
        complaints
            .iter()
            .any(|line| line.contains("cannot be reached"))
    );
    for line in &complaints {
        let told = complaints.iter().filter(|other| *other == line).count();
        assert_eq!(told, 1, "{complaints:?}");
        assert!(!line.contains("hunter2"), "{complaints:?}");
    }
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_wrong_password_is_told_with_the_setting_to_correct() {
    let redis = Server::start(&["--requirepass", "right"]).await;
    for (password, cause) in [("hunter2", "is wrong"), ("", "NOAUTH")] {
        let world = beside(&redis, &[("AUTHENTIK_REDIS__PASSWORD", password)]).await;
        let line = world
            .outpost
            .wait_line("cannot be reached")
            .await
            .to_string();
        for part in [cause, "AUTHENTIK_REDIS__PASSWORD"] {
            assert!(line.contains(part), "{line}");
        }
        assert!(!line.contains("hunter2"), "{line}");
    }
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_redis_that_hangs_costs_no_session_and_recovers_without_a_restart() {
    let redis = Server::start(&[]).await;
    let authentik = authentik().await;
    let [here, there] = [
        program(&authentik, redis.address().port(), &[]).await,
        program(&authentik, redis.address().port(), &[]).await,
    ];
    let mut browser = Browser::default();
    browser.log_in(&here, HOST, PAGE).await;
    redis.pause();
    let answer = within(there.nginx(PAGE, &browser.cookies(HOST), &[])).await;
    assert_eq!(answer.status(), 500, "never a login");
    let reason = answer.headers()["x-authentik-proxy-error"]
        .to_str()
        .expect("text");
    assert!(reason.contains("no response within"), "{reason}");
    there.outpost.wait_line("cannot be reached").await;
    assert_eq!(status(&here, &browser).await, 200);
    let metrics = get(there.outpost.metrics(), "/metrics", "x", &[]).await;
    assert!(text(&metrics).contains("authentik_outpost_redis_up 0"));
    redis.resume();
    let connected = format!("{} is connected", redis.address());
    there.outpost.wait_lines(&connected, 2).await;
    assert_eq!(status(&there, &browser).await, 200);
    let metrics = get(there.outpost.metrics(), "/metrics", "x", &[]).await;
    assert!(text(&metrics).contains("authentik_outpost_redis_up 1"));
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn credentials_are_asked_about_once_while_their_session_cannot_be_stored() {
    let mut redis = Server::start(&[]).await;
    let authentik = authentik().await;
    authentik.add_user(User {
        app_password: Some("app-pass".into()),
        ..User::new("robot", "robot-pass")
    });
    let world = program(&authentik, redis.address().port(), &[]).await;
    world.outpost.wait_line("is connected").await;
    redis.kill().await;
    let credentials = format!("Basic {}", STANDARD.encode("robot:app-pass"));
    let authorization = [("authorization", credentials.as_str())];
    let requests = (0..20).map(|_| world.nginx(PAGE, "", &authorization));
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!(answer.status(), 500, "unknown");
        assert!(answer.headers()["x-authentik-proxy-error"].to_str().is_ok());
    }
    let asked = authentik.requests().into_iter();
    let asked = asked.filter(|request| request.body.contains("client_credentials"));
    assert_eq!(asked.count(), 1);
    redis.start_again().await;
    within(async {
        while world.nginx(PAGE, "", &authorization).await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_record_of_a_later_version_is_left_alone_and_named_in_the_log() {
    let redis = Server::start(&[]).await;
    let authentik = authentik().await;
    let here = program(&authentik, redis.address().port(), &[]).await;
    let mut browser = Browser::default();
    browser.log_in(&here, HOST, PAGE).await;
    let names: Vec<String> = redis.run(&["KEYS", "authentik-proxy:session:*"]).await;
    let later = ["SET", &names[0], "\u{2}of a later version", "KEEPTTL"];
    redis.run::<()>(&later).await;
    assert_eq!(status(&here, &browser).await, 200, "its own copy stands");
    let there = program(&authentik, redis.address().port(), &[]).await;
    there.outpost.wait_line("is connected").await;
    assert_eq!(status(&there, &browser).await, 401);
    let reason = "it has version 2, and this program reads version 1";
    there.outpost.wait_line(reason).await;
    assert_eq!(redis.run::<String>(&["GET", &names[0]]).await, later[2]);
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_full_redis_refuses_logins_and_serves_who_is_signed_in() {
    let redis = Server::start(&["--maxmemory-policy", "noeviction"]).await;
    let world = beside(&redis, &[]).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, PAGE).await;
    redis
        .run::<()>(&["CONFIG", "SET", "maxmemory", "1mb"])
        .await;
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    is_refused(&world, &mut Browser::default()).await;
    let line = world
        .outpost
        .wait_line("refuses a command")
        .await
        .to_string();
    assert!(line.contains("OOM") && line.contains("maxmemory"), "{line}");
    assert_eq!(status(&world, &browser).await, 200);
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    Browser::default().log_in(&world, HOST, PAGE).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_read_only_replica_is_called_by_its_name() {
    let primary = Server::start(&[]).await;
    let port = primary.port();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &port]).await;
    let world = beside(&replica, &[]).await;
    is_refused(&world, &mut Browser::default()).await;
    let line = world
        .outpost
        .wait_line("refuses a command")
        .await
        .to_string();
    assert!(line.contains("read-only replica"), "{line}");
}

#[tokio::test]
async fn memory_is_said_to_be_memory() {
    let world = World {
        outpost: Process::beside(&authentik().await, &[]).await,
        authentik: authentik().await,
    };
    world
        .outpost
        .wait_line("sessions are stored in memory")
        .await;
}
