//! What every store does, memory and Redis in each of its forms: one suite for all.

use std::sync::Arc;
use std::time::Duration;

use authentik_proxy::clock::Clock;
use authentik_proxy::config::Config;
use authentik_proxy::model::{Claims, IdleTimeout, Session, SessionId};
use authentik_proxy::store::{self, SessionContext};
use authentik_proxy::telemetry::metrics::Metrics;
use secrecy::ExposeSecret as _;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::server::{self, Server};
use crate::support::within;

/// An application.
pub(super) struct App(pub(super) [u8; 32]);

pub(super) const APP: App = App([7; 32]);

/// The store does not look into what an application prepares: here a text.
pub(super) type Store = store::Store<String>;

pub(super) type LiveSession = store::LiveSession<String>;

impl SessionContext for App {
    type Prepared = String;

    fn seal_key(&self) -> &[u8; 32] {
        &self.0
    }

    fn prepare(&self, session: &Session) -> String {
        let token = session.access_token.expose_secret();
        format!("{} {token}", session.claims.sub)
    }

    fn prepared_bytes(prepared: &String) -> usize {
        prepared.len()
    }
}

/// Two replicas of one store; in memory they are one.
pub(super) struct Replicas {
    pub(super) here: Store,
    pub(super) there: Store,
    pub(super) clock: Clock,
    _stop: DropGuard,
}

pub(super) const NOW: i64 = 1_000_000;

impl Replicas {
    pub(super) fn in_memory(idle: Option<IdleTimeout>) -> Self {
        let clock = Clock::manual(NOW);
        let store = Store::memory(clock.clone(), idle);
        Self {
            here: store.clone(),
            there: store,
            clock,
            _stop: CancellationToken::new().drop_guard(),
        }
    }

    /// In cookies, as far as a store has to know: all sessions are those of one process.
    pub(super) fn in_cookies() -> Self {
        let clock = Clock::manual(NOW);
        let store = Store::cookie(86_400, clock.clone(), Metrics::new().store());
        Self {
            here: store.clone(),
            there: store,
            clock,
            _stop: CancellationToken::new().drop_guard(),
        }
    }

    /// At Redis, as these settings say.
    pub(super) fn at_redis(settings: &[(&str, &str)], cache_bytes: u64) -> Self {
        Self::with_idle_timeout(settings, cache_bytes, None)
    }

    /// The same, where sessions end that go unused.
    pub(super) fn with_idle_timeout(
        settings: &[(&str, &str)],
        cache_bytes: u64,
        idle: Option<IdleTimeout>,
    ) -> Self {
        let clock = Clock::manual(NOW);
        let stop = CancellationToken::new();
        let [here, there] = [(); 2].map(|()| {
            let store = store(settings, cache_bytes, idle, &clock);
            tokio::spawn(store.clone().run(stop.clone()));
            store
        });
        Self {
            here,
            there,
            clock,
            _stop: stop.drop_guard(),
        }
    }
}

fn store(
    settings: &[(&str, &str)],
    cache_bytes: u64,
    idle: Option<IdleTimeout>,
    clock: &Clock,
) -> Store {
    let required = [
        ("AUTHENTIK_HOST", "http://authentik.test"),
        ("AUTHENTIK_TOKEN", "token"),
        // On a machine that is busy.
        ("AUTHENTIK_PROXY_REDIS__COMMAND_TIMEOUT", "10s"),
    ];
    let config = Config::from_pairs(required.iter().chain(settings).copied()).expect("usable");
    let (redis, people) = (config.redis.expect("a place"), config.authentik.token);
    let metrics = Metrics::new().store();
    Store::redis(redis, &people, cache_bytes, idle, clock.clone(), metrics).expect("a store")
}

pub(super) fn session(sub: &str, sid: Option<&str>, expires_at: i64) -> Arc<LiveSession> {
    session_with_token(sub, sid, expires_at, "token")
}

pub(super) fn session_with_token(
    sub: &str,
    sid: Option<&str>,
    expires_at: i64,
    token: &str,
) -> Arc<LiveSession> {
    let claims = Claims {
        sub: sub.into(),
        sid: sid.map(Into::into),
        ..Claims::default()
    };
    session_of(claims, expires_at, token)
}

pub(super) fn session_of(claims: Claims, expires_at: i64, token: &str) -> Arc<LiveSession> {
    let session = Session::new("client", claims, token.into(), expires_at);
    Arc::new(LiveSession::new(session, &APP))
}

pub(super) async fn insert(store: &Store, sub: &str, sid: Option<&str>, until: i64) -> SessionId {
    let id = SessionId::random();
    let session = session(sub, sid, NOW + until);
    store.insert(&id, &APP, session).await.expect("inserted");
    id
}

pub(super) async fn is_live(store: &Store, id: &SessionId) -> bool {
    store.load(id, &APP).await.expect("loaded").is_some()
}

/// Waits until the session is live, or no longer live, in that store.
pub(super) async fn becomes(store: &Store, id: &SessionId, live: bool) {
    within(async {
        while !matches!(store.load(id, &APP).await, Ok(found) if found.is_some() == live) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// A session of its own name, so that checks of one server do not meet.
fn name() -> String {
    SessionId::random().to_text()
}

/// Runs all checks. Each gets replicas with a cache of the size that it wants.
pub(super) async fn suite(make: impl Fn(u64) -> Replicas) {
    const LARGE: u64 = 1 << 20;
    reads_everywhere_what_was_written(&make(LARGE)).await;
    sessions_end_by_sid_by_subject_and_by_time(&make(LARGE)).await;
    one_session_ends(&make(LARGE)).await;
    a_revocation_reaches_copies_in_use(&make(LARGE)).await;
    a_login_finished_after_its_session_ended_is_not_live(&make(LARGE)).await;
    a_user_who_signs_in_over_and_over_fills_nothing(&make(LARGE)).await;
    credentials_open_their_session_again(&make(LARGE)).await;
    a_session_that_the_cache_dropped_is_found_in_the_backend(&make(1)).await;
    what_was_checked_is_noted(&make(LARGE)).await;
    many_may_ask_at_once(&make(LARGE)).await;
    one_replica_refreshes_at_a_time(&make(LARGE)).await;
}

async fn reads_everywhere_what_was_written(replicas: &Replicas) {
    let (sub, sid) = (name(), name());
    let id = insert(&replicas.here, &sub, Some(&sid), 100).await;
    for store in [&replicas.here, &replicas.there] {
        let found = store.load(&id, &APP).await.expect("loaded").expect("live");
        assert_eq!((&*found.client_id, &*found.claims.sub), ("client", &*sub));
        assert_eq!(found.claims.sid.as_deref(), Some(&*sid));
        assert_eq!(found.access_token.expose_secret(), "token");
        assert_eq!(*found.prepared(), format!("{sub} token"));
        assert_eq!(found.expires_at, NOW + 100);
    }
    // A Redis that has just begun may not have everything yet.
    becomes(&replicas.here, &SessionId::random(), false).await;
}

async fn sessions_end_by_sid_by_subject_and_by_time(replicas: &Replicas) {
    let Replicas {
        here, there, clock, ..
    } = replicas;
    let (alice, bob, first, second) = (name(), name(), name(), name());
    let a1 = insert(here, &alice, Some(&first), 1_000).await;
    let a2 = insert(there, &alice, Some(&first), 1_000).await;
    let a3 = insert(here, &alice, Some(&second), 500).await;
    let b = insert(there, &bob, None, 1_000).await;
    for id in [&a1, &a2, &a3, &b] {
        assert!(is_live(here, id).await && is_live(there, id).await);
    }
    assert_eq!(here.revoke_by_sid(&first).await, 2);
    here.revoke_by_sid(&first).await;
    for id in [&a1, &a2] {
        assert!(!is_live(here, id).await, "at once");
        becomes(there, id, false).await;
    }
    assert!(is_live(here, &a3).await && is_live(there, &b).await);
    clock.advance(500);
    assert!(!is_live(here, &a3).await && !is_live(there, &a3).await);
    assert_eq!(there.revoke_by_subject(&bob).await, 1);
    assert!(!is_live(there, &b).await);
    becomes(here, &b, false).await;
    assert_eq!(here.sweep().len() + there.sweep().len(), 0);
    assert!(
        here.is_empty() && there.is_empty(),
        "nothing is left behind"
    );
    let again = insert(here, &bob, None, 1_000).await;
    assert!(is_live(there, &again).await, "may sign in again");
}

async fn one_session_ends(replicas: &Replicas) {
    let alice = name();
    let [ended, other, unread] = [
        insert(&replicas.here, &alice, None, 100).await,
        insert(&replicas.here, &alice, None, 100).await,
        insert(&replicas.here, &alice, None, 100).await,
    ];
    replicas.here.revoke(&unread.key()).await;
    assert!(
        !is_live(&replicas.there, &unread).await,
        "for who never read it"
    );
    assert!(is_live(&replicas.there, &ended).await);
    replicas.here.revoke(&ended.key()).await;
    assert!(!is_live(&replicas.here, &ended).await);
    becomes(&replicas.there, &ended, false).await;
    assert!(is_live(&replicas.there, &other).await);
}

async fn a_revocation_reaches_copies_in_use(replicas: &Replicas) {
    let (alice, sid) = (name(), name());
    let id = insert(&replicas.here, &alice, Some(&sid), 100).await;
    let held = replicas
        .here
        .load(&id, &APP)
        .await
        .expect("loaded")
        .expect("live");
    replicas.here.revoke_by_sid(&sid).await;
    assert!(!held.is_live(NOW));
}

async fn a_login_finished_after_its_session_ended_is_not_live(replicas: &Replicas) {
    let (alice, sid) = (name(), name());
    replicas.there.revoke_by_sid(&sid).await;
    let id = insert(&replicas.here, &alice, Some(&sid), 100).await;
    assert!(!is_live(&replicas.here, &id).await);
    assert!(!is_live(&replicas.there, &id).await);
}

async fn a_user_who_signs_in_over_and_over_fills_nothing(replicas: &Replicas) {
    const BATCH: usize = 512;
    let (script, alice) = (name(), name());
    // Redis counts by a clock of its own, and on a busy machine all this takes many seconds.
    let first = insert(&replicas.here, &script, None, 1_000).await;
    let other = insert(&replicas.here, &alice, None, 1_000).await;
    let mut last = first.clone();
    for _ in 0..BATCH {
        last = insert(&replicas.here, &script, None, 2_000).await;
    }
    becomes(&replicas.there, &first, false).await;
    assert!(!is_live(&replicas.here, &first).await, "made room");
    for id in [&last, &other] {
        assert!(is_live(&replicas.there, id).await);
    }
    assert_eq!(replicas.here.revoke_by_subject(&script).await, BATCH);
}

async fn credentials_open_their_session_again(replicas: &Replicas) {
    let (id, program) = (SessionId::random(), name());
    let open = || {
        replicas
            .here
            .insert(&id, &APP, session(&program, None, NOW + 100))
    };
    open().await.expect("inserted");
    open().await.expect("inserted");
    assert!(is_live(&replicas.there, &id).await);
    replicas.here.revoke(&id.key()).await;
    replicas.here.revoke(&id.key()).await;
    assert!(!is_live(&replicas.here, &id).await);
    tokio::time::sleep(Duration::from_millis(2)).await;
    open().await.expect("inserted");
    assert!(is_live(&replicas.here, &id).await);
}

async fn a_session_that_the_cache_dropped_is_found_in_the_backend(replicas: &Replicas) {
    let id = insert(&replicas.here, &name(), None, 100).await;
    assert!(is_live(&replicas.here, &id).await);
    assert!(is_live(&replicas.there, &id).await);
}

async fn what_was_checked_is_noted(replicas: &Replicas) {
    let Replicas {
        here, there, clock, ..
    } = replicas;
    let id = insert(here, &name(), None, 1_000).await;
    let checked = here.load(&id, &APP).await.expect("loaded").expect("live");
    assert_eq!(checked.introspected_at(), NOW);
    clock.advance(10);
    here.record_introspection(&id.key(), &checked).await;
    assert!(
        here.claim_introspection(&id.key(), Duration::from_mins(1))
            .await
    );
    let found = there.load(&id, &APP).await.expect("loaded").expect("live");
    assert_eq!(found.introspected_at(), NOW + 10);
    here.revoke(&id.key()).await;
    here.record_introspection(&id.key(), &checked).await;
    there.record_introspection(&id.key(), &checked).await;
    becomes(there, &id, false).await;
    assert!(!is_live(here, &id).await, "a check puts nothing back");
}

async fn one_replica_refreshes_at_a_time(replicas: &Replicas) {
    let Replicas { here, there, .. } = replicas;
    if !here.is_shared() {
        return;
    }
    let (key, minute) = (SessionId::random().key(), Duration::from_mins(1));
    let other = SessionId::random().key();
    let first = here.claim_refresh(&key, minute).await.expect("free");
    assert!(there.claim_refresh(&key, minute).await.is_none());
    assert!(here.claim_refresh(&key, minute).await.is_none());
    let unrelated = here.claim_refresh(&other, minute).await.expect("free");
    here.release_refresh(&key, unrelated).await;
    assert!(there.claim_refresh(&key, minute).await.is_none());
    here.release_refresh(&key, first).await;
    assert!(there.claim_refresh(&key, minute).await.is_some());
}

async fn many_may_ask_at_once(replicas: &Replicas) {
    let id = insert(&replicas.here, &name(), None, 100).await;
    let asking = (0..200).map(|_| is_live(&replicas.there, &id));
    let answers = futures_util::future::join_all(asking).await;
    assert!(answers.into_iter().all(|live| live));
}

#[tokio::test]
async fn memory_conforms() {
    suite(|_| Replicas::in_memory(None)).await;
}

#[tokio::test]
async fn sessions_in_cookies_conform() {
    suite(|_| Replicas::in_cookies()).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn redis_conforms() {
    let server = Server::start(&[]).await;
    let port = server.port();
    let settings = server::settings(&port);
    suite(|cache_bytes| Replicas::at_redis(&settings, cache_bytes)).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn nothing_at_redis_outlives_its_session() {
    let server = Server::start(&[]).await;
    let port = server.port();
    let settings = server::settings(&port);
    let replicas = Replicas::at_redis(&settings, 1);
    let short = insert(&replicas.here, "alice", Some("sid"), 100).await;
    let long = insert(&replicas.here, "alice", Some("sid"), 1_000).await;
    let lives = async |name: &str| server.run::<i64>(&["TTL", name]).await;
    for (id, until) in [(&short, 100), (&long, 1_000)] {
        let name = format!("authentik-proxy:session:{}", id.key().to_text());
        // A second may have begun since.
        assert!((until - 30..=until).contains(&lives(&name).await));
    }
    let mut indexes: Vec<String> = server.run(&["KEYS", "authentik-proxy:s*:*"]).await;
    indexes.retain(|name| !name.contains(":session:"));
    assert_eq!(indexes.len(), 2, "by authentik's session and by person");
    for index in &indexes {
        assert!((1_000..=1_060).contains(&lives(index).await), "{index}");
        assert_eq!(server.run::<usize>(&["ZCARD", index]).await, 2);
    }
    replicas.clock.advance(100);
    insert(&replicas.here, "alice", Some("sid"), 1_000).await;
    for index in &indexes {
        let members = server.run::<usize>(&["ZCARD", index]).await;
        assert_eq!(members, 2, "the first one's time is over");
    }
    replicas.here.revoke_by_sid("sid").await;
    for index in &indexes[..] {
        let members = server.run::<usize>(&["ZCARD", index]).await;
        let is_sid = index.contains(":sid:");
        assert!(!is_sid || members == 0, "{index} lists who has ended");
    }
}
