//! The composition root: a configuration in, running listeners and tasks out.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tower::{Service as _, ServiceBuilder, ServiceExt as _, service_fn};
use tower_http::catch_panic::CatchPanicLayer;

use crate::admin::{self, Readiness};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{self, Control};
use crate::gateway::listener::{self, Limits, Server};
use crate::gateway::{self, Gateway, Patience, Upstream, Verdicts};
use crate::route::Live;
use crate::store::Store;
use crate::tasks::Tasks;
use crate::telemetry::log::LevelHandle;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::{Reporter, Throttle};
use crate::tls::{self, KeyPairError};
use crate::web::client::BackChannel;
use crate::web::header_file::HeaderFiles;
use crate::web::inbound::{Peer, TrustedProxies};
use crate::web::trust::{TlsError, Trust};

/// Most connections at a time to the metrics listeners.
const ADMIN_CONNECTIONS: usize = 64;

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({setting}): {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The variable that names it.
        setting: &'static str,
        /// What the system says.
        reason: std::io::Error,
    },
    /// Certificates.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// Our own certificate.
    #[error("TLS cannot be served: {0}")]
    Certificate(#[from] KeyPairError),
}

/// A running outpost.
pub struct App {
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    metrics: Vec<SocketAddr>,
    store: Store,
    live: Live,
    readiness: Readiness,
    control_tasks: Tasks,
    listener_tasks: Tasks,
    delay: Duration,
    drain: Duration,
}

impl App {
    /// Starts listeners and tasks. Returns once all addresses are bound; the configuration from
    /// authentik arrives later.
    pub async fn start(config: &Config, level: LevelHandle) -> Result<Self, StartError> {
        let clock = Clock::system();
        let (live, metrics, readiness) = (Live::default(), Metrics::new(), Readiness::default());
        let store = Store::memory(config.session.cache_bytes as u64, clock.clone());
        let trust = Trust::load(config.tls.ca_file.as_deref())?;
        let (insecure, timeout) = (config.authentik.insecure, config.control.request_timeout);
        let back_channel = BackChannel::over(&trust, insecure, timeout);
        let limits = limits(config);
        let http = bind(&config.listen.http, "AUTHENTIK_LISTEN__HTTP").await?;
        let https = bind(&config.listen.https, "AUTHENTIK_LISTEN__HTTPS").await?;
        let admin = bind(&config.listen.metrics, "AUTHENTIK_LISTEN__METRICS").await?;
        let (reporter, misconfigurations) = Reporter::channel();
        let trusted = TrustedProxies::new(config.listen.trusted_proxies.clone());
        let gateway = Gateway::new(gateway::Parted {
            live: live.clone(),
            store: store.clone(),
            trusted: trusted.clone(),
            clock: clock.clone(),
            login_timeout: i64::try_from(config.session.login_timeout.as_secs()).unwrap_or(3600),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
            reporter,
            ignored_peers: Throttle::default(),
            verdicts: Verdicts::default(),
            upstream: Upstream::new(&trust, patience(config)),
        });
        let (control_tasks, listener_tasks) = (Tasks::new(), Tasks::new());
        let mut app = Self {
            http: Vec::new(),
            https: Vec::new(),
            metrics: Vec::new(),
            store: store.clone(),
            live: live.clone(),
            readiness: readiness.clone(),
            control_tasks,
            listener_tasks,
            delay: config.shutdown.delay,
            drain: config.shutdown.timeout,
        };
        let mut server = Server::new(limits);
        if config.listen.proxy_protocol {
            server = server.with_proxy_protocol(trusted);
        }
        app.http = app.serve_requests(http, &server, &gateway);
        if !https.is_empty() {
            let certificates = live.clone();
            let tls = tls::server(move |name| certificates.load().certificate(name))?;
            app.https = app.serve_requests(https, &server.with_tls(tls), &gateway);
        }
        // Of its own, so that clients cannot keep probes and scrapes out.
        let server = Server::new(Limits {
            max_connections: ADMIN_CONNECTIONS,
            ..limits
        });
        let router = admin::router(metrics.clone(), store.clone(), readiness.clone());
        app.serve_admin(admin, &server, &router);
        let policies = config.applications.values();
        let sources = policies.flat_map(|policy| policy.headers.iter().map(|(_, source)| source));
        let header_files = HeaderFiles::read(sources);
        let watched = header_files.clone();
        app.control_tasks.spawn(|stop| watched.watch(stop));
        let settings = settings(config);
        let parts = control::Parted {
            settings,
            live,
            store,
            back_channel,
            header_files,
            clock,
            metrics,
            readiness,
            level,
        };
        Control::new(parts).spawn(&app.control_tasks, misconfigurations);
        Ok(app)
    }

    /// Returns the addresses.
    fn serve_requests(
        &self,
        listeners: Vec<TcpListener>,
        server: &Server,
        gateway: &Gateway,
    ) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for listener in listeners {
            addresses.extend(listener.local_addr());
            let gateway = gateway.clone();
            let answer = move |peer: Peer, request: Request<Incoming>| {
                let gateway = gateway.clone();
                // A bug in one answer must not take the connection's other requests with it.
                let service = service_fn(move |request: Request<Incoming>| {
                    let gateway = gateway.clone();
                    async move { Ok::<_, std::convert::Infallible>(gateway.handle(peer, request).await) }
                });
                let mut guarded = ServiceBuilder::new()
                    .layer(CatchPanicLayer::new())
                    .service(service);
                async move {
                    match guarded.call(request).await {
                        Ok(response) => response.map(Body::new),
                        Err(never) => match never {},
                    }
                }
            };
            let server = server.clone();
            self.listener_tasks
                .spawn(|stop| server.serve(listener, answer, stop));
        }
        addresses
    }

    fn serve_admin(&mut self, listeners: Vec<TcpListener>, server: &Server, router: &Router) {
        for listener in listeners {
            self.metrics.extend(listener.local_addr());
            let router = router.clone();
            let answer = move |_, request: Request<Incoming>| {
                let router = router.clone();
                async move {
                    match router.oneshot(request.map(Body::new)).await {
                        Ok(response) => response,
                        Err(never) => match never {},
                    }
                }
            };
            let server = server.clone();
            self.listener_tasks
                .spawn(|stop| server.serve(listener, answer, stop));
        }
    }

    /// The addresses that requests are served on.
    #[must_use]
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http
    }

    /// The addresses that requests are served on with TLS.
    #[must_use]
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.https
    }

    /// The addresses of the metrics listeners.
    #[must_use]
    pub fn metrics_addresses(&self) -> &[SocketAddr] {
        &self.metrics
    }

    /// The sessions.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What is protected.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Stops in steps: not ready, then (after the configured delay) no new connections, then the
    /// end of requests in flight, then the end of the tasks.
    pub async fn stop(self) {
        self.readiness.stopping();
        tokio::time::sleep(self.delay).await;
        self.listener_tasks
            .stop(self.drain + Duration::from_secs(1))
            .await;
        self.control_tasks.stop(Duration::from_secs(1)).await;
    }
}

async fn bind(
    addresses: &[SocketAddr],
    setting: &'static str,
) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for &address in addresses {
        let bound = listener::bind(address).await;
        listeners.push(bound.map_err(|reason| StartError::Listen {
            address,
            setting,
            reason,
        })?);
    }
    Ok(listeners)
}

fn limits(config: &Config) -> Limits {
    Limits {
        header_timeout: config.listen.header_timeout,
        max_header_bytes: config.listen.max_header_bytes,
        max_connections: config.listen.max_connections,
        drain: config.shutdown.timeout,
    }
}

fn patience(config: &Config) -> Patience {
    Patience {
        connect: config.upstream.connect_timeout,
        response: config.upstream.response_timeout,
    }
}

fn settings(config: &Config) -> control::Settings {
    control::Settings {
        host: config.authentik.host.clone(),
        host_browser: config.authentik.host_browser.clone(),
        token: config.authentik.token.clone(),
        outpost_id: config.authentik.outpost_id,
        certificates: !config.listen.https.is_empty(),
        policies: config.applications.clone(),
        refresh_interval: config.control.refresh_interval,
        refresh_jitter: config.control.refresh_jitter,
        reconnect_max: config.control.reconnect_max,
        hello_interval: config.control.hello_interval,
        recheck_interval: config.session.recheck_interval,
        recheck_per_second: config.session.recheck_per_second,
    }
}
