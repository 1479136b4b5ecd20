//! What sessions in Redis cost: from the cache, from Redis next to a bare GET, their end among many
//! others, and the start of a replica. Starts a real `redis-server`.

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
use authentik_proxy::route::{LiveSession, Store};
use authentik_proxy::store::SessionContext;
use authentik_proxy::telemetry::metrics::Metrics;
use authentik_proxy::web::header::identity::{self, Identity};
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::{StreamExt as _, stream};
use redis::aio::MultiplexedConnection;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// How much longer than a bare GET a session may take that is not cached.
const TARGET: f64 = 1.3;
const LIFETIME: i64 = 3600;
/// The variable with which sessions end among a million others; those take 3 GB.
const MILLION: &str = "BENCH_MILLION";

struct Grafana;

impl SessionContext for Grafana {
    type Prepared = Identity;

    fn seal_key(&self) -> &[u8; 32] {
        &[7; 32]
    }

    fn prepare(&self, session: &Session) -> Identity {
        let token = &session.access_token;
        identity::user(&session.claims, token, None, IdentityOptions::default())
    }

    fn prepared_bytes(identity: &Identity) -> usize {
        identity.heap_bytes()
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
        let (redis, secret) = (config.redis.expect("a place"), config.authentik.token);
        let (clock, metrics) = (Clock::system(), Metrics::new().store());
        let store =
            Store::redis(redis, &secret, cache_bytes, None, clock, metrics).expect("a store");
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
fn session(sub: &str, sid: &str) -> Arc<LiveSession> {
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
    let expires_at = Clock::system().now() + LIFETIME;
    let session = Session::new("client", claims, token.into(), expires_at);
    Arc::new(LiveSession::new(session, &Grafana))
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
    // What was checked before a store began, it queues to be checked again.
    std::thread::sleep(Duration::from_secs(1));
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
        let [hit, miss, get] = runtime.block_on(compare(&cached, &uncached, &id, &mut connection));
        let ratio = miss.as_secs_f64() / get.as_secs_f64();
        println!(
            "store: a session that is not cached takes {ratio:.2} times a bare GET (target <= {TARGET})"
        );
        let ratio = miss.as_secs_f64() / hit.as_secs_f64();
        println!("store: a session that is not cached takes {ratio:.0} times a cached one");
    }
}

/// A hit, a miss and a bare GET in turns, so that what else the machine does hits all alike; the
/// median of each.
async fn compare(
    cached: &Store,
    uncached: &Store,
    id: &SessionId,
    connection: &mut MultiplexedConnection,
) -> [Duration; 3] {
    const EACH: usize = 200;
    let rounds = if given("--quick") { 11 } else { 41 };
    let name = name(id);
    let mut spent = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        let started = Instant::now();
        for _ in 0..EACH {
            load(cached, id).await;
        }
        spent[0].push(started.elapsed());
        let started = Instant::now();
        for _ in 0..EACH {
            load(uncached, id).await;
        }
        spent[1].push(started.elapsed());
        let started = Instant::now();
        for _ in 0..EACH {
            get(connection, &name).await;
        }
        spent[2].push(started.elapsed());
    }
    spent.map(|mut times| {
        times.sort_unstable();
        times[rounds / 2]
    })
}

/// Writes sessions of others, many at a time.
async fn fill(store: &Store, count: usize) -> Vec<SessionId> {
    const CONCURRENCY: usize = 200;
    stream::iter(0..count)
        .map(|number| async move {
            let (sub, sid) = (format!("user {}", number / 100), format!("sid {number}"));
            insert(store, &sub, &sid).await
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await
}

/// As large as the benchmarked sessions and indexed like them; they are never read.
const OTHER_SESSIONS: &str = "
for number = ARGV[1], ARGV[2] - 1 do
  local name = 'other' .. string.rep('x', 27) .. string.format('%08d', number)
  redis.call('SET', 'authentik-proxy:session:' .. name, string.rep('x', 2300), 'EX', 3600)
  redis.call('ZADD', 'authentik-proxy:sid:{' .. name .. '}', ARGV[3], name)
  redis.call('ZADD', 'authentik-proxy:subject:' .. math.floor(number / 100), ARGV[3], name)
end";

/// Fills Redis with sessions of other users.
async fn crowd(connection: &mut MultiplexedConnection, from: usize, to: usize) {
    const EACH: usize = 1_000;
    for begin in (from..to).step_by(EACH) {
        let mut command = redis::cmd("EVAL");
        command.arg(OTHER_SESSIONS).arg(0);
        command.arg(begin).arg(to.min(begin + EACH));
        command.arg(Clock::system().now() + LIFETIME);
        let filled: Result<(), _> = command.query_async(connection).await;
        filled.expect("filled");
    }
}

fn ending(criterion: &mut Criterion, runtime: &Runtime, server: &Server) {
    let store = runtime.block_on(async { server.store(64 << 20) });
    let mut connection = runtime.block_on(server.connect());
    let counts: &[usize] = if !is_measured() {
        &[10, 20]
    } else if given("--quick") {
        &[1_000, 10_000]
    } else if std::env::var_os(MILLION).is_some() {
        &[1_000, 100_000, 1_000_000]
    } else {
        &[1_000, 100_000]
    };
    let mut group = criterion.benchmark_group("store/revoke_by_sid");
    group.sample_size(10);
    let mut there = 0;
    for &count in counts {
        runtime.block_on(crowd(&mut connection, there, count));
        there = count;
        group.bench_function(format!("{count}_others"), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    runtime.block_on(async {
                        let sid = SessionId::random().to_text();
                        insert(&store, "user", &sid).await;
                        let started = Instant::now();
                        assert_eq!(store.revoke_by_sid(&sid).await, 1);
                        spent += started.elapsed();
                    });
                }
                spent
            });
        });
    }
    group.finish();
}

/// The size of sessions, and how long a new replica takes to read them all.
fn many(runtime: &Runtime) {
    const CONCURRENCY: usize = 64;
    let count = if given("--quick") { 2_000 } else { 100_000 };
    let server = Server::start();
    runtime.block_on(async {
        let mut connection = server.connect().await;
        let store = server.store(64 << 20);
        let before = used(&mut connection).await;
        let ids = fill(&store, count).await;
        let each = (used(&mut connection).await - before) / count;
        let mut command = redis::cmd("MEMORY");
        command.arg("USAGE").arg(name(&ids[0]));
        let record: usize = command.query_async(&mut connection).await.expect("a size");
        let cached = session("user", "some sid").weight();
        println!(
            "store: bytes per session: {record} for the record, {each} in Redis with all indexes, {cached} in the cache"
        );
        let fresh = server.store(1 << 30);
        let started = Instant::now();
        stream::iter(&ids)
            .for_each_concurrent(CONCURRENCY, |id| load(&fresh, id))
            .await;
        let (all, count) = (started.elapsed(), u32::try_from(count).expect("few"));
        println!(
            "store: a new replica reads {count} sessions in {all:.1?}, {:.1?} for each, {CONCURRENCY} at a time",
            all / count
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
    given("--bench") && !given("--test") && !given("--list")
}

fn given(name: &str) -> bool {
    std::env::args().any(|argument| argument == name)
}

fn store(criterion: &mut Criterion) {
    // Of one thread: whether two threads wake each other is up to chance, and costs as much as what
    // is measured.
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let server = Server::start();
    reading(criterion, &runtime, &server);
    ending(criterion, &runtime, &server);
    if is_measured() {
        many(&runtime);
    }
}

/// Short where only a look is wanted.
fn config() -> Criterion {
    let criterion = Criterion::default();
    if !given("--quick") {
        return criterion;
    }
    criterion
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .nresamples(1_000)
        .without_plots()
}

criterion_group!(name = benches; config = config(); targets = store);
criterion_main!(benches);
