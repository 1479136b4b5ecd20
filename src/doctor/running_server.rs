//! The server that runs here already, as it says of itself: what it read when it started may differ
//! from what the doctor reads now.

use std::net::SocketAddr;
use std::time::Duration;

use super::local_request;
use super::report::Report;
use crate::admin::Status;
use crate::model::{Dialect, Dialects, Outpost};
use crate::web::client::trust::Trust;

const CHECK: &str = "server";
const RESTART: &str = "where what is below is in order, restart it: settings and secret files are read at its start only";

/// For how long a server may be without configuration or Redis before that is reported.
const STARTUP_TIME: Duration = Duration::from_secs(3);

/// Asks the server behind a metrics listener. `None` if it is no outpost, or one of another version.
pub(super) async fn ask(address: SocketAddr, trust: &Trust, report: &mut Report) -> Option<Status> {
    let mut running = status(address, trust).await?;
    if !running.configuration.loaded || !running.store.reachable {
        // It may just be starting.
        tokio::time::sleep(STARTUP_TIME).await;
        running = status(address, trust).await?;
    }
    let at = format!("the server at {address}");
    if !running.configuration.loaded {
        let found = format!("{at} has no configuration from authentik, and serves no request");
        report.failed(CHECK, found, RESTART);
    } else if !running.store.reachable {
        report.failed(CHECK, format!("{at} does not reach Redis"), RESTART);
    } else if running.configuration.stale {
        let found =
            format!("authentik does not answer {at}, which serves the last good configuration");
        report.failed(CHECK, found, RESTART);
    } else if !running.websocket.connected {
        let found =
            format!("the websocket of {at} is not connected: changes and sign-outs reach it late");
        report.warning(CHECK, found, RESTART);
    } else if running.ready {
        report.ok(CHECK, format!("{at} is ready"));
    } else {
        report.skipped(CHECK, format!("{at} is about to stop"));
    }
    Some(running)
}

async fn status(address: SocketAddr, trust: &Trust) -> Option<Status> {
    let answer = local_request::get("http", address, "/status", trust)
        .await
        .ok()?;
    serde_json::from_slice(answer.body()).ok()
}

/// Whether it serves the outpost that the settings lead to.
pub(super) fn compare(running: &Status, meant: &Outpost, report: &mut Report) {
    let served = running.outpost.as_ref();
    let Some(served) = served.filter(|served| served.id != meant.id) else {
        return;
    };
    let found = format!(
        "it serves the outpost {:?} ({}), and the settings lead to {:?} ({})",
        served.name, served.id, meant.name, meant.id
    );
    let fix = "restart it, so that it reads these settings";
    report.failed(CHECK, found, fix);
}

/// The authorization requests that it has seen: dialects that none was in, and requests that do not
/// show by which host a reverse proxy routed.
pub(super) fn authorizations(running: &Status, dialects: Dialects, report: &mut Report) {
    const CHECK: &str = "forward auth";
    let seen = |dialect: &str| {
        let mut counted = running.forward_auth.iter();
        counted.any(|counted| counted.dialect == dialect)
    };
    let names = |used: bool| {
        let names = dialects.iter().map(Dialect::as_str);
        names
            .filter(|name| seen(name) == used)
            .collect::<Vec<_>>()
            .join(",")
    };
    let (used, unused) = (names(true), names(false));
    if used.is_empty() {
        // It may be new, or have applications in proxy mode alone.
        return;
    }
    if unused.is_empty() {
        report.ok(CHECK, format!("dialects in use: {used}"));
    } else {
        report.ok(
            CHECK,
            format!(
                "dialects in use since the start: {used}; if no others are, AUTHENTIK_PROXY_FORWARD_AUTH__DIALECTS={used} switches off {unused}"
            ),
        );
    }
    for counted in &running.forward_auth {
        let (slug, dialect) = (&counted.application, &counted.dialect);
        if counted.unverified_hosts == 0 {
            continue;
        }
        let found = format!(
            "{} of {} authorization requests ({dialect}) do not show by which host the request was routed: one that names two hosts may pass",
            counted.unverified_hosts, counted.requests
        );
        report.warning(format!("{slug}: routed host"), found, proof(dialect));
    }
}

/// What makes a reverse proxy's requests show the host.
fn proof(dialect: &str) -> &'static str {
    match Dialect::parse(dialect) {
        Some(Dialect::IngressNginx) => {
            "append ?host=$host to the auth-url of the application's Ingress"
        }
        Some(Dialect::Caddy) => "remove header_up Host from forward_auth",
        _ => {
            "in nginx's location for authorization requests: proxy_set_header Host $host; or append ?host=$host to the URL of proxy_pass"
        }
    }
}
