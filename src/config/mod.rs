//! The configuration: defaults, a file and environment variables in, one validated and immutable
//! [`Config`] out.
//!
//! Each setting is defined once, in a file of [`settings`]. The file overrides defaults, variables
//! override the file.
//!
//! ```text
//! Vars (env) ──┐
//! file ────────┼─► layers::Reader: find, resolve env:// and file://, parse ─► build ─► Config
//! settings ────┘        └─► every problem, collected ─► ConfigErrors
//! ```
//!
//! [`Config::reload`] does the same again, from the same variables.

mod applications;
mod build;
mod egress;
mod error;
mod file;
mod files;
mod layers;
mod proxies;
mod reload;
mod render;
pub mod settings;
mod show;
mod suggest;
mod traces;
mod warnings;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use url::Url;
use uuid::Uuid;

pub use applications::Policies;
pub use egress::{Egress, NextHop, base_url};
pub use error::ConfigErrors;
pub use files::{Fingerprint, SourceFile};
pub use layers::Vars;
pub use proxies::Proxy;
pub use reload::Reload;
pub use render::{Language, environment_help, example, settings_table};
pub use settings::{
    Authentik, Control, CookiePrefix, Discover, ForwardAuth, Identity, Listen, Log, LogLevel, Node,
    RedisOptions, RedisTopology, Session, SessionStore, Shutdown, Tls, TlsReqs, UnknownLogLevel,
    Upstream, WhenDown, WhenUnconfirmed, is_v6_only, reachable,
};
pub use show::effective_settings;
pub use traces::Traces;
pub use warnings::is_internal;

use crate::model::Diagnostic;
use layers::{Origin, Reader};
use settings::Source as _;

/// The validated configuration. A change of its files makes another one.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address of authentik, and the outpost's account there.
    pub authentik: Authentik,
    /// Listeners, and the limits of their connections.
    pub listen: Listen,
    /// Authorization requests of reverse proxies.
    pub forward_auth: ForwardAuth,
    /// Connections to applications.
    pub upstream: Upstream,
    /// Logging.
    pub log: Log,
    /// Configuration updates from authentik.
    pub control: Control,
    /// Sessions of users.
    pub session: Session,
    /// Identity headers.
    pub identity: Identity,
    /// Graceful shutdown.
    pub shutdown: Shutdown,
    /// Redis, where it keeps the sessions.
    pub redis: Option<Redis>,
    /// Additional trusted certificates.
    pub tls: Tls,
    /// How requests reach authentik.
    pub egress: Egress,
    /// Traces of requests.
    pub traces: Traces,
    /// The command `discover`.
    pub discover: Discover,
    /// Settings of single applications, by slug; only in the file.
    pub applications: Policies,
    /// Whether the program runs in a pod: Kubernetes sets `KUBERNETES_SERVICE_HOST`.
    pub in_kubernetes: bool,
    /// What is legal but probably not meant, to be logged.
    pub warnings: Vec<Diagnostic>,
    /// What it was made of.
    origin: Origin,
}

impl Config {
    /// Where connections to authentik lead to.
    #[must_use]
    pub fn next_hop(&self) -> NextHop<'_> {
        let url = base_url(&self.authentik.host);
        self.egress
            .next_hop(&url.as_str().parse().unwrap_or_default())
    }

    /// Reads and validates all layers: defaults, then the file, then `vars`.
    ///
    /// The file is `cli_path` or, without it, what the variable `AUTHENTIK_PROXY_CONFIG` names;
    /// with neither there is no file. The error holds every problem found, not only the first.
    pub fn load(cli_path: Option<&Path>, vars: &Vars) -> Result<Self, ConfigErrors> {
        Self::read_layers(cli_path, vars, false).0
    }

    /// As [`Config::load`], with the files that were read.
    fn read_layers(
        cli_path: Option<&Path>,
        vars: &Vars,
        again: bool,
    ) -> (Result<Self, ConfigErrors>, Vec<SourceFile>) {
        let mut reader = Reader::open(cli_path, vars, again);
        reader.check_variable_names();
        let config = build::config(&mut reader);
        let files = reader.origin().files;
        (reader.finish(config), files)
    }

    /// [`Config::load`] with the environment of this process.
    pub fn from_env(cli_path: Option<&Path>) -> Result<Self, ConfigErrors> {
        Self::load(cli_path, &Vars::process())
    }

    /// [`Config::load`] with the given variables and nothing else, for tests and embedding.
    pub fn from_pairs<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, ConfigErrors>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        Self::load(None, &pairs.into_iter().collect())
    }

    /// Maximum delay of an update that authentik requests, which spreads the requests of replicas.
    /// With sessions in memory there is one replica.
    #[must_use]
    pub fn refresh_jitter(&self) -> Duration {
        let has_replicas = self.redis.is_some() || self.session.store == Some(SessionStore::Cookie);
        let seconds = u64::from(has_replicas);
        let jitter = self.control.refresh_jitter;
        jitter.unwrap_or(Duration::from_secs(seconds))
    }

    /// The settings of the command `discover`, which needs no token of an outpost.
    pub fn discovery(cli_path: Option<&Path>, vars: &Vars) -> Result<Discovery, ConfigErrors> {
        Self::read_discovery(cli_path, vars, false)
    }

    fn read_discovery(
        cli_path: Option<&Path>,
        vars: &Vars,
        again: bool,
    ) -> Result<Discovery, ConfigErrors> {
        let mut reader = Reader::open(cli_path, vars, again);
        reader.check_variable_names();
        let discovery = build::discovery(&mut reader);
        reader.finish(discovery)
    }

    /// The addresses that `healthcheck` requests: those of the metrics listener, or of the HTTP
    /// listener if there is none. Other settings may be missing or invalid.
    pub fn health_addresses(
        cli_path: Option<&Path>,
        vars: &Vars,
    ) -> Result<Vec<SocketAddr>, ConfigErrors> {
        let mut reader = Reader::open(cli_path, vars, false);
        let mut addresses = reader.default(&Listen::metrics);
        if addresses.is_empty() {
            addresses = reader.default(&Listen::http);
        }
        reader.finish(Some(addresses))
    }

    /// `Listen::watch_socket`. Other settings may be missing or invalid.
    pub fn watch_socket(
        cli_path: Option<&Path>,
        vars: &Vars,
    ) -> Result<Option<PathBuf>, ConfigErrors> {
        let mut reader = Reader::open(cli_path, vars, false);
        let socket = reader.optional(&Listen::watch_socket);
        reader.finish(Some(socket))
    }
}

/// Redis, which shares sessions between replicas.
#[derive(Debug, Clone)]
pub struct Redis {
    /// The servers.
    pub topology: RedisTopology,
    /// Connections to them, and what depends on them.
    pub options: RedisOptions,
}

impl Redis {
    /// The same servers and options with the credentials and the CA certificates of `other`.
    #[must_use]
    pub fn with_access_of(mut self, other: &Self) -> Self {
        self.options.username.clone_from(&other.options.username);
        self.options.password.clone_from(&other.options.password);
        let ca_file = &other.options.tls_ca_cert;
        self.options.tls_ca_cert.clone_from(ca_file);
        if let (
            RedisTopology::Sentinel {
                username, password, ..
            },
            RedisTopology::Sentinel {
                username: new_username,
                password: new_password,
                ..
            },
        ) = (&mut self.topology, &other.topology)
        {
            username.clone_from(new_username);
            password.clone_from(new_password);
        }
        self
    }
}

/// The settings of the command `discover`.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// The base URL of requests to `Authentik::host`.
    pub host: Url,
    /// `Discover::token`, which is required here.
    pub token: SecretString,
    /// `Authentik::insecure`.
    pub insecure: bool,
    /// `Authentik::outpost_id`: the outpost that applications are assigned to. Unset: the only one
    /// that is not embedded.
    pub outpost_id: Option<Uuid>,
    /// `Control::request_timeout`, also of requests to Kubernetes.
    pub request_timeout: Duration,
    /// How requests reach authentik.
    pub egress: Egress,
    /// Additional trusted certificates.
    pub tls: Tls,
    /// Logging, with `--watch`.
    pub log: Log,
    /// The other settings of the command.
    pub discover: Discover,
    /// What it was made of.
    origin: Origin,
}
