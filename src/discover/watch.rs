//! Looking again and again.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::table::lines;
use super::token::{POLL_INTERVAL, TokenFiles};
use super::{Discover, DiscoverError};
use crate::discover::apply::Refused;
use crate::discover::plan::Plan;
use crate::discover::plan::item::Action;
use crate::telemetry::Throttle;

/// Changes often come together: how long others are waited for after the first.
const GATHER: Duration = Duration::from_secs(2);
/// After a look that leaves something to be mended, the pauses double from this to the interval.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// Looks once, then whenever something changes, and at intervals.
pub(super) async fn watch(discover: &Discover<'_>, stop: &CancellationToken) {
    let longest = discover.settings.discover.interval;
    let throttle = Throttle::default();
    let mut refused = Refused::default();
    let mut token_files = TokenFiles::new(discover.settings);
    let mut ticks = interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changes = discover.cluster.changes();
    let mut pause = FIRST_PAUSE;
    let mut due = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            // They never end; if they did, there would still be the interval.
            Some(change) = changes.next() => match change {
                Ok(()) => due = due.min(Instant::now() + GATHER),
                Err(error) => {
                    let error = error.to_string();
                    if throttle.should_log(&error) {
                        tracing::warn!("{error}");
                    }
                }
            },
            _ = ticks.tick(), if !token_files.is_empty() => {
                if let Some(token) = token_files.read_if_settled().await {
                    discover.replace_token(token);
                    due = Instant::now();
                }
            }
            () = sleep_until(due) => {
                let next = match once(discover, &mut refused, stop).await {
                    Ok(true) => {
                        pause = FIRST_PAUSE;
                        longest
                    }
                    Ok(false) => grow(&mut pause, longest),
                    Err(error) => {
                        if error.is_refused_token()
                            && let Some(token) = token_files.read_if_changed().await
                        {
                            discover.replace_token(token);
                            due = Instant::now();
                            continue;
                        }
                        let again = grow(&mut pause, longest);
                        tracing::error!(again_s = again.as_secs(), "discovery failed: {error}");
                        again
                    }
                };
                due = Instant::now() + next;
            }
        }
    }
}

fn grow(pause: &mut Duration, longest: Duration) -> Duration {
    let now = (*pause).min(longest);
    *pause = now * 2;
    now
}

/// One look; whether nothing is left that another one soon may mend: a failure, or a refusal next to
/// changes, which may have freed what was refused.
async fn once(
    discover: &Discover<'_>,
    refused_before: &mut Refused,
    stop: &CancellationToken,
) -> Result<bool, DiscoverError> {
    let (plan, actual) = tokio::select! {
        () = stop.cancelled() => return Ok(true),
        plan = discover.plan() => plan?,
    };
    log(&plan, discover.options.prune);
    let (applications, refused) = (plan.items.len(), plan.refusals());
    if !discover.options.apply {
        tracing::info!(applications, refused, "nothing is changed without --apply");
        return Ok(true);
    }
    let outcome = discover.apply(&plan, &actual, refused_before, stop).await;
    for failure in &outcome.failures {
        tracing::error!("{failure}");
    }
    let (done, failed) = (outcome.done, outcome.failures.len());
    if failed == 0 {
        tracing::info!(applications, refused, done, failed, "discovery is through");
    } else {
        tracing::warn!(
            applications,
            refused,
            done,
            failed,
            "discovery is through, with failures"
        );
    }
    Ok(failed == 0 && (done == 0 || refused == 0))
}

fn log(plan: &Plan, prune: bool) {
    for warning in &plan.warnings {
        tracing::warn!("{warning}");
    }
    for item in &plan.items {
        for (action, text) in lines(&item.action, item, prune) {
            let (slug, source) = (&item.slug, &item.source);
            match &item.action {
                Action::Refused(_) => tracing::warn!(%source, slug, "{action}: {text}"),
                Action::Change(changes) if changes.is_empty() => {
                    tracing::debug!(%source, slug, "{action}: {text}");
                }
                _ => tracing::info!(%source, slug, "{action}: {text}"),
            }
        }
    }
}
