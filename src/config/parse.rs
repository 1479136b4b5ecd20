//! From text to values. Each parser says only what is wrong; what is expected stands in
//! [`Kind::expects`](super::settings::Kind::expects).

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;
use uuid::Uuid;

use crate::model::{Dialect, Dialects};

use super::sections::{CookiePrefix, LogLevel, Node, TlsReqs, UnknownLogLevel, WhenDown};

/// Why a text is not a value, to be read after the text: `is not a number`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The part of the text that is meant, when that is not all of it.
    pub(super) part: Option<String>,
    /// The reason; never quotes the text.
    pub(super) reason: String,
}

/// A base URL, made to end with `/` so that joining a relative path appends to it.
pub(super) fn base_url(text: &str) -> Result<Url, Wrong> {
    let text = text.trim();
    if text.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control()) {
        return wrong("contains a backslash, a space or a control character");
    }
    // The URL standard reads `https:host` and `https:///host` as `https://host`; we do not guess.
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| Wrong::new("is not a URL"))?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return wrong("is not a URL of the web");
    }
    if rest.is_empty() || rest.starts_with(['/', '?', '#', ':']) {
        return wrong("has no host");
    }
    let mut url =
        Url::parse(text).map_err(|error| Wrong::new(format!("is not a URL ({error})")))?;
    if !url.username().is_empty() || url.password().is_some() || rest.starts_with('@') {
        return wrong("must not contain a user or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("must not contain a query or a fragment");
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// A yes or no, in the spellings that authentik takes.
pub(super) fn flag(text: &str) -> Result<bool, Wrong> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => wrong("is neither yes nor no"),
    }
}

/// A token that can be sent in an HTTP header.
pub(super) fn token(text: &str) -> Result<SecretString, Wrong> {
    let text = text.trim();
    if text.is_empty() {
        return wrong("is empty");
    }
    if let Some(position) = text.bytes().position(|byte| !byte.is_ascii_graphic()) {
        return wrong(format!(
            "contains a space, a line break or a character outside ASCII at position {}",
            position + 1
        ));
    }
    Ok(text.into())
}

/// A password. A line break at its end is what `echo` left there.
pub(super) fn password(text: &str) -> Result<SecretString, Wrong> {
    let text = text.trim_end_matches(['\r', '\n']);
    if text.contains(char::is_control) {
        return wrong("contains a control character");
    }
    Ok(text.into())
}

/// Text without control characters.
pub(super) fn text(text: &str) -> Result<String, Wrong> {
    if text.contains(char::is_control) {
        return wrong("contains a control character");
    }
    Ok(text.trim().to_owned())
}

/// The path of a file that may or may not exist.
pub(super) fn path(text: &str) -> Result<PathBuf, Wrong> {
    if text.contains(['\n', '\0']) {
        return wrong("is not a path (give the path itself, not file://)");
    }
    Ok(text.trim().into())
}

/// A UUID in any of its usual spellings.
pub(super) fn uuid(text: &str) -> Result<Uuid, Wrong> {
    Uuid::try_parse(text.trim()).map_err(|_| Wrong::new("is not a UUID"))
}

/// A log level.
pub(super) fn level(text: &str) -> Result<LogLevel, Wrong> {
    text.parse()
        .map_err(|error: UnknownLogLevel| Wrong::new(error.to_string()))
}

/// What is asked of a certificate.
pub(super) fn tls_reqs(text: &str) -> Result<TlsReqs, Wrong> {
    match text.trim().to_ascii_lowercase().as_str() {
        "none" => Ok(TlsReqs::None),
        "required" => Ok(TlsReqs::Required),
        _ => wrong("is neither of the two"),
    }
}

/// A host name or an address, without scheme, port and brackets.
pub(super) fn host(text: &str) -> Result<String, Wrong> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if bare.parse::<Ipv6Addr>().is_ok() {
        return Ok(bare.to_owned());
    }
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if text.is_empty() || !text.chars().all(letter) {
        return wrong("is not a host name");
    }
    Ok(text.to_owned())
}

/// The prefix of cookie names.
pub(super) fn cookie_prefix(text: &str) -> Result<CookiePrefix, Wrong> {
    match text.trim().to_ascii_lowercase().as_str() {
        "none" => Ok(CookiePrefix::None),
        "host" => Ok(CookiePrefix::Host),
        _ => wrong("is neither of the two"),
    }
}

/// What becomes of logins that cannot be stored.
pub(super) fn when_down(text: &str) -> Result<WhenDown, Wrong> {
    match text.trim().to_ascii_lowercase().as_str() {
        "refuse" => Ok(WhenDown::Refuse),
        "keep" => Ok(WhenDown::Keep),
        _ => wrong("is neither of the two"),
    }
}

/// Hosts with ports, separated by commas.
pub(super) fn nodes(text: &str) -> Result<Vec<Node>, Wrong> {
    let nodes = list(text, |part| {
        let (name, port) = part
            .rsplit_once(':')
            .ok_or_else(|| "has no port".to_owned())?;
        let port = port.parse().ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| "is not a host with a port".to_owned())?;
        let host = host(name).map_err(|wrong| wrong.reason)?;
        Ok(Node { host, port })
    })?;
    if nodes.is_empty() {
        return wrong("names none");
    }
    Ok(nodes)
}

/// Dialects of forward auth, separated by commas, or `all`; `none` is an empty set.
pub(super) fn dialects(text: &str) -> Result<Dialects, Wrong> {
    if text.trim().eq_ignore_ascii_case("all") {
        return Ok(Dialects::all());
    }
    let dialect = |part: &str| Dialect::parse(part).ok_or_else(|| "is not a dialect".to_owned());
    Ok(list(text, dialect)?.into_iter().collect())
}

/// Addresses to listen on, separated by commas; `none` is an empty list.
pub(super) fn addresses(text: &str) -> Result<Vec<SocketAddr>, Wrong> {
    list(text, |part| match part.strip_prefix(':') {
        // As in Go, only a port means every interface; IPv6 is asked for with `[::]`.
        Some(port) => port
            .parse()
            .map(|port| (Ipv4Addr::UNSPECIFIED, port).into())
            .map_err(|_| "is not a port".to_owned()),
        None => part.parse().map_err(|_| address_problem(part).to_owned()),
    })
}

/// Networks, separated by commas; a single address is a network of one, `none` is an empty list.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, Wrong> {
    list(text, |part| {
        part.parse::<IpNet>()
            .map(|network| network.trunc())
            .or_else(|_| part.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| "is neither a network nor an address".to_owned())
    })
}

/// A whole number that is at least `least`.
pub(super) fn count<T>(least: T) -> impl Fn(&str) -> Result<T, Wrong>
where
    T: FromStr + PartialOrd + Display,
{
    move |text| match text.trim().parse() {
        Ok(number) if number < least => wrong(format!("is less than {least}")),
        Ok(number) => Ok(number),
        Err(_) => wrong("is not a whole number, or is out of range"),
    }
}

/// A span of time that is at least `least`.
pub(super) fn duration(least: Duration) -> impl Fn(&str) -> Result<Duration, Wrong> {
    move |text| match read_duration(text.trim()) {
        None => wrong("is not a duration"),
        Some(duration) if duration < least => wrong(format!("is shorter than {least:?}")),
        // Longer is a mistake, and adding it to a point in time might overflow.
        Some(duration) if duration > YEAR => wrong("is longer than a year"),
        Some(duration) => Ok(duration),
    }
}

/// A number of bytes that is at least `least`.
pub(super) fn size(least: usize) -> impl Fn(&str) -> Result<usize, Wrong> {
    move |text| match read_size(text.trim()) {
        None => wrong("is not a size"),
        Some(size) if size < least => wrong(format!("is less than {least} bytes")),
        Some(size) => Ok(size),
    }
}

const YEAR: Duration = Duration::from_hours(365 * 24);

impl Wrong {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            part: None,
            reason: reason.into(),
        }
    }
}

fn wrong<T>(reason: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong::new(reason))
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Wrong> {
    if text.trim().eq_ignore_ascii_case("none") {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(str::trim)
        .map(|part| {
            parse(part).map_err(|reason| Wrong {
                part: Some(part.to_owned()),
                reason,
            })
        })
        .collect()
}

fn address_problem(part: &str) -> &'static str {
    match part.rsplit_once(':') {
        _ if part.is_empty() => "is no address (a comma too many?)",
        _ if part.bytes().all(|byte| byte.is_ascii_digit()) => {
            "is only a port (write a colon before it)"
        }
        _ if part.parse::<IpAddr>().is_ok() => "has no port",
        Some((name, number)) if number.parse::<u16>().is_ok() && !name.contains([':', '/']) => {
            "has a name where an IP address must stand (127.0.0.1 for localhost)"
        }
        _ => "is not an address with a port",
    }
}

fn read_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let number: u64 = number.parse().ok()?;
        let part = match unit {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        };
        total = total.checked_add(part)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

fn read_size(text: &str) -> Option<usize> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    // Kubernetes writes `Mi`. `MB` is left out: half of the world means 1000² by it.
    let factor: usize = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "ki" => 1 << 10,
        "mib" | "mi" => 1 << 20,
        "gib" | "gi" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
