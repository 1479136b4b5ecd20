//! The outpost as configured at authentik.

use url::Url;
use uuid::Uuid;

/// One outpost of authentik's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outpost {
    /// Its primary key, used in the websocket's path.
    pub id: Uuid,
    /// Its name, shown in metrics and in `X-authentik-meta-outpost`.
    pub name: String,
    /// Whether it is authentik's embedded outpost.
    pub embedded: bool,
    /// `config.authentik_host`: where browsers find authentik, if set.
    pub authentik_host: Option<Url>,
    /// `config.log_level`, if set; overrides the local setting while running.
    pub log_level: Option<String>,
    /// How often to fetch the configuration, in seconds, as configured at authentik.
    pub refresh_interval_s: i64,
    /// The version of authentik, if known.
    pub version: Option<String>,
}

impl Outpost {
    /// The version that the outpost reports: that of authentik, so that it is not shown as outdated.
    #[must_use]
    pub fn reported_version(&self) -> &str {
        let own = env!("CARGO_PKG_VERSION");
        self.version.as_deref().unwrap_or(own)
    }
}
