//! What servers make of the path of a request.
//!
//! A path such as `/a%2Fb//c` names one resource to one server and another resource to the next.
//! [`Readings::of`] tells the texts for which servers take a path; where they differ in more ways
//! than it follows, it says so, and what restricts anything then restricts the path. `servers.tsv`
//! holds what real servers made of about a hundred paths, and the tests hold the two together.

#[cfg(test)]
pub(crate) mod chains;
mod pattern;
#[cfg(test)]
pub(crate) mod servers;

use std::borrow::Cow;

use percent_encoding::{
    AsciiSet, CONTROLS, percent_decode, percent_decode_str, utf8_percent_encode,
};

pub use pattern::PathPattern;
pub(super) use pattern::Spellings;

/// Longest path that is read, in bytes; nginx and Apache refuse longer ones by default.
pub const MAX_PATH: usize = 8 * 1024;
/// Most readings of a path.
pub const MAX_READINGS: usize = 12;
/// Most bytes that all readings of a path have together.
pub const MAX_BYTES: usize = 16 * 1024;

/// What a server escapes that writes a decoded path into a request, as nginx's `proxy_pass` with a
/// URI and Apache's `ProxyPass` do.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The texts for which servers take a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readings<'a> {
    /// Every server takes it as it is written.
    One(&'a str),
    /// Every server takes it for one of these, the written one first.
    Several(Vec<Cow<'a, str>>),
    /// Servers differ in more ways than are followed: dot segments, what is encoded twice, invalid
    /// encodings, control characters, or several of the others together.
    Unknown,
}

impl<'a> Readings<'a> {
    /// Reads a path. It is decoded once, and never more than [`MAX_BYTES`] are made of it; a plain
    /// path allocates nothing.
    #[must_use]
    pub fn of(path: &'a str) -> Self {
        let Some(Decoded { text, oddity }) = Decoded::of(path) else {
            return Self::Unknown;
        };
        if oddity.is_none() && text == path {
            return Self::One(path);
        }
        let mut readings = Collected::default();
        let mut bases = vec![Cow::Borrowed(path)];
        if oddity == Some(Oddity::EncodedSlash) {
            bases.push(decode_all_but_slashes(path));
        }
        let decoded = bases.len();
        bases.push(text);
        for (index, base) in bases.into_iter().enumerate() {
            for changed in oddity.into_iter().flat_map(|oddity| oddity.readings(&base)) {
                if index == decoded {
                    readings.add(Cow::Owned(escape(&changed)));
                }
                readings.add(Cow::Owned(changed));
            }
            if index == decoded {
                readings.add(Cow::Owned(escape(&base)));
            }
            readings.add(base);
        }
        readings.finish(path)
    }

    /// Every reading, or `None` where they are not known.
    pub fn known(&self) -> Option<impl Iterator<Item = &str>> {
        let (one, several) = match self {
            Self::One(path) => (Some(*path), &[][..]),
            Self::Several(readings) => (None, readings.as_slice()),
            Self::Unknown => return None,
        };
        Some(one.into_iter().chain(several.iter().map(AsRef::as_ref)))
    }
}

/// The decoded path, or `None` if servers take the path for anything else than itself, written or
/// decoded.
pub(super) fn unambiguous(path: &str) -> Option<Cow<'_, str>> {
    let Decoded { text, oddity } = Decoded::of(path)?;
    (oddity.is_none() && !text.contains('%')).then_some(text)
}

/// Rounds in which [`eager`] decodes; no server is known that decodes more often.
const ROUNDS: usize = 3;

/// The path as a chain of the most eager servers would read it: decoded in a few rounds, parameters
/// dropped, backslashes turned, slashes merged, dot segments resolved. Linear in the path.
#[must_use]
pub fn eager(path: &str) -> String {
    let mut bytes = Cow::Borrowed(path.as_bytes());
    for _ in 0..ROUNDS {
        if !bytes.contains(&b'%') {
            break;
        }
        bytes = Cow::Owned(percent_decode(&bytes).collect());
    }
    let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    let end = if text.ends_with('/') && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{end}", segments.join("/"))
}

/// Readings while they are collected.
#[derive(Default)]
struct Collected<'a> {
    readings: Vec<Cow<'a, str>>,
    bytes: usize,
}

impl<'a> Collected<'a> {
    fn add(&mut self, reading: Cow<'a, str>) {
        if self.bytes <= MAX_BYTES && !self.readings.contains(&reading) {
            self.bytes += reading.len();
            self.readings.push(reading);
        }
    }

    fn finish(mut self, path: &str) -> Readings<'a> {
        if self.bytes > MAX_BYTES || self.readings.len() > MAX_READINGS {
            return Readings::Unknown;
        }
        // The written one first.
        if let Some(index) = self.readings.iter().position(|reading| reading == path) {
            self.readings.swap(0, index);
        }
        Readings::Several(self.readings)
    }
}

/// What servers read in different ways, beyond percent-encoding. Of a path with two of these the
/// readings are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Oddity {
    /// `%2F`: a slash, or part of a name.
    EncodedSlash,
    /// `//`: kept, merged, or the beginning of a host.
    DoubledSlash,
    /// `\` or `%5C`: a slash, or part of a name.
    Backslash,
    /// `;` or `%3B`: the beginning of parameters, or part of a name.
    Parameters,
    /// `%3F`, `%23` or `#`: the end of the path, or part of a name.
    End,
}

impl Oddity {
    /// What servers make of a text that has this, other than taking it as it stands.
    fn readings(self, text: &str) -> Vec<String> {
        match self {
            Self::EncodedSlash => vec![],
            Self::DoubledSlash => {
                let mut readings = vec![text.replacen("//", "/", 1)];
                if let Some(rest) = text.strip_prefix("//") {
                    // `//host/path` (RFC 3986 section 4.2), as `new URL` and `parse_url` read it.
                    readings.push(rest.find('/').map_or("/", |host| &rest[host..]).to_owned());
                }
                readings
            }
            Self::Backslash => vec![text.replace('\\', "/")],
            Self::Parameters => text.split_once(';').map_or_else(Vec::new, |(path, rest)| {
                let behind = rest.find('/').map_or("", |slash| &rest[slash..]);
                vec![format!("{path}{behind}"), path.to_owned()]
            }),
            Self::End => {
                let end = text.find(['?', '#']);
                end.map_or_else(Vec::new, |end| vec![text[..end].to_owned()])
            }
        }
    }
}

/// A path that is decoded once.
struct Decoded<'a> {
    text: Cow<'a, str>,
    oddity: Option<Oddity>,
}

impl<'a> Decoded<'a> {
    /// `None` where the readings are not known.
    fn of(path: &'a str) -> Option<Self> {
        if path.len() > MAX_PATH {
            return None;
        }
        if is_plain(path) {
            let text = Cow::Borrowed(path);
            return Some(Self { text, oddity: None });
        }
        if !is_encoded_once(path) {
            return None;
        }
        let text = percent_decode_str(path).decode_utf8().ok()?;
        let unknown = has_further_escapes(&text)
            || text.chars().any(char::is_control)
            || text.split(['/', '\\']).any(is_dots)
            || text
                .as_bytes()
                .windows(3)
                .any(|w| matches!(w, [b'(', x, b'('] if x.is_ascii_alphabetic()));
        if unknown {
            return None;
        }
        let oddity = oddity(path, &text).ok()?;
        Some(Self { text, oddity })
    }
}

/// Whether a path has nothing that any server reads in its own way.
fn is_plain(path: &str) -> bool {
    let (mut before, mut last) = (0, 0);
    for byte in path.bytes() {
        let plain = match byte {
            b'/' => !matches!(last, b'/' | b'.'),
            // ASP.NET takes `(S(…))` out of a path, wherever it is.
            b'(' => before != b'(',
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => true,
            _ => b"-_~.!$&'*+,=:@)".contains(&byte),
        };
        if !plain {
            return false;
        }
        (before, last) = (last, byte);
    }
    last != b'.'
}

/// Whether every `%` begins an escape.
fn is_encoded_once(path: &str) -> bool {
    let mut rest = path.as_bytes();
    while let Some(percent) = rest.iter().position(|byte| *byte == b'%') {
        match &rest[percent..] {
            [_, a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                rest = &rest[percent + 3..];
            }
            _ => return false,
        }
    }
    true
}

/// Whether a decoded text could be decoded once more; `%u002e` is an escape to IIS and Jetty.
fn has_further_escapes(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hex = |index: usize| bytes.get(index).is_some_and(u8::is_ascii_hexdigit);
    let escape = |(index, byte): (usize, &u8)| {
        *byte == b'%'
            && (hex(index + 1) && hex(index + 2)
                || matches!(bytes.get(index + 1), Some(b'u' | b'U')))
    };
    bytes.iter().enumerate().any(escape)
}

/// Whether a segment is nothing but dots and spaces once its parameters are gone: `.`, `..`, `..;x`,
/// `;x`, and what Windows takes for these.
fn is_dots(segment: &str) -> bool {
    let name = segment.split([';', '?', '#']).next().unwrap_or_default();
    !segment.is_empty() && name.trim_end_matches(['.', ' ']).is_empty()
}

/// More than one thing is odd about a path.
struct SeveralOddities;

/// What is odd about a path, if anything is.
fn oddity(path: &str, decoded: &str) -> Result<Option<Oddity>, SeveralOddities> {
    let count = |text: &str, odd: char| text.matches(odd).count();
    let written = |odd: char| count(path, odd) > 0;
    let encoded = |odd: char| count(decoded, odd) > count(path, odd);
    // A backslash may double a slash as well.
    let slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    let pairs = decoded.as_bytes().windows(2);
    let doubled = pairs.filter(|pair| pair.iter().all(slash)).count();
    let with_parameters = decoded.split('/').filter(|part| part.contains(';')).count();
    if doubled > 1 || with_parameters > 1 {
        return Err(SeveralOddities);
    }
    let found = [
        (encoded('/'), Oddity::EncodedSlash),
        (doubled > 0, Oddity::DoubledSlash),
        (written('\\'), Oddity::Backslash),
        (encoded('\\'), Oddity::Backslash),
        (written(';'), Oddity::Parameters),
        (encoded(';'), Oddity::Parameters),
        (encoded('?'), Oddity::End),
        (written('#'), Oddity::End),
        (encoded('#'), Oddity::End),
    ];
    let mut found = found.iter().filter(|(found, _)| *found);
    let first = found.next().map(|(_, oddity)| *oddity);
    if found.next().is_some() {
        return Err(SeveralOddities);
    }
    Ok(first)
}

/// Decodes everything but `%2F`, as Tomcat and Apache do where they are told to.
fn decode_all_but_slashes(path: &str) -> Cow<'_, str> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest
        .as_bytes()
        .windows(3)
        .position(|escape| escape.eq_ignore_ascii_case(b"%2f"))
    {
        decoded.push_str(&percent_decode_str(&rest[..at]).decode_utf8_lossy());
        decoded.push_str(&rest[at..at + 3]);
        rest = &rest[at + 3..];
    }
    decoded.push_str(&percent_decode_str(rest).decode_utf8_lossy());
    Cow::Owned(decoded)
}

/// Encodes a decoded path again.
fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}
