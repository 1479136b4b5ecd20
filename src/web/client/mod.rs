//! The back channel: one TLS configuration and one connector for REST, websocket, token,
//! introspection and JWKS requests to authentik.

mod connector;
mod error;
mod resolver;
pub mod rest;
pub mod trust;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use tower_service::Service;

use crate::config::{Egress, Proxy};
use crate::web::keepalive;
pub use connector::AuthentikConnector;
use connector::is_forwarded;
pub use error::{FetchError, ProxyError, SocketError, classify};
use resolver::Resolver;
use trust::{TlsError, TlsOptions, Trust};

/// Maximum size of a response.
const MAX_RESPONSE_BYTES: usize = 32 << 20;

/// Opens connections to applications, plain or TLS.
pub type Connector = HttpsConnector<HttpConnector<Resolver>>;

/// Opens connections to authentik, plain or TLS, by whichever way.
type ToAuthentik = HttpsConnector<AuthentikConnector>;

/// A connection to authentik for a websocket.
pub type Stream = <ToAuthentik as Service<Uri>>::Response;

/// An HTTP client for authentik. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct BackChannel {
    clients: Arc<ArcSwap<Clients>>,
    insecure: bool,
    egress: Egress,
    timeout: Duration,
}

/// The clients that verify certificates in one way.
struct Clients {
    client: Client<ToAuthentik, Full<Bytes>>,
    /// Through a proxy always by a tunnel.
    tunneling_client: Client<ToAuthentik, Full<Bytes>>,
    tunneling: ToAuthentik,
    /// Tells which requests go through which proxy.
    connector: AuthentikConnector,
}

impl Clients {
    fn new(trust: &Trust, insecure: bool, timeout: Duration, egress: &Egress) -> Self {
        let connector = by_egress(trust, timeout, egress);
        let tls = trust.client(insecure);
        let tunneling: ToAuthentik = (connector.clone().tunneling(), tls.clone()).into();
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_idle_timeout(Duration::from_secs(30));
        Self {
            client: client.build((connector.clone(), tls).into()),
            tunneling_client: client.build(tunneling.clone()),
            tunneling,
            connector,
        }
    }
}

impl BackChannel {
    /// Prepares the client; does not connect. `SSL_CERT_FILE` and `SSL_CERT_DIR` replace
    /// the system's certificates.
    pub fn new(options: &TlsOptions, timeout: Duration, egress: &Egress) -> Result<Self, TlsError> {
        let trust = Trust::load(options.ca_file.as_deref())?;
        Ok(Self::over(&trust, options.insecure, timeout, egress))
    }

    /// As [`new`](Self::new), with shared parts.
    #[must_use]
    pub fn over(trust: &Trust, insecure: bool, timeout: Duration, egress: &Egress) -> Self {
        let clients = Clients::new(trust, insecure, timeout, egress);
        Self {
            clients: Arc::new(ArcSwap::from_pointee(clients)),
            insecure,
            egress: egress.clone(),
            timeout,
        }
    }

    /// Verifies certificates by `trust` on connections that are opened from now on. Those in use are
    /// closed when their requests are done; websockets stay.
    pub fn replace_trust(&self, trust: &Trust) {
        let clients = Clients::new(trust, self.insecure, self.timeout, &self.egress);
        self.clients.store(Arc::new(clients));
    }

    /// Sends a GET request, and reads the whole response.
    pub async fn get(&self, url: &str) -> Result<Response<Bytes>, FetchError> {
        let request = Request::builder().uri(url).body(Full::default());
        let request = request.map_err(|error| FetchError::Connection(error.to_string()))?;
        self.fetch(request).await
    }

    /// Sends a request and reads the whole response.
    pub async fn fetch(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, FetchError> {
        let clients = self.clients.load_full();
        let proxy = clients.connector.proxy(request.uri());
        // A proxy that forwards replaces `Host` by the host of the URL (RFC 9112 section 3.2.2).
        let (client, forwarding) = if has_other_host(&request) {
            (&clients.tunneling_client, None)
        } else {
            let forwarding = proxy.filter(|_| is_forwarded(request.uri()));
            (&clients.client, forwarding)
        };
        if let Some(value) = forwarding.and_then(Proxy::authorization) {
            let headers = request.headers_mut();
            headers.insert(header::PROXY_AUTHORIZATION, value.clone());
        }
        let exchange = async {
            let answer = client
                .request(request)
                .await
                .map_err(|error| classify(&error))?;
            let is_refused = answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
            if let Some(proxy) = forwarding.filter(|_| is_refused) {
                let error = ProxyError::Credentials(proxy.to_string());
                return Err(FetchError::Proxy(error));
            }
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await;
            let body = body.map_err(|error| FetchError::Connection(error.to_string()))?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        let answer = tokio::time::timeout(self.timeout, exchange).await;
        answer.unwrap_or_else(|_| Err(timed_out(proxy)))
    }

    /// Opens a connection for a websocket.
    pub async fn connect(&self, uri: Uri) -> Result<Stream, FetchError> {
        let clients = self.clients.load_full();
        let proxy = clients.connector.proxy(&uri);
        let connecting = clients.tunneling.clone().call(uri);
        match tokio::time::timeout(self.timeout, connecting).await {
            Err(_) => Err(timed_out(proxy)),
            Ok(connected) => connected.map_err(|error| classify(&*error)),
        }
    }
}

/// Whether `Host` is not the host of the URL.
fn has_other_host<B>(request: &Request<B>) -> bool {
    let authority = request.uri().authority();
    let host = request.headers().get(header::HOST);
    host.is_some_and(|host| authority.is_none_or(|authority| host != authority.as_str()))
}

fn timed_out(proxy: Option<&Proxy>) -> FetchError {
    let through = |proxy: &Proxy| FetchError::Proxy(ProxyError::Timeout(proxy.to_string()));
    proxy.map_or(FetchError::Timeout, through)
}

/// Opens connections through the proxies of `egress`, by tunnels only, without TLS to the server.
#[must_use]
pub fn tunnels(trust: &Trust, timeout: Duration, egress: &Egress) -> AuthentikConnector {
    by_egress(trust, timeout, egress).tunneling()
}

fn by_egress(trust: &Trust, timeout: Duration, egress: &Egress) -> AuthentikConnector {
    // The setting "insecure" is about authentik's certificate, not the proxy's.
    let to_proxy = connector(trust.client(false), timeout, &[]);
    AuthentikConnector::new(tcp(timeout), to_proxy, egress.clone(), timeout)
}

/// Opens connections, plain or TLS with these ALPN protocols. Host names are resolved for each
/// connection; the last addresses are used while DNS fails.
#[must_use]
pub fn connector(mut tls: ClientConfig, timeout: Duration, alpn: &[&str]) -> Connector {
    tls.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    (tcp(timeout), tls).into()
}

fn tcp(timeout: Duration) -> HttpConnector<Resolver> {
    let mut http = HttpConnector::new_with_resolver(Resolver::system());
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(timeout));
    http.set_keepalive(Some(keepalive::IDLE_TIME));
    http.set_keepalive_interval(Some(keepalive::PROBE_INTERVAL));
    http.set_keepalive_retries(Some(keepalive::MAX_PROBES));
    http
}
