//! Warnings and errors of the log, kept for the command that looks for what is wrong.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// Name of the events that a check of the doctor finds as well. It is no part of the line.
pub const CHECKED: &str = "checked by the doctor";

/// A line that says what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Whether something cannot be used; otherwise it is only odd.
    pub is_error: bool,
    /// Its text, as clean of secrets as the log.
    pub text: String,
}

/// What was complained of, once each. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct DiagnosticLayer(Arc<Mutex<Vec<Complaint>>>);

impl DiagnosticLayer {
    /// Collects what is logged under this subscriber, but for what is [`CHECKED`].
    #[must_use]
    pub fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        tracing_subscriber::registry()
            .with(LevelFilter::WARN)
            .with(self.clone())
    }

    /// What was collected so far, in order.
    #[must_use]
    pub fn all(&self) -> Vec<Complaint> {
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
        let mut message = Message(String::new());
        event.record(&mut message);
        let complaint = Complaint {
            is_error: *metadata.level() == Level::ERROR,
            text: message.0,
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains(&complaint) {
            all.push(complaint);
        }
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_else_finds_is_collected_once() {
        let complaints = DiagnosticLayer::default();
        tracing::subscriber::with_default(complaints.subscriber(), || {
            for _ in 0..2 {
                tracing::warn!(count = 1, "{} is odd", "this");
            }
            tracing::error!("that is wrong");
            tracing::warn!(name: CHECKED, "a check finds it");
            tracing::info!("all is well");
            tracing::warn!(target: "library", "not ours");
        });
        let complaint = |is_error, text: &str| Complaint {
            is_error,
            text: text.to_owned(),
        };
        let expected = [
            complaint(false, "this is odd"),
            complaint(true, "that is wrong"),
        ];
        assert_eq!(complaints.all(), expected);
    }
}
