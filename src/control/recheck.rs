//! Finds sessions that ended while nobody told us: authentik never repeats an event that was
//! missed. Runs after every gap of the websocket and at intervals, at a bounded rate.

use std::collections::HashMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Parted, Signals};
use crate::store::StoreError;
use crate::telemetry::Throttle;

/// Re-checks until `stop`.
pub(super) async fn run(control: &Parted, signals: &Signals, stop: CancellationToken) {
    let trouble = Throttle::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = signals.gap.notified() => {}
            () = tokio::time::sleep(control.settings.recheck_interval) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            checked = check_all(control, &trouble) => if let Err(error) = checked {
                tracing::error!("sessions could not be re-checked: {error}");
            },
        }
    }
}

async fn check_all(control: &Parted, trouble: &Throttle) -> Result<(), StoreError> {
    let pause = Duration::from_secs(1) / control.settings.recheck_per_second.max(1);
    let snapshot = control.live.load_full();
    let sites: HashMap<&str, _> = snapshot
        .table
        .sites()
        .iter()
        .map(|site| (site.application.client.id.as_str(), site))
        .collect();
    for (key, session) in control.store.sweep().await? {
        let Some(site) = sites.get(&*session.client_id) else {
            // The application is gone, and with it everybody who could use the session.
            control.store.remove(&key).await?;
            continue;
        };
        match site.relying_party.is_active(&session.access_token).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::info!(
                    user = session.claims.preferred_username,
                    "a session ended at authentik"
                );
                control.store.remove(&key).await?;
            }
            Err(error) => {
                let message = error.to_string();
                if trouble.admits(&message) {
                    tracing::warn!("a session could not be re-checked, it stays: {message}");
                }
            }
        }
        tokio::time::sleep(pause).await;
    }
    Ok(())
}
