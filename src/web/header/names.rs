//! Names of headers as applications may read them.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};

/// Names the program that made a response; on every response that is not an application's.
pub const POWERED_BY: HeaderName = HeaderName::from_static("x-powered-by");
/// The id of the request, in its response and in what is passed on of it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The value of [`POWERED_BY`]: that of the vendor's outpost.
pub const POWERED_BY_VALUE: HeaderValue = HeaderValue::from_static("authentik_proxy2");

/// Headers in which reverse proxies describe the request that they pass on. Parsed once: they are read
/// for every request.
pub static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// See [`X_FORWARDED_FOR`].
pub static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// See [`X_FORWARDED_FOR`].
pub static X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
/// See [`X_FORWARDED_FOR`].
pub static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// See [`X_FORWARDED_FOR`].
pub static X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
/// See [`X_FORWARDED_FOR`].
pub static X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
/// See [`X_FORWARDED_FOR`].
pub static X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
/// See [`X_FORWARDED_FOR`].
pub static X_SENT_FROM: HeaderName = HeaderName::from_static("x-sent-from");

/// What a header takes in HTTP/1.1, in bytes.
#[must_use]
pub fn line_bytes((name, value): (&HeaderName, &HeaderValue)) -> usize {
    name.as_str().len() + value.len() + ": \r\n".len()
}

/// Whether a name has letters, digits and `-` only, so that no application takes it for another.
#[must_use]
pub fn is_plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The plain name for which applications may take a name (in lower case). CGI and its successors
/// (WSGI, PHP, Rack) make variables of names (RFC 3875 section 4.1.18), and some servers
/// write `_` for every byte that no variable may have: `x!authentik!username` arrives as
/// `HTTP_X_AUTHENTIK_USERNAME`.
#[must_use]
pub fn folded(name: &str) -> Cow<'_, str> {
    if is_plain(name) {
        return Cow::Borrowed(name);
    }
    let fold = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    Cow::Owned(name.chars().map(fold).collect())
}

/// Whether applications may take two names (in lower case) for the same.
#[must_use]
pub fn resembles(name: &str, other: &str) -> bool {
    let fold = |b: u8| if b.is_ascii_alphanumeric() { b } else { b'-' };
    name.len() == other.len() && name.bytes().map(fold).eq(other.bytes().map(fold))
}

/// Whether a name (plain, in lower case) is one by which clients have a server act as if the method
/// were another.
#[must_use]
pub fn overrides_method(name: &str) -> bool {
    matches!(
        name,
        "x-http-method-override" | "x-http-method" | "x-method-override"
    )
}

/// Whether a name (in lower case), or one that applications may take it for, says what attributes of
/// users must not: who they are, where a request comes from and leads to, what reverse proxies do
/// with it, and how long it is.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    let name = &*folded(name);
    let begins = [
        "x-authentik-",
        "x-original-",
        "x-envoy-",
        "x-accel-",
        "proxy-",
    ];
    begins.iter().any(|prefix| name.starts_with(prefix))
        || overrides_method(name)
        || matches!(
            name,
            "x-forwarded-for"
                | "x-forwarded-host"
                | "x-forwarded-proto"
                | "x-forwarded-port"
                | "x-forwarded-prefix"
                | "x-forwarded-path"
                | "x-forwarded-uri"
                | "x-forwarded-method"
                | "x-real-ip"
                | "x-rewrite-url"
                | "x-override-url"
                | "x-request-id"
                | "forwarded"
                | "cookie"
                | "set-cookie"
                | "proxy"
                | "host"
                | "connection"
                | "keep-alive"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "content-length"
                | "upgrade"
                | "expect"
        )
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use proptest::prelude::*;

    use super::*;

    /// What lighttpd 1.4 makes of a name for CGI programs, and Apache 2.2 did: every byte
    /// but letters and digits is `_`.
    fn variable(name: &str) -> String {
        let letter = |b: u8| match b {
            b if b.is_ascii_alphanumeric() => char::from(b.to_ascii_uppercase()),
            _ => '_',
        };
        format!("HTTP_{}", name.bytes().map(letter).collect::<String>())
    }

    proptest! {
        #[test]
        fn ap_2026_05_two_names_of_one_variable_resemble_each_other(
            name in "[a-z0-9!#$%&'*+.^_`|~-]{1,12}",
            change in "[!#$%&'*+.^_`|~-]",
        ) {
            let other: String = name.chars().map(|c| {
                if c.is_ascii_alphanumeric() { c.to_string() } else { change.clone() }
            }).collect();
            for text in [&name, &other] {
                prop_assert!(HeaderName::from_bytes(text.as_bytes()).is_ok());
                prop_assert_eq!(variable(text), variable(&folded(text)));
                prop_assert!(is_plain(&folded(text)));
            }
            prop_assert_eq!(variable(&name), variable(&other));
            prop_assert!(resembles(&name, &other));
            prop_assert_eq!(folded(&name), folded(&other));
        }

        #[test]
        fn names_of_two_variables_do_not_resemble_each_other(
            name in "[a-z0-9!#$%&'*+.^_`|~-]{1,6}",
            other in "[a-z0-9!#$%&'*+.^_`|~-]{1,6}",
        ) {
            prop_assert_eq!(resembles(&name, &other), variable(&name) == variable(&other));
            prop_assert_eq!(folded(&name) == folded(&other), variable(&name) == variable(&other));
        }
    }

    /// Names of one word have no lookalikes, so that those need no care.
    #[test]
    fn a_name_of_one_word_is_taken_for_no_other() {
        for name in [
            "cookie",
            "authorization",
            "host",
            "connection",
            "upgrade",
            "te",
        ] {
            for other in ["cookie_", "_cookie", "authorization!", "ho.st", "te-"] {
                assert!(!resembles(name, other), "{name} {other}");
            }
        }
    }
}
