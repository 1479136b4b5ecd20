//! Random requests through real reverse proxies, with one property: whatever the bytes, a client
//! never sees a page that it has no right to, nor what an authorization answer holds.
//!
//! `DIFFERENTIAL_SECONDS` sets how long each reverse proxy is tried; a short while by default.

mod requests;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use authentik_standin::{Provider, Standin, User};
use axum::Router;
use http::Uri;
use percent_encoding::percent_decode;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::servers::Server;
use super::{INTERNAL, PUBLIC, Scene, behind_each_server, outpost, serve};
use crate::support::{Browser, PASSWORD, World};
use requests::{Attempt, attempts};

/// What the pages say.
const INTERNAL_PAGE: &str = "the internal page";
const ADMIN_PAGE: &str = "the admins' page";
const USER_PAGE: &str = "the users' page";
const OPEN_PAGE: &str = "the open page";
/// A header that the configuration file adds for the application alone.
const SERVICE_SECRET: &str = "service-secret";

/// Requests at a time.
const CONCURRENCY: usize = 8;
/// An answer that has not ended by then is judged by what has come.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The applications, each on a socket of its own.
#[derive(Debug, Clone, Copy)]
struct Applications {
    public: SocketAddr,
    internal: SocketAddr,
}

impl Applications {
    async fn start() -> Self {
        Self {
            public: serve(Router::new().fallback(page)).await,
            internal: serve(Router::new().fallback(|| async { INTERNAL_PAGE })).await,
        }
    }
}

/// The page of a path, for the server that reads it in the least fortunate way.
async fn page(uri: Uri) -> &'static str {
    let path = uri.path();
    let once: Vec<u8> = percent_decode(path.as_bytes()).collect();
    let twice: Vec<u8> = percent_decode(&once).collect();
    let without_parameters: Vec<u8> = path
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("/")
        .into_bytes();
    let readings = [path.as_bytes().to_vec(), once, twice, without_parameters];
    let top = readings.iter().flat_map(|path| {
        // Empty segments are dropped, or are segments like any other.
        [true, false].map(|merges| first_segment(path, merges))
    });
    let top: Vec<String> = top.collect();
    if top.iter().any(|top| top == "admin") {
        ADMIN_PAGE
    } else if top.iter().all(|top| top == "public") {
        OPEN_PAGE
    } else {
        USER_PAGE
    }
}

/// The first segment that has a name when dot segments are resolved.
fn first_segment(path: &[u8], merges: bool) -> String {
    let text = String::from_utf8_lossy(path).replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" if merges => {}
            "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    let mut named = segments.into_iter().filter(|segment| !segment.is_empty());
    named.next().unwrap_or_default().to_owned()
}

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Anonymous,
    /// Signed in at the public application, and not in the group of its admins.
    User,
}

impl Client {
    /// What this client must never see.
    fn forbidden(self) -> &'static [&'static str] {
        const USER: [&str; 4] = [
            INTERNAL_PAGE,
            ADMIN_PAGE,
            SERVICE_SECRET,
            "x-authentik-jwt: e",
        ];
        const ANONYMOUS: [&str; 5] = [USER[0], USER[1], USER[2], USER[3], USER_PAGE];
        match self {
            Self::Anonymous => &ANONYMOUS,
            Self::User => &USER,
        }
    }
}

/// A reverse proxy, or the outpost itself, that serves both hosts.
struct Target {
    name: String,
    address: SocketAddr,
}

/// What has been tried and what came of it.
#[derive(Debug, Default)]
struct Tally {
    requests: usize,
    open: usize,
    users: usize,
    refused: usize,
}

impl Target {
    /// Tries random requests for a while.
    async fn withstands(&self, world: &World) {
        let seconds = std::env::var("DIFFERENTIAL_SECONDS").ok();
        let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(1.5);
        let deadline = Instant::now() + Duration::from_secs_f64(seconds);
        // On a busy machine, no request that may pass comes up in that time.
        let give_up = deadline + Duration::from_mins(1);
        // A new seed each time: a failure shows the whole request.
        let mut runner = TestRunner::new(Config::default());
        let mut tally = Tally::default();
        let mut cookies = String::new();
        while Instant::now() < deadline
            || (Instant::now() < give_up && (tally.open == 0 || tally.users == 0))
        {
            if world.outpost.store().is_empty() {
                // Some of the requests sign out.
                cookies = Browser::default().log_in_as(world, PUBLIC, "bob").await;
            }
            let attempts = (0..CONCURRENCY).map(|_| {
                let tree = attempts().new_tree(&mut runner).expect("a request");
                tree.current()
            });
            let asked = attempts.map(|attempt| self.ask(attempt, &cookies));
            for (open, users) in futures_util::future::join_all(asked).await {
                tally.requests += 2;
                tally.open += usize::from(open);
                tally.users += usize::from(users);
                tally.refused += usize::from(!open && !users);
            }
        }
        report(&format!("{}: {tally:?}", self.name));
        assert!(
            tally.open > 0 && tally.users > 0,
            "{}: what may pass does not: {tally:?}",
            self.name
        );
    }

    /// Sends one request as each client. Whether an open page and a user's page were shown.
    async fn ask(&self, attempt: Attempt, cookies: &str) -> (bool, bool) {
        let mut shown = (false, false);
        for (client, cookies) in [(Client::Anonymous, ""), (Client::User, cookies)] {
            let request = attempt.bytes(cookies);
            let answer = exchange(self.address, &request).await;
            for text in client.forbidden() {
                assert!(
                    !answer.contains(text),
                    "{} shows {text:?} to {client:?}:\n{}\n{answer}",
                    self.name,
                    String::from_utf8_lossy(&request),
                );
            }
            shown.0 |= answer.contains(OPEN_PAGE);
            shown.1 |= answer.contains(USER_PAGE);
        }
        shown
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the counts are for whoever reads the output of a long run"
)]
fn report(line: &str) {
    eprintln!("{line}");
}

/// Sends bytes and returns what comes back, in lower case as far as header names go.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut answer = Vec::new();
    let exchanged = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request).await?;
        stream.read_to_end(&mut answer).await
    };
    // Resets and silence are refusals, too.
    let _ = tokio::time::timeout(ANSWER_TIMEOUT, exchanged).await;
    let text = String::from_utf8_lossy(&answer);
    text.replace("X-Authentik-Jwt: ", "x-authentik-jwt: ")
        .replace("X-authentik-jwt: ", "x-authentik-jwt: ")
}

/// The outpost with both applications as `providers` says, and the user bob.
async fn world(providers: Vec<Provider>) -> World {
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_user(User {
        groups: vec!["users".into()],
        ..User::new("bob", PASSWORD)
    });
    let file = format!(
        "applications: {{public: {{headers: {{X-Service: {SERVICE_SECRET}}}, rules: [{{path: ^/admin, action: require, groups: [admins]}}]}}}}"
    );
    outpost(authentik, providers, &file, &[]).await
}

fn opening(provider: Provider) -> Provider {
    Provider {
        skip_path_regex: "^/public/".into(),
        ..provider
    }
}

#[tokio::test]
async fn no_random_request_to_the_outpost_itself_shows_what_is_protected() {
    let applications = Applications::start().await;
    let provider = |name: &str, host: &str, address: SocketAddr| {
        Provider::proxy(
            name,
            &format!("http://{host}"),
            &format!("http://{address}"),
        )
    };
    let world = world(vec![
        opening(provider("public", PUBLIC, applications.public)),
        provider("internal", INTERNAL, applications.internal),
    ])
    .await;
    let target = Target {
        name: "proxy mode".to_owned(),
        address: world.address(),
    };
    target.withstands(&world).await;
}

behind_each_server!(no_random_request_shows_what_is_protected);

async fn no_random_request_shows_what_is_protected(server: Server) {
    let applications = Applications::start().await;
    let provider = |name, host| Provider::forward_single(name, &format!("http://{host}"));
    let world = world(vec![
        opening(provider("public", PUBLIC)),
        provider("internal", INTERNAL),
    ])
    .await;
    let applications = [applications.public, applications.internal];
    let scene = Scene::in_front_of(server, world, applications).await;
    let target = Target {
        name: format!("{server:?}"),
        address: scene.front.address,
    };
    target.withstands(&scene.world).await;
}
