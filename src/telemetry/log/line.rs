//! The form of a line.

use std::cell::Cell;
use std::fmt;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer as _};
use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// Bytes of a thread's buffer that are kept after a line.
const MAX_KEPT_BYTES: usize = 16 << 10;

thread_local! {
    static LINE: Cell<Line> = Cell::default();
}

/// A line. Values are written into its buffer as they are visited, without a map or a string for
/// each: at `info` there is a line for every request in proxy mode.
#[derive(Default)]
pub(super) struct Line {
    bytes: Vec<u8>,
    has_message: bool,
    date: Date,
}

impl Line {
    /// Passes the line of an event on, in the thread's buffer.
    pub(super) fn with(event: &Event<'_>, write: impl FnOnce(&[u8])) {
        // Taken out: formatting a value may log as well.
        let mut line = LINE.take();
        line.append(event);
        write(&line.bytes);
        line.bytes.clear();
        line.bytes.shrink_to(MAX_KEPT_BYTES);
        LINE.set(line);
    }

    fn append(&mut self, event: &Event<'_>) {
        let metadata = event.metadata();
        self.bytes.extend_from_slice(b"{\"timestamp\":\"");
        self.date.append(SystemTime::now(), &mut self.bytes);
        self.bytes.extend_from_slice(match *metadata.level() {
            Level::ERROR => b"\",\"level\":\"error\"",
            Level::WARN => b"\",\"level\":\"warning\"",
            Level::INFO => b"\",\"level\":\"info\"",
            Level::DEBUG => b"\",\"level\":\"debug\"",
            Level::TRACE => b"\",\"level\":\"trace\"",
        });
        self.text("logger", &Logger(metadata.target()));
        self.has_message = false;
        event.record(self);
        if !self.has_message {
            self.value("event", &());
        }
        self.bytes.extend_from_slice(b"}\n");
    }

    fn key(&mut self, name: &str) {
        let name = match name {
            "message" => {
                self.has_message = true;
                "event"
            }
            name => name,
        };
        self.bytes.push(b',');
        // Writing to a vector cannot fail, here and below.
        let _ = serde_json::to_writer(&mut self.bytes, name);
        self.bytes.push(b':');
    }

    fn value(&mut self, name: &str, value: &impl Serialize) {
        self.key(name);
        let _ = serde_json::to_writer(&mut self.bytes, value);
    }

    fn text(&mut self, name: &str, value: &impl fmt::Display) {
        self.key(name);
        let _ = serde_json::Serializer::new(&mut self.bytes).collect_str(value);
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.name(), &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.value(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field.name(), &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field.name(), &value);
    }
}

/// A target as the vendor's outpost writes names of loggers.
struct Logger<'a>(&'a str);

impl fmt::Display for Logger<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.0.split("::");
        formatter.write_str(parts.next().unwrap_or_default())?;
        parts.try_for_each(|part| {
            formatter.write_str(".")?;
            formatter.write_str(part)
        })
    }
}

/// RFC 3339 with microseconds; all but these are formatted once a second.
#[derive(Default)]
struct Date {
    second: Option<u64>,
    text: Vec<u8>,
}

impl Date {
    fn append(&mut self, now: SystemTime, bytes: &mut Vec<u8>) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            self.text.clear();
            let date = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
            let date = OffsetDateTime::from_unix_timestamp(date);
            let date = date.unwrap_or(OffsetDateTime::UNIX_EPOCH);
            let _ = write!(
                self.text,
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.",
                date.year(),
                u8::from(date.month()),
                date.day(),
                date.hour(),
                date.minute(),
                date.second(),
            );
        }
        bytes.extend_from_slice(&self.text);
        let mut digits = *b"000000Z";
        let mut rest = since.subsec_micros();
        for digit in digits[..6].iter_mut().rev() {
            *digit += u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        bytes.extend_from_slice(&digits);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::Value;
    use tracing_subscriber::fmt::format::Writer;
    use tracing_subscriber::fmt::time::FormatTime as _;

    use super::*;
    use crate::telemetry::log::subscriber;

    /// Collects lines.
    #[derive(Clone, Default)]
    pub(in crate::telemetry::log) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        pub(in crate::telemetry::log) fn push(&self, bytes: &[u8]) {
            self.0
                .lock()
                .expect("not poisoned")
                .extend_from_slice(bytes);
        }

        pub(in crate::telemetry::log) fn writer(&self) -> impl Fn() -> Self + use<> {
            let this = self.clone();
            move || this.clone()
        }

        pub(in crate::telemetry::log) fn text(&self) -> String {
            let bytes = self.0.lock().expect("not poisoned").clone();
            String::from_utf8(bytes).expect("UTF-8")
        }

        /// The lines since the last call.
        pub(in crate::telemetry::log) fn take(&self) -> Vec<Value> {
            let text = self.text();
            self.0.lock().expect("not poisoned").clear();
            let parsed = text.lines().map(serde_json::from_str);
            parsed.collect::<Result<_, _>>().expect("lines of JSON")
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.push(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Shows a text without quoting it.
    struct Plain<'a>(&'a str);

    impl fmt::Debug for Plain<'_> {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            // In pieces, as derived implementations write.
            self.0
                .chars()
                .try_for_each(|each| write!(formatter, "{each}"))
        }
    }

    #[test]
    fn values_keep_their_types() {
        let lines = Lines::default();
        let missing: Option<&str> = None;
        tracing::subscriber::with_default(subscriber(lines.writer()), || {
            tracing::info!(
                text = "a\"b\\c\n\u{1b}\u{7f}\u{2028}é",
                shown = %"d\"e",
                debugged = ?"f\"g",
                number = 1_u64,
                negative = -1_i64,
                large = u64::MAX,
                wide = 1_u128,
                fraction = 0.25,
                whole = 3.0,
                endless = f64::INFINITY,
                yes = true,
                missing,
                "quoted \"name\"" = 2,
                "message {}", "with values",
            );
            tracing::error!(target: "a::b\"::c", status = 1);
        });
        let mut found = lines.take();
        for line in &mut found {
            let line = line.as_object_mut().expect("an object");
            assert!(line.remove("timestamp").is_some_and(|at| at.is_string()));
        }
        let expected = serde_json::json!([
            {
                "event": "message with values",
                "level": "info",
                "logger": "authentik_proxy.telemetry.log.line.tests",
                "text": "a\"b\\c\n\u{1b}\u{7f}\u{2028}é",
                "shown": "d\"e",
                "debugged": "\"f\\\"g\"",
                "number": 1,
                "negative": -1,
                "large": u64::MAX,
                "wide": "1",
                "fraction": 0.25,
                "whole": 3.0,
                "endless": null,
                "yes": true,
                "quoted \"name\"": 2,
            },
            { "event": null, "level": "error", "logger": "a.b\".c", "status": 1 },
        ]);
        assert_eq!(Value::from(found), expected);
    }

    #[test]
    fn times_are_those_of_tracing() {
        let mut date = Date::default();
        for seconds in [0, 951_782_399, 951_782_400, 4_102_444_799, 253_402_300_799] {
            for micros in [0, 1, 999_999] {
                let at = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros);
                let mut text = Vec::new();
                date.append(at, &mut text);
                let text = String::from_utf8(text).expect("ASCII");
                let expected = OffsetDateTime::from(at);
                assert_eq!(
                    text,
                    format!(
                        "{}T{:02}:{:02}:{:02}.{micros:06}Z",
                        expected.date(),
                        expected.hour(),
                        expected.minute(),
                        expected.second()
                    )
                );
            }
        }
        // The form of tracing's own layer.
        let (mut line, mut layer) = (Vec::new(), String::new());
        date.append(SystemTime::now(), &mut line);
        tracing_subscriber::fmt::time::SystemTime
            .format_time(&mut Writer::new(&mut layer))
            .expect("a time");
        let line = String::from_utf8(line).expect("ASCII");
        let shape = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "0");
        assert_eq!(shape(&line), shape(&layer));
    }

    proptest! {
        #[test]
        fn any_text_is_escaped_as_serde_json_does(text in any::<String>(), number in any::<f64>()) {
            let lines = Lines::default();
            tracing::subscriber::with_default(subscriber(lines.writer()), || {
                tracing::info!(text = text.as_str(), shown = ?Plain(&text), number, "{text}");
            });
            let written = lines.text();
            prop_assert_eq!(written.matches('\n').count(), 1);
            let escaped = serde_json::to_string(&text).expect("JSON");
            let number = serde_json::to_string(&number).expect("JSON");
            for (field, value) in [
                ("text", &escaped),
                ("shown", &escaped),
                ("event", &escaped),
                ("number", &number),
            ] {
                let expected = format!("\"{field}\":{value}");
                prop_assert!(written.contains(&expected), "{} in {}", expected, written);
            }
            prop_assert_eq!(lines.take().len(), 1);
        }
    }
}
