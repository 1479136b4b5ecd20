//! Starts the parts, and plays the browser.

pub(crate) mod upstream;
pub(crate) mod volume;

use std::net::SocketAddr;
use std::sync::Once;
use std::time::Duration;

use authentik_proxy::app::App;
use authentik_proxy::config::Config;
use authentik_proxy::telemetry::log::LogHandle;
use authentik_standin::{Provider, Standin, User};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const PASSWORD: &str = "alice-pass-1";

/// Something that serves requests: the outpost within this process, or the program.
pub(crate) trait Outpost {
    /// Where it serves them.
    fn address(&self) -> SocketAddr;
}

impl Outpost for App {
    fn address(&self) -> SocketAddr {
        self.http_addresses()[0]
    }
}

/// An outpost with its authentik.
pub(crate) struct World<O = App> {
    pub(crate) authentik: Standin,
    pub(crate) outpost: O,
}

impl World {
    /// A world with one application, `grafana`, at `http://grafana.test`, and the user alice.
    pub(crate) async fn with_grafana() -> Self {
        Self::new(vec![Provider::forward_single(
            "grafana",
            "http://grafana.test",
        )])
        .await
    }

    pub(crate) async fn new(providers: Vec<Provider>) -> Self {
        let authentik = Standin::builder()
            .start()
            .await
            .expect("the stand-in starts");
        Self::beside(authentik, providers, &[]).await
    }

    /// Puts an outpost beside an authentik, and waits until it serves and is connected.
    pub(crate) async fn beside(
        authentik: Standin,
        providers: Vec<Provider>,
        more: &[(&str, &str)],
    ) -> Self {
        furnish(&authentik, providers);
        let outpost = start(&authentik, more).await;
        let world = Self { authentik, outpost };
        world
            .until(|world| world.outpost.live().load().outpost.is_some())
            .await;
        within(world.authentik.wait_websocket()).await;
        world
    }

    /// The outpost that is served, as authentik told.
    pub(crate) fn served(&self) -> authentik_proxy::model::Outpost {
        let snapshot = self.outpost.live().load();
        snapshot.outpost.clone().expect("configured")
    }

    /// The same with a configuration file for the outpost, YAML.
    pub(crate) async fn with_file(
        authentik: Standin,
        providers: Vec<Provider>,
        file: &str,
        more: &[(&str, &str)],
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("outpost.yaml");
        std::fs::write(&path, file).expect("written");
        let path = path.to_str().expect("text");
        let more = [&[("AUTHENTIK_PROXY_CONFIG", path)], more].concat();
        // What was read stays in use when the file is gone.
        Self::beside(authentik, providers, &more).await
    }
}

impl<O: Outpost> World<O> {
    pub(crate) fn address(&self) -> SocketAddr {
        self.outpost.address()
    }

    /// Waits for a condition that no event announces.
    pub(crate) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        within(async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Asks as nginx does, with `cookie` and further headers.
    pub(crate) async fn nginx(
        &self,
        url: &str,
        cookie: &str,
        more: &[(&str, &str)],
    ) -> Response<Bytes> {
        let mut headers = vec![("x-original-url", url), ("cookie", cookie)];
        headers.extend_from_slice(more);
        self.get(
            "/outpost.goauthentik.io/auth/nginx",
            "outpost:9000",
            &headers,
        )
        .await
    }

    /// Asks as nginx does until this is the status; no event announces it.
    pub(crate) async fn until_nginx_gets(&self, url: &str, cookie: &str, status: u16) {
        within(async {
            while self.nginx(url, cookie, &[]).await.status() != status {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// A GET request to the outpost.
    pub(crate) async fn get(
        &self,
        target: &str,
        host: &str,
        headers: &[(&str, &str)],
    ) -> Response<Bytes> {
        get(self.address(), target, host, headers).await
    }
}

/// Waits for what should happen soon. The limit is only for what never will: it is far above what a
/// busy machine takes.
pub(crate) async fn within<T>(awaited: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(2), awaited)
        .await
        .expect("it happens in time")
}

/// Gives an authentik providers, and the user alice.
pub(crate) fn furnish(authentik: &Standin, providers: Vec<Provider>) {
    for provider in providers {
        authentik.add_provider(provider);
    }
    authentik.add_user(User {
        groups: vec!["admins".into(), "users".into()],
        ..User::new("alice", PASSWORD)
    });
}

/// The settings of an outpost beside `authentik`, on random ports and without random delays;
/// later ones replace earlier ones.
pub(crate) fn settings(authentik: &Standin, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let (host, token) = (authentik.url().to_string(), authentik.token());
    let pairs = [
        ("AUTHENTIK_HOST", host.as_str()),
        ("AUTHENTIK_TOKEN", token.as_str()),
        ("AUTHENTIK_LISTEN__HTTP", "127.0.0.1:0"),
        ("AUTHENTIK_LISTEN__HTTPS", "127.0.0.1:0"),
        ("AUTHENTIK_LISTEN__METRICS", "127.0.0.1:0"),
        ("AUTHENTIK_PROXY_CONTROL__REFRESH_JITTER", "0"),
        ("AUTHENTIK_PROXY_CONTROL__RECONNECT_BACKOFF_MAX", "1s"),
        ("AUTHENTIK_PROXY_SHUTDOWN__DELAY", "0"),
    ];
    let pairs = pairs.iter().chain(more);
    pairs
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// An outpost beside `authentik`, in this process.
pub(crate) async fn start(authentik: &Standin, more: &[(&str, &str)]) -> App {
    log();
    let config = Config::from_pairs(settings(authentik, more)).expect("a configuration");
    App::start(&config, LogHandle::disconnected())
        .await
        .expect("the outpost starts")
}

/// Log lines of the outpost go to the test's output.
fn log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = authentik_proxy::telemetry::log::subscriber(std::io::stderr);
        if std::env::var_os("TEST_LOG").is_some() {
            tracing::subscriber::set_global_default(subscriber).expect("the only subscriber");
        }
    });
}

/// One request on a connection of its own.
pub(crate) async fn get(
    address: SocketAddr,
    target: &str,
    host: &str,
    headers: &[(&str, &str)],
) -> Response<Bytes> {
    let mut request = Request::builder()
        .method(Method::GET)
        .uri(target)
        .header(header::HOST, host);
    for (name, value) in headers {
        request = request.header(
            *name,
            http::HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
        );
    }
    send(address, request.body(Full::default()).expect("a request")).await
}

/// Sends these bytes on a connection of their own; returns everything that arrives until the server
/// closes it.
pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request).await.expect("written");
    until_closed(&mut stream).await
}

/// Everything that arrives until the server closes the connection; we never do.
pub(crate) async fn until_closed(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is a way of closing too.
    let _ = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Response<Bytes> {
    try_send(address, request).await.expect("an answer")
}

/// The same, where the server may be down.
pub(crate) async fn try_send(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    Ok(Response::from_parts(
        parts,
        body.collect().await?.to_bytes(),
    ))
}

/// The page that signs out.
pub(crate) const SIGN_OUT: &str = "/outpost.goauthentik.io/sign_out";

/// What Chromium 140 sends, among other headers, for an address that the user types.
pub(crate) const NAVIGATION: [(&str, &str); 4] = [
    ("accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
    ("sec-fetch-site", "none"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
];

/// A browser, as far as redirects and cookies go: follows none by itself, keeps cookies per host.
#[derive(Default)]
pub(crate) struct Browser {
    cookies: Vec<(String, String, String)>,
}

impl Browser {
    /// The `Cookie` header for a host.
    pub(crate) fn cookies(&self, host: &str) -> String {
        let own = self.cookies.iter().filter(|(of, ..)| of == host);
        own.map(|(_, name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("; ")
    }

    pub(crate) fn forget(&mut self) {
        self.cookies.clear();
    }

    /// Takes over `Set-Cookie` headers.
    pub(crate) fn keep(&mut self, host: &str, headers: &HeaderMap) {
        for line in headers.get_all(header::SET_COOKIE) {
            let line = line.to_str().expect("a cookie");
            let (name, rest) = line.split_once('=').expect("a cookie");
            let value = rest.split(';').next().unwrap_or_default();
            self.cookies
                .retain(|(of, known, _)| of != host || known != name);
            if !rest.contains("Max-Age=0") {
                self.cookies.push((host.into(), name.into(), value.into()));
            }
        }
    }

    /// Requests a page of the outpost under `host`; returns the answer, keeps its cookies.
    pub(crate) async fn open<O: Outpost>(
        &mut self,
        world: &World<O>,
        host: &str,
        target: &str,
    ) -> Response<Bytes> {
        let cookies = self.cookies(host);
        let answer = world.get(target, host, &[("cookie", &cookies)]).await;
        self.keep(host, answer.headers());
        answer
    }

    /// Opens the page that signs out, as the user does.
    pub(crate) async fn sign_out<O: Outpost>(
        &mut self,
        world: &World<O>,
        host: &str,
    ) -> Response<Bytes> {
        let cookies = self.cookies(host);
        let headers = [&NAVIGATION[..], &[("cookie", &cookies)]].concat();
        let answer = world.get(SIGN_OUT, host, &headers).await;
        self.keep(host, answer.headers());
        answer
    }

    /// Starts a login towards `rd` and signs in at authentik; returns the callback's target.
    pub(crate) async fn sign_in<O: Outpost>(
        &mut self,
        world: &World<O>,
        host: &str,
        rd: &str,
    ) -> String {
        let start = format!("/outpost.goauthentik.io/start?rd={rd}");
        let answer = self.open(world, host, &start).await;
        assert_eq!(answer.status(), 302, "{answer:?}");
        Self::authorize(world, &location(&answer))
    }

    /// Signs in as `user`; returns the cookies.
    pub(crate) async fn log_in_as<O: Outpost>(
        &mut self,
        world: &World<O>,
        host: &str,
        user: &str,
    ) -> String {
        let answer = self
            .open(world, host, "/outpost.goauthentik.io/start?rd=/")
            .await;
        let callback = Self::authorize_as(world, &location(&answer), user);
        let answer = self.open(world, host, &callback).await;
        assert_eq!(answer.status(), 302, "{answer:?}");
        self.cookies(host)
    }

    /// What authentik answers to an authorize URL, as the target of the callback.
    pub(crate) fn authorize<O>(world: &World<O>, url: &str) -> String {
        Self::authorize_as(world, url, "alice")
    }

    pub(crate) fn authorize_as<O>(world: &World<O>, url: &str, user: &str) -> String {
        world.authentik.authorize(url, user)
    }

    /// The whole login; returns where the user lands.
    pub(crate) async fn log_in<O: Outpost>(
        &mut self,
        world: &World<O>,
        host: &str,
        rd: &str,
    ) -> String {
        let callback = self.sign_in(world, host, rd).await;
        let answer = self.open(world, host, &callback).await;
        assert_eq!(answer.status(), 302, "{answer:?}");
        location(&answer)
    }
}

pub(crate) fn location<B>(answer: &Response<B>) -> String {
    let value = answer.headers().get(header::LOCATION).expect("a redirect");
    value.to_str().expect("visible ASCII").to_owned()
}

pub(crate) fn text(answer: &Response<Bytes>) -> String {
    String::from_utf8_lossy(answer.body()).into_owned()
}
