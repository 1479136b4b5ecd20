//! Redis, which shares sessions between replicas.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::definition::{Fallback, Setting, Source, Typed, section};
use super::values::{Node, RedisTopology, TlsReqs, WhenDown};
use crate::config::settings::parse::parser::{
    FLAG, HOST, NODES, NONZERO, PASSWORD, PATH, Parser, TEXT, TLS_REQS, WHEN_DOWN, count, duration,
};

section! {
    /// The servers, as configured: [`RedisTopology`] is made from them.
    pub(crate) struct RedisServers in "redis" {
        /// Host of Redis, which shares sessions between replicas
        ///
        /// Unset, without Sentinels and cluster: sessions are kept in memory.
        host: String = HOST, optional, vendor("AUTHENTIK_REDIS__HOST");
        /// Port of Redis
        port: u16 = count(1), default("6379"), vendor("AUTHENTIK_REDIS__PORT");
        /// Addresses of Sentinels; instead of a host
        sentinels: Vec<Node> = NODES, optional;
        /// Name of the master that the Sentinels monitor
        sentinel_master: String = TEXT, default("mymaster");
        /// User name for the Sentinels
        sentinel_username: String = TEXT, optional, reloadable(true);
        /// Password for the Sentinels
        sentinel_password: SecretString = PASSWORD, optional, reloadable(true);
        /// Addresses of some nodes of a Redis Cluster; instead of a host
        cluster: Vec<Node> = NODES, optional;
    }
}

section! {
    /// Connections to Redis, and what depends on them.
    pub struct RedisOptions in "redis" {
        /// Number of the Redis database
        db: u32 = count(0), default("0"), vendor("AUTHENTIK_REDIS__DB");
        /// User name for Redis
        username: String = TEXT, optional, vendor("AUTHENTIK_REDIS__USERNAME"), reloadable(true);
        /// Password for Redis
        password: SecretString = PASSWORD, optional, vendor("AUTHENTIK_REDIS__PASSWORD"), reloadable(true);
        /// Use TLS for connections to Redis
        tls: bool = FLAG, default("false"), vendor("AUTHENTIK_REDIS__TLS");
        /// Verification of Redis' certificate: required or none
        tls_reqs: TlsReqs = TLS_REQS, default("required"), vendor("AUTHENTIK_REDIS__TLS_REQS");
        /// PEM file with the CA certificates for Redis
        ///
        /// Unset: the system's.
        tls_ca_cert: PathBuf = PATH, optional, vendor("AUTHENTIK_REDIS__TLS_CA_CERT"), reloadable(true);
        /// Timeout of a Redis command
        command_timeout: Duration = duration(NONZERO), default("1s"), was("redis.timeout");
        /// How long to serve cached sessions unconfirmed while Redis pub/sub is down
        ///
        /// Then each is revalidated at Redis.
        revalidation_interval: Duration = duration(NONZERO), default("5s"), was("redis.revalidate");
        /// Logins while Redis is down: refuse, or keep in memory until it is back
        ///
        /// [RELIABILITY.md](RELIABILITY.md) compares them.
        when_down: WhenDown = WHEN_DOWN, default("refuse");
    }
}

impl RedisServers {
    /// Where Redis is, if it is configured once; the error names the settings that exclude each other.
    pub(crate) fn topology(self) -> Result<Option<RedisTopology>, String> {
        let topologies = [
            self.host.map(|host| {
                RedisTopology::Single(Node {
                    host,
                    port: self.port,
                })
            }),
            self.sentinels.map(|nodes| RedisTopology::Sentinel {
                nodes,
                master: self.sentinel_master,
                username: self.sentinel_username,
                password: self.sentinel_password,
            }),
            self.cluster.map(RedisTopology::Cluster),
        ];
        let mut topologies = topologies.into_iter().flatten();
        match (topologies.next(), topologies.next()) {
            (topology, None) => Ok(topology),
            (_, Some(_)) => Err(format!(
                "{}, {}, {}: only one of them can be set",
                Self::host.setting.key,
                Self::sentinels.setting.key,
                Self::cluster.setting.key
            )),
        }
    }
}
