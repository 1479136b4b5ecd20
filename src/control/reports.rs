//! Sends reports of misconfigured reverse proxies to authentik's event log, where operators look.

use serde_json::{Map, Value, json};
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use super::api::Api;
use super::{Context, Signals};
use crate::model::Hint as _;
use crate::telemetry::Misconfiguration;

/// Sends what arrives, until `stop`.
pub(super) async fn run(
    control: &Context,
    signals: &Signals,
    mut reports: Receiver<Misconfiguration>,
    stop: CancellationToken,
) {
    loop {
        let report = tokio::select! {
            () = stop.cancelled() => return,
            report = reports.recv() => report,
        };
        let Some(report) = report else { return };
        let outpost = signals
            .outpost
            .borrow()
            .as_ref()
            .map(|o| o.name.clone())
            .unwrap_or_default();
        let token = control.reloadable().token.clone();
        let api = Api::new(&control.settings, &token, &control.back_channel);
        let event = event(report, &outpost);
        tokio::select! {
            () = stop.cancelled() => return,
            sent = api.create_event(&event) => if let Err(error) = sent {
                tracing::warn!(
                    %error,
                    hint = error.hint().as_deref(),
                    "misconfiguration could not be reported to authentik"
                );
            },
        }
    }
}

/// The event as authentik takes it; `client_ip` with a port is refused there.
fn event(report: Misconfiguration, outpost: &str) -> Value {
    let headers: Map<_, _> = report
        .headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    json!({
        "action": "configuration_error",
        "app": "authentik.providers.proxy",
        "client_ip": report.client.to_string(),
        "context": {
            "message": report.message,
            "outpost": outpost,
            "url": report.url,
            "headers": headers,
        },
    })
}
