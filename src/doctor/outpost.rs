//! The session store, the token, the outpost that it belongs to, the websocket.

use std::sync::Arc;

use super::report::{Report, Status};
use crate::config::{Config, is_internal};
use crate::control::{Listed, Probe, Stored};
use crate::model::Outpost;
use crate::route::Snapshot;
use crate::store::MemoryPolicy;

/// Oldest version of authentik that this program was tried with.
const OLDEST_TESTED: (u32, u32) = (2025, 6);
/// Newest one.
const NEWEST_TESTED: (u32, u32) = (2026, 5);

/// Looks at token and outpost, and loads the configuration.
pub(super) async fn load(
    config: &Config,
    probe: &Probe,
    report: &mut Report,
) -> Option<Arc<Snapshot>> {
    let listed = match probe.outposts().await {
        Ok(listed) => listed,
        Err(error) => {
            let check = if error.refuses_token() {
                "token"
            } else {
                "authentik"
            };
            report.diagnostic(check, Status::Failed, &error);
            return None;
        }
    };
    report.ok("authentik", "it is authentik that answers");
    report.ok("token", "accepted");
    let snapshot = match probe.load().await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            report.diagnostic("outpost", Status::Failed, &error);
            return None;
        }
    };
    let outpost = snapshot.outpost.as_ref()?;
    served(config, outpost, &listed, report);
    let own = listed.iter().filter(|listed| listed.id == outpost.id);
    for provider in own.flat_map(|own| &own.without_application) {
        report.failed(
            "outpost",
            format!("provider {provider:?} is assigned, but has no application: it is not served"),
            "in authentik: Applications > Applications > create one with this provider",
        );
    }
    recorded_host(config, outpost, report);
    if !outpost.embedded {
        embedded(config, probe, &listed, report).await;
    }
    version(outpost.version.as_deref(), report);
    Some(snapshot)
}

/// Without `AUTHENTIK_HOST_BROWSER`, requests to authentik name the host of its own record of the outpost.
fn recorded_host(config: &Config, outpost: &Outpost, report: &mut Report) {
    let (host, browsers) = (&config.authentik.host, &config.authentik.host_browser);
    let recorded = outpost.authentik_host.as_ref();
    let Some(recorded) = recorded.filter(|it| is_internal(it) && it.origin() != host.origin())
    else {
        return;
    };
    if browsers.is_none() && !is_internal(host) {
        report.warning(
            "outpost",
            format!("its authentik_host at authentik is {recorded}, which only the cluster knows: requests to {host} name it as their host, and what answers there may refuse that"),
            format!("correct authentik_host in the outpost's configuration at authentik (Applications > Outposts > edit > Advanced settings), or set AUTHENTIK_HOST_BROWSER={host}"),
        );
    }
}

/// Which of the outposts that the token lists is served.
fn served(config: &Config, outpost: &Outpost, listed: &[Listed], report: &mut Report) {
    let Outpost { name, id, .. } = outpost;
    let others = listed.iter().filter(|other| other.id != *id);
    let others: Vec<_> = others.collect();
    let beside = names(&others);
    if outpost.embedded {
        let found =
            format!("{name:?} is the embedded outpost, which authentik's server serves as well");
        let own = others.iter().filter(|o| o.proxies && !o.embedded);
        match own.copied().collect::<Vec<_>>().as_slice() {
            [] => report.warning(
                "outpost",
                found,
                "create an outpost of its own (Applications > Outposts) and use its token",
            ),
            [other] => report.failed(
                "outpost",
                format!("{found}; the token lists {beside}, too"),
                format!("set AUTHENTIK_OUTPOST_ID={}", other.id),
            ),
            several => report.failed(
                "outpost",
                format!("{found}; the token lists {beside}, too"),
                format!("set AUTHENTIK_OUTPOST_ID to one of {}", names(several)),
            ),
        }
    } else if !others.is_empty() && config.authentik.outpost_id.is_none() {
        report.warning(
            "outpost",
            format!(
                "{name:?} ({id}) is served, the first in the list; the token lists {beside}, too"
            ),
            format!("set AUTHENTIK_OUTPOST_ID={id} if it is the right one"),
        );
    } else {
        let others = match others.len() {
            0 => String::new(),
            _ => format!("; the token lists {beside}, too"),
        };
        report.ok("outpost", format!("{name:?} ({id}) is served{others}"));
    }
}

fn names(outposts: &[&Listed]) -> String {
    let names = outposts.iter().map(|o| format!("{:?} ({})", o.name, o.id));
    names.collect::<Vec<_>>().join(", ")
}

/// What authentik's embedded outpost still holds, if that can be seen.
async fn embedded(config: &Config, probe: &Probe, listed: &[Listed], report: &mut Report) {
    let check = "embedded outpost";
    let seen = listed.iter().find(|outpost| outpost.embedded).cloned();
    let seen = match (seen, &config.discover.token) {
        (None, Some(token)) => match probe.embedded(token).await {
            Ok(seen) => seen,
            Err(error) => return report.skipped(check, error.to_string()),
        },
        (seen, _) => seen,
    };
    match seen {
        None => report.skipped(
            check,
            "whether it still holds applications is unknown with this token; set AUTHENTIK_PROXY_DISCOVER__TOKEN",
        ),
        Some(outpost) if outpost.providers.is_empty() => report.ok(check, "holds no provider"),
        Some(outpost) => report.warning(
            check,
            format!(
                "still assigned to the embedded outpost {:?}: {}",
                outpost.name,
                outpost.providers.join(", ")
            ),
            "unless that is meant, move them: Applications > Outposts > edit both outposts, or authentik-proxy discover --apply",
        ),
    }
}

/// Looks at the session store.
pub(super) async fn store(probe: &Probe, report: &mut Report) {
    match probe.store().await {
        Ok(Stored::Shared { memory }) => {
            report.ok("redis", "can be written and read");
            redis_memory(&memory, report);
        }
        Ok(Stored::Cookies) => report.ok("session store", "browsers have their sessions in cookies"),
        Ok(Stored::Memory) => report.warning(
            "redis",
            "not configured: sessions are in the memory of each process, replicas do not share them",
            "set AUTHENTIK_REDIS__HOST, unless there is one replica and sessions may be lost at a restart",
        ),
        Err(error) => report.diagnostic("redis", Status::Failed, &error),
    }
}

fn redis_memory(memory: &MemoryPolicy, report: &mut Report) {
    let check = "redis memory";
    match memory {
        MemoryPolicy::Limited => report.ok(check, "it evicts nothing when it is full"),
        MemoryPolicy::Evicting(policy) => report.warning(
            check,
            format!("when it is full, it evicts sessions ({policy}): users are signed out"),
            "set maxmemory-policy to noeviction, and maxmemory to what is needed (about 2.6 KB a session)",
        ),
        MemoryPolicy::Unlimited => report.warning(
            check,
            "it has no maxmemory: where its container has a limit, it is killed at that, with all sessions",
            "set maxmemory to three quarters of the container's limit, and maxmemory-policy to noeviction",
        ),
        MemoryPolicy::Unknown(reason) => report.skipped(
            check,
            format!("whether it evicts sessions is unknown (that takes +info): {reason}"),
        ),
    }
}

/// Looks at the websocket.
pub(super) async fn websocket(probe: &Probe, snapshot: &Snapshot, report: &mut Report) {
    let Some(outpost) = &snapshot.outpost else {
        return;
    };
    match probe.websocket(outpost).await {
        Ok(()) => report.ok(
            "websocket",
            "connected, and the hello was acknowledged; for a minute authentik shows this check as another instance",
        ),
        Err(error) => report.diagnostic("websocket", Status::Failed, &error),
    }
}

fn version(reported: Option<&str>, report: &mut Report) {
    let Some(text) = reported else {
        return report.skipped("version", "this token may not read it");
    };
    let mut numbers = text.split('.').map(str::parse::<u32>);
    let found = match (numbers.next(), numbers.next()) {
        (Some(Ok(year)), Some(Ok(month))) => Some((year, month)),
        _ => None,
    };
    match found {
        Some(found) if found < OLDEST_TESTED => report.warning(
            "version",
            format!("authentik {text} is older than any that this program was tried with"),
            format!(
                "upgrade to {}.{} or later",
                OLDEST_TESTED.0, OLDEST_TESTED.1
            ),
        ),
        Some(found) if found > NEWEST_TESTED => report.ok(
            "version",
            format!("authentik {text}, newer than any that this program was tried with"),
        ),
        Some(_) => report.ok("version", format!("authentik {text}")),
        None => report.skipped("version", format!("authentik calls it {text:?}")),
    }
}
