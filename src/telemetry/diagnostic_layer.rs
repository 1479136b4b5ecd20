//! Warnings and errors of the log, collected for `authentik-proxy doctor`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use crate::model::Diagnostic;

/// Name of events that a check of the doctor reports as well. It is not part of the log line.
pub const CHECKED: &str = "checked by the doctor";

/// A warning or an error of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Whether it is an error and no warning.
    pub is_error: bool,
    /// Message, `error` and `hint` of the event, as clean of secrets as the log.
    pub diagnostic: Diagnostic,
}

/// Collects warnings and errors, each of them once. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct DiagnosticLayer(Arc<Mutex<Vec<Logged>>>);

impl DiagnosticLayer {
    /// A subscriber that collects its warnings and errors, except for those [`CHECKED`].
    #[must_use]
    pub fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        tracing_subscriber::registry()
            .with(LevelFilter::WARN)
            .with(self.clone())
    }

    /// The warnings and errors so far, in order.
    #[must_use]
    pub fn all(&self) -> Vec<Logged> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl<S: Subscriber> Layer<S> for DiagnosticLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if metadata.name() == CHECKED || !metadata.target().starts_with("authentik_proxy") {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let logged = Logged {
            is_error: *metadata.level() == Level::ERROR,
            diagnostic: fields.0,
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains(&logged) {
            all.push(logged);
        }
    }
}

#[derive(Default)]
struct Fields(Diagnostic);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let Self(diagnostic) = self;
        match field.name() {
            "message" => value.clone_into(&mut diagnostic.what),
            "error" => diagnostic.cause = Some(value.to_owned()),
            "hint" => diagnostic.hint = Some(value.to_owned().into()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_without_a_check_are_collected_once() {
        let layer = DiagnosticLayer::default();
        tracing::subscriber::with_default(layer.subscriber(), || {
            for _ in 0..2 {
                tracing::warn!(count = 1, hint = "mend it", "{} is; odd", "this");
            }
            tracing::error!(error = %"it broke", "that is wrong");
            tracing::warn!(name: CHECKED, "a check finds it");
            tracing::info!("all is well");
            tracing::warn!(target: "library", "of a library");
        });
        let expected = [
            Logged {
                is_error: false,
                diagnostic: Diagnostic::new("this is; odd").hinting("mend it"),
            },
            Logged {
                is_error: true,
                diagnostic: Diagnostic {
                    cause: Some("it broke".into()),
                    ..Diagnostic::new("that is wrong")
                },
            },
        ];
        assert_eq!(layer.all(), expected);
    }
}
