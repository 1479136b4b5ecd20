//! The options of `doctor`.

use clap::Args;

/// What `doctor` was called with.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Arguments {
    /// Diagnose this application only
    #[arg(long, value_name = "SLUG")]
    pub app: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Follow the next login at the running server, step by step
    ///
    /// Ends with the login: exit code 0 if it worked, 1 if it failed. The server needs
    /// `listen.watch_socket`; with several replicas, the one that serves the login.
    #[arg(long)]
    pub watch: bool,
    /// With --watch, follow logins at this host only
    #[arg(long, value_name = "HOST", requires = "watch")]
    pub host: Option<String>,
}
