//! Settings of the control plane.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;
use uuid::Uuid;

use crate::config::Policies;
use crate::web::header::files::HeaderFiles;

/// Settings that stay as they are at the start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Base URL of authentik for the outpost, ending in `/`.
    pub host: Url,
    /// Whether `host` stands for a Unix socket.
    pub is_socket: bool,
    /// Base URL of authentik for browsers, if it differs.
    pub host_browser: Option<Url>,
    /// The outpost to serve; the token's only one if `None`.
    pub outpost_id: Option<Uuid>,
    /// Time between two fetches of the configuration; authentik's value if `None`.
    pub refresh_interval: Option<Duration>,
    /// Maximum random delay of a refresh that authentik requests.
    pub refresh_jitter: Duration,
    /// Longest pause between attempts to connect.
    pub reconnect_backoff_max: Duration,
    /// Whether TLS is served, so that certificates are needed.
    pub certificates: bool,
    /// Where the last good configuration is kept; in the store, if that is shared, if `None`.
    pub cache_file: Option<PathBuf>,
    /// Heartbeat interval of the websocket.
    pub heartbeat_interval: Duration,
    /// Interval of introspecting all sessions.
    pub introspection_interval: Duration,
    /// Introspections in a second, at most.
    pub introspections_per_second: u32,
}

/// Settings that may change while the program runs.
#[derive(Debug, Clone)]
pub struct Reloadable {
    /// API token of the outpost.
    pub token: SecretString,
    /// What the operator set for single applications.
    pub policies: Policies,
    /// Whether applications get the access token where `policies` say nothing.
    pub send_jwt: bool,
    /// When authentik authorizes sessions again, where `policies` say nothing; never if `None`.
    pub reauthorize_interval: Option<Duration>,
    /// Header values that stand in files.
    pub header_files: HeaderFiles,
}

impl Reloadable {
    /// Whether the token is the same.
    #[must_use]
    pub fn has_token_of(&self, other: &Self) -> bool {
        self.token.expose_secret() == other.token.expose_secret()
    }
}
