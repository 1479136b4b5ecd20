//! The command `discover`.

use std::time::Duration;

use secrecy::SecretString;

use super::definition::{Fallback, Setting, Source, Typed, section};
use crate::config::settings::parse::parser::{HOST, Parser, SECOND, TEXT, TOKEN, duration};

section! {
    /// The command `discover`.
    pub struct Discover in "discover" {
        /// API token of the command `discover`, with permission to read and write
        token: SecretString = TOKEN, optional;
        /// Owner that marks what `discover` creates; unique per cluster
        owner: String = TEXT, default("authentik-proxy");
        /// Authorization flow of new providers (slug)
        authorization_flow: String = TEXT, default("default-provider-authorization-implicit-consent");
        /// Invalidation flow of new providers (slug)
        invalidation_flow: String = TEXT, default("default-provider-invalidation-flow");
        /// DNS domain of the cluster's Services
        cluster_domain: String = HOST, default("cluster.local");
        /// Resync interval with --watch
        interval: Duration = duration(10 * SECOND), default("10m");
    }
}
