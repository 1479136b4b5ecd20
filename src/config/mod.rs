//! The configuration: many raw layers in, one validated and immutable [`Config`] out.
//!
//! Defaults are overridden by a file, the file by environment variables. Every setting stands once
//! in the table [`settings::SETTINGS`]; the file's keys, the variables' names, their defaults, the
//! suggestions for misspelled ones and the text of `--help` are all made from it.
//!
//! ```text
//! Vars (env) ──┐
//! file ────────┼─► Reader: find, resolve env:// and file://, parse ─► build ─► Config
//! table ───────┘        └─► every problem, collected ─► ConfigErrors
//! ```

mod applications;
mod build;
mod env;
mod error;
mod file;
mod help;
mod parse;
mod reader;
mod reference;
mod sections;
pub mod settings;
mod show;
mod suggest;
mod table;
mod unknown;
mod warnings;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

pub use applications::Policies;
pub use env::Vars;
pub use error::ConfigErrors;
pub use help::environment_help;
pub use sections::{
    Authentik, Control, CookiePrefix, Discover, Discovery, ForwardAuth, Identity, Listen, Log,
    LogLevel, Node, Redis, RedisPlace, Session, Shutdown, Tls, TlsReqs, Traces, UnknownLogLevel,
    Upstream, WhenDown, reachable,
};
pub use show::{effective_settings, settings_table};
pub use warnings::is_internal;

use crate::model::Diagnostic;
use reader::Reader;

/// Everything that an operator can set, validated. It never changes while the program runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where authentik is, and who we are there.
    pub authentik: Authentik,
    /// Listeners, and what is accepted on them.
    pub listen: Listen,
    /// Authorization requests of reverse proxies.
    pub forward_auth: ForwardAuth,
    /// Connections to applications that requests are passed on to.
    pub upstream: Upstream,
    /// Logging.
    pub log: Log,
    /// Exchange with authentik.
    pub control: Control,
    /// Sessions of signed-in users.
    pub session: Session,
    /// What applications are told about users.
    pub identity: Identity,
    /// The order of events when the program is asked to stop.
    pub shutdown: Shutdown,
    /// Where sessions are shared between replicas; `None` keeps them in this process's memory.
    pub redis: Option<Redis>,
    /// Certificates that are trusted in addition to the system's.
    pub tls: Tls,
    /// Traces of requests.
    pub traces: Traces,
    /// The command `discover`.
    pub discover: Discover,
    /// What is set for single applications, by slug. Only in the file.
    pub applications: Policies,
    /// Whether the program runs in a pod: Kubernetes says so in `KUBERNETES_SERVICE_HOST`.
    pub in_kubernetes: bool,
    /// What is legal but probably not meant, to be logged at start.
    pub warnings: Vec<Diagnostic>,
}

impl Config {
    /// Reads and validates all layers: defaults, then the file, then `vars`.
    ///
    /// The file is `cli_path` or, without it, what the variable `AUTHENTIK_PROXY_CONFIG` names;
    /// with neither there is no file. The error holds every problem found, not only the first.
    pub fn load(cli_path: Option<&Path>, vars: &Vars) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::open(cli_path, vars);
        reader.check_variable_names();
        let config = build::config(&mut reader);
        reader.finish(config)
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

    /// Only what the command `discover` needs: it runs without an outpost's token.
    pub fn discovery(cli_path: Option<&Path>, vars: &Vars) -> Result<Discovery, ConfigErrors> {
        let mut reader = Reader::open(cli_path, vars);
        reader.check_variable_names();
        let discovery = build::discovery(&mut reader);
        reader.finish(discovery)
    }

    /// Where `healthcheck` can ask: the addresses of the metrics listener, or of that for HTTP if
    /// there is none. What is wrong with or missing from the rest of the environment does not matter
    /// here.
    pub fn health_addresses(
        cli_path: Option<&Path>,
        vars: &Vars,
    ) -> Result<Vec<SocketAddr>, ConfigErrors> {
        let mut reader = Reader::open(cli_path, vars);
        let mut addresses = reader.value("listen.metrics", parse::addresses);
        if addresses.is_empty() {
            addresses = reader.value("listen.http", parse::addresses);
        }
        reader.finish(Some(addresses))
    }
}
