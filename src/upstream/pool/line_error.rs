//! Which line of the head of a response is the reason that hyper refuses it.
//!
//! hyper's error has the kind of the fault only, but the head stays in its buffer. There it is
//! examined after the failure; responses that are accepted cost nothing. A head whose `Content-Length`
//! or `Transfer-Encoding` is refused has left the buffer: hyper's error names these headers.

use std::fmt;

use http::HeaderName;

/// A line of the head of a response, and why it is refused. It never has the value of a header, which
/// may be a cookie or a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineError {
    /// The status line is line 1.
    line: usize,
    name: Option<HeaderName>,
    fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A NUL byte; the first byte of the line is byte 1.
    Nul(usize),
    /// A CR that no LF follows.
    BareCr(usize),
    /// The first header beyond this number.
    TooMany(usize),
    /// The longest line of a head that is too long; in bytes.
    Longest(usize),
}

impl LineError {
    /// Finds the line because of which hyper refused `head` with `error`; `max_headers` is the number
    /// of headers that it accepts. Reads the head once or twice; hyper's buffer has 408 KiB at most.
    pub(super) fn find(error: &hyper::Error, head: &[u8], max_headers: usize) -> Option<Self> {
        // Else the version is refused, which hyper says, or the buffer no longer has the head.
        if !head.starts_with(b"HTTP/1.1 ") && !head.starts_with(b"HTTP/1.0 ") {
            return None;
        }
        if error.is_parse_too_large() {
            too_large(head, max_headers)
        } else if error.is_parse_status() {
            lines(head).take(1).find_map(invalid_byte)
        } else {
            lines(head).find_map(invalid_byte)
        }
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Fault::Longest(_) = self.fault {
            f.write_str("the longest is ")?;
        }
        write!(f, "line {}", self.line)?;
        if let Some(name) = &self.name {
            write!(f, " ({:.64})", name.as_str())?;
        }
        match self.fault {
            Fault::Nul(at) => write!(f, " has a NUL byte at byte {at}"),
            Fault::BareCr(at) => write!(f, " has a CR without LF at byte {at}"),
            Fault::TooMany(max) => write!(f, " is the first beyond {max}"),
            Fault::Longest(bytes) => write!(f, ", of {bytes} bytes"),
        }
    }
}

/// A line with its end.
struct Line<'a> {
    number: usize,
    /// The name of the header that the line begins or continues.
    name: Option<HeaderName>,
    bytes: &'a [u8],
}

impl Line<'_> {
    fn error(self, fault: Fault) -> LineError {
        LineError {
            line: self.number,
            name: self.name,
            fault,
        }
    }
}

fn lines(head: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let lines = head.split_inclusive(|byte| *byte == b'\n').zip(1..);
    let lines = lines.take_while(|(bytes, _)| !matches!(*bytes, b"\r\n" | b"\n"));
    lines.scan(None, |name, (bytes, number)| {
        if !is_folded(bytes) {
            *name = header_name(bytes);
        }
        Some(Line {
            number,
            name: name.clone(),
            bytes,
        })
    })
}

/// The first byte that makes hyper refuse a head. Lines that are no header for any other reason are
/// left out.
fn invalid_byte(line: Line<'_>) -> Option<LineError> {
    let bytes = line.bytes;
    let fault = (0..bytes.len()).find_map(|index| match (bytes[index], bytes.get(index + 1)) {
        (0, _) => Some(Fault::Nul(index + 1)),
        (b'\r', Some(next)) if *next != b'\n' => Some(Fault::BareCr(index + 1)),
        _ => None,
    });
    fault.map(|fault| line.error(fault))
}

/// The first header too many, or else the longest line.
fn too_large(head: &[u8], max_headers: usize) -> Option<LineError> {
    let mut headers = lines(head).filter(|line| is_header(line.bytes));
    if let Some(line) = headers.nth(max_headers) {
        return Some(line.error(Fault::TooMany(max_headers)));
    }
    let longest = lines(head).max_by_key(|line| line.bytes.len())?;
    let bytes = longest.bytes.len();
    Some(longest.error(Fault::Longest(bytes)))
}

/// Whether hyper counts a line as a header.
fn is_header(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\n");
    line.is_some_and(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_text = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t';
        line.iter().all(is_text) && header_name(line).is_some()
    })
}

/// The name before the colon; none if the line is folded.
fn header_name(line: &[u8]) -> Option<HeaderName> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    HeaderName::from_bytes(line[..colon].trim_ascii_end()).ok()
}

/// Whether a line continues the one before (RFC 9112 section 5.2).
fn is_folded(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid(head: &str) -> Option<String> {
        let found = lines(head.as_bytes()).find_map(invalid_byte);
        found.map(|error| error.to_string())
    }

    #[test]
    fn the_first_byte_that_is_refused_has_a_line_and_a_position() {
        for (head, expected) in [
            (
                "HTTP/1.1 200 OK\r\nA: 1\r\nno header\r\nX\u{1}: 2\r\n",
                None,
            ),
            (
                "HTTP/1.1 200 OK\r\nA: 1\r\nX-Nul: a\0b\0\r\n",
                Some("line 3 (x-nul) has a NUL byte at byte 9"),
            ),
            (
                "HTTP/1.1 200 OK\nX-Cr : a\rb\n",
                Some("line 2 (x-cr) has a CR without LF at byte 9"),
            ),
            (
                "HTTP/1.1 200 OK\r\nA: 1\r\r\n",
                Some("line 2 (a) has a CR without LF at byte 5"),
            ),
            // What follows has not arrived.
            ("HTTP/1.1 200 OK\r\nA: 1\r", None),
            (
                "HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\t\0\r\n",
                Some("line 4 (a) has a NUL byte at byte 2"),
            ),
            (
                "HTTP/1.1 200 OK\r\nA: 1\r\nsecret\0: 1\r\n",
                Some("line 3 has a NUL byte at byte 7"),
            ),
            (
                "HTTP/1.1 200 OK\r\nthe secret\0\r\n",
                Some("line 2 has a NUL byte at byte 11"),
            ),
            (
                "HTTP/1.1 200 a: secret\0\r\n",
                Some("line 1 has a NUL byte at byte 23"),
            ),
            // A body.
            ("HTTP/1.1 200 OK\r\nA: 1\r\n\r\n\0", None),
        ] {
            assert_eq!(invalid(head).as_deref(), expected, "{head:?}");
        }
        let name = "n".repeat(70);
        let long = invalid(&format!("HTTP/1.1 200 OK\r\n{name}: \0")).expect("it is refused");
        assert!(
            long.starts_with(&format!("line 2 ({}) has", &name[..64])),
            "{long}"
        );
    }

    #[test]
    fn a_head_that_is_too_large_has_a_line_too() {
        for (head, expected) in [
            // Lines that are left out do not count.
            (
                "HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\nB: \u{1}\r\nnone\r\nC : 2\r\nD: 3\r\nE: 4\r\n",
                "line 7 (d) is the first beyond 2",
            ),
            (
                "HTTP/1.1 200 OK\r\nA: 1\r\nLong: secret, of a cookie\r\nC: 1\r\n",
                "line 4 (c) is the first beyond 2",
            ),
            (
                "HTTP/1.1 200 OK\r\nA: 1\r\nLong: secret, of a cook",
                "the longest is line 3 (long), of 23 bytes",
            ),
        ] {
            let found = too_large(head.as_bytes(), 2).expect("a line");
            assert_eq!(found.to_string(), expected, "{head:?}");
        }
    }
}
