//! Redis goes away, hangs, forgets, and comes back: what the store makes of it.

use super::conformance::Store;
use authentik_proxy::model::{Claims, SessionId};
use secrecy::ExposeSecret as _;

use super::conformance::{
    APP, NOW, Replicas, becomes, insert, is_live, session, session_of, session_with_token,
};
use super::server::Server;
use crate::support::within;

const LARGE: u64 = 1 << 20;
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

fn replicas(server: &Server, more: &[(&str, &str)]) -> Replicas {
    let port = server.port();
    let mut settings = vec![
        ("AUTHENTIK_REDIS__HOST", "127.0.0.1"),
        ("AUTHENTIK_REDIS__PORT", port.as_str()),
        ("AUTHENTIK_PROXY_REDIS__COMMAND_TIMEOUT", "2s"),
        ("AUTHENTIK_PROXY_REDIS__REVALIDATION_INTERVAL", "100ms"),
    ];
    settings.extend_from_slice(more);
    Replicas::at_redis(&settings, LARGE)
}

/// A session that is cached at one replica and not at the other.
async fn half_cached(replicas: &Replicas) -> SessionId {
    insert(&replicas.here, "alice", Some("sid"), 1_000).await
}

/// Whether the store says that it cannot know.
async fn is_unknown(replicas: &Replicas, id: &SessionId) -> bool {
    replicas.there.load(id, &APP).await.is_err()
}

/// Waits until the other replica knows a session, and sees that it is never taken for over.
async fn is_known_or_unknown(replicas: &Replicas, id: &SessionId) {
    within(async {
        loop {
            match replicas.there.load(id, &APP).await {
                Ok(found) => return assert!(found.is_some(), "a copy exists"),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(2)).await,
            }
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_redis_that_hangs_stops_no_cached_session() {
    let server = Server::start(&[]).await;
    let replicas = replicas(&server, &[]);
    let id = half_cached(&replicas).await;
    server.pause();
    for _ in 0..3 {
        within(async {
            assert!(is_unknown(&replicas, &id).await, "unknown is not nobody");
            assert!(is_live(&replicas.here, &id).await);
        })
        .await;
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    }
    server.resume();
    becomes(&replicas.there, &id, true).await;
    assert!(is_live(&replicas.here, &id).await);
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_redis_that_restarts_with_its_data_has_lost_nothing() {
    let mut server = Server::start(&DURABLE).await;
    let before = replicas(&server, &[]);
    let id = half_cached(&before).await;
    drop(before);
    server.kill().await;
    server.start_again().await;
    let after = replicas(&server, &[]);
    // It may still be loading.
    becomes(&after.here, &id, true).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_redis_that_restarts_empty_is_filled_again_by_who_has_sessions() {
    let mut server = Server::start(&[]).await;
    let replicas = replicas(&server, &[]);
    let id = half_cached(&replicas).await;
    let ended = insert(&replicas.here, "bob", Some("over"), 1_000).await;
    replicas.here.revoke_by_sid("over").await;
    server.kill().await;
    assert!(is_live(&replicas.here, &id).await);
    assert!(is_unknown(&replicas, &id).await);
    server.start_again().await;
    is_known_or_unknown(&replicas, &id).await;
    let ended = replicas.there.load(&ended, &APP).await;
    assert!(!matches!(ended, Ok(Some(_))), "not what had ended");
    let (_, due) = within(replicas.here.next_introspection()).await;
    assert_eq!(&*due.claims.sub, "alice", "authentik is asked about it");
    // The index is there again, too.
    replicas.there.revoke_by_sid("sid").await;
    becomes(&replicas.here, &id, false).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn what_ended_is_not_put_back() {
    let server = Server::start(&[]).await;
    let replicas = replicas(&server, &[]);
    let id = half_cached(&replicas).await;
    // Whoever ends it while this replica hears nothing.
    let name = format!("authentik-proxy:session:{}", id.key().to_text());
    server
        .run::<()>(&["SET", &name, "\0", "XX", "KEEPTTL"])
        .await;
    let held = replicas.here.cached(&id.key()).expect("cached");
    replicas.here.record_introspection(&id.key(), &held).await;
    assert_eq!(server.run::<String>(&["GET", &name]).await, "\0");
    server
        .run::<i64>(&["CLIENT", "KILL", "TYPE", "pubsub"])
        .await;
    becomes(&replicas.here, &id, false).await;
    assert!(!is_live(&replicas.there, &id).await);
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn sessions_end_here_while_redis_is_down_and_everywhere_when_it_is_back() {
    let mut server = Server::start(&DURABLE).await;
    let replicas = replicas(&server, &[]);
    let by_sid = half_cached(&replicas).await;
    let by_key = insert(&replicas.here, "bob", None, 1_000).await;
    let by_subject = insert(&replicas.here, "carol", None, 1_000).await;
    for id in [&by_sid, &by_key, &by_subject] {
        assert!(is_live(&replicas.there, id).await);
    }
    server.kill().await;
    assert_eq!(replicas.here.revoke_by_sid("sid").await, 1);
    replicas.here.revoke(&by_key.key()).await;
    assert_eq!(replicas.here.revoke_by_subject("carol").await, 1);
    for id in [&by_sid, &by_key, &by_subject] {
        assert!(!is_live(&replicas.here, id).await, "here at once");
        assert!(is_live(&replicas.there, id).await, "nobody could tell");
    }
    server.start_again().await;
    let fresh = self::replicas(&server, &[]);
    for id in [&by_sid, &by_key, &by_subject] {
        becomes(&replicas.there, id, false).await;
        becomes(&fresh.here, id, false).await;
    }
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn logins_are_refused_while_redis_is_down_or_kept_if_that_is_wanted() {
    let mut server = Server::start(&[]).await;
    let refusing = replicas(&server, &[]);
    let keeping = replicas(&server, &[("AUTHENTIK_PROXY_REDIS__WHEN_DOWN", "keep")]);
    let first = insert(&keeping.here, "alice", None, 1_000).await;
    assert!(is_live(&keeping.there, &first).await);
    server.kill().await;
    let id = SessionId::random();
    let refused = refusing
        .here
        .insert(&id, &APP, session("bob", None, NOW + 100))
        .await;
    let reason = refused.expect_err("refused").to_string();
    assert!(reason.contains(&server.port()), "{reason}");
    let kept = insert(&keeping.here, "bob", Some("sid"), 1_000).await;
    let ended = insert(&keeping.here, "carol", Some("over"), 1_000).await;
    keeping.here.revoke_by_sid("gone").await;
    let late = insert(&keeping.here, "dave", Some("gone"), 1_000).await;
    assert!(!is_live(&keeping.here, &late).await);
    assert!(is_live(&keeping.here, &kept).await);
    assert!(is_unknown(&keeping, &kept).await);
    assert_eq!(keeping.here.revoke_by_sid("over").await, 1);
    server.start_again().await;
    becomes(&keeping.there, &kept, true).await;
    assert!(is_live(&keeping.here, &kept).await);
    becomes(&keeping.there, &ended, false).await;
    keeping.there.revoke_by_sid("sid").await;
    becomes(&keeping.here, &kept, false).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_sign_out_that_is_told_late_spares_who_signed_in_after_it() {
    let user = ["--user", "late", "on", "nopass", "~*", "&*", "+@all"];
    let server = Server::start(&user).await;
    let user = [
        ("AUTHENTIK_REDIS__USERNAME", "late"),
        ("AUTHENTIK_REDIS__PASSWORD", "any"),
    ];
    let (late, others) = (replicas(&server, &user), replicas(&server, &[]));
    let login = async |store: &Store, at: i64| {
        let claims = Claims {
            sub: "carol".into(),
            iat: Some(at),
            ..Claims::default()
        };
        let id = SessionId::random();
        let session = session_of(claims, NOW + 1_000, "token");
        store.insert(&id, &APP, session).await.expect("inserted");
        id
    };
    let before = login(&others.here, NOW).await;
    becomes(&late.here, &before, true).await;
    server.run::<()>(&["ACL", "SETUSER", "late", "off"]).await;
    let kill = ["CLIENT", "KILL", "USER", "late"];
    server.run::<i64>(&kill).await;
    late.here.revoke_by_subject("carol").await;
    assert!(!is_live(&late.here, &before).await);
    assert!(is_live(&others.here, &before).await, "nobody could tell");
    let after = login(&others.here, NOW + 60).await;
    server.run::<()>(&["ACL", "SETUSER", "late", "on"]).await;
    for store in [&others.here, &others.there, &late.there] {
        becomes(store, &before, false).await;
        assert!(is_live(store, &after).await, "signed in after it");
    }
    becomes(&late.here, &after, true).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_check_of_an_older_token_undoes_no_refresh() {
    let server = Server::start(&[]).await;
    let replicas = replicas(
        &server,
        &[("AUTHENTIK_PROXY_REDIS__REVALIDATION_INTERVAL", "1h")],
    );
    let id = half_cached(&replicas).await;
    let old = replicas.there.load(&id, &APP).await;
    let old = old.expect("loaded").expect("live");
    let refreshed = session_with_token("alice", Some("sid"), NOW + 2_000, "fresh");
    let renewed = replicas.here.update(&id, &APP, refreshed).await;
    renewed.expect("renewed");
    replicas.there.record_introspection(&id.key(), &old).await;
    let fresh = self::replicas(&server, &[]);
    let found = fresh.here.load(&id, &APP).await.expect("loaded");
    assert_eq!(found.expect("live").access_token.expose_secret(), "fresh");
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn replicas_that_start_later_know_what_ended() {
    let server = Server::start(&[]).await;
    let before = replicas(&server, &[]);
    before.here.revoke_by_sid("over").await;
    drop(before);
    let after = replicas(&server, &[]);
    let late = insert(&after.here, "alice", Some("over"), 1_000).await;
    assert!(!is_live(&after.here, &late).await);
    assert!(!is_live(&after.there, &late).await);
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn without_news_a_cached_session_is_confirmed_within_the_bound() {
    let deaf = [
        "--user",
        "deaf",
        "on",
        "nopass",
        "~*",
        "+@all",
        "-subscribe",
    ];
    let server = Server::start(&deaf).await;
    let user = [
        ("AUTHENTIK_REDIS__USERNAME", "deaf"),
        ("AUTHENTIK_REDIS__PASSWORD", "any"),
    ];
    let deaf = replicas(&server, &user);
    let hearing = replicas(&server, &[]);
    let id = half_cached(&deaf).await;
    assert!(is_live(&hearing.there, &id).await);
    hearing.there.revoke_by_sid("sid").await;
    becomes(&deaf.here, &id, false).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_flushed_redis_is_filled_again_and_gives_no_wrong_answer() {
    let server = Server::start(&[]).await;
    // As long as news arrive, nobody has a reason to ask Redis.
    let patient = [("AUTHENTIK_PROXY_REDIS__REVALIDATION_INTERVAL", "1h")];
    let replicas = replicas(&server, &patient);
    let id = half_cached(&replicas).await;
    server.run::<()>(&["FLUSHALL"]).await;
    assert!(is_live(&replicas.here, &id).await, "known here");
    is_known_or_unknown(&replicas, &id).await;
    replicas.there.revoke_by_sid("sid").await;
    becomes(&replicas.here, &id, false).await;
}
