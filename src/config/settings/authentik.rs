//! The connection to authentik.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;
use uuid::Uuid;

use super::definition::{Fallback, Setting, Source, Typed, section};
use crate::config::settings::parse::parser::{
    FLAG, NONZERO, PATH, Parser, SECOND, TOKEN, URL, URL_OR_SOCKET, UUID, ZERO, duration,
};

section! {
    /// Address of authentik, and the outpost's account there.
    pub struct Authentik in "authentik" {
        /// Base URL of authentik for the outpost; may have a path
        ///
        /// Best an address inside the cluster, so that requests do not pass the ingress. A socket on
        /// this host: `unix:///path`.
        host: Url = URL_OR_SOCKET, required, vendor("AUTHENTIK_HOST");
        /// Base URL of authentik for browsers, if it differs
        host_browser: Url = URL, optional, vendor("AUTHENTIK_HOST_BROWSER");
        /// API token of the outpost, from "View Deployment Info" in authentik
        token: SecretString = TOKEN, required, vendor("AUTHENTIK_TOKEN"), reloadable(true);
        /// Do not verify authentik's certificate
        ///
        /// For a private CA use `tls.ca_file` instead.
        insecure: bool = FLAG, default("false"), vendor("AUTHENTIK_INSECURE");
        /// UUID of the outpost to serve, if the token has several
        outpost_id: Uuid = UUID, optional, vendor("AUTHENTIK_OUTPOST_ID");
    }
}

section! {
    /// Configuration updates from authentik.
    pub struct Control in "control" {
        /// Interval between configuration updates
        ///
        /// Unset: authentik's value, at least 30s; 5m if it sets none.
        refresh_interval: Duration = duration(SECOND), optional;
        /// Maximum random delay before an update that authentik requests by websocket
        ///
        /// Spreads the requests of replicas. Chosen once per process. Unset: 1s with Redis; 0 without,
        /// because that replica is alone.
        refresh_jitter: Duration = duration(ZERO), optional;
        /// Heartbeat interval of the websocket
        heartbeat_interval: Duration = duration(SECOND), default("10s"), was("control.hello_interval");
        /// Maximum delay between two connection attempts
        ///
        /// The websocket is tried every 4s at least in the first minutes of an outage.
        reconnect_backoff_max: Duration = duration(SECOND), default("30s"), was("control.reconnect_max");
        /// Timeout of a request to authentik
        request_timeout: Duration = duration(NONZERO), default("10s");
        /// File for the last good configuration, encrypted
        ///
        /// The key is derived from the token. Unset: kept in Redis, if Redis is configured.
        cache_file: PathBuf = PATH, optional;
    }
}
