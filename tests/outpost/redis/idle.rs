//! AP-2026-06: sessions that go unused end, on all replicas, and cost no write for each use.

use std::time::Duration;

use super::conformance::Store;
use authentik_proxy::model::{IdleTimeout, SessionId};

use super::conformance::{APP, NOW, Replicas, insert, is_live};
use super::replicas::{HOST, PAGE, authentik, becomes, replica_with, status};
use super::server::{self, Server};
use crate::support::Browser;

const TIMEOUT: i64 = 100;

fn timeout() -> IdleTimeout {
    IdleTimeout::new(Duration::from_secs(TIMEOUT.unsigned_abs()))
}

/// A request with the session's cookie: whether it may pass.
async fn uses(store: &Store, id: &SessionId, now: i64) -> bool {
    let Some(session) = store.load(id, &APP).await.expect("loaded") else {
        return false;
    };
    store.touch(id, &session, now).await.expect("noted")
}

async fn suite(replicas: &Replicas) {
    let Replicas {
        here, there, clock, ..
    } = replicas;
    let used = insert(here, "alice", Some("used"), 100_000).await;
    let unused = insert(here, "alice", Some("unused"), 100_000).await;
    for id in [&used, &unused] {
        assert!(uses(there, id, NOW).await, "known everywhere");
    }
    // One is used for ten timeouts, mostly here.
    for _ in 0..20 {
        clock.advance(TIMEOUT / 2);
        assert!(uses(here, &used, clock.now()).await);
    }
    assert!(uses(there, &used, clock.now()).await, "used elsewhere");
    assert!(uses(here, &used, clock.now()).await);
    assert!(!uses(there, &unused, clock.now()).await, "idle");
    assert!(!uses(here, &unused, clock.now()).await, "idle");
    assert!(!is_live(here, &unused).await && !is_live(there, &unused).await);
    // The end of the time.
    clock.advance(TIMEOUT);
    assert!(uses(there, &used, clock.now()).await, "the whole timeout");
    clock.advance(TIMEOUT + 1);
    assert!(!uses(there, &used, clock.now()).await);
    assert!(!uses(here, &used, clock.now()).await);
}

#[tokio::test]
async fn ap_2026_06_idle_sessions_end_in_memory() {
    let replicas = Replicas::in_memory(Some(timeout()));
    suite(&replicas).await;
    // Nobody asks for it again: the sweep finds it.
    insert(&replicas.here, "bob", None, 100_000).await;
    replicas.clock.advance(TIMEOUT + 1);
    assert_eq!(replicas.here.sweep().len(), 0);
    assert!(replicas.here.is_empty());
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn ap_2026_06_idle_sessions_end_at_redis() {
    let server = Server::start(&[]).await;
    let port = server.port();
    let settings = server::settings(&port);
    for cache_bytes in [1 << 20, 1] {
        suite(&Replicas::with_idle_timeout(
            &settings,
            cache_bytes,
            Some(timeout()),
        ))
        .await;
    }
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn ap_2026_06_uses_are_written_once_in_a_while() {
    let server = Server::start(&[]).await;
    let port = server.port();
    let settings = server::settings(&port);
    let replicas = Replicas::with_idle_timeout(&settings, 1 << 20, Some(timeout()));
    let id = insert(&replicas.here, "alice", None, 100_000).await;
    let name = format!("authentik-proxy:used:{}", id.key().to_text());
    let noted = async || server.run::<i64>(&["GET", &name]).await;
    assert_eq!(noted().await, NOW);
    for _ in 0..TIMEOUT / 10 - 1 {
        replicas.clock.advance(1);
        assert!(uses(&replicas.here, &id, replicas.clock.now()).await);
        assert_eq!(noted().await, NOW, "not yet");
    }
    replicas.clock.advance(1);
    assert!(uses(&replicas.here, &id, replicas.clock.now()).await);
    assert_eq!(noted().await, NOW + TIMEOUT / 10);
    let lives = server.run::<i64>(&["TTL", &name]).await;
    assert!((TIMEOUT..=TIMEOUT + 60).contains(&lives), "{lives}");
    // Off, which is the default, nothing is written.
    let off = Replicas::at_redis(&settings, 1 << 20);
    let other = insert(&off.here, "bob", None, 100_000).await;
    off.clock.advance(50_000);
    assert!(uses(&off.here, &other, off.clock.now()).await);
    let names: Vec<String> = server.run(&["KEYS", "authentik-proxy:used:*"]).await;
    assert_eq!(names, [name]);
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn ap_2026_06_the_outpost_ends_idle_sessions() {
    const ONE_MINUTE: [(&str, &str); 1] = [("AUTHENTIK_PROXY_SESSION__IDLE_TIMEOUT", "1m")];
    let (authentik, redis) = (authentik().await, Server::start(&[]).await);
    let here = replica_with(&authentik, &redis, &ONE_MINUTE).await;
    let mut browser = Browser::default();
    browser.log_in(&here, HOST, PAGE).await;
    assert_eq!(status(&here, &browser).await, 200);
    let names: Vec<String> = redis.run(&["KEYS", "authentik-proxy:used:*"]).await;
    let [name] = &names[..] else {
        panic!("one session in {names:?}");
    };
    let used_at: i64 = redis.run(&["GET", name]).await;
    for (ago, expected) in [(30, 200), (90, 401)] {
        // As if it were as long ago; a replica that has just started knows no better.
        let earlier = (used_at - ago).to_string();
        redis.run::<()>(&["SET", name, &earlier]).await;
        let there = replica_with(&authentik, &redis, &ONE_MINUTE).await;
        assert_eq!(status(&there, &browser).await, expected, "{ago} s ago");
    }
    becomes(&here, &browser, 401).await;
}
