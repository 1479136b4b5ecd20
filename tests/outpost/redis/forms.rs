//! The forms that Redis comes in: with TLS and a restricted user, behind Sentinels, as a cluster.

use std::process::Stdio;
use std::time::Duration;

use authentik_proxy::model::{Hint as _, SessionId};
use authentik_standin::nginx::free_address;
use rcgen::{CertificateParams, KeyPair};
use tokio::process::Command;

use super::conformance::{APP, Replicas, becomes, insert, is_live, suite};
use super::server::{self, Server};
use crate::support::within;

const LARGE: u64 = 1 << 20;

/// What the user of docs/RELIABILITY.md may do.
const PERMISSIONS: &str = "~authentik-proxy:* &authentik-proxy:* +ping +get +set +eval +publish \
    +subscribe +zadd +zrange +zrem +zremrangebyscore +zcard +expire +exists +del +strlen";

/// A server that wants TLS and a user, and the file of its authority.
async fn with_tls() -> (Server, String, String) {
    let key = KeyPair::generate().expect("a key");
    let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = CertificateParams::new(names).expect("names");
    let certificate = certificate.self_signed(&key).expect("a certificate");
    let directory = tempfile::tempdir().expect("a directory").keep();
    let file = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    };
    let certificate = file("certificate.pem", certificate.pem());
    let key = file("key.pem", key.serialize_pem());
    let port = free_address().expect("a port").port().to_string();
    let mut arguments = vec![
        "--tls-port",
        &port,
        "--tls-auth-clients",
        "no",
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--user",
        "default",
        "off",
        "--user",
        "outpost",
        "on",
        ">secret pass",
    ];
    arguments.extend(PERMISSIONS.split_whitespace());
    (Server::start(&arguments).await, port, certificate)
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn redis_with_tls_and_a_restricted_user_conforms() {
    let (_server, port, authority) = with_tls().await;
    let settings = [
        ("AUTHENTIK_REDIS__HOST", "localhost"),
        ("AUTHENTIK_REDIS__PORT", &port),
        ("AUTHENTIK_REDIS__USERNAME", "outpost"),
        ("AUTHENTIK_REDIS__PASSWORD", "secret pass"),
        ("AUTHENTIK_REDIS__TLS", "true"),
        ("AUTHENTIK_REDIS__TLS_CA_CERT", &authority),
    ];
    suite(|cache_bytes| Replicas::at_redis(&settings, cache_bytes)).await;

    let without = |name: &str| {
        let settings = settings.iter().filter(|(setting, _)| *setting != name);
        settings.copied().collect::<Vec<_>>()
    };
    let fails = async |settings: &[(&str, &str)], reason: &str| {
        let replicas = Replicas::at_redis(settings, LARGE);
        let error = replicas.here.load(&SessionId::random(), &APP).await;
        let error = error.expect_err("not usable").to_string();
        assert!(error.contains(reason), "{error}");
    };
    fails(&without("AUTHENTIK_REDIS__TLS_CA_CERT"), "TLS failed").await;
    fails(&without("AUTHENTIK_REDIS__PASSWORD"), "NOAUTH").await;
    let mut unverified = without("AUTHENTIK_REDIS__TLS_CA_CERT");
    unverified.push(("AUTHENTIK_REDIS__TLS_REQS", "none"));
    let replicas = Replicas::at_redis(&unverified, LARGE);
    let id = insert(&replicas.here, "alice", None, 100).await;
    assert!(is_live(&replicas.there, &id).await);
}

/// Starts a Sentinel that watches `master`, with `more` lines in its configuration.
pub(super) async fn sentinel(master: &Server, more: &str) -> Server {
    let address = free_address().expect("a port");
    let directory = tempfile::tempdir().expect("a directory").keep();
    let config = directory.join("sentinel.conf");
    let text = format!(
        "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n{more}",
        address.port(),
        directory.display(),
        master.port(),
    );
    std::fs::write(&config, text).expect("written");
    let process = Command::new("redis-server")
        .arg(&config)
        .arg("--sentinel")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis is installed");
    Server::adopt(process, address).await
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn redis_behind_sentinels_conforms_and_survives_its_primary() {
    let mut primary = Server::start(&[]).await;
    let port = primary.port();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &port]).await;
    within(async {
        while !primary
            .run::<String>(&["INFO", "replication"])
            .await
            .contains("state=online")
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let sentinel = sentinel(&primary, "").await;
    let nodes = format!("127.0.0.1:1,127.0.0.1:{}", sentinel.port());
    let settings = [
        ("AUTHENTIK_PROXY_REDIS__SENTINELS", nodes.as_str()),
        ("AUTHENTIK_PROXY_REDIS__SENTINEL_MASTER", "main"),
    ];
    suite(|cache_bytes| Replicas::at_redis(&settings, cache_bytes)).await;

    let replicas = Replicas::at_redis(&settings, LARGE);
    let id = insert(&replicas.here, "alice", Some("sid"), 100).await;
    within(async {
        // The Sentinel asks the primary for its replicas.
        while sentinel
            .run::<Vec<redis::Value>>(&["SENTINEL", "REPLICAS", "main"])
            .await
            .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        while replica.run::<i64>(&["DBSIZE"]).await != primary.run::<i64>(&["DBSIZE"]).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    primary.kill().await;
    assert!(is_live(&replicas.here, &id).await, "goes on from the cache");
    becomes(&replicas.there, &id, true).await;
    let fresh = Replicas::at_redis(&settings, LARGE);
    becomes(&fresh.here, &id, true).await;
    let other = insert(&fresh.here, "bob", None, 100).await;
    becomes(&replicas.there, &other, true).await;
    fresh.here.revoke_by_sid("sid").await;
    becomes(&replicas.here, &id, false).await;
    becomes(&replicas.there, &id, false).await;
}

/// Three primaries that share the slots.
struct Cluster(Vec<Server>);

impl Cluster {
    async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let port = free_address().expect("a port").port().to_string();
            let arguments = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &port,
                "--cluster-node-timeout",
                "1000",
                "--cluster-require-full-coverage",
                "no",
            ];
            nodes.push((Server::start(&arguments).await, port));
        }
        let (first, bus) = (nodes[0].0.port(), nodes[0].1.clone());
        let ranges = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for ((node, _), (from, to)) in nodes.iter().zip(ranges) {
            node.run::<()>(&["CLUSTER", "ADDSLOTSRANGE", from, to])
                .await;
            node.run::<()>(&["CLUSTER", "MEET", "127.0.0.1", &first, &bus])
                .await;
        }
        let cluster = Self(nodes.into_iter().map(|(node, _)| node).collect());
        for node in &cluster.0 {
            within(async {
                let known = [
                    "cluster_state:ok",
                    "cluster_slots_assigned:16384",
                    "cluster_size:3",
                ];
                loop {
                    let info: String = node.run(&["CLUSTER", "INFO"]).await;
                    if known.iter().all(|known| info.contains(known)) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
            .await;
        }
        cluster
    }

    fn nodes(&self) -> String {
        let nodes = self
            .0
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port()));
        nodes.collect::<Vec<_>>().join(",")
    }

    /// The node that has the session's record.
    async fn owner(&self, id: &SessionId) -> usize {
        let slot: u16 = self.0[0].run(&["CLUSTER", "KEYSLOT", &name(id)]).await;
        usize::from(slot / 5461).min(2)
    }

    /// Moves the session's slot, with all that is in it, to another node.
    async fn move_slot(&self, id: &SessionId, from: usize, to: usize) {
        let slot: u16 = self.0[0].run(&["CLUSTER", "KEYSLOT", &name(id)]).await;
        let slot = slot.to_string();
        let ids = [self.id(from).await, self.id(to).await];
        let (source, target) = (&self.0[from], &self.0[to]);
        target
            .run::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]])
            .await;
        source
            .run::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]])
            .await;
        let names: Vec<String> = source
            .run(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"])
            .await;
        let port = target.port();
        for name in names {
            source
                .run::<()>(&["MIGRATE", "127.0.0.1", &port, &name, "0", "5000"])
                .await;
        }
        for node in [target, source] {
            node.run::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[1]])
                .await;
        }
    }

    async fn id(&self, node: usize) -> String {
        self.0[node].run(&["CLUSTER", "MYID"]).await
    }
}

fn name(id: &SessionId) -> String {
    format!("authentik-proxy:session:{}", id.key().to_text())
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_redis_cluster_conforms_and_survives_a_part_of_it() {
    let mut cluster = Cluster::start().await;
    let nodes = cluster.nodes();
    let settings = [("AUTHENTIK_PROXY_REDIS__CLUSTER", nodes.as_str())];
    suite(|cache_bytes| Replicas::at_redis(&settings, cache_bytes)).await;

    let replicas = Replicas::at_redis(&settings, LARGE);
    let mut ids: Vec<Option<SessionId>> = vec![None, None, None];
    while ids.iter().any(Option::is_none) {
        let id = insert(&replicas.here, "alice", None, 100).await;
        let owner = cluster.owner(&id).await;
        ids[owner] = Some(id);
    }
    let ids: Vec<SessionId> = ids.into_iter().flatten().collect();

    let port = cluster.0[0].port();
    let mistaken = server::settings(&port);
    let mistaken = Replicas::at_redis(&mistaken, LARGE);
    let error = mistaken
        .here
        .load(&ids[1], &APP)
        .await
        .expect_err("elsewhere");
    assert!(
        error.with_hint().contains("AUTHENTIK_PROXY_REDIS__CLUSTER"),
        "{error}"
    );

    cluster.move_slot(&ids[0], 0, 1).await;
    let fresh = Replicas::at_redis(&settings, LARGE);
    for store in [&replicas.there, &fresh.there] {
        assert!(is_live(store, &ids[0]).await, "follows a slot that moves");
    }

    cluster.0[2].kill().await;
    let fresh = Replicas::at_redis(&settings, LARGE);
    assert!(
        is_live(&replicas.here, &ids[2]).await,
        "goes on from the cache"
    );
    becomes(&fresh.here, &ids[1], true).await;
    let lost = fresh.here.load(&ids[2], &APP).await;
    assert!(lost.is_err(), "unknown is not nobody");
    cluster.0[2].start_again().await;
}
