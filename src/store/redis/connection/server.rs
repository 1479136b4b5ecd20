//! Addresses and credentials of Redis, and how connections to it are opened.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo as _, Pipeline,
    RedisConnectionInfo, RedisFuture, RedisResult, TlsCertificates, TlsMode, Value,
};
use secrecy::ExposeSecret as _;

use crate::config::{self, Node, RedisTopology, TlsReqs};
use crate::store::error::SetupError;

/// A stand-alone server, a primary behind Sentinels, or a cluster.
pub struct Server {
    config: config::Redis,
    ca: Option<Vec<u8>>,
    /// Index of the cluster node to subscribe at next.
    next: AtomicUsize,
}

/// An open connection. Clones share it.
#[derive(Clone)]
pub(in crate::store::redis) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Server {
    /// Reads the CA certificates; does not connect.
    pub fn new(config: config::Redis) -> Result<Self, SetupError> {
        // The library asks rustls for the process's provider; there is no other than this one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = match &config.options.tls_ca_cert {
            Some(path) if config.options.tls => {
                let error = |reason: String| SetupError {
                    path: path.clone(),
                    reason,
                };
                let pem = std::fs::read(path).map_err(|cause| error(cause.to_string()))?;
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(pem.clone()),
                };
                let placeholder = ConnectionAddr::TcpTls {
                    host: String::new(),
                    port: 0,
                    insecure: false,
                    tls_params: None,
                };
                Client::build_with_tls(placeholder, certificates)
                    .map_err(|cause| error(cause.to_string()))?;
                Some(pem)
            }
            _ => None,
        };
        let next = AtomicUsize::new(0);
        Ok(Self { config, ca, next })
    }

    /// Time-out of one command.
    pub(in crate::store::redis) fn timeout(&self) -> Duration {
        self.config.options.command_timeout
    }

    /// Whether Redis is a cluster, whose client retries at other nodes.
    pub(in crate::store::redis) fn is_cluster(&self) -> bool {
        matches!(self.config.topology, RedisTopology::Cluster(_))
    }

    /// Opens a connection and checks it with a `PING`.
    pub(in crate::store::redis) async fn connect(&self) -> RedisResult<Link> {
        // The caller sets the time-out of each command.
        let options = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.config.options.command_timeout))
            .set_response_timeout(None);
        let mut link = match &self.config.topology {
            RedisTopology::Single(node) => {
                let client = self.client(node)?;
                Link::Single(
                    client
                        .get_multiplexed_async_connection_with_config(&options)
                        .await?,
                )
            }
            RedisTopology::Sentinel { .. } => {
                let client = self.sentinel()?.async_get_client().await?;
                Link::Single(
                    client
                        .get_multiplexed_async_connection_with_config(&options)
                        .await?,
                )
            }
            RedisTopology::Cluster(nodes) => {
                return Ok(Link::Cluster(
                    self.cluster(nodes)?.get_async_connection().await?,
                ));
            }
        };
        redis::cmd("PING").exec_async(&mut link).await?;
        Ok(link)
    }

    /// Opens a subscription. In a cluster every node delivers the messages.
    pub(in crate::store::redis) async fn subscribe(&self, channel: &str) -> RedisResult<PubSub> {
        let client = match &self.config.topology {
            RedisTopology::Single(node) => self.client(node)?,
            RedisTopology::Sentinel { .. } => self.sentinel()?.async_get_client().await?,
            RedisTopology::Cluster(nodes) => {
                let next = self.next.fetch_add(1, Ordering::Relaxed);
                self.client(&nodes[next % nodes.len()])?
            }
        };
        let mut pubsub = client.get_async_pubsub().await?;
        pubsub.subscribe(channel).await?;
        Ok(pubsub)
    }

    fn client(&self, node: &Node) -> RedisResult<Client> {
        let info = self
            .address(node)
            .into_connection_info()?
            .set_tcp_settings(tcp())
            .set_redis_settings(self.login());
        match &self.ca {
            Some(_) if self.verifies() => Client::build_with_tls(info, self.certificates()),
            _ => Client::open(info),
        }
    }

    fn sentinel(&self) -> RedisResult<SentinelClient> {
        let RedisTopology::Sentinel {
            nodes,
            master,
            username,
            password,
        } = &self.config.topology
        else {
            unreachable!("asked for with Sentinels only");
        };
        let addresses = nodes.iter().map(|node| self.address(node));
        let mut builder =
            SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
                .set_client_to_redis_db(i64::from(self.config.options.db))
                .set_client_to_redis_tcp_settings(tcp())
                .set_client_to_sentinel_tcp_settings(tcp());
        if let Some(mode) = self.tls_mode() {
            builder = builder.set_client_to_redis_tls_mode(mode);
            builder = builder.set_client_to_sentinel_tls_mode(mode);
            if self.ca.is_some() && self.verifies() {
                builder = builder.set_client_to_redis_certificates(self.certificates());
                builder = builder.set_client_to_sentinel_certificates(self.certificates());
            }
        }
        if let Some(username) = &self.config.options.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &self.config.options.password {
            builder = builder.set_client_to_redis_password(password.expose_secret());
        }
        if let Some(username) = username {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = password {
            builder = builder.set_client_to_sentinel_password(password.expose_secret());
        }
        builder.build()
    }

    fn cluster(&self, nodes: &[Node]) -> RedisResult<ClusterClient> {
        let timeout = self.config.options.command_timeout;
        let addresses = nodes.iter().map(|node| self.address(node));
        let mut builder = ClusterClientBuilder::new(addresses)
            .connection_timeout(timeout)
            .response_timeout(timeout)
            .overall_response_timeout(Some(2 * timeout))
            .retries(3)
            .min_retry_wait(10)
            .max_retry_wait(200)
            .tcp_settings(tcp());
        if let Some(mode) = self.tls_mode() {
            builder = builder.tls(mode);
            if self.ca.is_some() && self.verifies() {
                builder = builder.certs(self.certificates());
            }
        }
        if let Some(username) = &self.config.options.username {
            builder = builder.username(username);
        }
        if let Some(password) = &self.config.options.password {
            builder = builder.password(password.expose_secret());
        }
        builder.build()
    }

    fn address(&self, node: &Node) -> ConnectionAddr {
        let (host, port) = (node.host.clone(), node.port);
        if self.config.options.tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: !self.verifies(),
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        }
    }

    fn login(&self) -> RedisConnectionInfo {
        let mut login = RedisConnectionInfo::default().set_db(i64::from(self.config.options.db));
        if let Some(username) = &self.config.options.username {
            login = login.set_username(username);
        }
        if let Some(password) = &self.config.options.password {
            login = login.set_password(password.expose_secret());
        }
        login
    }

    fn verifies(&self) -> bool {
        self.config.options.tls_reqs == TlsReqs::Required
    }

    fn tls_mode(&self) -> Option<TlsMode> {
        self.config.options.tls.then_some(if self.verifies() {
            TlsMode::Secure
        } else {
            TlsMode::Insecure
        })
    }

    fn certificates(&self) -> TlsCertificates {
        TlsCertificates {
            client_tls: None,
            root_cert: self.ca.clone(),
        }
    }
}

/// The address as configured, without credentials.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &[Node]| {
            let nodes: Vec<_> = nodes.iter().map(ToString::to_string).collect();
            nodes.join(", ")
        };
        match &self.config.topology {
            RedisTopology::Single(node) => write!(f, "{node}"),
            RedisTopology::Sentinel { nodes, master, .. } => {
                write!(f, "{master:?} of the Sentinels {}", list(nodes))
            }
            RedisTopology::Cluster(nodes) => write!(f, "the cluster of {}", list(nodes)),
        }
    }
}

fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
