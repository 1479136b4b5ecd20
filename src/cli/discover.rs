//! `authentik-proxy discover`: arguments, and a plan on its way out.

use std::fmt::Write as _;

use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::config::Discovery;
use crate::discover::apply::Refused;
use crate::discover::kubernetes::Cluster;
use crate::discover::table::Table;
use crate::discover::{Discover, DiscoverError, Options};

/// What to look at, and what to do then.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub struct Arguments {
    /// Make the changes
    #[arg(long)]
    pub apply: bool,
    /// Show what would be done, and do nothing; the default
    #[arg(long, conflicts_with = "apply")]
    pub dry_run: bool,
    /// Delete what was created from objects that are gone or no longer labelled
    #[arg(long)]
    pub prune: bool,
    /// With --prune: even if no object is labelled at all
    #[arg(long, requires = "prune")]
    pub allow_empty: bool,
    /// Look again whenever a labelled object changes, until stopped
    #[arg(long)]
    pub watch: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "watch")]
    pub json: bool,
    /// Look into this namespace only; may be repeated
    #[arg(long = "namespace", value_name = "NAME")]
    pub namespaces: Vec<String>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// The output of the command.
#[derive(Debug)]
pub struct Summary {
    /// For standard output.
    pub text: String,
    /// For standard error.
    pub failures: Vec<String>,
    /// Whether every change is made, or can be made.
    pub complete: bool,
}

impl Arguments {
    /// Finds the cluster.
    pub async fn discover<'a>(
        &self,
        settings: &'a Discovery,
    ) -> Result<Discover<'a>, DiscoverError> {
        let namespaces = self.namespaces.clone();
        let context = self.context.as_deref();
        let cluster = Cluster::find(context, namespaces, settings).await?;
        let options = Options {
            apply: self.apply,
            prune: self.prune,
            allow_empty: self.allow_empty,
        };
        Discover::new(settings, cluster, options)
    }

    /// Looks once.
    pub async fn once(
        &self,
        settings: &Discovery,
        stop: &CancellationToken,
    ) -> Result<Summary, DiscoverError> {
        let discover = self.discover(settings).await?;
        let (plan, actual) = discover.plan().await?;
        let mut text = if self.json {
            let mut json = serde_json::to_string_pretty(&plan).unwrap_or_default();
            json.push('\n');
            json
        } else {
            let table = Table {
                plan: &plan,
                prune: self.prune,
            };
            table.to_string()
        };
        let mut failures = Vec::new();
        if self.apply {
            let mut refused = Refused::default();
            let outcome = discover.apply(&plan, &actual, &mut refused, stop).await;
            failures = outcome.failures;
            if !self.json {
                let (done, failed) = (outcome.done, failures.len());
                // Writing to a `String` cannot fail.
                let _ = writeln!(text, "{done} changes made, {failed} failed");
            }
        } else if !self.json {
            text.push_str("nothing was changed; --apply makes the changes\n");
        }
        Ok(Summary {
            text,
            complete: failures.is_empty() && plan.refusals() == 0,
            failures,
        })
    }
}
