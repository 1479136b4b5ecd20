//! The meeting point of the planes: the control plane publishes a [`Snapshot`], the data plane
//! reads it once per request.

mod health;
mod table;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::{ArcSwap, Guard};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use secrecy::ExposeSecret as _;

use crate::model::{Application, Authority, Diagnostic, Outpost, Session};
use crate::oidc::{Keys, RelyingParty};
use crate::store::{self, Sealer, SessionContext};
use crate::telemetry::metrics::{Metrics, SiteMetrics, UpstreamMetrics};
use crate::tls::CertifiedKey;
use crate::web::cookie::Cookies;
use crate::web::header::files::{HeaderFiles, LiveValue};
use crate::web::header::identity::{self, Identity};
use crate::web::header::names::{POWERED_BY, POWERED_BY_VALUE, REQUEST_ID};
pub use health::{ControlHealth, SettingsHealth, SourceHealth};
pub use table::{HostRoutes, Table};

/// The session store, which keeps the identity headers of each session, rendered once.
pub type Store = store::Store<Identity>;

/// A session in the [`Store`]; what is prepared are its identity headers.
pub type LiveSession = store::LiveSession<Identity>;

/// Everything that a request needs to know, consistent in itself and never changed.
#[derive(Default)]
pub struct Snapshot {
    /// The outpost as configured at authentik; `None` before the first configuration.
    pub outpost: Option<Outpost>,
    /// The applications by host.
    pub table: Table,
    /// Providers that cannot be served as they are.
    pub refused: Vec<Refused>,
}

/// A provider that cannot be served as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its name at authentik.
    pub provider: String,
    /// The slug of its application, empty if it has none.
    pub slug: String,
    /// What is served instead, why, and what to do.
    pub diagnostic: Diagnostic,
    /// Whether its last good form is served instead.
    pub kept: bool,
}

/// The current [`Snapshot`]. Readers never wait.
#[derive(Clone, Default)]
pub struct Live(Arc<Shared>);

#[derive(Default)]
struct Shared {
    snapshot: ArcSwap<Snapshot>,
    health: ControlHealth,
}

impl Snapshot {
    /// The certificate for the host `name`; without a name, that of the only application.
    #[must_use]
    pub fn certificate(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let Some(name) = name else {
            let [site] = self.table.sites() else {
                return None;
            };
            return site.certificate.clone();
        };
        let authority = Authority::parse(name).ok()?;
        let mut sites = self.table.host(authority).sites();
        sites.find_map(|site| site.certificate.clone())
    }
}

impl Live {
    /// The snapshot to answer one request with.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.0.snapshot.load()
    }

    /// The snapshot for longer work.
    #[must_use]
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// Publishes a new snapshot. Requests in flight keep theirs.
    pub fn store(&self, snapshot: Snapshot) {
        self.0.snapshot.store(Arc::new(snapshot));
    }

    /// The health of the control plane.
    #[must_use]
    pub fn health(&self) -> &ControlHealth {
        &self.0.health
    }
}

/// Tolerated difference between the clocks of authentik, which dates sign-ins, and of the replica that
/// saw a provider added to the outpost, in seconds.
const MAX_CLOCK_SKEW_SECONDS: i64 = 5;

/// An application with its live handles.
pub struct Site {
    /// The protected application.
    pub application: Application,
    /// Its OAuth client.
    pub relying_party: RelyingParty,
    /// Keys of cookies and of stored sessions.
    pub keys: Keys,
    /// Seals sessions in cookies.
    pub sealer: Sealer,
    /// Names of its cookies.
    pub cookies: Cookies,
    /// `X-authentik-meta-*`, rendered once.
    pub meta: HeaderMap,
    /// The head of positive responses to authorization requests, to be copied: what is the same in all
    /// of them, and an empty value for whatever else they have. A copy has no room for more names.
    pub permitted: HeaderMap,
    /// Further headers for the application, set last.
    pub extra: Vec<(HeaderName, LiveValue)>,
    /// The TLS certificate, if authentik has one for it.
    pub certificate: Option<Arc<CertifiedKey>>,
    /// Metrics of this application.
    pub metrics: SiteMetrics,
    /// Metrics of the application's own responses, in proxy mode.
    pub upstream_metrics: Option<UpstreamMetrics>,
    /// When its provider was added to the outpost, Unix seconds; 0 if that is unknown.
    added_at: AtomicI64,
}

impl Site {
    /// Puts an application into service.
    #[must_use]
    pub fn new(
        application: Application,
        relying_party: RelyingParty,
        outpost: &Outpost,
        files: &HeaderFiles,
        metrics: &Metrics,
    ) -> Self {
        let host = application.external.host();
        let upstream_metrics = application.backend.as_ref().map(|backend| {
            let (scheme, address) = (backend.scheme().as_str(), backend.authority().as_str());
            metrics.upstream(&outpost.name, host, scheme, address)
        });
        let metrics = metrics.site(&outpost.name, host);
        let client = &application.client;
        let keys = Keys::derive(client.cookie_secret.expose_secret(), &client.id);
        let secret = client.secret.expose_secret().as_bytes();
        let sealer = Sealer::new(&keys.seal, secret, &client.id, outpost.id);
        let of_one_host = application.cookie_domain().is_none();
        let cookies = Cookies::of(&client.id, of_one_host && application.external.is_https());
        let jwks = relying_party
            .endpoints()
            .jwks
            .as_ref()
            .map_or("", |url| url.as_str());
        let version = user_agent(outpost.reported_version());
        let values = [
            jwks,
            &outpost.name,
            &application.name,
            &application.slug,
            &version,
        ];
        let empty = HeaderValue::from_static("");
        let meta: HeaderMap = identity::META
            .into_iter()
            .zip(values)
            .map(|(name, text)| (name, identity::value(text).unwrap_or_else(|| empty.clone())))
            .collect();
        let permitted = permitted(&meta, &application.policy.identity_headers);
        let extra = application.policy.headers.iter();
        let extra = extra.map(|(name, source)| (name.clone(), files.live(source)));
        let extra = extra.collect();
        Self {
            application,
            relying_party,
            keys,
            sealer,
            cookies,
            meta,
            permitted,
            extra,
            certificate: None,
            metrics,
            upstream_metrics,
            added_at: AtomicI64::new(0),
        }
    }

    /// Records when the provider was added to the outpost, Unix seconds; 0 if that is unknown.
    pub fn set_added_at(&self, time: i64) {
        self.added_at.store(time, Ordering::Relaxed);
    }

    /// Whether a session is one of this application. One from before its provider was removed from the
    /// outpost is none, wherever a copy of it was left.
    #[must_use]
    pub fn accepts(&self, session: &Session) -> bool {
        let added_at = self.added_at.load(Ordering::Relaxed);
        *session.client_id == *self.application.client.id
            && session.started_at() >= added_at - MAX_CLOCK_SKEW_SECONDS
    }

    /// The identity headers of a session: those that were rendered once, unless the application's
    /// options have changed since.
    #[must_use]
    pub fn identity<'s>(&self, session: &'s LiveSession) -> Cow<'s, Identity> {
        let rendered = session.prepared();
        if rendered.options() == self.application.policy.identity {
            Cow::Borrowed(rendered)
        } else {
            Cow::Owned(self.prepare(session))
        }
    }
}

impl SessionContext for Site {
    /// The identity headers of the user.
    type Prepared = Identity;

    fn seal_key(&self) -> &[u8; 32] {
        &self.keys.seal
    }

    fn prepare(&self, session: &Session) -> Identity {
        let application = &self.application;
        identity::user(
            &session.claims,
            &session.access_token,
            application.basic_auth.as_ref(),
            application.policy.identity,
        )
    }

    fn prepared_bytes(identity: &Identity) -> usize {
        identity.heap_bytes()
    }
}

/// See [`Site::permitted`].
fn permitted(meta: &HeaderMap, reserved: &[HeaderName]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in identity::USER.iter().chain(reserved) {
        headers.insert(name, identity::EMPTY);
    }
    for (name, value) in meta {
        headers.insert(name, value.clone());
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(POWERED_BY, POWERED_BY_VALUE);
    headers.insert(REQUEST_ID, identity::EMPTY);
    headers.insert(header::USER_AGENT, identity::EMPTY);
    headers
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site")
            .field("name", &self.application.name)
            .finish_non_exhaustive()
    }
}

/// The outpost's user agent towards authentik and applications.
#[must_use]
pub fn user_agent(version: &str) -> String {
    format!("goauthentik.io/outpost/{version}")
}
