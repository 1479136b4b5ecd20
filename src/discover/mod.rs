//! `authentik-proxy discover`: applications at authentik from labels in Kubernetes.
//!
//! ```text
//! Kubernetes ─► labels: desired state ─┐
//!                                      ├─► plan ─► table, or apply
//! authentik ──► actual state ──────────┘
//! ```
//!
//! Planning is pure; [`kubernetes`] and [`authentik`] read, [`mod@apply`] alone writes.

pub mod actual;
pub mod apply;
pub mod authentik;
pub mod desired;
pub mod kubernetes;
mod kubernetes_client;
pub mod ownership_marker;
pub mod plan;
pub mod table;
mod token;
mod watch;

use std::sync::Arc;

use arc_swap::ArcSwap;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::config::Discovery;
use crate::web::client::BackChannel;
use crate::web::client::trust::{TlsError, TlsOptions};
use actual::Actual;
use apply::{Outcome, Refused, apply};
use authentik::{Authentik, AuthentikError};
use desired::labels::{Labelled, Rules};
use desired::{Desired, slug};
use kubernetes::{Cluster, ClusterError};
use plan::Plan;

/// Options of the command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Make the changes.
    pub apply: bool,
    /// Also delete applications whose object is gone.
    pub prune: bool,
    /// Allow that no object is labelled at all.
    pub allow_empty: bool,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// A request to Kubernetes failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A request to authentik failed.
    #[error(transparent)]
    Authentik(#[from] AuthentikError),
    /// The TLS settings are invalid.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// `--prune` would delete everything.
    #[error(
        "no object is labelled, and --prune would delete everything that was created; this looks like the wrong cluster; if it is meant, add --allow-empty"
    )]
    Empty,
}

impl DiscoverError {
    /// Whether authentik refused the token, or what it was to permit.
    fn is_refused_token(&self) -> bool {
        matches!(
            self,
            Self::Authentik(AuthentikError::Token(_) | AuthentikError::Forbidden { .. })
        )
    }
}

/// A cluster and an authentik.
pub struct Discover<'a> {
    settings: &'a Discovery,
    /// That of the settings, or one that was read later.
    token: ArcSwap<SecretString>,
    cluster: Cluster,
    back_channel: BackChannel,
    options: Options,
}

impl<'a> Discover<'a> {
    /// Builds it; connects to nothing yet.
    pub fn new(
        settings: &'a Discovery,
        cluster: Cluster,
        options: Options,
    ) -> Result<Self, DiscoverError> {
        let tls = TlsOptions {
            insecure: settings.insecure,
            ca_file: settings.tls.ca_file.clone(),
        };
        Ok(Self {
            settings,
            token: ArcSwap::from_pointee(settings.token.clone()),
            cluster,
            back_channel: BackChannel::new(&tls, settings.request_timeout, &settings.egress)?,
            options,
        })
    }

    /// Reads both and compares them.
    pub async fn plan(&self) -> Result<(Plan, Actual), DiscoverError> {
        let discover = &self.settings.discover;
        let labelled = self.cluster.labelled().await?;
        let nothing = labelled.is_empty();
        let token = self.token.load_full();
        let authentik = self.authentik(&token);
        // The limit matters to long slugs only.
        let is_long = |object: &Labelled| object.slug().len() > slug::MAX_CHARS;
        let max_slug_chars = if labelled.iter().any(is_long) {
            let version = authentik.version().await;
            version.and_then(|version| slug::max_chars(&version))
        } else {
            None
        };
        let rules = Rules {
            cluster_domain: &discover.cluster_domain,
            max_slug_chars,
        };
        let desired = Desired::of(&labelled, rules);
        let actual = authentik.read(desired.slugs()).await?;
        let in_scope = |namespace: &str| self.cluster.covers(namespace);
        let plan = Plan::of(desired, &actual, &discover.owner, in_scope);
        let Options {
            prune, allow_empty, ..
        } = self.options;
        if nothing && prune && !allow_empty && !plan.items.is_empty() {
            return Err(DiscoverError::Empty);
        }
        Ok((plan, actual))
    }

    /// Makes the changes of a plan; what authentik has `refused` before is not tried again for a while.
    pub async fn apply(
        &self,
        plan: &Plan,
        actual: &Actual,
        refused: &mut Refused,
        stop: &CancellationToken,
    ) -> Outcome {
        let (token, prune) = (self.token.load_full(), self.options.prune);
        let authentik = self.authentik(&token);
        apply(&authentik, plan, actual, prune, refused, stop).await
    }

    /// Plans again whenever a labelled object changes, and at intervals, until `stop`.
    pub async fn watch(&self, stop: &CancellationToken) {
        watch::watch(self, stop).await;
    }

    /// Uses another token from now on.
    fn replace_token(&self, token: SecretString) {
        self.token.store(Arc::new(token));
    }

    fn authentik<'b>(&'b self, token: &'b SecretString) -> Authentik<'b> {
        Authentik::new(self.settings, token, &self.back_channel)
    }
}
