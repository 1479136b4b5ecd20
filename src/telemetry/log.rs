//! Log lines: one JSON object each, named as the vendor's outpost names its fields.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

/// Changes the level while running.
#[derive(Clone, Debug)]
pub struct LevelHandle(Option<reload::Handle<LevelFilter, Registry>>);

impl LevelHandle {
    /// A handle that changes nothing, for tests.
    #[must_use]
    pub fn disconnected() -> Self {
        Self(None)
    }

    /// Sets the level by authentik's name for it; unknown names change nothing.
    pub fn set(&self, name: &str) {
        if let (Some(handle), Some(level)) = (&self.0, level(name)) {
            // Fails only if the subscriber is gone, and then nothing is logged anyway.
            let _ = handle.reload(level);
        }
    }
}

/// Starts logging to standard output.
#[must_use]
pub fn init(level_name: &str) -> LevelHandle {
    let (filter, handle) = reload::Layer::new(level(level_name).unwrap_or(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer()
        .event_format(JsonLines)
        .with_writer(std::io::stdout);
    let started = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    LevelHandle(started.is_ok().then_some(handle))
}

/// A subscriber that writes the same lines elsewhere, for tests.
pub fn subscriber<W>(writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .event_format(JsonLines)
        .with_writer(writer);
    tracing_subscriber::registry()
        .with(LevelFilter::TRACE)
        .with(lines)
}

fn level(name: &str) -> Option<LevelFilter> {
    Some(match name.to_ascii_lowercase().as_str() {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" | "warning" => LevelFilter::WARN,
        "error" => LevelFilter::ERROR,
        _ => return None,
    })
}

struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        // Libraries log whole handshakes below `info`, credentials included (CVE-2026-40166).
        if *metadata.level() > Level::INFO && !metadata.target().starts_with("authentik_proxy") {
            return Ok(());
        }
        // The client of Kubernetes returns what it logs, and logs it at every attempt.
        if metadata.target().starts_with("kube") {
            return Ok(());
        }
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let mut line = Map::new();
        line.insert(
            "event".into(),
            fields.0.remove("message").unwrap_or_default(),
        );
        line.insert("level".into(), level.into());
        line.insert("logger".into(), metadata.target().replace("::", ".").into());
        line.insert("timestamp".into(), timestamp.into());
        line.extend(fields.0);
        writeln!(writer, "{}", Value::Object(line))
    }
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0
            .insert(field.name().into(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0
                .lock()
                .expect("not poisoned")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn cve_2026_40166_what_libraries_say_below_info_is_dropped() {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing::subscriber::with_default(subscriber(move || writer.clone()), || {
            tracing::trace!(target: "tungstenite::handshake", "Authorization: Bearer secret");
            tracing::info!(target: "authentik_proxy::access", status = 200_u64, user = "alice", "/x");
        });
        let text = String::from_utf8(lines.0.lock().expect("not poisoned").clone()).expect("UTF-8");
        assert!(!text.contains("secret"), "{text}");
        let line: Value = serde_json::from_str(text.trim()).expect("one line of JSON");
        for (field, expected) in [
            ("event", Value::from("/x")),
            ("level", "info".into()),
            ("logger", "authentik_proxy.access".into()),
            ("status", 200.into()),
            ("user", "alice".into()),
        ] {
            assert_eq!(line[field], expected, "{field}");
        }
        assert!(line["timestamp"].is_string());
    }
}
