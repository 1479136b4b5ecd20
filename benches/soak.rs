//! Two replicas behind nginx, with their sessions in Redis, under the load of `wrk`: a ramp next to
//! two bare hyper servers behind the same nginx, then a long time at a steady rate, while users
//! sign in and out. Says what it found as tables for docs/PERFORMANCE.md.
//!
//! `cargo bench --all-features --bench soak -- --minutes 30`; without minutes it only tries
//! everything for some seconds. Needs nginx, redis-server and wrk.

#![expect(clippy::print_stdout, reason = "the tables are the result")]

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use authentik_standin::nginx::{Nginx, free_address, resident};
use authentik_standin::{Provider, Standin, User};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

const HOST: &str = "app.localhost";
const CHECK: &str = "/outpost.goauthentik.io/auth/nginx";
/// Users who are signed in all the time.
const USERS: usize = 200;
/// Connections of the steps of the ramp.
const RAMP: [usize; 4] = [1, 8, 32, 128];
/// Requests a second of the long run, at most.
const RATE: usize = 500;
const RATE_CONNECTIONS: usize = 20;
/// Growth of memory after the first quarter of a long run that is still called flat.
const GROWTH: f64 = 1.10;
const MIB: f64 = 1_048_576.0;

/// All parts of a deployment.
struct World {
    authentik: Standin,
    redis: Child,
    replicas: Vec<Child>,
    nginx: Nginx,
    bare: Nginx,
    /// What the bare servers answer.
    answer: Answer,
    client: Client<HttpConnector, Empty<Bytes>>,
    directory: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authentik = Standin::builder().start().await.expect("a stand-in");
        authentik.add_provider(Provider::forward_single("app", &format!("http://{HOST}")));
        let place = free_address().expect("a port");
        let redis = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--port"])
            .arg(place.port().to_string())
            .arg("--dir")
            .arg(directory.path())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is installed");
        let (mut replicas, mut addresses) = (Vec::new(), Vec::new());
        for number in 0..2 {
            let address = free_address().expect("a port");
            replicas.push(replica(
                &authentik,
                place,
                address,
                directory.path(),
                number,
            ));
            addresses.push(address);
        }
        let (front, beside) = (
            free_address().expect("a port"),
            free_address().expect("one"),
        );
        let answer = Answer::default();
        let bare = [bare(&answer).await, bare(&answer).await];
        let world = Self {
            answer,
            nginx: Nginx::spreading(front, &addresses)
                .await
                .expect("nginx is installed"),
            bare: Nginx::spreading(beside, &bare)
                .await
                .expect("nginx is installed"),
            authentik,
            redis,
            replicas,
            client: Client::builder(TokioExecutor::new()).build_http(),
            directory,
        };
        for address in addresses {
            world.until_ready(address).await;
        }
        world
    }

    async fn until_ready(&self, address: SocketAddr) {
        let ready = async {
            loop {
                let answer = self.get(address, "/outpost.goauthentik.io/ready", "").await;
                if answer.is_some_and(|(status, _)| status == StatusCode::OK) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let ready = tokio::time::timeout(Duration::from_secs(20), ready).await;
        ready.expect("a replica that is ready");
    }

    /// Status and headers of an answer; `None` while the port is closed.
    async fn get(
        &self,
        address: SocketAddr,
        target: &str,
        cookie: &str,
    ) -> Option<(StatusCode, HeaderMap)> {
        let request = Request::builder()
            .uri(format!("http://{address}{target}"))
            .header(header::HOST, HOST)
            .header(header::COOKIE, cookie)
            .header("x-original-url", format!("http://{HOST}/"))
            .body(Empty::new())
            .expect("a request");
        let (head, body) = self.client.request(request).await.ok()?.into_parts();
        body.collect().await.ok()?;
        Some((head.status, head.headers))
    }

    /// Signs a new user in through nginx; returns the cookies.
    async fn sign_in(&self, name: &str) -> String {
        self.authentik.add_user(User {
            groups: vec!["admins".into(), "editors".into()],
            ..User::new(name, "soak-pass-1")
        });
        let nginx = self.nginx.address();
        let begun = self.get(nginx, "/outpost.goauthentik.io/start", "").await;
        let (_, begun) = begun.expect("an answer");
        let location = begun[header::LOCATION].to_str().expect("a location");
        let callback = self.authentik.authorize(location, name);
        let done = self.get(nginx, &callback, &cookies(&begun)).await;
        let (status, done) = done.expect("an answer");
        assert_eq!(status, StatusCode::FOUND, "the login of {name} is finished");
        cookies(&done)
    }

    async fn status(&self, cookie: &str) -> StatusCode {
        let answer = self.get(self.nginx.address(), CHECK, cookie).await;
        answer.expect("an answer").0
    }

    /// Puts load on an nginx for a while; returns requests a second. Every answer has to be 200.
    async fn load(&self, nginx: &Nginx, connections: usize, time: Duration, script: &Path) -> f64 {
        let output = Command::new("wrk")
            .arg("--threads=1")
            .arg(format!("--connections={connections}"))
            .arg(format!("--duration={}s", time.as_secs().max(1)))
            .arg("--script")
            .arg(script)
            .arg(format!("http://{}{CHECK}", nginx.address()))
            .output()
            .await
            .expect("wrk is installed");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("Non-2xx"), "wrong answers: {said}");
        assert!(!said.contains("Socket errors"), "lost answers: {said}");
        let rate = said
            .lines()
            .find_map(|line| line.strip_prefix("Requests/sec:"));
        rate.and_then(|rate| rate.trim().parse().ok())
            .expect("a rate")
    }

    /// A script for wrk that asks for everybody in turns, with a pause before each request.
    fn script(&self, cookies: &[String], pause: Duration) -> PathBuf {
        let mut text = "local requests = {}\nlocal number = 0\nfunction init()\n".to_owned();
        for cookie in cookies {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "  requests[#requests + 1] = wrk.format('GET', nil, {{['Host'] = '{HOST}', \
                 ['X-Original-URL'] = 'http://{HOST}/', ['Cookie'] = '{cookie}'}})"
            );
        }
        text.push_str("end\nfunction request()\n  number = number % #requests + 1\n");
        text.push_str("  return requests[number]\nend\n");
        if !pause.is_zero() {
            let _ = writeln!(text, "function delay() return {} end", pause.as_millis());
        }
        let path = self
            .directory
            .path()
            .join(format!("{}ms.lua", pause.as_millis()));
        std::fs::write(&path, text).expect("written");
        path
    }

    fn sample(&self) -> Vec<Sample> {
        let all = self.replicas.iter().chain([&self.redis]);
        all.map(|child| Sample::of(child.id().expect("it runs")))
            .collect()
    }
}

fn replica(
    authentik: &Standin,
    redis: SocketAddr,
    address: SocketAddr,
    directory: &Path,
    number: usize,
) -> Child {
    let log = std::fs::File::create(directory.join(format!("replica-{number}.log")));
    Command::new(env!("CARGO_BIN_EXE_authentik-proxy"))
        .env_clear()
        .env("AUTHENTIK_HOST", authentik.url().as_str())
        .env("AUTHENTIK_TOKEN", authentik.token())
        .env("AUTHENTIK_LISTEN__HTTP", address.to_string())
        .env("AUTHENTIK_LISTEN__HTTPS", "none")
        .env("AUTHENTIK_LISTEN__METRICS", "127.0.0.1:0")
        .env("AUTHENTIK_REDIS__HOST", redis.ip().to_string())
        .env("AUTHENTIK_REDIS__PORT", redis.port().to_string())
        .stdout(log.expect("a file"))
        .kill_on_drop(true)
        .spawn()
        .expect("the program runs")
}

/// The headers of an outpost's answer, once there is one.
type Answer = Arc<OnceLock<HeaderMap>>;

/// A server that gives the same answer as the outposts, without looking at the request.
async fn bare(answer: &Answer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let answer = Arc::clone(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            let service = service_fn(move |_| {
                let mut response = Response::new(Empty::<Bytes>::new());
                *response.headers_mut() = answer.get().cloned().unwrap_or_default();
                async move { Ok::<_, Infallible>(response) }
            });
            let builder = hyper::server::conn::http1::Builder::new();
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

fn cookies(headers: &HeaderMap) -> String {
    let all = headers.get_all(header::SET_COOKIE).iter();
    let pairs = all.filter_map(|line| line.to_str().ok()?.split(';').next());
    pairs.collect::<Vec<_>>().join("; ")
}

/// What a process takes.
#[derive(Clone, Copy)]
struct Sample {
    /// Resident memory, in bytes.
    memory: u64,
    /// Open file descriptors.
    files: usize,
}

impl Sample {
    fn of(process: u32) -> Self {
        let files = std::fs::read_dir(format!("/proc/{process}/fd"));
        Self {
            memory: resident(process).expect("it runs"),
            files: files.expect("it runs").count(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory is less than 2^52 bytes")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

async fn ramp(world: &World, users: &[String], time: Duration) {
    let script = world.script(users, Duration::ZERO);
    println!("\n| connections | share of the bare servers' throughput |\n| --- | --- |");
    for connections in RAMP {
        let (mut ours, mut theirs) = (0.0, 0.0);
        // In turns, so that whatever else the machine does hits both.
        for _ in 0..2 {
            ours += world.load(&world.nginx, connections, time, &script).await;
            theirs += world.load(&world.bare, connections, time, &script).await;
        }
        println!("| {connections} | {:.2} |", ours / theirs);
    }
}

/// Users sign in and out, twice a second; after sign-out no replica lets them in.
async fn come_and_go(world: &World, until: Instant) -> usize {
    let mut number = 0;
    while Instant::now() < until {
        let name = format!("guest {number}");
        let cookie = world.sign_in(&name).await;
        assert_eq!(world.status(&cookie).await, StatusCode::OK, "{name}");
        world.authentik.end_sessions_of(&name);
        let gone = async {
            while world.status(&cookie).await != StatusCode::UNAUTHORIZED {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let gone = tokio::time::timeout(Duration::from_secs(5), gone).await;
        gone.unwrap_or_else(|_| panic!("the session of {name} goes on after its end"));
        number += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    number
}

async fn watch(world: &World, until: Instant, every: Duration) -> Vec<Vec<Sample>> {
    let mut samples = Vec::new();
    while Instant::now() < until {
        samples.push(world.sample());
        tokio::time::sleep(every).await;
    }
    samples
}

async fn soak(world: &World, users: &[String], time: Duration, strict: bool) {
    let pause = Duration::from_millis(1000 * RATE_CONNECTIONS as u64 / RATE as u64);
    let script = world.script(users, pause);
    let until = Instant::now() + time;
    let every = (time / 120).max(Duration::from_millis(200));
    let (rate, guests, samples) = tokio::join!(
        world.load(&world.nginx, RATE_CONNECTIONS, time, &script),
        come_and_go(world, until),
        watch(world, until, every),
    );
    println!(
        "\n{} minutes, {rate:.0} requests a second, {guests} users came and went, no wrong answer.\n",
        time.as_secs() / 60
    );
    println!(
        "| process | memory at a quarter (MiB) | at the end | most | files at a quarter | at the end |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for (column, name) in ["replica 1", "replica 2", "Redis"].into_iter().enumerate() {
        let of = |row: &Vec<Sample>| row[column];
        let quarter = of(&samples[samples.len() / 4]);
        let end = of(samples.last().expect("samples"));
        let most = samples
            .iter()
            .map(|row| of(row).memory)
            .max()
            .expect("samples");
        println!(
            "| {name} | {:.1} | {:.1} | {:.1} | {} | {} |",
            mebibytes(quarter.memory),
            mebibytes(end.memory),
            mebibytes(most),
            quarter.files,
            end.files
        );
        if strict && name != "Redis" {
            let growth = mebibytes(end.memory) / mebibytes(quarter.memory);
            assert!(growth < GROWTH, "the memory of {name} grows: {growth:.2}");
            assert!(end.files <= quarter.files + 16, "the files of {name} grow");
        }
    }
}

fn minutes() -> Option<u64> {
    let mut arguments = std::env::args();
    arguments.find(|argument| argument == "--minutes")?;
    arguments.next()?.parse().ok()
}

#[tokio::main]
async fn main() {
    let minutes = minutes();
    let (step, time) = match minutes {
        Some(minutes) => (Duration::from_secs(10), Duration::from_secs(60 * minutes)),
        None => (Duration::from_secs(1), Duration::from_secs(5)),
    };
    let world = World::start().await;
    let mut users = Vec::new();
    for number in 0..USERS {
        users.push(world.sign_in(&format!("user {number}")).await);
    }
    let answer = world.get(world.nginx.address(), CHECK, &users[0]).await;
    let (status, mut headers) = answer.expect("an answer");
    assert_eq!(status, StatusCode::OK);
    for of_the_connection in [header::CONNECTION, header::CONTENT_LENGTH, header::DATE] {
        headers.remove(of_the_connection);
    }
    let _ = world.answer.set(headers);
    ramp(&world, &users, step).await;
    soak(&world, &users, time, minutes.is_some()).await;
}
