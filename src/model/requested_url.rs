//! The URL that a user requested, as a reverse proxy reports it, kept byte for byte.

use std::borrow::Cow;

use url::Url;

use super::{Authority, AuthorityError};

/// Length of a URL, in bytes.
const MAX_URL_BYTES: usize = 16 * 1024;

/// `http` or `https`; nothing else is ever put into a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// Reads a scheme without regard to case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("https") {
            Some(Self::Https)
        } else if text.eq_ignore_ascii_case("http") {
            Some(Self::Http)
        } else {
            None
        }
    }

    /// Reads a scheme of `X-Forwarded-Proto`, where Traefik writes `wss` and `ws` for websockets.
    #[must_use]
    pub fn parse_forwarded(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("wss") {
            Some(Self::Https)
        } else if text.eq_ignore_ascii_case("ws") {
            Some(Self::Http)
        } else {
            Self::parse(text)
        }
    }

    /// The scheme in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// An absolute `http(s)` URL, borrowed, with path and query exactly as they were received.
///
/// Two parsers must agree on the host: this one and the WHATWG parser that browsers follow (crate
/// `url`). A URL that a browser could read differently is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestedUrl<'a> {
    scheme: Scheme,
    authority: Authority<'a>,
    /// Path and query as written.
    target: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

/// Why a text is not an unambiguous URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestedUrlError {
    /// Not absolute, or neither `http` nor `https`.
    #[error("it does not start with http:// or https://")]
    Scheme,
    /// The part after the scheme is not a host.
    #[error("{0}")]
    Authority(#[from] AuthorityError),
    /// Bytes outside of visible ASCII, which no URL on the wire has.
    #[error("it has a space, a control character or a character outside of ASCII")]
    Character,
    /// Longer than 16 KiB.
    #[error("it is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
    /// A browser would read another host.
    #[error("browsers would read it as another host")]
    Ambiguous,
}

impl<'a> RequestedUrl<'a> {
    /// Reads an absolute URL.
    pub fn parse(text: &'a str) -> Result<Self, RequestedUrlError> {
        if text.len() > MAX_URL_BYTES {
            return Err(RequestedUrlError::TooLong);
        }
        if !text.bytes().all(|b| matches!(b, 0x21..=0x7e)) {
            return Err(RequestedUrlError::Character);
        }
        let (scheme, rest) = text.split_once("://").ok_or(RequestedUrlError::Scheme)?;
        let scheme = Scheme::parse(scheme).ok_or(RequestedUrlError::Scheme)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let authority = Authority::parse(authority)?;
        let url = Self::new(scheme, authority, target);
        if url.is_plain() || url.agrees_with_browsers(text) {
            Ok(url)
        } else {
            Err(RequestedUrlError::Ambiguous)
        }
    }

    /// A URL of which a reverse proxy reports scheme, host and target (path and query) apart.
    pub fn of_parts(
        scheme: Scheme,
        authority: Authority<'a>,
        target: &'a str,
    ) -> Result<Self, RequestedUrlError> {
        if target.len() > MAX_URL_BYTES {
            return Err(RequestedUrlError::TooLong);
        }
        if !target.bytes().all(|b| matches!(b, 0x21..=0x7e)) {
            return Err(RequestedUrlError::Character);
        }
        // A target in absolute or authority form would have another host in it.
        if !(target.is_empty() || target.starts_with(['/', '?'])) {
            return Err(RequestedUrlError::Ambiguous);
        }
        let url = Self::new(scheme, authority, target);
        if url.is_plain() || url.agrees_with_browsers(&url.to_string()) {
            Ok(url)
        } else {
            Err(RequestedUrlError::Ambiguous)
        }
    }

    /// The URL of a request that the outpost itself received. The target is passed on unchanged, so
    /// that only its path has to be unambiguous.
    pub fn of_request(
        scheme: Scheme,
        authority: Authority<'a>,
        target: &'a str,
    ) -> Result<Self, RequestedUrlError> {
        if target.starts_with('/') {
            Ok(Self::new(scheme, authority, target))
        } else {
            Err(RequestedUrlError::Ambiguous)
        }
    }

    /// The same URL at another host.
    #[must_use]
    pub fn at(&self, authority: Authority<'a>) -> Self {
        Self { authority, ..*self }
    }

    fn new(scheme: Scheme, authority: Authority<'a>, target: &'a str) -> Self {
        // No browser sends a fragment. What a client sends after `#` reaches the application with the
        // rest, so it stays part of the path, which then has two readings.
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Self {
            scheme,
            authority,
            target,
            path,
            query,
        }
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host and port as written.
    #[must_use]
    pub fn authority(&self) -> Authority<'a> {
        self.authority
    }

    /// The path as written; `/` where none was.
    #[must_use]
    pub fn path(&self) -> &'a str {
        if self.path.is_empty() { "/" } else { self.path }
    }

    /// The query as written, without the question mark.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// Path and query as written, ready to follow an origin.
    #[must_use]
    pub fn path_and_query(&self) -> Cow<'a, str> {
        if self.path.is_empty() {
            Cow::Owned(format!("/{}", self.target))
        } else {
            Cow::Borrowed(self.target)
        }
    }

    /// Every parser reads a host of letters, digits, dots and hyphens that does not end in a number
    /// in the same way; this spares the hot path the full parser.
    fn is_plain(&self) -> bool {
        let host = self.authority.host();
        let last = host.rsplit('.').next().unwrap_or_default();
        host.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
            && last.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && !host
                .split('.')
                .any(|label| label.is_empty() || has_punycode_prefix(label))
    }

    fn agrees_with_browsers(&self, text: &str) -> bool {
        Url::parse(text).is_ok_and(|url| {
            url.host_str().is_some_and(|host| {
                host.trim_end_matches('.')
                    .eq_ignore_ascii_case(self.authority.host().trim_end_matches('.'))
            }) && url.username().is_empty()
                && url.password().is_none()
        })
    }
}

impl std::fmt::Display for RequestedUrl<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scheme, authority) = (self.scheme.as_str(), self.authority);
        write!(f, "{scheme}://{authority}{}", self.path_and_query())
    }
}

/// Punycode labels (`xn--`) are left to the full parser, which refuses malformed ones.
fn has_punycode_prefix(label: &str) -> bool {
    label
        .get(..4)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case("xn--"))
}

#[cfg(test)]
mod tests {
    use super::{RequestedUrl, RequestedUrlError};

    #[test]
    fn keeps_path_and_query_byte_for_byte() {
        for (text, path, query) in [
            ("https://a.example", "/", None),
            ("https://a.example/", "/", None),
            ("https://a.example?x=1", "/", Some("x=1")),
            (
                "https://a.example/p%2Fq/../r;v=1?x=%20&y={z}|\"",
                "/p%2Fq/../r;v=1",
                Some("x=%20&y={z}|\""),
            ),
            ("HTTP://A.Example:8080/x?", "/x", Some("")),
            ("https://a.example/x#/../y", "/x#/../y", None),
            ("http://10.0.0.1:9000/x", "/x", None),
            ("http://[::1]/x", "/x", None),
        ] {
            let url = RequestedUrl::parse(text).expect(text);
            assert_eq!((url.path(), url.query()), (path, query), "{text}");
        }
    }

    #[test]
    fn cve_2021_32637_refuses_what_has_two_readings() {
        for text in [
            "",
            "/",
            "//a.example/",
            "a.example/",
            "ftp://a.example/",
            "javascript://a.example/",
            "https:a.example",
            "https:///a.example",
            "https://",
            "https:///",
            "https://a@b.example/",
            "https://a.example\\@b.example/",
            "https://a.example\t/",
            "https://a.example/ä",
            "https://a.example/a b",
            "https://a.example/\0",
            "https://a.example/\r\nX: y",
            "https://0x7f.1/",
            "https://1.2.3/",
            "https://xn--a/",
            "https://a..example%2f/",
        ] {
            assert!(RequestedUrl::parse(text).is_err(), "{text:?} was accepted");
        }
        let long = format!("https://a.example/{}", "a".repeat(17_000));
        assert_eq!(RequestedUrl::parse(&long), Err(RequestedUrlError::TooLong));
    }
}
