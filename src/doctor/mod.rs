//! `authentik-proxy doctor`: looks at everything that has to work, in the order in which it has
//! to, and says of each thing that does not what to do.

mod applications;
mod certificates;
mod local;
mod outpost;
mod reach;
pub mod report;

use crate::config::{Config, ConfigErrors};
use crate::control::{Probe, Trouble};
use report::Report;

/// Tells that the settings cannot be used; nothing else can be looked at then.
#[must_use]
pub fn unusable(errors: &ConfigErrors) -> Report {
    let mut report = Report::default();
    for problem in errors.iter() {
        report.failed("settings", problem, "");
    }
    report
}

/// Looks at everything. `only` is the slug of the application to look at alone; `progress` is told
/// what is being looked at.
pub async fn examine(
    config: &Config,
    probe: &Probe,
    only: Option<&str>,
    progress: impl Fn(&str),
) -> Report {
    let mut report = Report::default();
    local::settings(config, &mut report);
    progress("the listeners, Redis and the way to authentik");
    let (mut here, mut store, mut way) = (Report::default(), Report::default(), Report::default());
    let ((), (), reached) = tokio::join!(
        local::listeners(config, &mut here),
        outpost::store(probe, &mut store),
        reach::authentik(config, probe, &mut way),
    );
    for part in [here, store, way] {
        report.extend(part);
    }
    if !reached {
        let first = "authentik has to be reached first";
        for check in ["token", "outpost", "applications", "websocket"] {
            report.skipped(check, first);
        }
        return report;
    }
    progress("the outpost");
    let Some(snapshot) = outpost::load(config, probe, &mut report).await else {
        for check in ["applications", "websocket"] {
            report.skipped(check, "the outpost has to be found first");
        }
        return report;
    };
    progress("the websocket and the applications");
    let mut applications = Report::default();
    tokio::join!(
        outpost::websocket(probe, &snapshot, &mut report),
        applications::examine(config, probe.trust(), &snapshot, only, &mut applications),
    );
    report.extend(applications);
    report
}

/// What to do about trouble whose text does not say so itself.
fn fix(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::NotAuthentik => {
            "inside a cluster use the Service, for example http://authentik-server.authentik.svc.cluster.local"
        }
        Trouble::Token => {
            "in authentik: Applications > Outposts > View Deployment Info > copy the token, update the Secret, restart the pods"
        }
        Trouble::Unreachable | Trouble::Outpost | Trouble::Other => "",
    }
}
