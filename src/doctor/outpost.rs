//! The session store, the token, the outpost that it belongs to, the websocket.

use std::sync::Arc;

use super::fix;
use super::report::Report;
use crate::config::Config;
use crate::control::{Probe, Stored, Trouble};
use crate::route::Snapshot;

/// Oldest version of authentik that this program was tried with.
const OLDEST: (u32, u32) = (2025, 6);
/// Newest one.
const NEWEST: (u32, u32) = (2026, 2);

/// Looks at token and outpost, and loads the configuration.
pub(super) async fn load(
    config: &Config,
    probe: &Probe,
    report: &mut Report,
) -> Option<Arc<Snapshot>> {
    let listed = match probe.outposts().await {
        Ok(listed) => listed,
        Err(error) => {
            let check = match error.trouble() {
                Trouble::Token => "token",
                _ => "authentik",
            };
            report.failed(check, error.to_string(), fix(error.trouble()));
            return None;
        }
    };
    report.ok("authentik", "it is authentik that answers");
    report.ok("token", "accepted");
    let names: Vec<_> = listed
        .iter()
        .map(|outpost| format!("{:?} ({})", outpost.name, outpost.id))
        .collect();
    let snapshot = match probe.load().await {
        Ok(snapshot) => snapshot,
        Err(error) => {
            report.failed("outpost", error.to_string(), fix(error.trouble()));
            return None;
        }
    };
    let outpost = snapshot.outpost.as_ref()?;
    let name = &outpost.name;
    if outpost.embedded {
        report.warning(
            "outpost",
            format!("{name:?} is the embedded outpost, which authentik's server serves as well"),
            "create an outpost of its own (Applications > Outposts) and use its token",
        );
    } else if listed.len() > 1 && config.authentik.outpost_id.is_none() {
        report.warning(
            "outpost",
            format!("{name:?} is served; the token lists {}", names.join(", ")),
            format!("set AUTHENTIK_OUTPOST_ID={}", outpost.id),
        );
    } else {
        let id = outpost.id;
        let others = match names.len() {
            0 | 1 => String::new(),
            _ => format!("; the token lists {}", names.join(", ")),
        };
        report.ok("outpost", format!("{name:?} ({id}) is served{others}"));
    }
    version(&outpost.version, report);
    Some(snapshot)
}

/// Looks at the session store.
pub(super) async fn store(probe: &Probe, report: &mut Report) {
    match probe.store().await {
        Ok(Stored::Shared { eviction }) => {
            report.ok("redis", "can be written and read");
            match eviction.as_deref() {
                None => {}
                Some("noeviction") => report.ok("redis memory", "it gives up nothing when it is full"),
                Some(policy) => report.warning(
                    "redis memory",
                    format!("when it is full, it gives up sessions ({policy}): people are signed out"),
                    "set maxmemory-policy to noeviction, and maxmemory to what is needed (about 2.6 KiB a session)",
                ),
            }
        }
        Ok(Stored::Memory) => report.warning(
            "redis",
            "not configured: sessions are in the memory of each process, replicas do not share them",
            "set AUTHENTIK_REDIS__HOST, unless there is one replica that may forget",
        ),
        Err(error) => report.failed("redis", error.to_string(), ""),
    }
}

/// Looks at the websocket.
pub(super) async fn websocket(probe: &Probe, snapshot: &Snapshot, report: &mut Report) {
    let Some(outpost) = &snapshot.outpost else {
        return;
    };
    match probe.websocket(outpost).await {
        Ok(()) => report.ok("websocket", "connected, and the hello was acknowledged"),
        Err(error) => report.failed(
            "websocket",
            error,
            "let proxies on the way pass websockets through (Upgrade, Connection), or use the address inside of the cluster",
        ),
    }
}

fn version(text: &str, report: &mut Report) {
    let mut numbers = text.split('.').map(str::parse::<u32>);
    let found = match (numbers.next(), numbers.next()) {
        (Some(Ok(year)), Some(Ok(month))) => Some((year, month)),
        _ => None,
    };
    match found {
        Some(found) if found < OLDEST => report.warning(
            "version",
            format!("authentik {text} is older than any that this program was tried with"),
            format!("upgrade to {}.{} or later", OLDEST.0, OLDEST.1),
        ),
        Some(found) if found > NEWEST => report.ok(
            "version",
            format!("authentik {text}, newer than any that this program was tried with"),
        ),
        Some(_) => report.ok("version", format!("authentik {text}")),
        None => report.skipped("version", "authentik does not tell"),
    }
}
