//! Whether a request comes from somebody who can sign in: a page being opened, not a script.

use http::{HeaderMap, Method, header};

/// Whether a redirect to a sign-in page would be seen by a person. Browsers say so themselves
/// (Fetch Metadata, `Sec-Fetch-Mode`), where the connection is secure; elsewhere other headers
/// give scripts and websockets away.
#[must_use]
pub fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| {
        let found = headers.get(name);
        found.is_some_and(|found| found.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
    };
    if is("upgrade", "websocket") || is("x-requested-with", "XMLHttpRequest") {
        return false;
    }
    if headers.contains_key("sec-fetch-mode") {
        return is("sec-fetch-mode", "navigate");
    }
    let html = |accept: &http::HeaderValue| {
        let text = accept.as_bytes();
        text.windows(b"text/html".len())
            .any(|part| part.eq_ignore_ascii_case(b"text/html"))
    };
    matches!(*method, Method::GET | Method::HEAD)
        || headers.get_all(header::ACCEPT).iter().any(html)
}

/// Whether a browser asks if it may send the real request (Fetch standard section 4.8).
#[must_use]
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issue_10057_scripts_and_websockets_are_no_navigation() {
        for (method, headers, expected) in [
            ("GET", &[][..], true),
            ("GET", &[("accept", "text/html,*/*;q=0.8")], true),
            ("GET", &[("accept", "application/json")], true),
            ("GET", &[("sec-fetch-mode", "navigate")], true),
            (
                "GET",
                &[("sec-fetch-mode", "cors"), ("accept", "text/html")],
                false,
            ),
            ("GET", &[("sec-fetch-mode", "websocket")], false),
            ("GET", &[("upgrade", "WebSocket")], false),
            ("GET", &[("x-requested-with", "xmlhttprequest")], false),
            ("POST", &[], false),
            ("POST", &[("accept", "application/json")], false),
            (
                "POST",
                &[("accept", "application/xhtml+xml, Text/HTML")],
                true,
            ),
            ("POST", &[("sec-fetch-mode", "navigate")], true),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().expect("a value"));
            }
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            assert_eq!(
                is_navigation(&method, &map),
                expected,
                "{method} {headers:?}"
            );
        }
    }
}
