//! Opens connections to applications, plain or TLS.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use tower_service::Service;

use crate::web::client::Connector;

/// Opens connections. The whole work, from the look-up of the name to the end of the TLS handshake,
/// has one time-out.
pub(super) struct Dialer {
    connector: Connector,
    timeout: Duration,
}

impl Dialer {
    pub(super) fn new(connector: Connector, timeout: Duration) -> Self {
        Self { connector, timeout }
    }
}

/// A [`Dialer`] of connections to one address, whatever host requests name.
#[derive(Clone)]
pub(super) struct DialerTo {
    dialer: Arc<Dialer>,
    address: Uri,
}

/// A connection, plain or TLS.
pub(super) type Stream = <Connector as Service<Uri>>::Response;
type Error = Box<dyn std::error::Error + Send + Sync>;

impl DialerTo {
    pub(super) fn new(dialer: Arc<Dialer>, address: Uri) -> Self {
        Self { dialer, address }
    }

    /// Opens a connection.
    pub(super) async fn dial(&self) -> Result<Stream, Error> {
        let mut connector = self.dialer.connector.clone();
        let connecting = connector.call(self.address.clone());
        match tokio::time::timeout(self.dialer.timeout, connecting).await {
            Ok(connected) => connected,
            Err(elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, elapsed).into()),
        }
    }
}

impl Service<Uri> for DialerTo {
    type Response = Stream;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Stream, Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // The connector is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _requested: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.dial().await })
    }
}
