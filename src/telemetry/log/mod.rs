//! Log lines: one JSON object each, named as the vendor's outpost names its fields.

mod line;
mod queue;

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use prometheus_client::metrics::counter::Counter;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use line::Line;
pub use queue::FlushGuard;
use queue::Queue;

/// The running log. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LogHandle {
    level: Option<Arc<MinimumLevel>>,
    lost_lines: Counter,
}

impl LogHandle {
    /// A handle that changes nothing, for tests.
    #[must_use]
    pub fn disconnected() -> Self {
        Self::default()
    }

    /// Sets the level by authentik's name for it; unknown names change nothing.
    pub fn set_level(&self, name: &str) {
        if let (Some(current), Some(level)) = (&self.level, level(name)) {
            current.set(level);
            tracing::callsite::rebuild_interest_cache();
        }
    }

    /// The number of lines that were not written, because standard output took them too slowly or
    /// failed.
    #[must_use]
    pub fn lost_lines(&self) -> Counter {
        self.lost_lines.clone()
    }
}

/// Starts logging to standard output, by a thread of its own. The guard writes what is left when it
/// is dropped.
pub fn init(level_name: &str) -> io::Result<(LogHandle, FlushGuard)> {
    let level = Arc::new(MinimumLevel::new(
        level(level_name).unwrap_or(LevelFilter::INFO),
    ));
    let lost_lines = Counter::default();
    // Not `Stdout`: its lock and its buffer are for writers of single lines.
    let out = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let queue = Queue::start(out, lost_lines.clone())?;
    let guard = FlushGuard::new(Arc::clone(&queue));
    let lines = JsonLines {
        level: Arc::clone(&level),
        write: move |line: &[u8]| queue.push(line),
    };
    let started = tracing_subscriber::registry().with(lines).try_init();
    let level = started.is_ok().then_some(level);
    Ok((LogHandle { level, lost_lines }, guard))
}

/// A subscriber that writes the same lines elsewhere, for tests.
pub fn subscriber<W>(writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::registry().with(JsonLines {
        level: Arc::new(MinimumLevel::new(LevelFilter::TRACE)),
        write: move |line: &[u8]| {
            let _ = writer.make_writer().write_all(line);
        },
    })
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

/// A level that changes while it is read without a lock.
#[derive(Debug)]
struct MinimumLevel(AtomicU8);

const LEVELS: [LevelFilter; 5] = [
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

impl MinimumLevel {
    fn new(level: LevelFilter) -> Self {
        let this = Self(AtomicU8::new(0));
        this.set(level);
        this
    }

    fn set(&self, level: LevelFilter) {
        for (index, each) in (0..).zip(LEVELS) {
            if each == level {
                self.0.store(index, Ordering::Relaxed);
            }
        }
    }

    fn get(&self) -> LevelFilter {
        LEVELS[usize::from(self.0.load(Ordering::Relaxed))]
    }
}

/// Formats events and writes them.
struct JsonLines<F> {
    level: Arc<MinimumLevel>,
    write: F,
}

impl<S, F> Layer<S> for JsonLines<F>
where
    S: Subscriber,
    F: Fn(&[u8]) + Send + Sync + 'static,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_logged(metadata, self.level.get()) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_logged(metadata, self.level.get())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.get())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        Line::with(event, &self.write);
    }
}

fn is_logged(metadata: &Metadata<'_>, level: LevelFilter) -> bool {
    if metadata.target().starts_with("authentik_proxy") {
        return *metadata.level() <= level;
    }
    // Libraries log whole handshakes below `info`, credentials included (CVE-2026-40166). The client
    // of Kubernetes returns what it logs, and logs it at every attempt.
    *metadata.level() <= level.min(LevelFilter::INFO) && !metadata.target().starts_with("kube")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::line::tests::Lines;
    use super::*;

    #[test]
    fn cve_2026_40166_what_libraries_say_below_info_is_dropped() {
        let lines = Lines::default();
        tracing::subscriber::with_default(subscriber(lines.writer()), || {
            tracing::trace!(target: "tungstenite::handshake", "Authorization: Bearer secret");
            tracing::info!(target: "authentik_proxy::access", status = 200_u64, user = "alice", "/x");
        });
        let text = lines.text();
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

    #[test]
    fn the_level_changes_while_running() {
        let (level, lines) = (
            Arc::new(MinimumLevel::new(LevelFilter::WARN)),
            Lines::default(),
        );
        let handle = LogHandle {
            level: Some(Arc::clone(&level)),
            ..LogHandle::default()
        };
        let written = lines.clone();
        let layer = JsonLines {
            level,
            write: move |line: &[u8]| written.push(line),
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for (name, expected) in [
                ("", "w"),
                ("info", "wi"),
                ("unknown", "wi"),
                ("debug", "wid"),
                ("trace", "widt"),
                ("error", ""),
            ] {
                handle.set_level(name);
                tracing::warn!("w");
                tracing::info!("i");
                tracing::debug!("d");
                tracing::trace!("t");
                let events = lines.take().into_iter().map(|line| line["event"].clone());
                let events: Vec<_> = events.collect();
                let events: String = events.iter().filter_map(Value::as_str).collect();
                assert_eq!(events, expected, "{name}");
            }
        });
    }
}
