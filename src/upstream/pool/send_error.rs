//! Why a request could not be sent, or was not answered.

use hyper_util::client::legacy;

use super::line_error::LineError;

/// Why a request could not be sent, or was not answered.
pub(crate) enum SendError {
    /// No connection could be opened.
    Connect(Box<dyn std::error::Error + Send + Sync>),
    /// The connection ended.
    Connection {
        /// How.
        error: hyper::Error,
        /// Whether it had served another request before.
        reused: bool,
        /// The line of the response that was refused, if it was found.
        line: Option<LineError>,
    },
    /// Either of them, from the pool of HTTP/2 connections.
    Pool(legacy::Error),
}
