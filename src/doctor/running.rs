//! The server that runs here already, as it says of itself: what it read when it started may differ
//! from what the doctor reads now.

use std::net::SocketAddr;
use std::time::Duration;

use super::local;
use super::report::Report;
use crate::admin::Status;
use crate::model::Outpost;
use crate::web::trust::Trust;

const CHECK: &str = "server";
const RESTART: &str = "where what is below is in order, restart it: settings and secret files are read at its start only";

/// For how long a server may be without configuration or Redis before that is told.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks the server behind a metrics listener. `None` if it is not ours, or of another version.
pub(super) async fn ask(address: SocketAddr, trust: &Trust, report: &mut Report) -> Option<Status> {
    let mut running = status(address, trust).await?;
    if !running.configuration.loaded || !running.store.reachable {
        // It may just be starting.
        tokio::time::sleep(PATIENCE).await;
        running = status(address, trust).await?;
    }
    let at = format!("the server at {address}");
    if !running.configuration.loaded {
        let found = format!("{at} has no configuration from authentik, and answers nobody");
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
    let answer = local::ask("http", address, "/status", trust).await.ok()?;
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
