//! From the layers to a [`Config`], with the checks that concern several settings.

use std::collections::HashSet;

use super::layers::Reader;
use super::settings::{
    Authentik, Control, Discover, ForwardAuth, Identity, Listen, Log, RedisOptions, RedisServers,
    RedisTopology, Session, SessionStore, Shutdown, Source as _, Tls, Upstream,
};
use super::{Config, Discovery, Egress, Redis, base_url, traces, warnings};
use crate::model::Diagnostic;

/// Maximum of `session.cookie_max_bytes`: eight cookies.
const MAX_COOKIE_BYTES: usize = 28 << 10;

/// `None` only if a problem was recorded.
pub(super) fn config(reader: &mut Reader<'_>) -> Option<Config> {
    let authentik = Authentik::read(reader);
    let listen = listen(reader)?;
    let forward_auth = ForwardAuth::read(reader)?;
    let upstream = Upstream::read(reader)?;
    let log = Log::read(reader)?;
    let control = Control::read(reader)?;
    let session = Session::read(reader)?;
    let identity = Identity::read(reader)?;
    let shutdown = Shutdown::read(reader)?;
    let redis = redis(reader);
    check_session_store(reader, &session, redis.is_some());
    // Read, so that mistakes are found, and not used.
    let redis = redis.filter(|_| matches!(session.store, None | Some(SessionStore::Redis)));
    let tls = Tls::read(reader)?;
    let egress = Egress::read(reader, authentik.as_ref().map(|authentik| &authentik.host));
    let traces = traces::read(reader);
    traces::check_protocol(reader, traces);
    let discover = discover(reader)?;
    let mut config = Config {
        authentik: authentik?,
        listen,
        forward_auth,
        upstream,
        log,
        control,
        session,
        identity,
        shutdown,
        redis,
        tls,
        egress,
        traces,
        discover,
        applications: reader.take_policies(),
        in_kubernetes: reader.environment("KUBERNETES_SERVICE_HOST").is_some(),
        warnings: reader.take_warnings(),
        origin: reader.origin(),
    };
    warnings::add(&mut config, reader);
    Some(config)
}

/// The settings of the command `discover`, which needs a token of its own and none of an outpost.
/// `None` only if a problem was recorded.
pub(super) fn discovery(reader: &mut Reader<'_>) -> Option<Discovery> {
    let host = reader.required(&Authentik::host);
    let insecure = reader.default(&Authentik::insecure);
    let outpost_id = reader.optional(&Authentik::outpost_id);
    let request_timeout = reader.default(&Control::request_timeout);
    let tls = Tls::read(reader)?;
    let egress = Egress::read(reader, host.as_ref());
    let log = Log::read(reader)?;
    let problems = reader.problem_count();
    let discover = discover(reader);
    let token = discover
        .as_ref()
        .and_then(|discover| discover.token.clone());
    if token.is_none() && reader.problem_count() == problems {
        reader.missing(&Discover::token.setting);
    }
    Some(Discovery {
        host: base_url(&host?),
        token: token?,
        insecure,
        outpost_id,
        request_timeout,
        egress,
        tls,
        log,
        discover: discover?,
        origin: reader.origin(),
    })
}

fn listen(reader: &mut Reader<'_>) -> Option<Listen> {
    let listen = Listen::read(reader)?;
    if listen.http.is_empty() && listen.https.is_empty() {
        reader.problem(
            Diagnostic::new("listen.http, listen.https: both are \"none\"")
                .hinting("at least one must listen"),
        );
    }
    let addresses = [
        &listen.http,
        &listen.https,
        &listen.metrics,
        &listen.forward_auth,
        &listen.ext_authz,
    ];
    let mut used = HashSet::new();
    for address in addresses.into_iter().flatten() {
        // Port 0 is a different free port each time.
        if address.port() != 0 && !used.insert(address) {
            reader.problem(format!("listen: {address} is given more than once"));
        }
    }
    Some(listen)
}

fn check_session_store(reader: &mut Reader<'_>, session: &Session, has_redis: bool) {
    if session.store == Some(SessionStore::Redis) && !has_redis {
        reader.problem(
            Diagnostic::new("session.store: is redis, and no Redis is configured")
                .hinting("set AUTHENTIK_REDIS__HOST, Sentinels or a cluster"),
        );
    }
    if session.cookie_max_bytes > MAX_COOKIE_BYTES {
        reader.problem("session.cookie_max_bytes: must be at most 28KiB");
    }
    if session.store == Some(SessionStore::Cookie) && session.idle_timeout.is_some() {
        reader.problem(
            Diagnostic::new(
                "session.idle_timeout: a session in a cookie has no record of its last use",
            )
            .hinting("unset it, or set session.store to memory or redis"),
        );
    }
}

fn discover(reader: &mut Reader<'_>) -> Option<Discover> {
    let discover = Discover::read(reader)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !discover.owner.chars().all(is_plain) {
        reader.problem("discover.owner: may have letters, digits, \".\", \"_\" and \"-\" only");
    }
    Some(discover)
}

/// Everything is read even without a server, so that a mistake is never silent.
fn redis(reader: &mut Reader<'_>) -> Option<Redis> {
    let servers = RedisServers::read(reader)?;
    let options = RedisOptions::read(reader)?;
    let topology = servers.topology().unwrap_or_else(|problem| {
        reader.problem(problem);
        None
    });
    if matches!(topology, Some(RedisTopology::Cluster(_))) && options.db != 0 {
        reader.problem("redis.db: a cluster has database 0 only");
    }
    Some(Redis {
        topology: topology?,
        options,
    })
}
