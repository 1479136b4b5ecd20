//! From text to values. Each parser says only what is wrong; what is expected stands in
//! [`Kind::expects`](crate::config::settings::Kind::expects).

pub(super) mod parser;

use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;
use uuid::Uuid;

use crate::model::{Dialect, Dialects};

use crate::config::settings::values::{
    CookiePrefix, LogLevel, Node, SessionStore, TlsReqs, UnknownLogLevel, WhenDown, WhenUnconfirmed,
};

/// The scheme of a socket's URL.
pub(in crate::config) const SOCKET_SCHEME: &str = "unix";

/// Why a text is not a valid value, as a predicate: `is not a number`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ParseError {
    /// The invalid part of the text, unless it is all of it.
    pub(crate) part: Option<String>,
    /// The reason; never quotes the text.
    pub(crate) reason: String,
}

/// A base URL, made to end with `/` so that joining a relative path appends to it.
pub(crate) fn base_url(text: &str) -> Result<Url, ParseError> {
    let text = text.trim();
    if text.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control()) {
        return error("contains a backslash, a space or a control character");
    }
    // The URL standard reads `https:host` and `https:///host` as `https://host`; such values are rejected instead.
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| ParseError::new("is not a URL"))?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return error("must be an http:// or https:// URL");
    }
    if rest.is_empty() || rest.starts_with(['/', '?', '#', ':']) {
        return error("has no host");
    }
    let mut url =
        Url::parse(text).map_err(|error| ParseError::new(format!("is not a URL ({error})")))?;
    if !url.username().is_empty() || url.password().is_some() || rest.starts_with('@') {
        return error("must not contain a user or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return error("must not contain a query or a fragment");
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// The same, or the socket of a server on this host: `unix:///run/authentik.sock`.
pub(crate) fn base_url_or_socket(text: &str) -> Result<Url, ParseError> {
    let Some((scheme, path)) = text.trim().split_once("://") else {
        return base_url(text);
    };
    if !scheme.eq_ignore_ascii_case(SOCKET_SCHEME) {
        return base_url(text);
    }
    if !path.starts_with('/') || path.ends_with('/') || path.contains(['?', '#']) {
        return error("has no absolute path of a socket");
    }
    Url::parse(text.trim()).map_err(|error| ParseError::new(format!("is not a URL ({error})")))
}

/// A yes or no, in the spellings that authentik takes.
pub(crate) fn flag(text: &str) -> Result<bool, ParseError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => error("is neither yes nor no"),
    }
}

/// A token that can be sent in an HTTP header.
pub(crate) fn token(text: &str) -> Result<SecretString, ParseError> {
    let text = text.trim();
    if text.is_empty() {
        return error("is empty");
    }
    if let Some(position) = text.bytes().position(|byte| !byte.is_ascii_graphic()) {
        return error(format!(
            "contains a space, a line break or a character outside ASCII at position {}",
            position + 1
        ));
    }
    Ok(text.into())
}

/// A password. A line break at its end is what `echo` left there.
pub(crate) fn password(text: &str) -> Result<SecretString, ParseError> {
    let text = text.trim_end_matches(['\r', '\n']);
    if text.contains(char::is_control) {
        return error("contains a control character");
    }
    Ok(text.into())
}

/// Text without control characters.
pub(crate) fn text(text: &str) -> Result<String, ParseError> {
    if text.contains(char::is_control) {
        return error("contains a control character");
    }
    Ok(text.trim().to_owned())
}

/// The path of a file that may or may not exist.
pub(crate) fn path(text: &str) -> Result<PathBuf, ParseError> {
    if text.contains(['\n', '\0']) {
        return error("is not a path (give the path itself, not file://)");
    }
    Ok(text.trim().into())
}

/// A UUID in any of its usual spellings.
pub(crate) fn uuid(text: &str) -> Result<Uuid, ParseError> {
    Uuid::try_parse(text.trim()).map_err(|_| ParseError::new("is not a UUID"))
}

/// A log level.
pub(crate) fn level(text: &str) -> Result<LogLevel, ParseError> {
    text.parse()
        .map_err(|error: UnknownLogLevel| ParseError::new(error.to_string()))
}

/// How a certificate is verified.
pub(crate) fn tls_reqs(text: &str) -> Result<TlsReqs, ParseError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "none" => Ok(TlsReqs::None),
        "required" => Ok(TlsReqs::Required),
        _ => error("is neither of the two"),
    }
}

/// A host name or an address, without scheme, port and brackets.
pub(crate) fn host(text: &str) -> Result<String, ParseError> {
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
        return error("is not a host name");
    }
    Ok(text.to_owned())
}

/// The prefix of cookie names.
pub(crate) fn cookie_prefix(text: &str) -> Result<CookiePrefix, ParseError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "none" => Ok(CookiePrefix::None),
        "host" => Ok(CookiePrefix::Host),
        _ => error("is neither of the two"),
    }
}

/// What happens to logins while Redis is down.
pub(crate) fn when_down(text: &str) -> Result<WhenDown, ParseError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "refuse" => Ok(WhenDown::Refuse),
        "keep" => Ok(WhenDown::Keep),
        _ => error("is neither of the two"),
    }
}

/// Where sessions are kept.
pub(crate) fn session_store(text: &str) -> Result<SessionStore, ParseError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "memory" => Ok(SessionStore::Memory),
        "redis" => Ok(SessionStore::Redis),
        "cookie" => Ok(SessionStore::Cookie),
        _ => error("is none of the three"),
    }
}

/// What happens to a session that authentik cannot be asked about.
pub(crate) fn when_unconfirmed(text: &str) -> Result<WhenUnconfirmed, ParseError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "allow" => Ok(WhenUnconfirmed::Allow),
        "refuse" => Ok(WhenUnconfirmed::Refuse),
        _ => error("is neither of the two"),
    }
}

/// Hosts with ports, separated by commas.
pub(crate) fn nodes(text: &str) -> Result<Vec<Node>, ParseError> {
    let nodes = list(text, |part| {
        let (name, port) = part
            .rsplit_once(':')
            .ok_or_else(|| "has no port".to_owned())?;
        let port = port.parse().ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| "is not a host with a port".to_owned())?;
        let host = host(name).map_err(|error| error.reason)?;
        Ok(Node { host, port })
    })?;
    if nodes.is_empty() {
        return error("names none");
    }
    Ok(nodes)
}

/// Dialects of forward auth, separated by commas, or `all`; `none` is an empty set.
pub(crate) fn dialects(text: &str) -> Result<Dialects, ParseError> {
    if text.trim().eq_ignore_ascii_case("all") {
        return Ok(Dialects::all());
    }
    let dialect = |part: &str| Dialect::parse(part).ok_or_else(|| "is not a dialect".to_owned());
    Ok(list(text, dialect)?.into_iter().collect())
}

/// Addresses to listen on, separated by commas; `none` is an empty list.
pub(crate) fn addresses(text: &str) -> Result<Vec<SocketAddr>, ParseError> {
    list(text, |part| match part.strip_prefix(':') {
        // As in Go, only a port means every interface of both families.
        Some(port) => port
            .parse()
            .map(|port| (Ipv6Addr::UNSPECIFIED, port).into())
            .map_err(|_| "is not a port".to_owned()),
        None => part.parse().map_err(|_| address_problem(part).to_owned()),
    })
}

/// Networks, separated by commas; a single address is a network of one, `none` is an empty list.
pub(crate) fn networks(text: &str) -> Result<Vec<IpNet>, ParseError> {
    list(text, |part| {
        part.parse::<IpNet>()
            .map(|network| network.trunc())
            .or_else(|_| part.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| "is neither a network nor an address".to_owned())
    })
}

/// A whole number that is at least `least`.
pub(crate) fn count<T>(least: T) -> impl Fn(&str) -> Result<T, ParseError>
where
    T: FromStr + PartialOrd + Display,
{
    move |text| match text.trim().parse() {
        Ok(number) if number < least => error(format!("is less than {least}")),
        Ok(number) => Ok(number),
        Err(_) => error("is not a whole number, or is out of range"),
    }
}

/// A span of time that is at least `least`.
pub(crate) fn duration(least: Duration) -> impl Fn(&str) -> Result<Duration, ParseError> {
    move |text| match read_duration(text.trim()) {
        None => error("is not a duration"),
        Some(duration) if duration < least => error(format!("is shorter than {least:?}")),
        // Longer is a mistake, and adding it to a point in time might overflow.
        Some(duration) if duration > YEAR => error("is longer than a year"),
        Some(duration) => Ok(duration),
    }
}

/// A number of bytes that is at least `least`.
pub(crate) fn size(least: usize) -> impl Fn(&str) -> Result<usize, ParseError> {
    move |text| match read_size(text.trim()) {
        None => error("is not a size"),
        Some(size) if size < least => error(format!("is less than {least} bytes")),
        Some(size) => Ok(size),
    }
}

const YEAR: Duration = Duration::from_hours(365 * 24);

impl ParseError {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            part: None,
            reason: reason.into(),
        }
    }
}

fn error<T>(reason: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError::new(reason))
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, ParseError> {
    if text.trim().eq_ignore_ascii_case("none") {
        return Ok(Vec::new());
    }
    text.split(',')
        .map(str::trim)
        .map(|part| {
            parse(part).map_err(|reason| ParseError {
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
    // Kubernetes writes `Mi`. `MB` is left out: its meaning is ambiguous (1000² or 1024²).
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
