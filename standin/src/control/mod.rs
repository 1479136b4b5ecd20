//! The handle of a running stand-in: its life and its address; what tests change and observe.

mod admin;
mod configuration;
mod observe;
mod tokens;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;
use uuid::Uuid;

use crate::builder::Builder;
use crate::server::Run;
use crate::state::Shared;

/// A running stand-in.
///
/// Clones are handles of the same server, which stops when the last one is dropped or on
/// [`shutdown`](Self::shutdown).
#[derive(Debug, Clone)]
pub struct Standin(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    tls: Option<Arc<rustls::ServerConfig>>,
    run: Mutex<Option<Run>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(run) = self
            .run
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            run.cancel();
        }
    }
}

impl Standin {
    /// The settings to start a stand-in with.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    async fn start(builder: Builder) -> io::Result<Self> {
        let listener = TcpListener::bind(builder.listen).await?;
        let tls = builder.tls.clone();
        let shared = Arc::new(Shared::new(builder, listener.local_addr()?));
        let standin = Self(Arc::new(Inner {
            shared,
            tls,
            run: Mutex::new(None),
        }));
        standin.run_on(listener);
        Ok(standin)
    }

    /// The base URL for the back channel, with the prefix and a slash at the end.
    #[must_use]
    pub fn url(&self) -> Url {
        self.shared().settings.url()
    }

    /// The address it listens on; a restart keeps it.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.shared().settings.addr
    }

    /// The outpost's API token.
    #[must_use]
    pub fn token(&self) -> String {
        self.shared().lock().token.clone()
    }

    /// The id of the outpost that serves the providers.
    #[must_use]
    pub fn outpost_id(&self) -> Uuid {
        self.shared().settings.outpost_id
    }

    /// Stops and starts again on the same port. Websockets are closed with 1012, connections are
    /// cut, everything else is kept.
    ///
    /// # Panics
    ///
    /// If another process took the port in between.
    pub async fn restart(&self) {
        self.stop().await;
        self.start_again().await.expect("the port is still free");
    }

    /// The first half of a [`restart`](Self::restart): afterwards connections are refused.
    pub async fn stop(&self) {
        let run = self
            .0
            .run
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(run) = run {
            run.stop().await;
        }
    }

    /// The second half of a [`restart`](Self::restart). Fails when the port is taken, also by
    /// this server when it was not stopped.
    pub async fn start_again(&self) -> io::Result<()> {
        self.run_on(TcpListener::bind(self.addr()).await?);
        Ok(())
    }

    /// Stops for good and waits until nothing is served any more.
    pub async fn shutdown(self) {
        self.stop().await;
    }

    fn run_on(&self, listener: TcpListener) {
        let tls = self.0.tls.clone().map(TlsAcceptor::from);
        let run = Run::start(listener, tls, Arc::clone(&self.0.shared));
        *self.0.run.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }
}

impl Builder {
    /// Binds the listener and starts to serve on the current tokio runtime.
    ///
    /// Fails when the address cannot be bound.
    pub async fn start(self) -> io::Result<Standin> {
        Standin::start(self).await
    }
}
