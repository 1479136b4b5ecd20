//! The `host[:port]` part of a URL or of a `Host` header, checked and borrowed.

use std::borrow::Cow;

/// Maximum length of an authority: a DNS name (253) and a port.
const MAX_AUTHORITY_BYTES: usize = 260;

/// A checked `host[:port]` (RFC 9110 section 7.2), borrowed from the request.
///
/// Only letters, digits, `-`, `.`, `_` and a bracketed IPv6 address are accepted, so that nothing
/// else can travel from a `Host` header into a redirect, a cookie or a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    host: &'a str,
    port: Option<u16>,
}

/// Why a text is not a `host[:port]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// No host.
    #[error("the host is empty")]
    Empty,
    /// Longer than any DNS name.
    #[error("the host is longer than {MAX_AUTHORITY_BYTES} characters")]
    TooLong,
    /// A character that is not allowed in host names.
    #[error("the host has a character that is not allowed in a host name")]
    Character,
    /// A port that is not a number between 0 and 65535.
    #[error("the port is not a number between 0 and 65535")]
    Port,
}

impl<'a> Authority<'a> {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`.
    pub fn parse(text: &'a str) -> Result<Self, AuthorityError> {
        if text.is_empty() {
            return Err(AuthorityError::Empty);
        }
        if text.len() > MAX_AUTHORITY_BYTES {
            return Err(AuthorityError::TooLong);
        }
        let (host, port) = if text.starts_with('[') {
            let end = text.find(']').ok_or(AuthorityError::Character)?;
            let (host, rest) = text.split_at(end + 1);
            let inside = &host[1..end];
            if inside.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(AuthorityError::Character);
            }
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(AuthorityError::Character),
            }
        } else {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            if host.is_empty() {
                return Err(AuthorityError::Empty);
            }
            if !host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
            {
                return Err(AuthorityError::Character);
            }
            (host, port)
        };
        let port = match port {
            None => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| AuthorityError::Port)?)
            }
            Some(_) => return Err(AuthorityError::Port),
        };
        Ok(Self { host, port })
    }

    /// The host as it was written, without the port; an IPv6 address keeps its brackets.
    #[must_use]
    pub fn host(&self) -> &'a str {
        self.host
    }

    /// The port, where one was written.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The host in lower case and without a trailing dot; borrowed unless it has to change.
    #[must_use]
    pub fn canonical_host(&self) -> Cow<'a, str> {
        let host = self
            .host
            .strip_suffix('.')
            .filter(|h| !h.is_empty())
            .unwrap_or(self.host);
        if host.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        }
    }
}

impl std::fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Authority, AuthorityError};

    #[test]
    fn reads_hosts_with_and_without_port() {
        for (text, host, port) in [
            ("app.example", "app.example", None),
            ("app.example:8443", "app.example", Some(8443)),
            ("[::1]", "[::1]", None),
            ("[2001:db8::1]:9000", "[2001:db8::1]", Some(9000)),
            ("under_score", "under_score", None),
        ] {
            let authority = Authority::parse(text).expect(text);
            assert_eq!((authority.host(), authority.port()), (host, port), "{text}");
            assert_eq!(authority.to_string(), text);
        }
    }

    #[test]
    fn cve_2026_57209_refuses_what_is_not_a_host() {
        for text in [
            "",
            ":80",
            "a b",
            "a;b",
            "a\"b",
            "a\r\nb",
            "a/b",
            "a@b",
            "a\\b",
            "a%41",
            "ä.example",
            "a:b",
            "a:",
            "a:70000",
            "a:1:2",
            "[::1",
            "[::1]x",
            "[zz]",
            "::1",
            "a,b",
            "a\0b",
        ] {
            let verdict = Authority::parse(text);
            if text == "a:" {
                assert_eq!(verdict, Err(AuthorityError::Port));
            }
            assert!(verdict.is_err(), "{text:?} was accepted");
        }
        assert_eq!(
            Authority::parse(&"a".repeat(300)),
            Err(AuthorityError::TooLong)
        );
    }

    #[test]
    fn canonical_host_is_lower_case_and_without_trailing_dot() {
        for (text, expected) in [
            ("App.Example.", "app.example"),
            ("app.example", "app.example"),
        ] {
            assert_eq!(
                Authority::parse(text).expect(text).canonical_host(),
                expected
            );
        }
    }
}
