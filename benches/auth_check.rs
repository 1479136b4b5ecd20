//! What an nginx check with a session costs: in process, and over loopback next to a
//! bare hyper server that sends the same answer without looking at the request.

#![allow(
    missing_docs,
    reason = "criterion_group! generates an undocumented item"
)]
#![expect(clippy::print_stdout, reason = "the ratio is the result")]

mod common;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use authentik_proxy::admin::Readiness;
use authentik_proxy::app::App;
use authentik_proxy::clock::Clock;
use authentik_proxy::config::Config;
use authentik_proxy::gateway::{Context, Gateway, Refresher};
use authentik_proxy::model::Dialects;
use authentik_proxy::telemetry::Reporter;
use authentik_proxy::telemetry::log::{self, LevelHandle};
use authentik_proxy::telemetry::metrics::Metrics;
use authentik_proxy::telemetry::traces::Traces;
use authentik_proxy::upstream::{Timeouts, Upstream};
use authentik_proxy::web::client::trust::Trust;
use authentik_proxy::web::cookie::Form;
use authentik_proxy::web::request::inbound::TrustedProxies;
use authentik_standin::{Provider, Standin, User};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use common::{Client, sign_in};

const HOST: &str = "grafana.localhost";
const CHECK: &str = "/outpost.goauthentik.io/auth/nginx";
/// Connections of the concurrent comparison.
const MANY: usize = 32;
/// Nothing is passed on here.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    response: Duration::from_secs(1),
};
/// The least share of the bare server's throughput that we want.
const TARGET: f64 = 0.70;

/// An outpost with one application, and one user who is signed in there.
struct Outpost {
    app: App,
    address: SocketAddr,
    trusted: TrustedProxies,
    /// The session cookie, `name=value`.
    cookie: String,
    _authentik: Standin,
}

impl Outpost {
    async fn start() -> Self {
        let authentik = Standin::builder().start().await.expect("a stand-in");
        let provider = Provider::forward_single("grafana", &format!("http://{HOST}"));
        authentik.add_provider(provider);
        authentik.add_user(User {
            groups: vec!["admins".into(), "editors".into()],
            ..User::new("alice", "alice-pass")
        });
        let config = Config::from_pairs([
            ("AUTHENTIK_HOST", authentik.url().as_str()),
            ("AUTHENTIK_TOKEN", authentik.token().as_str()),
            ("AUTHENTIK_LISTEN__HTTP", "127.0.0.1:0"),
            ("AUTHENTIK_LISTEN__HTTPS", "127.0.0.1:0"),
            ("AUTHENTIK_LISTEN__METRICS", "127.0.0.1:0"),
        ])
        .expect("a configuration");
        let trusted = TrustedProxies::new(config.listen.trusted_proxies.clone());
        let app = App::start(&config, LevelHandle::disconnected())
            .await
            .expect("an outpost");
        let configured = async {
            while app.live().load().table.sites().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), configured)
            .await
            .expect("a configuration from the stand-in");
        let address = app.http_addresses()[0];
        let cookie = sign_in(&authentik, address, HOST).await;
        Self {
            app,
            address,
            trusted,
            cookie,
            _authentik: authentik,
        }
    }

    /// A gateway over the running outpost's snapshot and sessions.
    fn gateway(&self) -> Gateway {
        Gateway::new(Context {
            live: self.app.live().clone(),
            store: self.app.store().clone(),
            trusted: self.trusted.clone(),
            dialects: Dialects::all(),
            has_forward_auth_listener: false,
            clock: Clock::system(),
            login_timeout: 3600,
            max_age: 3600,
            cookie_form: Form::Plain,
            echo_credentials: false,
            refresher: Refresher::channel().0,
            readiness: Readiness::default(),
            metrics: Metrics::new(),
            reporter: Reporter::channel().0,
            upstream: Upstream::new(&Trust::load(None).expect("authorities"), TIMEOUTS),
            body_timeout: TIMEOUTS.response,
            traces: Traces::default(),
        })
    }

    /// The check as ingress-nginx sends it.
    fn check(&self) -> Request<Empty<Bytes>> {
        Request::builder()
            .uri(CHECK)
            .header(header::HOST, HOST)
            .header(header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64)")
            .header(header::ACCEPT, "*/*")
            .header(header::COOKIE, format!("theme=dark; {}", self.cookie))
            .header("x-original-url", format!("http://{HOST}/"))
            .header("x-original-method", "GET")
            .header("x-forwarded-for", "192.0.2.7")
            .header("x-forwarded-proto", "http")
            .body(Empty::new())
            .expect("a request")
    }
}

/// Several connections to one server, and the request that all of them repeat.
struct Load {
    clients: Vec<Client>,
    request: Request<Empty<Bytes>>,
}

impl Load {
    async fn new(address: SocketAddr, connections: usize, request: Request<Empty<Bytes>>) -> Self {
        let mut clients = Vec::with_capacity(connections);
        for _ in 0..connections {
            clients.push(Client::connect(address).await);
        }
        Self { clients, request }
    }

    /// The time for `requests` on every connection, one after the other on each.
    async fn run(&mut self, requests: u64) -> Duration {
        let started = Instant::now();
        let tasks: Vec<_> = self
            .clients
            .drain(..)
            .map(|mut client| {
                let request = self.request.clone();
                tokio::spawn(async move {
                    for _ in 0..requests {
                        let (response, _) = client.send(request.clone()).await;
                        assert_eq!(response.status(), StatusCode::OK);
                    }
                    client
                })
            })
            .collect();
        for task in tasks {
            self.clients.push(task.await.expect("every answer is 200"));
        }
        started.elapsed()
    }
}

/// A server that answers everything with 200 and these headers.
async fn bare_server(headers: HeaderMap) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("TCP_NODELAY");
            let headers = headers.clone();
            let service = service_fn(move |_| {
                let mut response = Response::new(Empty::<Bytes>::new());
                response.headers_mut().clone_from(&headers);
                async move { Ok::<_, Infallible>(response) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// A bare server with the outpost's own answer.
async fn bare_twin(outpost: &Outpost) -> SocketAddr {
    let without_date = |response: Response<()>| {
        let mut headers = response.into_parts().0.headers;
        headers.insert(header::DATE, HeaderValue::from_static("now"));
        headers
    };
    let (answer, _) = Client::connect(outpost.address)
        .await
        .send(outpost.check())
        .await;
    assert_eq!(answer.status(), StatusCode::OK, "alice is signed in");
    assert_eq!(answer.headers()["x-authentik-username"], "alice");
    let mut headers = answer.headers().clone();
    // hyper adds these itself.
    headers.remove(header::DATE);
    headers.remove(header::CONTENT_LENGTH);
    let address = bare_server(headers).await;
    let (copy, _) = Client::connect(address).await.send(outpost.check()).await;
    assert_eq!(
        without_date(copy),
        without_date(answer),
        "both send the same"
    );
    address
}

fn in_process(criterion: &mut Criterion, runtime: &Runtime, outpost: &Outpost) {
    let gateway = outpost.gateway();
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
    let answer = runtime.block_on(gateway.handle(peer, outpost.check()));
    assert_eq!(answer.status(), StatusCode::OK, "alice is signed in");
    criterion.bench_function("auth_check/in_process", |bencher| {
        bencher.to_async(runtime).iter_batched(
            || outpost.check(),
            |request| gateway.handle(peer, request),
            BatchSize::SmallInput,
        );
    });
}

fn loopback(criterion: &mut Criterion, runtime: &Runtime, outpost: &Outpost, bare: SocketAddr) {
    let servers = [("outpost", outpost.address), ("bare", bare)];
    let mut group = criterion.benchmark_group("auth_check/loopback");
    for connections in [1, MANY] {
        group.throughput(Throughput::Elements(connections as u64));
        for (name, address) in servers {
            let mut load = runtime.block_on(Load::new(address, connections, outpost.check()));
            group.bench_function(format!("{name}/{connections}"), |bencher| {
                bencher.iter_custom(|rounds| runtime.block_on(load.run(rounds)));
            });
        }
    }
    group.finish();
}

/// Both servers in turns, so that what else the machine does hits both alike.
async fn ratio(outpost: &Outpost, bare: SocketAddr, connections: usize, requests: u64) -> f64 {
    const ROUNDS: usize = 21;
    let mut ours = Load::new(outpost.address, connections, outpost.check()).await;
    let mut theirs = Load::new(bare, connections, outpost.check()).await;
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    ours.run(requests).await;
    theirs.run(requests).await;
    for _ in 0..ROUNDS {
        our_times.push(ours.run(requests).await);
        their_times.push(theirs.run(requests).await);
    }
    our_times.sort_unstable();
    their_times.sort_unstable();
    their_times[ROUNDS / 2].as_secs_f64() / our_times[ROUNDS / 2].as_secs_f64()
}

fn auth_check(criterion: &mut Criterion) {
    // As in production: the line of a successful check is `debug` and not written.
    let _ = log::init("warning");
    let runtime = Runtime::new().expect("a runtime");
    let outpost = runtime.block_on(Outpost::start());
    let bare = runtime.block_on(bare_twin(&outpost));
    in_process(criterion, &runtime, &outpost);
    loopback(criterion, &runtime, &outpost, bare);
    // `cargo test --benches` and `cargo bench -- --test` only look whether everything runs.
    let given = |name: &str| std::env::args().any(|argument| argument == name);
    if given("--bench") && !given("--test") && !given("--list") {
        for (connections, requests) in [(1, 2_000), (MANY, 125)] {
            let ratio = runtime.block_on(ratio(&outpost, bare, connections, requests));
            println!(
                "auth_check over loopback: outpost/bare throughput ratio = {ratio:.2} \
                 (target >= {TARGET:.2}), connections: {connections}"
            );
        }
    }
}

criterion_group!(benches, auth_check);
criterion_main!(benches);
