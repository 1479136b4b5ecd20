//! Cost of a proxied request: the outpost next to a real nginx and to a minimal reverse proxy, all in
//! front of the same application, which gets the same headers from all of them: the other two add the
//! outpost's identity headers without any check.

#![allow(
    missing_docs,
    reason = "criterion_group! generates an undocumented item"
)]
#![expect(clippy::print_stdout, reason = "the ratio is the result")]

#[path = "../common/mod.rs"]
mod common;
mod idle;
mod servers;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use authentik_proxy::app::App;
use authentik_proxy::config::Config;
use authentik_proxy::telemetry::log::{self, LevelHandle};
use authentik_standin::nginx::{Nginx, free_address};
use authentik_standin::{Provider, Standin, User};
use bytes::Bytes;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use common::{Client, sign_in};
use servers::{ADDED, application, bare};

const HOST: &str = "app.localhost";
/// Connections of the concurrent comparisons.
const MANY: usize = 16;
/// Bodies: name, bytes, requests per connection in one round, and the target share of nginx's
/// throughput.
const BODIES: [(&str, usize, u64, f64); 3] = [
    ("small", 256, 400, 0.9),
    ("64KiB", 64 << 10, 100, 1.0),
    ("16MiB", 16 << 20, 1, 1.0),
];
/// Messages on each websocket in one round, and their size: a frame as clients send it.
const MESSAGES: u64 = 400;
const MESSAGE: usize = 64;

/// The outpost, and the cookie of a signed-in user.
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
        let cookie = sign_in(&authentik, app.http_addresses()[0], HOST).await;
        Self {
            app,
            cookie,
            _authentik: authentik,
        }
    }

    /// The headers that the outpost adds to a request: names and values.
    async fn added(&self) -> Vec<(String, String)> {
        let address = self.app.http_addresses()[0];
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = format!(
            "GET {ADDED} HTTP/1.1\r\nHost: {HOST}\r\nCookie: {}\r\nConnection: close\r\n\r\n",
            self.cookie
        );
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer).await;
        read.expect("text");
        let (_, lines) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let lines = lines.lines().filter_map(|line| line.split_once(": "));
        let added: Vec<_> = lines
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert!(added.len() > 10, "identity headers: {answer}");
        added
    }
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

    /// Time for `requests` on every connection, one after the other on each.
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
                .push(task.await.expect("every response is complete"));
        }
        started.elapsed()
    }
}

/// Several websockets through one proxy.
struct Talk(Vec<TcpStream>);

impl Talk {
    async fn new(address: SocketAddr, connections: usize, cookie: &str) -> Self {
        let mut streams = Vec::with_capacity(connections);
        for _ in 0..connections {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("TCP_NODELAY");
            let request = format!(
                "GET /echo HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.expect("written");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a head"));
            }
            assert!(head.starts_with(b"HTTP/1.1 101 "), "a websocket");
            streams.push(stream);
        }
        Self(streams)
    }

    /// Time for all messages on every websocket, one after the other on each.
    async fn run(&mut self) -> Duration {
        let started = Instant::now();
        let talks = self.0.drain(..).map(|mut stream| {
            tokio::spawn(async move {
                let (sent, mut back) = ([7; MESSAGE], [0; MESSAGE]);
                for _ in 0..MESSAGES {
                    stream.write_all(&sent).await.expect("written");
                    stream.read_exact(&mut back).await.expect("sent back");
                }
                stream
            })
        });
        for talk in talks.collect::<Vec<_>>() {
            self.0.push(talk.await.expect("everything comes back"));
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
    nginx: Nginx,
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
        let (runtime, own, others) = (new("clients"), new("outpost"), new("bare"));
        let application = runtime.block_on(application());
        let outpost = own.block_on(Outpost::start(application));
        // The application gets the same headers from all of them.
        let added = own.block_on(outpost.added());
        let bare = others.block_on(bare(application, &added));
        let nginx = free_address().expect("a port");
        let nginx = runtime
            .block_on(Nginx::passing_with(nginx, application, &added))
            .expect("nginx is installed: apt-get install nginx-light");
        Self {
            all: [
                ("outpost", outpost.app.http_addresses()[0]),
                ("nginx", nginx.address()),
                ("bare", bare),
            ],
            runtime,
            outpost,
            nginx,
            _own: [own, others],
        }
    }

    fn load(&self, address: SocketAddr, connections: usize, body: (&str, usize)) -> Load {
        let load = Load::new(address, connections, &self.outpost.cookie, body);
        self.runtime.block_on(load)
    }

    /// Median times of all proxies, measured in turns, so that other load on the machine hits all alike.
    fn medians<L>(&self, mut loads: [L; 3], run: &impl AsyncFn(&mut L) -> Duration) -> [f64; 3] {
        const ROUNDS: usize = 12;
        let mut times = [[0.0; ROUNDS]; 3];
        for round in 0..=ROUNDS {
            // Each proxy comes first as often as the others.
            for place in 0..loads.len() {
                let proxy = (round + place) % loads.len();
                let time = self.runtime.block_on(run(&mut loads[proxy]));
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

    /// Compares requests for a body.
    fn bodies(&self, connections: usize, body: (&str, usize), requests: u64) -> [f64; 3] {
        let loads = self
            .all
            .map(|(_, address)| self.load(address, connections, body));
        self.medians(loads, &async |load| load.run(requests).await)
    }

    /// Compares messages on websockets.
    fn talks(&self, connections: usize) -> [f64; 3] {
        let talks = self.all.map(|(_, address)| {
            let talk = Talk::new(address, connections, &self.outpost.cookie);
            self.runtime.block_on(talk)
        });
        self.medians(talks, &async |talk| talk.run().await)
    }
}

fn report(what: &str, connections: usize, target: f64, [outpost, nginx, bare]: [f64; 3]) {
    println!(
        "upstream {what}, connections: {connections}: throughput outpost/nginx = {:.2} (target >= {target:.2}), outpost/bare = {:.2}",
        nginx / outpost,
        bare / outpost,
    );
}

fn upstream(criterion: &mut Criterion) {
    // As an operator would set it for throughput.
    let _ = log::init("warning");
    let proxies = Proxies::start();
    // `cargo test --benches` and `cargo bench -- --test` only check that everything runs.
    let given = |name: &str| std::env::args().any(|argument| argument == name);
    let briefly = ["--test", "--list", "--profile-time"];
    let compares = given("--bench") && !briefly.into_iter().any(given);
    if compares {
        // First, before other measurements leave memory behind that would be reused.
        idle::report(&proxies);
    }
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
    if !compares {
        return;
    }
    for connections in [1, MANY] {
        for (name, size, requests, target) in BODIES {
            let times = proxies.bodies(connections, (name, size), requests);
            report(name, connections, target, times);
        }
        report("websocket", connections, 0.9, proxies.talks(connections));
    }
}

criterion_group!(benches, upstream);
criterion_main!(benches);
