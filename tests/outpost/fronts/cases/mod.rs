//! The recipes over TLS, as they are printed: one table of cases, the same behind each reverse proxy,
//! over HTTP/1.1 and HTTP/2.

mod application;
mod clients;
mod cookie_sessions;
mod documents;
mod domain;
mod failures;
mod identities;
mod sign_in;
mod vendor;

use std::net::SocketAddr;

use authentik_standin::{Provider, Standin, User};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::Full;
use url::Url;

use super::client::{Front, Protocol, exchange};
use super::servers::{Behind, Certificate, Server};
use crate::support::{PASSWORD, World, location, within};

/// The host of the recipes.
const APP: &str = "app.example.com";
/// Another application of the same domain.
const OTHER: &str = "other.example.com";

/// A reverse proxy that serves HTTPS for applications, and their outpost.
struct Site {
    front: Front,
    world: World,
    protocol: Protocol,
}

/// What a site is started with.
struct Plan<'a> {
    server: Server,
    protocol: Protocol,
    providers: Vec<Provider>,
    hosts: &'a [&'static str],
    /// Instead of the outpost that is started: one that does not work.
    outpost: Option<SocketAddr>,
    settings: &'a [(&'a str, &'a str)],
}

impl Plan<'_> {
    /// One application for each of two hosts.
    fn new(server: Server) -> Self {
        let provider =
            |name, host: &str| Provider::forward_single(name, &format!("https://{host}"));
        Self {
            server,
            protocol: Protocol::Http1,
            providers: vec![
                Provider {
                    skip_path_regex: "^/open$".into(),
                    ..provider("app", APP)
                },
                provider("other", OTHER),
            ],
            hosts: &[APP, OTHER],
            outpost: None,
            settings: &[],
        }
    }

    async fn start(self) -> Site {
        let authentik = Standin::builder().start().await.expect("started");
        let mut settings = vec![("AUTHENTIK_PROXY_SESSION__ECHO_CREDENTIALS", "true")];
        if cfg!(feature = "ext-authz") {
            settings.push(("AUTHENTIK_PROXY_LISTEN__EXT_AUTHZ", "127.0.0.1:0"));
        }
        settings.extend(self.settings);
        let world = World::beside(authentik, self.providers, &settings).await;
        world.authentik.add_user(User {
            app_password: Some("app-pass-1".into()),
            ..User::new("robot", PASSWORD)
        });
        let mut sites = Vec::new();
        for host in self.hosts {
            sites.push((*host, application::start(host).await));
        }
        let grpc = world.outpost.ext_authz_addresses();
        let grpc = grpc.first().copied().unwrap_or_else(|| world.address());
        let certificate = Certificate::new(self.hosts);
        let behind = Behind {
            sites: &sites,
            outpost: self.outpost.unwrap_or_else(|| world.address()),
            grpc: self.outpost.unwrap_or(grpc),
            certificate: Some(&certificate),
            impatient: true,
        };
        let front = self.server.start(&behind).await;
        Site {
            front,
            world,
            protocol: self.protocol,
        }
    }
}

impl Site {
    async fn send(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let shown = format!("{} {}", request.method(), request.uri());
        let answer = self.try_send(request).await;
        answer.unwrap_or_else(|| panic!("an answer to {shown}"))
    }

    /// Nothing if the connection ends without an answer.
    async fn try_send(&self, request: Request<Full<Bytes>>) -> Option<Response<Bytes>> {
        within(exchange(&self.front, self.protocol, request)).await
    }

    /// A GET request with further headers.
    async fn get(&self, host: &str, target: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        self.send(request(Method::GET, host, target, headers, Bytes::new()))
            .await
    }

    /// Opens a page as a browser does and follows redirects, signing in at authentik as `user` on the
    /// way; returns the URL of the first answer that is none, and that answer.
    async fn open(&self, jar: &mut Jar, url: &str, user: &str) -> (Url, Response<Bytes>) {
        let (url, answer) = self.try_open(jar, url, user).await;
        let answer = answer.unwrap_or_else(|| panic!("an answer to {url}"));
        (url, answer)
    }

    /// The same; without an answer if a connection ends without one.
    async fn try_open(
        &self,
        jar: &mut Jar,
        url: &str,
        user: &str,
    ) -> (Url, Option<Response<Bytes>>) {
        let mut url = Url::parse(url).expect("a URL");
        for _ in 0..8 {
            if url
                .as_str()
                .starts_with(self.world.authentik.url().as_str())
            {
                let pairs: Vec<_> = url.query_pairs().collect();
                let back = pairs.iter().find(|(name, _)| name == "redirect_uri");
                let back = Url::parse(&back.expect("a redirect URI").1).expect("a URL");
                let target = self.world.authentik.authorize(url.as_str(), user);
                url = back.join(&target).expect("a URL");
            }
            let host = url.host_str().expect("a host").to_owned();
            let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
            let cookies = jar.cookies(&host);
            let headers = [("cookie", &*cookies)];
            let request = request(Method::GET, &host, target, &headers, Bytes::new());
            let Some(answer) = self.try_send(request).await else {
                return (url, None);
            };
            jar.keep(&host, answer.headers());
            if answer.status() != 302 {
                return (url, Some(answer));
            }
            url = url.join(&location(&answer)).expect("a URL");
        }
        panic!("redirects do not end: {url}");
    }

    /// The `Cookie` header of a session of `user`.
    async fn cookies(&self, host: &str, user: &str) -> String {
        let mut jar = Jar::default();
        let url = format!("https://{host}/");
        let (_, answer) = self.open(&mut jar, &url, user).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        jar.cookies(host)
    }
}

fn request(
    method: Method,
    host: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(target);
    request = request.header(header::HOST, host);
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body)).expect("a request")
}

/// Cookies, by host or by domain.
#[derive(Debug, Default)]
struct Jar(Vec<(String, String, String)>);

impl Jar {
    fn cookies(&self, host: &str) -> String {
        let sent = self.0.iter().filter(|(of, ..)| {
            let domain = of.strip_prefix('.');
            domain.map_or(of == host, |domain| {
                host == domain || host.ends_with(of.as_str())
            })
        });
        let sent = sent.map(|(_, name, value)| format!("{name}={value}"));
        sent.collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, host: &str, headers: &HeaderMap) {
        for line in headers.get_all(header::SET_COOKIE) {
            let line = line.to_str().expect("a cookie");
            let mut parts = line.split("; ");
            let (name, value) = parts.next().unwrap_or_default().split_once('=').expect("=");
            let domain = parts.find_map(|part| part.strip_prefix("Domain="));
            let of = domain.map_or(host.to_owned(), |domain| {
                format!(".{}", domain.trim_start_matches('.'))
            });
            self.0
                .retain(|(kept, known, _)| *kept != of || known != name);
            if !line.contains("Max-Age=0") {
                self.0.push((of, name.to_owned(), value.to_owned()));
            }
        }
    }
}

/// The values of a header that an application shows.
fn shown(page: &str, name: &str) -> Vec<String> {
    let prefix = format!("{name}: ");
    let lines = page.lines().filter_map(|line| line.strip_prefix(&prefix));
    lines.map(str::to_owned).collect()
}
