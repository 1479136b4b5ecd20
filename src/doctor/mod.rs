//! `authentik-proxy doctor`: looks at everything that has to work, in the order in which it has
//! to, and says of each thing that does not what to do.

mod applications;
mod browsers;
mod certificates;
mod connectivity;
mod listeners;
mod local_request;
mod outpost;
pub mod report;
mod request_trace;
mod running_server;
pub mod watch;

use tracing::dispatcher::{self, Dispatch};
use tracing::instrument::WithSubscriber as _;

use crate::app::App;
use crate::config::{Config, ConfigErrors};
use crate::control::Probe;
use crate::telemetry::DiagnosticLayer;
use crate::web::client::trust::Trust;
use report::{Report, Status};

/// Tells that the settings cannot be used; nothing else can be looked at then.
#[must_use]
pub fn unusable(errors: &ConfigErrors) -> Report {
    let mut report = Report::default();
    for problem in errors.iter() {
        report.unusable(problem);
    }
    report
}

/// Runs every check. `only` is the slug of the single application to check; `progress` is called with
/// what is being checked.
pub async fn examine(config: &Config, only: Option<&str>, progress: impl Fn(&str)) -> Report {
    let diagnostics = DiagnosticLayer::default();
    let log = Dispatch::new(diagnostics.subscriber());
    let mut report = Report::default();
    listeners::settings(config, &mut report);
    match dispatcher::with_default(&log, || App::probe(config)) {
        Ok(probe) => look(config, &probe, &log, only, progress, &mut report).await,
        Err(error) => {
            report.unusable(&error);
            // The certificates of listeners do not matter here.
            if let Ok(trust) = Trust::load(None) {
                listeners::listeners(config, &trust, &mut report).await;
            }
            let first = "the settings have to be usable first";
            skip(
                &["redis", "authentik", "token", "outpost"],
                first,
                &mut report,
            );
            skip(&AFTER_THE_OUTPOST, first, &mut report);
        }
    }
    for logged in diagnostics.all() {
        let status = if logged.is_error {
            Status::Failed
        } else {
            Status::Warning
        };
        report.diagnostic("log", status, &logged.diagnostic);
    }
    report
}

/// Checks that need the outpost to be known.
const AFTER_THE_OUTPOST: [&str; 2] = ["applications", "websocket"];

async fn look(
    config: &Config,
    probe: &Probe,
    log: &Dispatch,
    only: Option<&str>,
    progress: impl Fn(&str),
    report: &mut Report,
) {
    progress("the listeners, Redis and the way to authentik");
    let (mut here, mut store, mut way) = (Report::default(), Report::default(), Report::default());
    let (running, (), reached) = tokio::join!(
        listeners::listeners(config, probe.trust(), &mut here),
        outpost::store(probe, &mut store),
        connectivity::authentik(config, probe, &mut way),
    );
    for part in [here, store, way] {
        report.extend(part);
    }
    if !reached {
        let first = "authentik has to be reached first";
        skip(&["token", "outpost"], first, report);
        return skip(&AFTER_THE_OUTPOST, first, report);
    }
    progress("the outpost");
    // The server would log what is odd about what it loads.
    let loaded = outpost::load(config, probe, report).with_subscriber(log.clone());
    let Some(snapshot) = loaded.await else {
        return skip(
            &AFTER_THE_OUTPOST,
            "the outpost has to be found first",
            report,
        );
    };
    if let (Some(running), Some(outpost)) = (running, &snapshot.outpost) {
        running_server::compare(&running, outpost, report);
        running_server::authorizations(&running, config.forward_auth.dialects, report);
    }
    progress("the websocket and the applications");
    let mut applications = Report::default();
    tokio::join!(
        outpost::websocket(probe, &snapshot, report),
        applications::examine(config, probe.trust(), &snapshot, only, &mut applications),
    );
    report.extend(applications);
}

fn skip(checks: &[&str], why: &str, report: &mut Report) {
    for check in checks {
        report.skipped(*check, why);
    }
}
