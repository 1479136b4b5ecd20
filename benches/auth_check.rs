//! What an nginx check with a session costs in the gateway alone, without a connection.
//! `benches/compare` measures the whole program from outside.

#![allow(
    missing_docs,
    reason = "criterion_group! generates an undocumented item"
)]

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use authentik_proxy::admin::Readiness;
use authentik_proxy::app::App;
use authentik_proxy::clock::Clock;
use authentik_proxy::config::{Config, WhenUnconfirmed};
use authentik_proxy::gateway::{Context, CookieSettings, Gateway, LoginWatch, Refresher};
use authentik_proxy::model::Dialects;
use authentik_proxy::telemetry::Reporter;
use authentik_proxy::telemetry::log::{self, LogHandle};
use authentik_proxy::telemetry::metrics::Metrics;
use authentik_proxy::telemetry::traces::Traces;
use authentik_proxy::upstream::{Timeouts, Upstream};
use authentik_proxy::web::client::trust::Trust;
use authentik_proxy::web::cookie::Form;
use authentik_proxy::web::request::inbound::TrustedProxies;
use authentik_standin::{Provider, Standin, User};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use tokio::runtime::Runtime;

use common::sign_in;

const HOST: &str = "grafana.localhost";
const CHECK: &str = "/outpost.goauthentik.io/auth/nginx";
/// Nothing is passed on here.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(1),
    response: Duration::from_secs(1),
};

/// An outpost with one application, and one user who is signed in there.
struct Outpost {
    app: App,
    trusted: TrustedProxies,
    /// The session cookie, `name=value`.
    cookie: String,
    _authentik: Standin,
}

impl Outpost {
    async fn start() -> Self {
        let authentik = Standin::builder().start().await.expect("a stand-in");
        let provider = Provider::forward_single("grafana", &format!("http://{HOST}"));
        authentik.add_provider(provider);
        authentik.add_user(User {
            groups: vec!["admins".into(), "editors".into()],
            ..User::new("alice", "alice-pass")
        });
        let config = Config::from_pairs([
            ("AUTHENTIK_HOST", authentik.url().as_str()),
            ("AUTHENTIK_TOKEN", authentik.token().as_str()),
            ("AUTHENTIK_LISTEN__HTTP", "127.0.0.1:0"),
            ("AUTHENTIK_LISTEN__HTTPS", "127.0.0.1:0"),
            ("AUTHENTIK_LISTEN__METRICS", "127.0.0.1:0"),
        ])
        .expect("a configuration");
        let trusted = TrustedProxies::new(config.listen.trusted_proxies.clone());
        let app = App::start(&config, LogHandle::disconnected())
            .await
            .expect("an outpost");
        let configured = async {
            while app.live().load().table.sites().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), configured)
            .await
            .expect("a configuration from the stand-in");
        let address = app.http_addresses()[0];
        let cookie = sign_in(&authentik, address, HOST, "alice").await;
        Self {
            app,
            trusted,
            cookie,
            _authentik: authentik,
        }
    }

    /// A gateway over the running outpost's snapshot and sessions.
    fn gateway(&self) -> Gateway {
        Gateway::new(Context {
            live: self.app.live().clone(),
            store: self.app.store().clone(),
            trusted: self.trusted.clone(),
            dialects: Dialects::all(),
            has_forward_auth_listener: false,
            clock: Clock::system(),
            login_timeout: 3600,
            max_age: 3600,
            cookie_form: Form::Plain,
            cookies: CookieSettings {
                max_bytes: 6 << 10,
                when_unconfirmed: WhenUnconfirmed::Allow,
                confirmations_per_second: 10,
            },
            echo_credentials: false,
            reauthorize_grace_period: 900,
            user_page: true,
            refresher: Refresher::channel().0,
            readiness: Readiness::default(),
            metrics: Metrics::new(),
            reporter: Reporter::channel().0,
            upstream: Upstream::new(&Trust::load(None).expect("authorities"), TIMEOUTS),
            body_timeout: TIMEOUTS.response,
            traces: Traces::default(),
            watch: LoginWatch::default(),
        })
    }

    /// The check as ingress-nginx sends it.
    fn check(&self) -> Request<Empty<Bytes>> {
        Request::builder()
            .uri(CHECK)
            .header(header::HOST, HOST)
            .header(header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64)")
            .header(header::ACCEPT, "*/*")
            .header(header::COOKIE, format!("theme=dark; {}", self.cookie))
            .header("x-original-url", format!("http://{HOST}/"))
            .header("x-original-method", "GET")
            .header("x-forwarded-for", "192.0.2.7")
            .header("x-forwarded-proto", "http")
            .body(Empty::new())
            .expect("a request")
    }
}

fn in_process(criterion: &mut Criterion, runtime: &Runtime, outpost: &Outpost) {
    let gateway = outpost.gateway();
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
    let answer = runtime.block_on(gateway.handle(peer, outpost.check()));
    assert_eq!(answer.status(), StatusCode::OK, "alice is signed in");
    criterion.bench_function("auth_check/in_process", |bencher| {
        bencher.to_async(runtime).iter_batched(
            || outpost.check(),
            |request| gateway.handle(peer, request),
            BatchSize::SmallInput,
        );
    });
}

fn auth_check(criterion: &mut Criterion) {
    // As in production: the line of a successful check is `debug` and not written.
    let _ = log::init("warning");
    let runtime = Runtime::new().expect("a runtime");
    let outpost = runtime.block_on(Outpost::start());
    in_process(criterion, &runtime, &outpost);
}

criterion_group!(benches, auth_check);
criterion_main!(benches);
