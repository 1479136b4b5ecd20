//! The composition root: a configuration in, running listeners and tasks out.

mod error;
mod reload;
mod watch_socket;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tower::ServiceExt as _;

use crate::admin::{self, Readiness};
use crate::clock::Clock;
use crate::config::{Config, NextHop, SessionStore, base_url, is_v6_only};
use crate::control::{self, Control, Probe};
use crate::gateway::{self, Gateway, Refresher};
use crate::model::IdleTimeout;
use crate::route::{Live, Store};
use crate::server::{self, Limits, Server};
use crate::store::{SetupError, StoreKind};
use crate::tasks::Tasks;
use crate::telemetry::Reporter;
use crate::telemetry::log::LogHandle;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;
use crate::tls;
use crate::upstream::{Timeouts, Upstream};
use crate::web::client::BackChannel;
use crate::web::client::trust::Trust;
use crate::web::header::files::HeaderFiles;
use crate::web::request::inbound::{Peer, TrustedProxies};
pub use error::StartError;
use reload::Reloader;

/// Open connections to the metrics listeners.
const MAX_ADMIN_CONNECTIONS: usize = 64;
/// Open connections to the metrics listeners from one address.
const MAX_ADMIN_CONNECTIONS_PER_CLIENT: usize = 16;
/// Time-out between two successful writes of a response of the metrics listeners.
const ADMIN_WRITE_TIMEOUT: Duration = Duration::from_secs(30);

const FORWARD_AUTH: &str = "AUTHENTIK_PROXY_LISTEN__FORWARD_AUTH";
const EXT_AUTHZ: &str = "AUTHENTIK_PROXY_LISTEN__EXT_AUTHZ";

/// A running outpost.
pub struct App {
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    metrics: Vec<SocketAddr>,
    forward_auth: Vec<SocketAddr>,
    ext_authz: Vec<SocketAddr>,
    store: Store,
    live: Live,
    readiness: Readiness,
    control_tasks: Tasks,
    listener_tasks: Tasks,
    traces: Traces,
    delay: Duration,
    drain_timeout: Duration,
}

impl App {
    /// Starts listeners and tasks. Returns once all addresses are bound; the configuration from
    /// authentik arrives later.
    ///
    /// # Panics
    /// Never: making a certificate does not panic.
    pub async fn start(config: &Config, log: LogHandle) -> Result<Self, StartError> {
        features(config)?;
        // The first random numbers of a process take about 20 ms of processor time: meanwhile, all
        // that needs none starts.
        let fallback = spawn_blocking(tls::Fallback::generate);
        let trust = Trust::load(config.tls.ca_file.as_deref())?;
        let control = control(config, &trust, log)?;
        let limits = limits(config);
        let http = bind(&config.listen.http, "AUTHENTIK_LISTEN__HTTP")?;
        let https = bind(&config.listen.https, "AUTHENTIK_LISTEN__HTTPS")?;
        let forward_auth = bind(&config.listen.forward_auth, FORWARD_AUTH)?;
        let admin = bind(&config.listen.metrics, "AUTHENTIK_LISTEN__METRICS")?;
        #[cfg(feature = "ext-authz")]
        let ext_authz = bind(&config.listen.ext_authz, EXT_AUTHZ)?;
        let (reporter, misconfigurations) = Reporter::channel();
        let (refresher, due) = Refresher::channel();
        let max_age = seconds(config.session.absolute_lifetime);
        let traces = Traces::new(config.traces)?;
        let trusted = TrustedProxies::new(config.listen.trusted_proxies.clone());
        let upstream = Upstream::new(&trust, upstream_timeouts(config));
        let (control_tasks, listener_tasks) = (Tasks::new(), Tasks::new());
        let gateway = Gateway::new(gateway::Context {
            live: control.live.clone(),
            store: control.store.clone(),
            trusted: trusted.clone(),
            dialects: config.forward_auth.dialects,
            has_forward_auth_listener: !config.listen.forward_auth.is_empty(),
            clock: control.clock.clone(),
            login_timeout: seconds(config.session.login_ttl),
            max_age,
            reauthorize_grace_period: seconds(config.session.reauthorize_grace_period),
            cookie_form: config.session.cookie_prefix.into(),
            user_page: config.session.user_page,
            cookies: (&config.session).into(),
            echo_credentials: config.session.echo_credentials,
            refresher,
            readiness: control.readiness.clone(),
            metrics: control.metrics.clone(),
            reporter,
            upstream: upstream.clone(),
            body_timeout: config.listen.body_timeout,
            traces: traces.clone(),
            watch: watch_socket::listen(config, &control.clock, &control_tasks).await,
        });
        let mut app = Self {
            http: Vec::new(),
            https: Vec::new(),
            metrics: Vec::new(),
            forward_auth: Vec::new(),
            ext_authz: Vec::new(),
            store: control.store.clone(),
            live: control.live.clone(),
            readiness: control.readiness.clone(),
            control_tasks,
            listener_tasks,
            traces,
            delay: config.shutdown.delay,
            drain_timeout: config.shutdown.drain_timeout,
        };
        let proxy_protocol = config.listen.proxy_protocol;
        let server = Server::new(limits, trusted.clone(), proxy_protocol);
        app.http = app.serve_requests(http, &server, &gateway);
        let authorizing = gateway.on(gateway::Listener::ForwardAuth);
        app.forward_auth = app.serve_requests(forward_auth, &server, &authorizing);
        #[cfg(feature = "ext-authz")]
        app.serve_ext_authz(ext_authz, &server, &gateway);
        let admin_server = Server::new(admin_limits(limits), trusted, proxy_protocol);
        let router = admin::router(
            control.metrics.clone(),
            control.store.clone(),
            control.live.clone(),
            control.readiness.clone(),
            control.clock.clone(),
        );
        app.serve_admin(admin, &admin_server, &router);
        if control.store.kind() == StoreKind::Memory {
            tracing::info!(
                hint = "set AUTHENTIK_REDIS__HOST, or session.store to cookie, to share sessions and keep them across restarts",
                "sessions are stored in memory: a restart ends them, and replicas do not share them",
            );
        }
        let store = control.store.clone();
        app.control_tasks.spawn(|stop| store.run(stop));
        let (store, clock) = (control.store.clone(), control.clock.clone());
        let outcomes = control.metrics.refreshes();
        app.control_tasks
            .spawn(|stop| gateway::token_refresh::run(due, store, clock, max_age, outcomes, stop));
        let reloader = Reloader::new(config, reload::Parts::new(&control, upstream));
        app.control_tasks.spawn(|stop| reloader.run(stop));
        Control::new(control).spawn(&app.control_tasks, misconfigurations);
        if !https.is_empty() {
            let certificates = app.live.clone();
            let fallback = fallback.await.expect("it does not panic")?;
            let tls = tls::server(fallback, move |name| certificates.load().certificate(name))?;
            app.https = app.serve_requests(https, &server.with_tls(tls), &gateway);
        }
        Ok(app)
    }

    /// Asks authentik step by step, for the command that looks for what is wrong.
    pub fn probe(config: &Config) -> Result<Probe, StartError> {
        features(config)?;
        let trust = Trust::load(config.tls.ca_file.as_deref())?;
        let control = control(config, &trust, LogHandle::disconnected())?;
        // Whether the server could export them is all that is asked.
        Traces::new(config.traces)?;
        Ok(Probe::new(control, trust))
    }

    /// Loads what is protected once, for commands; serves nothing.
    pub async fn load(config: &Config) -> Result<Live, StartError> {
        let trust = Trust::load(config.tls.ca_file.as_deref())?;
        let control = control(config, &trust, LogHandle::disconnected())?;
        let live = control.live.clone();
        Control::new(control).load_once().await?;
        Ok(live)
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
                // Boxed: it has about 3 KB, which every layer above would move.
                guarded(Box::pin(async move { gateway.handle(peer, request).await }))
            };
            let server = server.clone();
            self.listener_tasks
                .spawn(|stop| server.serve(listener, answer, stop));
        }
        addresses
    }

    #[cfg(feature = "ext-authz")]
    fn serve_ext_authz(&mut self, listeners: Vec<TcpListener>, server: &Server, gateway: &Gateway) {
        for listener in listeners {
            self.ext_authz.extend(listener.local_addr());
            let (server, gateway) = (server.clone(), gateway.clone());
            let answer = move |peer, request| {
                let gateway = gateway.clone();
                async move { gateway.handle_grpc(peer, request).await }
            };
            self.listener_tasks
                .spawn(|stop| server.serve(listener, answer, stop));
        }
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

    /// The addresses that are for authorization requests alone.
    #[must_use]
    pub fn forward_auth_addresses(&self) -> &[SocketAddr] {
        &self.forward_auth
    }

    /// The addresses of the `ext_authz` listeners.
    #[must_use]
    pub fn ext_authz_addresses(&self) -> &[SocketAddr] {
        &self.ext_authz
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
            .stop(self.drain_timeout + Duration::from_secs(1))
            .await;
        self.control_tasks.stop(Duration::from_secs(1)).await;
        self.traces.stop(Duration::from_secs(1)).await;
    }
}

/// Answers with 500 if the code panics that answers: a bug in one answer must not take the
/// connection's other requests with it.
fn guarded(answer: impl Future<Output = Response<Body>>) -> impl Future<Output = Response<Body>> {
    AssertUnwindSafe(answer).catch_unwind().map(|answer| {
        answer.unwrap_or_else(|_panic| {
            // The panic hook has written where and why.
            tracing::error!("a request was answered with 500: the code that answers it panicked");
            let mut response = Response::new(Body::from("Service panicked"));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    })
}

/// Whether this build has what the settings ask for.
fn features(config: &Config) -> Result<(), StartError> {
    if !cfg!(feature = "ext-authz") && !config.listen.ext_authz.is_empty() {
        return Err(StartError::Feature(EXT_AUTHZ, "ext-authz"));
    }
    Ok(())
}

fn bind(addresses: &[SocketAddr], setting: &'static str) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for &address in addresses {
        let bound = server::bind(address, is_v6_only(address, addresses));
        listeners.push(bound.map_err(|reason| StartError::Listen {
            address,
            setting,
            reason,
        })?);
    }
    Ok(listeners)
}

fn control(config: &Config, trust: &Trust, log: LogHandle) -> Result<control::Context, StartError> {
    let (clock, metrics) = (Clock::system(), Metrics::counting(log.lost_lines()));
    let (insecure, timeout) = (config.authentik.insecure, config.control.request_timeout);
    let header_files = HeaderFiles::read(reload::header_sources(config));
    let reloadable = reload::reloadable(config, header_files);
    Ok(control::Context {
        settings: settings(config),
        reloadable: watch::Sender::new(Arc::new(reloadable)),
        secret_refused: Arc::default(),
        live: Live::default(),
        store: store(config, &clock, &metrics)?,
        back_channel: BackChannel::over(trust, insecure, timeout, &config.egress),
        clock,
        metrics,
        readiness: Readiness::default(),
        log,
    })
}

/// Limits of the metrics listeners' own server: clients cannot use up the connections of probes and
/// scrapes.
fn admin_limits(limits: Limits) -> Limits {
    Limits {
        max_connections: MAX_ADMIN_CONNECTIONS,
        max_connections_per_client: MAX_ADMIN_CONNECTIONS_PER_CLIENT,
        max_connections_per_proxy: MAX_ADMIN_CONNECTIONS_PER_CLIENT,
        write_timeout: limits.write_timeout.min(ADMIN_WRITE_TIMEOUT),
        ..limits
    }
}

fn store(config: &Config, clock: &Clock, metrics: &Metrics) -> Result<Store, SetupError> {
    if config.session.store == Some(SessionStore::Cookie) {
        let lifetime = seconds(config.session.absolute_lifetime);
        return Ok(Store::cookie(lifetime, clock.clone(), metrics.store()));
    }
    let idle = config.session.idle_timeout.map(IdleTimeout::new);
    let Some(redis) = config.redis.clone() else {
        return Ok(Store::memory(clock.clone(), idle));
    };
    let cache_bytes = config.session.cache_bytes as u64;
    let subject_index_key = &config.authentik.token;
    Store::redis(
        redis,
        subject_index_key,
        cache_bytes,
        idle,
        clock.clone(),
        metrics.store(),
    )
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn limits(config: &Config) -> Limits {
    Limits {
        header_timeout: config.listen.header_timeout,
        idle_timeout: config.listen.idle_timeout,
        write_timeout: config.listen.write_timeout,
        max_header_bytes: config.listen.max_header_bytes,
        max_connections: config.listen.max_connections,
        max_connections_per_client: config.listen.max_connections_per_client,
        max_connections_per_proxy: config.listen.max_connections_per_proxy,
        drain_timeout: config.shutdown.drain_timeout,
    }
}

fn upstream_timeouts(config: &Config) -> Timeouts {
    Timeouts {
        connect: config.upstream.connect_timeout,
        response: config.upstream.response_timeout,
    }
}

fn settings(config: &Config) -> control::Settings {
    control::Settings {
        host: base_url(&config.authentik.host),
        is_socket: matches!(config.next_hop(), NextHop::Socket(_)),
        host_browser: config.authentik.host_browser.clone(),
        outpost_id: config.authentik.outpost_id,
        certificates: !config.listen.https.is_empty(),
        refresh_interval: config.control.refresh_interval,
        refresh_jitter: config.refresh_jitter(),
        reconnect_backoff_max: config.control.reconnect_backoff_max,
        heartbeat_interval: config.control.heartbeat_interval,
        cache_file: config.control.cache_file.clone(),
        introspection_interval: config.session.introspection_interval,
        introspections_per_second: config.session.introspections_per_second,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_with_500() {
        let answer = async { std::hint::black_box(None::<Response<Body>>).expect("a bug") };
        let response = guarded(answer).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
