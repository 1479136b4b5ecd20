//! What passing a request on costs: the outpost next to a real nginx and to a bare reverse proxy,
//! all in front of the same application.

#![allow(
    missing_docs,
    reason = "criterion_group! generates an undocumented item"
)]
#![expect(clippy::print_stdout, reason = "the ratio is the result")]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use authentik_proxy::app::App;
use authentik_proxy::config::Config;
use authentik_proxy::telemetry::log::{self, LevelHandle};
use authentik_standin::nginx::{Nginx, free_address};
use authentik_standin::{Provider, Standin, User};
use bytes::Bytes;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use url::Url;

const HOST: &str = "app.localhost";
/// Connections of the concurrent comparisons.
const MANY: usize = 16;
/// Bodies, with the requests per connection of one round, and the least share of nginx's
/// throughput that we want.
const BODIES: [(&str, usize, u64, f64); 3] = [
    ("small", 256, 400, 0.9),
    ("64KiB", 64 << 10, 100, 1.0),
    ("4MiB", 4 << 20, 4, 1.0),
];

/// Serves connections with `answer`, which gets the target's path.
async fn serve<F>(
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = Response<axum::body::Body>> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("TCP_NODELAY");
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// An application with a body of each size.
async fn application() -> SocketAddr {
    let bodies = BODIES.map(|(name, size, ..)| (format!("/{name}"), Bytes::from(vec![7; size])));
    serve(move |request| {
        let found = bodies.iter().find(|(path, _)| path == request.uri().path());
        let body = found.expect("a path").1.clone();
        async move { Response::new(axum::body::Body::new(Full::new(body))) }
    })
    .await
}

/// The least that a reverse proxy made of the same parts can do.
async fn bare(application: SocketAddr) -> SocketAddr {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let pool = Pool::builder(TokioExecutor::new()).build(connector);
    serve(move |mut request| {
        let target = format!("http://{application}{}", request.uri().path());
        *request.uri_mut() = target.parse::<Uri>().expect("a URL");
        let pool = pool.clone();
        async move {
            let answer = pool.request(request).await.expect("an answer");
            answer.map(axum::body::Body::new)
        }
    })
    .await
}

/// The outpost, and the cookie of somebody who is signed in there.
struct Outpost {
    app: App,
    cookie: String,
    _authentik: Standin,
}

impl Outpost {
    async fn start(application: SocketAddr) -> Self {
        let authentik = Standin::builder().start().await.expect("a stand-in");
        let internal = format!("http://{application}");
        let provider = Provider::proxy("app", &format!("http://{HOST}"), &internal);
        let client_id = provider.client_id.clone();
        authentik.add_provider(provider);
        authentik.add_user(User::new("alice", "alice-pass"));
        let config = Config::from_pairs([
            ("AUTHENTIK_HOST", authentik.url().as_str()),
            ("AUTHENTIK_TOKEN", authentik.token().as_str()),
            ("AUTHENTIK_LISTEN__HTTP", "127.0.0.1:0"),
            ("AUTHENTIK_LISTEN__HTTPS", "none"),
            ("AUTHENTIK_LISTEN__METRICS", "127.0.0.1:0"),
        ])
        .expect("a configuration");
        let app = App::start(&config, LevelHandle::disconnected())
            .await
            .expect("an outpost");
        while app.live().load().table.sites().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let cookie = sign_in(&authentik, &client_id, app.http_addresses()[0]).await;
        Self {
            app,
            cookie,
            _authentik: authentik,
        }
    }
}

/// Signs alice in through the outpost; returns the session cookie.
async fn sign_in(authentik: &Standin, client_id: &str, outpost: SocketAddr) -> String {
    let mut client = Client::connect(outpost).await;
    let (begun, _) = client.send(get("/outpost.goauthentik.io/start", "")).await;
    let authorize = begun.headers()[header::LOCATION]
        .to_str()
        .expect("a location");
    let authorize = Url::parse(authorize).expect("a URL");
    let parameter = |name: &str| {
        let mut pairs = authorize.query_pairs();
        let found = pairs.find(|(key, _)| key == name).expect("a parameter");
        found.1.into_owned()
    };
    let redirect = parameter("redirect_uri");
    let (nonce, challenge) = (parameter("nonce"), parameter("code_challenge"));
    let code = authentik.issue_code(
        client_id,
        "alice",
        &redirect,
        Some(&nonce),
        Some(&challenge),
    );
    let mut callback = Url::parse(&redirect).expect("a URL");
    callback
        .query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("state", &parameter("state"));
    let target = &callback[url::Position::BeforePath..];
    let (done, _) = client.send(get(target, &cookie_of(&begun))).await;
    assert_eq!(done.status(), StatusCode::FOUND, "the login is finished");
    cookie_of(&done)
}

/// The cookie that an answer sets, `name=value`.
fn cookie_of(response: &Response<()>) -> String {
    let set = &response.headers()[header::SET_COOKIE];
    let text = set.to_str().expect("a cookie");
    text.split(';').next().unwrap_or_default().to_owned()
}

/// A request as a browser sends it.
fn get(target: &str, cookie: &str) -> Request<Empty<Bytes>> {
    Request::builder()
        .uri(target)
        .header(header::HOST, HOST)
        .header(header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64)")
        .header(header::ACCEPT, "*/*")
        .header(header::ACCEPT_ENCODING, "gzip, deflate, br")
        .header(header::COOKIE, format!("theme=dark; {cookie}"))
        .body(Empty::new())
        .expect("a request")
}

/// One kept connection.
struct Client(SendRequest<Empty<Bytes>>);

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        Self(sender)
    }

    /// Sends a request; returns the head of the answer, and the size of its body.
    async fn send(&mut self, request: Request<Empty<Bytes>>) -> (Response<()>, usize) {
        self.0.ready().await.expect("an open connection");
        let response = self.0.send_request(request).await.expect("an answer");
        let (head, mut body) = response.into_parts();
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            size += frame.expect("a body").data_ref().map_or(0, Bytes::len);
        }
        (Response::from_parts(head, ()), size)
    }
}

/// Several connections to one proxy, and the request that all of them repeat.
struct Load {
    clients: Vec<Client>,
    request: Request<Empty<Bytes>>,
    size: usize,
}

impl Load {
    async fn new(
        address: SocketAddr,
        connections: usize,
        cookie: &str,
        body: (&str, usize),
    ) -> Self {
        let mut clients = Vec::with_capacity(connections);
        for _ in 0..connections {
            clients.push(Client::connect(address).await);
        }
        Self {
            clients,
            request: get(&format!("/{}", body.0), cookie),
            size: body.1,
        }
    }

    /// The time for `requests` on every connection, one after the other on each.
    async fn run(&mut self, requests: u64) -> Duration {
        let started = Instant::now();
        let tasks: Vec<_> = self
            .clients
            .drain(..)
            .map(|mut client| {
                let (request, size) = (self.request.clone(), self.size);
                tokio::spawn(async move {
                    for _ in 0..requests {
                        let (response, received) = client.send(request.clone()).await;
                        assert_eq!((response.status(), received), (StatusCode::OK, size));
                    }
                    client
                })
            })
            .collect();
        for task in tasks {
            self.clients
                .push(task.await.expect("every answer is whole"));
        }
        started.elapsed()
    }
}

/// The proxies to compare, each with threads of its own.
struct Proxies {
    /// Clients and the application.
    runtime: Runtime,
    outpost: Outpost,
    all: [(&'static str, SocketAddr); 3],
    _nginx: Nginx,
    _own: [Runtime; 2],
}

impl Proxies {
    fn start() -> Self {
        // The names are for profilers.
        let new = |name: &str| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.enable_all().thread_name(name);
            builder.build().expect("a runtime")
        };
        let (runtime, ours, theirs) = (new("clients"), new("outpost"), new("bare"));
        let application = runtime.block_on(application());
        let outpost = ours.block_on(Outpost::start(application));
        let bare = theirs.block_on(bare(application));
        let nginx = free_address().expect("a port");
        let nginx = runtime
            .block_on(Nginx::passing(nginx, application))
            .expect("nginx is installed: apt-get install nginx-light");
        Self {
            all: [
                ("outpost", outpost.app.http_addresses()[0]),
                ("nginx", nginx.address()),
                ("bare", bare),
            ],
            runtime,
            outpost,
            _nginx: nginx,
            _own: [ours, theirs],
        }
    }

    fn load(&self, address: SocketAddr, connections: usize, body: (&str, usize)) -> Load {
        let load = Load::new(address, connections, &self.outpost.cookie, body);
        self.runtime.block_on(load)
    }

    /// Median times of all proxies in turns, so that what else the machine does hits all alike.
    fn medians(&self, connections: usize, body: (&str, usize), requests: u64) -> [f64; 3] {
        const ROUNDS: usize = 12;
        let mut loads = self
            .all
            .map(|(_, address)| self.load(address, connections, body));
        let mut times = [[0.0; ROUNDS]; 3];
        for round in 0..=ROUNDS {
            // Each proxy comes first as often as the others.
            for place in 0..loads.len() {
                let proxy = (round + place) % loads.len();
                let time = self.runtime.block_on(loads[proxy].run(requests));
                // The first round is to warm up.
                if let Some(slot) = round.checked_sub(1) {
                    times[proxy][slot] = time.as_secs_f64();
                }
            }
        }
        times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[ROUNDS / 2]
        })
    }
}

fn upstream(criterion: &mut Criterion) {
    // As an operator who looks at throughput would set it.
    let _ = log::init("warning");
    let proxies = Proxies::start();
    let mut group = criterion.benchmark_group("upstream");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for (name, size, ..) in BODIES {
        group.throughput(Throughput::Bytes(size as u64));
        for (proxy, address) in proxies.all {
            let mut load = proxies.load(address, 1, (name, size));
            group.bench_function(format!("{name}/{proxy}"), |bencher| {
                bencher.iter_custom(|rounds| proxies.runtime.block_on(load.run(rounds)));
            });
        }
    }
    group.finish();
    // `cargo test --benches` and `cargo bench -- --test` only look whether everything runs.
    let given = |name: &str| std::env::args().any(|argument| argument == name);
    let briefly = ["--test", "--list", "--profile-time"];
    if !given("--bench") || briefly.into_iter().any(given) {
        return;
    }
    for (name, size, requests, target) in BODIES {
        for connections in [1, MANY] {
            let [ours, nginx, bare] = proxies.medians(connections, (name, size), requests);
            println!(
                "upstream {name}, connections: {connections}: throughput outpost/nginx = {:.2} (target >= {target:.2}), outpost/bare = {:.2}",
                nginx / ours,
                bare / ours,
            );
        }
    }
}

criterion_group!(benches, upstream);
criterion_main!(benches);
