//! What sessions in Redis cost: from the cache, from Redis next to a bare GET, and their end.
//! Starts a real `redis-server`.

#![allow(
    missing_docs,
    reason = "criterion_group! generates an undocumented item"
)]
#![expect(clippy::print_stdout, reason = "the figures are the result")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use authentik_proxy::clock::Clock;
use authentik_proxy::config::Config;
use authentik_proxy::model::{Claims, IdentityOptions, Session, SessionId};
use authentik_proxy::store::{Owner, Store};
use authentik_proxy::telemetry::metrics::Metrics;
use authentik_proxy::web::identity;
use criterion::{Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use redis::aio::MultiplexedConnection;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// How much longer than a bare GET a session may take that is not cached.
const TARGET: f64 = 1.3;
const LIFETIME: i64 = 3600;

struct Grafana;

impl Owner for Grafana {
    fn seal_key(&self) -> &[u8; 32] {
        &[7; 32]
    }

    fn headers(&self, claims: &Claims, access_token: &str) -> HeaderMap {
        identity::person(claims, access_token, None, IdentityOptions::default())
    }
}

/// A Redis of its own; ends with this value.
struct Server {
    process: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let directory = tempfile::tempdir().expect("a directory");
        let process = Command::new("redis-server")
            .args(["--port", &address.port().to_string()])
            .args(["--bind", "127.0.0.1", "--save", ""])
            .arg("--dir")
            .arg(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis is installed: apt-get install redis-server");
        while std::net::TcpStream::connect(address).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Self {
            process,
            address,
            _directory: directory,
        }
    }

    async fn connect(&self) -> MultiplexedConnection {
        let client = redis::Client::open((self.address.ip().to_string(), self.address.port()));
        let client = client.expect("an address");
        client
            .get_multiplexed_async_connection()
            .await
            .expect("a connection")
    }

    /// A store with a cache of this size.
    fn store(&self, cache_bytes: u64) -> Store {
        let port = self.address.port().to_string();
        let config = Config::from_pairs([
            ("AUTHENTIK_HOST", "http://authentik.test"),
            ("AUTHENTIK_TOKEN", "token"),
            ("AUTHENTIK_REDIS__HOST", "127.0.0.1"),
            ("AUTHENTIK_REDIS__PORT", &port),
        ])
        .expect("a configuration");
        let (redis, people) = (config.redis.expect("a place"), config.authentik.token);
        let (clock, metrics) = (Clock::system(), Metrics::new().store());
        let store = Store::redis(redis, people, cache_bytes, clock, metrics).expect("a store");
        tokio::spawn(store.clone().run(CancellationToken::new()));
        store
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A session as authentik 2026 gives it, with a token of usual length.
fn session(sub: &str, sid: &str) -> Arc<Session> {
    let claims = json!({
        "iss": "https://authentik.home.test/application/o/grafana/",
        "sub": sub,
        "exp": Clock::system().now() + LIFETIME,
        "sid": sid,
        "email": "alice@home.test",
        "name": "Alice Example",
        "preferred_username": "alice",
        "groups": ["authentik Admins", "grafana-admins", "editors", "staff"],
        "ak_proxy": {"user_attributes": {"locale": "de"}, "is_superuser": false},
    });
    let claims: Claims = serde_json::from_value(claims).expect("claims");
    let token = "x".repeat(1_200);
    let headers = Grafana.headers(&claims, &token);
    let expires_at = Clock::system().now() + LIFETIME;
    Arc::new(Session::new(
        "client",
        claims,
        token.into(),
        expires_at,
        headers,
    ))
}

async fn insert(store: &Store, sub: &str, sid: &str) -> SessionId {
    let id = SessionId::random();
    let inserted = store.insert(&id, &Grafana, session(sub, sid)).await;
    inserted.expect("inserted");
    id
}

async fn load(store: &Store, id: &SessionId) {
    let found = store.load(id, &Grafana).await.expect("loaded");
    assert!(found.is_some(), "live");
}

/// A bare GET of the same record on a connection of the same kind.
async fn get(connection: &mut MultiplexedConnection, name: &str) {
    let mut command = redis::cmd("GET");
    let bytes: Vec<u8> = command
        .arg(name)
        .query_async(connection)
        .await
        .expect("read");
    assert!(bytes.len() > 1_000);
}

fn name(id: &SessionId) -> String {
    format!("authentik-proxy:session:{}", id.key().to_text())
}

fn reading(criterion: &mut Criterion, runtime: &Runtime, server: &Server) {
    let (cached, uncached) = runtime.block_on(async { (server.store(64 << 20), server.store(1)) });
    let id = runtime.block_on(insert(&cached, "reader", "reading"));
    let mut connection = runtime.block_on(server.connect());
    let mut group = criterion.benchmark_group("store/load");
    group.bench_function("cached", |bencher| {
        bencher.to_async(runtime).iter(|| load(&cached, &id));
    });
    group.bench_function("uncached", |bencher| {
        bencher.to_async(runtime).iter(|| load(&uncached, &id));
    });
    let name = name(&id);
    group.bench_function("bare_get", |bencher| {
        bencher.iter_custom(|rounds| {
            let started = Instant::now();
            runtime.block_on(async {
                for _ in 0..rounds {
                    get(&mut connection, &name).await;
                }
            });
            started.elapsed()
        });
    });
    group.finish();
    if is_measured() {
        let ratio = runtime.block_on(ratio(&uncached, &id, &mut connection));
        println!(
            "store: a session that is not cached takes {ratio:.2} times a bare GET (target <= {TARGET})"
        );
    }
}

/// Both in turns, so that what else the machine does hits both alike.
async fn ratio(store: &Store, id: &SessionId, connection: &mut MultiplexedConnection) -> f64 {
    const ROUNDS: usize = 41;
    const EACH: usize = 200;
    let name = name(id);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..EACH {
            load(store, id).await;
        }
        ours.push(started.elapsed());
        let started = Instant::now();
        for _ in 0..EACH {
            get(connection, &name).await;
        }
        theirs.push(started.elapsed());
    }
    ours.sort_unstable();
    theirs.sort_unstable();
    ours[ROUNDS / 2].as_secs_f64() / theirs[ROUNDS / 2].as_secs_f64()
}

/// Fills Redis with sessions of others, many at a time.
async fn fill(store: &Store, from: usize, to: usize) {
    const AT_ONCE: usize = 200;
    for begin in (from..to).step_by(AT_ONCE) {
        let batch = (begin..to.min(begin + AT_ONCE)).map(|number| async move {
            let (sub, sid) = (format!("person {}", number / 100), format!("sid {number}"));
            insert(store, &sub, &sid).await;
        });
        futures_util::future::join_all(batch).await;
    }
}

fn ending(criterion: &mut Criterion, runtime: &Runtime, server: &Server) {
    let store = runtime.block_on(async { server.store(64 << 20) });
    let counts: &[usize] = if is_measured() {
        &[1_000, 100_000]
    } else {
        &[10, 20]
    };
    let mut group = criterion.benchmark_group("store/end_sid");
    group.sample_size(10);
    let mut there = 0;
    for &count in counts {
        runtime.block_on(fill(&store, there, count));
        there = count;
        group.bench_function(format!("{count}_others"), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    runtime.block_on(async {
                        let sid = SessionId::random().to_text();
                        insert(&store, "somebody", &sid).await;
                        let started = Instant::now();
                        assert_eq!(store.end_sid(&sid).await, 1);
                        spent += started.elapsed();
                    });
                }
                spent
            });
        });
    }
    group.finish();
}

fn size(runtime: &Runtime) {
    const MANY: usize = 1_000;
    let server = Server::start();
    runtime.block_on(async {
        let mut connection = server.connect().await;
        let store = server.store(64 << 20);
        let before = used(&mut connection).await;
        fill(&store, 0, MANY).await;
        let each = (used(&mut connection).await - before) / MANY;
        let id = insert(&store, "somebody", "some sid").await;
        let mut command = redis::cmd("MEMORY");
        command.arg("USAGE").arg(name(&id));
        let record: usize = command.query_async(&mut connection).await.expect("a size");
        let cached = session("somebody", "some sid").weight();
        println!(
            "store: bytes per session: {record} for the record, {each} in Redis with all indexes, {cached} in the cache"
        );
    });
}

async fn used(connection: &mut MultiplexedConnection) -> usize {
    let mut command = redis::cmd("INFO");
    let info: String = command
        .arg("memory")
        .query_async(connection)
        .await
        .expect("text");
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"));
    line.and_then(|number| number.parse().ok())
        .expect("a number")
}

/// `cargo test --benches` and `cargo bench -- --test` only look whether everything runs.
fn is_measured() -> bool {
    let given = |name: &str| std::env::args().any(|argument| argument == name);
    given("--bench") && !given("--test") && !given("--list")
}

fn store(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let server = Server::start();
    reading(criterion, &runtime, &server);
    ending(criterion, &runtime, &server);
    if is_measured() {
        size(&runtime);
    }
}

criterion_group!(benches, store);
criterion_main!(benches);
