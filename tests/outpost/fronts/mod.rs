//! Real reverse proxies with the recipes of `deploy/`, in front of two applications and the outpost.

mod cases;
mod client;
mod hosts;
mod identity;
mod pages;
mod random;
mod servers;
mod story;

use std::fmt::Write as _;
use std::net::SocketAddr;

use authentik_standin::{Provider, Standin};
use axum::Router;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use self::client::Front;
use self::servers::{Behind, Server};
use crate::support::{Browser, World, get, location, within};

/// The host of an application of which `/open` needs no session, and `/never` opens to nobody.
const PUBLIC: &str = "public.localhost";
/// The host of an application that opens nothing without a session.
const INTERNAL: &str = "internal.localhost";
/// What our configuration file adds to requests for the first of them.
const SERVICE_KEY: &str = "service-key-1";

/// A test for each reverse proxy, in a module that has the name of the function which each calls.
macro_rules! behind_each_server {
    ($name:ident) => {
        mod $name {
            use super::$name as check;
            use crate::fronts::servers::Server;
            use authentik_standin::{caddy, haproxy, nginx};

            #[tokio::test]
            #[ignore = "needs nginx"]
            async fn behind_nginx() {
                check(Server::Nginx(nginx::Release::Installed)).await;
            }

            #[tokio::test]
            #[ignore = "needs nginx 1.31"]
            async fn behind_nginx_1_31() {
                check(Server::Nginx(nginx::Release::Mainline)).await;
            }

            #[tokio::test]
            #[ignore = "needs nginx"]
            async fn behind_ingress_nginx() {
                check(Server::Ingress).await;
            }

            #[tokio::test]
            #[ignore = "needs Caddy"]
            async fn behind_caddy() {
                check(Server::Caddy(caddy::Release::Installed)).await;
            }

            #[tokio::test]
            #[ignore = "needs Caddy 2.11"]
            async fn behind_caddy_2_11() {
                check(Server::Caddy(caddy::Release::Latest)).await;
            }

            #[tokio::test]
            #[ignore = "needs Traefik"]
            async fn behind_traefik() {
                check(Server::Traefik).await;
            }

            #[tokio::test]
            #[ignore = "needs HAProxy"]
            async fn behind_haproxy() {
                check(Server::HaProxy(haproxy::Release::Installed)).await;
            }

            #[tokio::test]
            #[ignore = "needs HAProxy 2.8"]
            async fn behind_haproxy_2_8() {
                check(Server::HaProxy(haproxy::Release::Latest)).await;
            }

            #[tokio::test]
            #[ignore = "needs Envoy"]
            async fn behind_envoy() {
                check(Server::Envoy).await;
            }

            #[cfg(feature = "ext-authz")]
            #[tokio::test]
            #[ignore = "needs Envoy"]
            async fn behind_envoy_over_grpc() {
                check(Server::EnvoyGrpc).await;
            }
        }
    };
}
use behind_each_server;

/// A reverse proxy with the two applications, and their outpost.
struct Scene {
    front: Front,
    world: World,
    /// Where the outpost is asked over gRPC, if it is.
    grpc: SocketAddr,
}

impl Scene {
    async fn start(server: Server, more: &[(&str, &str)]) -> Self {
        let file = format!(
            "applications: {{public: {{rules: [{{path: ^/never, action: deny}}], headers: {{X-Service-Key: {SERVICE_KEY}}}}}}}"
        );
        Self::with_file(server, &file, more).await
    }

    /// The same with another configuration file for the outpost.
    async fn with_file(server: Server, file: &str, more: &[(&str, &str)]) -> Self {
        let authentik = Standin::builder().start().await.expect("started");
        let providers = vec![
            Provider {
                skip_path_regex: "^/open$".into(),
                ..Provider::forward_single("public", &format!("http://{PUBLIC}"))
            },
            Provider::forward_single("internal", &format!("http://{INTERNAL}")),
        ];
        let world = outpost(authentik, providers, file, more).await;
        let applications = [application(PUBLIC).await, application(INTERNAL).await];
        Self::in_front_of(server, world, applications).await
    }

    /// Puts a reverse proxy in front of an outpost and of the two applications.
    async fn in_front_of(server: Server, world: World, applications: [SocketAddr; 2]) -> Self {
        let [public, internal] = applications;
        let grpc = world.outpost.ext_authz_addresses();
        let grpc = grpc.first().copied().unwrap_or_else(|| world.address());
        let behind = Behind {
            sites: &[(PUBLIC, public), (INTERNAL, internal)],
            outpost: world.address(),
            grpc,
            certificate: None,
            impatient: false,
        };
        let front = server.start(&behind).await;
        Self { front, world, grpc }
    }

    /// A GET request to the reverse proxy.
    async fn get(&self, host: &str, target: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        get(self.front.address, target, host, headers).await
    }

    /// Opens a page and follows redirects within the host, up to authentik's.
    async fn start_login(&self, browser: &mut Browser, host: &str, page: &str) -> String {
        let mut target = page.to_owned();
        for _ in 0..3 {
            let cookies = browser.cookies(host);
            let answer = self.get(host, &target, &[("cookie", &cookies)]).await;
            assert_eq!(answer.status(), 302, "{target} {answer:?}");
            browser.keep(host, answer.headers());
            let location = location(&answer);
            if location.starts_with(self.world.authentik.url().as_str()) {
                return location;
            }
            let own = format!("http://{host}");
            let inside = location.strip_prefix(&own);
            target = inside.map_or(location.clone(), str::to_owned);
        }
        panic!("{target} does not lead to authentik");
    }

    /// Signs alice in at a host; returns where she lands.
    async fn sign_in(&self, browser: &mut Browser, host: &str, page: &str) -> String {
        let authorize = self.start_login(browser, host, page).await;
        let callback = Browser::authorize(&self.world, &authorize);
        let cookies = browser.cookies(host);
        let answer = self.get(host, &callback, &[("cookie", &cookies)]).await;
        browser.keep(host, answer.headers());
        location(&answer)
    }

    /// The `Cookie` header of alice's session at a host.
    async fn cookies(&self, host: &str) -> String {
        let mut browser = Browser::default();
        self.sign_in(&mut browser, host, "/").await;
        browser.cookies(host)
    }

    /// A GET request over HTTP/2 with this `:authority`; nothing if the server refuses to answer.
    async fn http2(
        &self,
        authority: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Option<Response<Bytes>> {
        let target: PathAndQuery = target.parse().ok()?;
        let uri = Uri::builder().scheme("http").authority(authority);
        let mut request = Request::builder().uri(uri.path_and_query(target).build().ok()?);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::<Bytes>::new()).ok()?;
        let stream = TcpStream::connect(self.front.http2)
            .await
            .expect("it listens");
        let executor = TokioExecutor::new();
        let handshake = hyper::client::conn::http2::handshake(executor, TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.expect("HTTP/2");
        tokio::spawn(connection);
        let (parts, body) = within(sender.send_request(request))
            .await
            .ok()?
            .into_parts();
        let body = within(body.collect()).await.ok()?.to_bytes();
        Some(Response::from_parts(parts, body))
    }
}

/// An outpost that answers over gRPC as well, if it is built with that.
async fn outpost(
    authentik: Standin,
    providers: Vec<Provider>,
    file: &str,
    more: &[(&str, &str)],
) -> World {
    let mut settings = more.to_vec();
    if cfg!(feature = "ext-authz") {
        settings.push(("AUTHENTIK_PROXY_LISTEN__EXT_AUTHZ", "127.0.0.1:0"));
    }
    World::with_file(authentik, providers, file, &settings).await
}

/// What an application's pages begin with.
fn mark(host: &str) -> String {
    format!("the application at {host}\n")
}

/// An application that shows the path and the headers of the request, a line each, names in lower
/// case, but for what is in no answer to a browser.
async fn application(host: &'static str) -> SocketAddr {
    let show = move |uri: Uri, headers: HeaderMap| async move {
        let mut page = mark(host);
        // Writing to a string cannot fail.
        let _ = writeln!(page, "path: {}", uri.path());
        for (name, value) in &headers {
            if !pages::SECRET_NAMES.contains(&name.as_str()) {
                let value = String::from_utf8_lossy(value.as_bytes());
                let _ = writeln!(page, "{name}: {value}");
            }
        }
        let accel = uri.path() == "/accel";
        let asked = "/outpost.goauthentik.io/auth/nginx";
        let accel = accel.then_some([("x-accel-redirect", asked)]);
        (accel.map(axum::response::AppendHeaders), page)
    };
    serve(Router::new().fallback(show)).await
}

/// Serves a router on a free port.
async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
