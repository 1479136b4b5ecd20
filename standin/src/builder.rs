//! How a stand-in is configured before it starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use url::Url;
use uuid::Uuid;

use crate::dialect::Dialect;
use crate::random;

/// Settings of a [`Standin`](crate::Standin), from [`Standin::builder`](crate::Standin::builder).
#[derive(Debug, Clone)]
pub struct Builder {
    pub(crate) dialect: Dialect,
    pub(crate) prefix: String,
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) browser_url: Option<Url>,
    pub(crate) embedded: bool,
    pub(crate) outpost_id: Uuid,
    pub(crate) token: String,
    pub(crate) refresh_interval_s: i64,
    pub(crate) log_level: String,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            dialect: Dialect::default(),
            prefix: "/".to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            browser_url: None,
            embedded: false,
            outpost_id: Uuid::new_v4(),
            token: random::alphanumeric(60),
            refresh_interval_s: 300,
            log_level: "debug".to_owned(),
        }
    }
}

impl Builder {
    /// Behaves as that server; the default is the newer one.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Serves everything below this path, such as `/auth/`; slashes at the ends are optional.
    #[must_use]
    pub fn path_prefix(mut self, prefix: &str) -> Self {
        let inner = prefix.trim_matches('/');
        self.prefix = if inner.is_empty() {
            "/".to_owned()
        } else {
            format!("/{inner}/")
        };
        self
    }

    /// Listens on this address; the default is a free port of 127.0.0.1.
    #[must_use]
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.listen = addr;
        self
    }

    /// Serves https and wss with this configuration.
    #[must_use]
    pub fn tls(mut self, config: Arc<rustls::ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// The `authentik_host` of the outpost's configuration; the default is the server's own URL.
    #[must_use]
    pub fn browser_url(mut self, url: Url) -> Self {
        self.browser_url = Some(url);
        self
    }

    /// Marks the outpost as the one that authentik embeds in itself.
    #[must_use]
    pub fn managed_embedded(mut self) -> Self {
        self.embedded = true;
        self
    }

    /// The outpost's id; the default is random.
    #[must_use]
    pub fn outpost_id(mut self, id: Uuid) -> Self {
        self.outpost_id = id;
        self
    }

    /// The outpost's API token; the default is random.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        token.clone_into(&mut self.token);
        self
    }

    /// The outpost's refresh interval in seconds; the default is 300.
    #[must_use]
    pub fn refresh_interval_s(mut self, seconds: i64) -> Self {
        self.refresh_interval_s = seconds;
        self
    }

    /// The outpost's log level; the default is `debug`, as recorded.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.log_level);
        self
    }
}
