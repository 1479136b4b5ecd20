//! Logging, shutdown and trusted certificates.

use std::path::PathBuf;
use std::time::Duration;

use super::definition::{Fallback, Setting, Source, Typed, section};
use super::values::LogLevel;
use crate::config::settings::parse::parser::{LEVEL, PATH, Parser, ZERO, duration};

section! {
    /// Logging.
    pub struct Log in "log" {
        /// Log level until authentik sets one: trace, debug, info, warning or error
        level: LogLevel = LEVEL, default("info"), vendor("AUTHENTIK_LOG_LEVEL");
    }
}

section! {
    /// Graceful shutdown.
    pub struct Shutdown in "shutdown" {
        /// How long readiness fails on SIGTERM before listeners close
        delay: Duration = duration(ZERO), default("2s");
        /// Timeout for draining connections after that
        ///
        /// Together with `shutdown.delay` less than the pod's terminationGracePeriodSeconds.
        drain_timeout: Duration = duration(ZERO), default("25s"), was("shutdown.timeout");
    }
}

section! {
    /// Additional trusted certificates.
    pub struct Tls in "tls" {
        /// PEM file with additional CA certificates, for authentik and applications
        ca_file: PathBuf = PATH, optional, reloadable(true);
    }
}
