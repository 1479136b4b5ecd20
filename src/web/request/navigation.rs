//! Whether a request is a navigation, so that the user can sign in, and where it was initiated.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use crate::model::Authority;
use crate::web::header::names;

/// Whether the request is a navigation, so that the user would see a redirect to a sign-in page.
/// Browsers send Fetch Metadata (`Sec-Fetch-Mode`) over secure connections; otherwise other headers
/// identify scripts and websockets. Every browser accepts HTML when it navigates; scripts, images,
/// event streams and API clients often name what they accept instead.
#[must_use]
pub fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    if is_background(headers) {
        return false;
    }
    if headers.contains_key(FETCH_MODE) {
        return is(headers, FETCH_MODE, "navigate");
    }
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    accepts_html(headers) || (is_read && !accepts_something_else(headers))
}

/// Whether the request is a prefetch (Resource Hints, `Sec-Purpose` of the Fetch standard, `Purpose`
/// and `X-Moz` of older browsers). It must not change anything.
#[must_use]
pub fn is_prefetch(headers: &HeaderMap) -> bool {
    let prefetches = |name: &str| {
        let values = headers.get_all(name).iter();
        let mut items = values.flat_map(|value| value.as_bytes().split(|b| b",;".contains(b)));
        items.any(|item| item.trim_ascii().eq_ignore_ascii_case(b"prefetch"))
    };
    ["sec-purpose", "purpose", "x-moz"]
        .into_iter()
        .any(prefetches)
}

/// Where a navigation that changes something was initiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// By a page of the same origin, or by the user: the address bar, a bookmark.
    Here,
    /// By a page of another origin, or unknown.
    Elsewhere,
    /// Not a navigation: a script, an image, a frame, a prefetch or `HEAD`.
    InBackground,
}

impl Opened {
    /// Reads Fetch Metadata. If the browser sends none (plain http), a request that accepts HTML is a
    /// navigation, and `Origin` or `Referer` name the initiator's host.
    #[must_use]
    pub fn of(method: &Method, headers: &HeaderMap, host: &Authority<'_>) -> Self {
        let is_page = if headers.contains_key(FETCH_MODE) {
            let is_document = is(headers, FETCH_DEST, "document");
            is(headers, FETCH_MODE, "navigate")
                && (is_document || !headers.contains_key(FETCH_DEST))
        } else {
            accepts_html(headers)
        };
        if !is_page || *method == Method::HEAD || is_background(headers) {
            return Self::InBackground;
        }
        let is_here = if headers.contains_key(FETCH_SITE) {
            is(headers, FETCH_SITE, "same-origin") || is(headers, FETCH_SITE, "none")
        } else {
            let from = headers.get(header::ORIGIN);
            let from = from.or_else(|| headers.get(header::REFERER));
            from.is_some_and(|from| names(from, host))
        };
        if is_here { Self::Here } else { Self::Elsewhere }
    }
}

const FETCH_MODE: &str = "sec-fetch-mode";
const FETCH_DEST: &str = "sec-fetch-dest";
const FETCH_SITE: &str = "sec-fetch-site";

fn is(headers: &HeaderMap, name: &str, value: &str) -> bool {
    let found = headers.get(name);
    found.is_some_and(|found| found.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
}

/// Whether a client opens a websocket. Traefik sends neither `Upgrade` nor `Connection` in its
/// authorization requests, so the headers of the handshake itself count too (RFC 6455 section 4.1).
fn is_websocket(headers: &HeaderMap) -> bool {
    is(headers, "upgrade", "websocket")
        || is(headers, FETCH_MODE, "websocket")
        || headers.contains_key(header::SEC_WEBSOCKET_VERSION)
        || headers.contains_key(header::SEC_WEBSOCKET_KEY)
}

/// Whether a browser may have sent the request: it says so, or it names no program at all. A browser
/// shows a dialog of its own for a Basic challenge, even to what a script fetches.
#[must_use]
pub fn may_be_browser(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes);
    let is_named = agent.is_some_and(|agent| {
        !agent.is_empty() && !agent.starts_with(b"Mozilla/") && !agent.starts_with(b"Opera/")
    });
    !is_named || headers.contains_key(FETCH_MODE) || headers.contains_key(header::ORIGIN)
}

fn is_background(headers: &HeaderMap) -> bool {
    is_websocket(headers)
        || is(headers, "x-requested-with", "XMLHttpRequest")
        || is_prefetch(headers)
}

/// Whether the client wants HTML, so that a page is shown. Browsers do in every navigation.
#[must_use]
pub fn accepts_html(headers: &HeaderMap) -> bool {
    let html = |accept: &HeaderValue| {
        let text = accept.as_bytes();
        text.windows(b"text/html".len())
            .any(|part| part.eq_ignore_ascii_case(b"text/html"))
    };
    headers.get_all(header::ACCEPT).iter().any(html)
}

/// Whether `Accept` names media types (RFC 9110 section 12.5.1), and none that HTML belongs to. `*/*`
/// names none.
fn accepts_something_else(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter();
    let ranges = values
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(|range| range.split(|b| *b == b';').next().unwrap_or_default())
        .map(<[u8]>::trim_ascii)
        .filter(|range| !range.is_empty() && *range != b"*/*");
    let mut names_any = false;
    for range in ranges {
        let is = |html: &str| range.eq_ignore_ascii_case(html.as_bytes());
        if is("text/html") || is("text/*") || is("application/xhtml+xml") {
            return false;
        }
        names_any = true;
    }
    names_any
}

/// Whether an `Origin` or `Referer` has this host. The port may differ, because a port mapping in
/// front of the outpost hides it.
fn names(from: &HeaderValue, host: &Authority<'_>) -> bool {
    let from = from.to_str().ok().and_then(|url| url.parse::<Uri>().ok());
    let authority = from.as_ref().and_then(Uri::authority);
    let authority = authority.and_then(|authority| Authority::parse(authority.as_str()).ok());
    authority.is_some_and(|from| from.canonical_host() == host.canonical_host())
}

/// Whether the request is a CORS preflight (Fetch standard section 4.8).
#[must_use]
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Whether a header overrides the method, in any spelling that frameworks accept.
#[must_use]
pub fn overrides_method(headers: &HeaderMap) -> bool {
    let mut names = headers.keys().map(HeaderName::as_str);
    names.any(|name| names::overrides_method(&names::folded(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a value"));
        }
        map
    }

    #[test]
    fn issue_10057_scripts_and_websockets_are_no_navigation() {
        for (method, headers, expected) in [
            ("GET", &[][..], true),
            ("GET", &[("accept", "text/html,*/*;q=0.8")], true),
            ("GET", &[("accept", "*/*")], true),
            ("GET", &[("accept", "")], true),
            ("GET", &[("accept", "*/*;q=0.8, text/*")], true),
            ("HEAD", &[("accept", "Application/XHTML+xml;q=0.9")], true),
            ("GET", &[("accept", "application/json")], false),
            ("HEAD", &[("accept", "application/json")], false),
            // axios; EventSource; an image and a stylesheet of Chromium; an image of Firefox.
            (
                "GET",
                &[("accept", "application/json, text/plain, */*")],
                false,
            ),
            ("GET", &[("accept", "text/event-stream")], false),
            (
                "GET",
                &[(
                    "accept",
                    "image/avif,image/webp,image/apng,image/*,*/*;q=0.8",
                )],
                false,
            ),
            ("GET", &[("accept", "text/css,*/*;q=0.1")], false),
            (
                "GET",
                &[("accept", "image/png,image/svg+xml,*/*;q=0.5")],
                false,
            ),
            (
                "GET",
                &[
                    ("accept", "application/json"),
                    ("sec-fetch-mode", "navigate"),
                ],
                true,
            ),
            ("GET", &[("sec-fetch-mode", "navigate")], true),
            (
                "GET",
                &[("sec-fetch-mode", "cors"), ("accept", "text/html")],
                false,
            ),
            ("GET", &[("sec-fetch-mode", "websocket")], false),
            ("GET", &[("upgrade", "WebSocket")], false),
            ("GET", &[("sec-websocket-version", "13")], false),
            (
                "GET",
                &[
                    ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
                    ("accept", "text/html"),
                ],
                false,
            ),
            (
                "POST",
                &[("sec-fetch-mode", "websocket"), ("accept", "text/html")],
                false,
            ),
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
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            assert_eq!(
                is_navigation(&method, &map(headers)),
                expected,
                "{method} {headers:?}"
            );
        }
    }

    /// The names are those of gvfs, git, the clients of Windows and macOS for shared folders, and browsers.
    #[test]
    fn a_program_that_names_itself_and_sends_nothing_of_a_browser_is_none() {
        for (headers, expected) in [
            (&[("user-agent", "gvfs/1.50.3")][..], false),
            (&[("user-agent", "git/2.43.0")], false),
            (
                &[("user-agent", "Microsoft-WebDAV-MiniRedir/10.0.19045")],
                false,
            ),
            (
                &[("user-agent", "WebDAVFS/3.0.0 (03008000) Darwin/23.1.0")],
                false,
            ),
            (
                &[("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)")],
                true,
            ),
            (&[("user-agent", "Opera/9.80 (X11; Linux i686)")], true),
            (
                &[("user-agent", "curl/8"), ("sec-fetch-mode", "cors")],
                true,
            ),
            (&[("user-agent", "x"), ("origin", "https://a.test")], true),
            (&[("user-agent", "")], true),
            (&[], true),
        ] {
            assert_eq!(may_be_browser(&map(headers)), expected, "{headers:?}");
        }
    }

    /// As browsers send it: Chromium (speculation rules, `link rel=prefetch`), Safari, Firefox.
    #[test]
    fn ap_2026_06_a_prefetch_is_no_navigation() {
        for (header, expected) in [
            (("sec-purpose", "prefetch"), true),
            (("sec-purpose", "prefetch;prerender"), true),
            (("sec-purpose", "prefetch;anonymous-client-ip"), true),
            (("purpose", "prefetch"), true),
            (("x-moz", "prefetch"), true),
            (("sec-purpose", "no-prefetch"), false),
            (("x-purpose", "prefetch"), false),
        ] {
            let headers = map(&[header, ("sec-fetch-mode", "navigate")]);
            assert_eq!(is_prefetch(&headers), expected, "{header:?}");
            let navigates = is_navigation(&Method::GET, &headers);
            assert_eq!(navigates, !expected, "{header:?}");
        }
    }

    /// The values are those of Fetch Metadata Request Headers, sections 2.1 to 2.3.
    #[test]
    fn ap_2026_06_only_a_page_that_is_opened_from_here_acts_without_asking() {
        use Opened::{Elsewhere, Here, InBackground};
        const MODE: (&str, &str) = ("sec-fetch-mode", "navigate");
        const DOCUMENT: (&str, &str) = ("sec-fetch-dest", "document");
        const HTML: (&str, &str) = ("accept", "text/html,application/xml;q=0.9,*/*;q=0.8");
        let site = |value| ("sec-fetch-site", value);
        let host = Authority::parse("grafana.test:8443").expect("an authority");
        for (method, headers, expected) in [
            ("GET", &[MODE, DOCUMENT, site("same-origin")][..], Here),
            ("GET", &[MODE, DOCUMENT, site("none")], Here),
            ("POST", &[MODE, DOCUMENT, site("same-origin")], Here),
            ("GET", &[MODE, DOCUMENT, site("same-site")], Elsewhere),
            ("GET", &[MODE, DOCUMENT, site("cross-site")], Elsewhere),
            ("POST", &[MODE, DOCUMENT, site("cross-site")], Elsewhere),
            ("GET", &[MODE, DOCUMENT], Elsewhere),
            ("GET", &[MODE, site("same-origin")], Here),
            ("HEAD", &[MODE, DOCUMENT, site("same-origin")], InBackground),
            (
                "GET",
                &[MODE, ("sec-fetch-dest", "iframe"), site("same-origin")],
                InBackground,
            ),
            (
                "GET",
                &[MODE, ("sec-fetch-dest", "embed"), site("same-origin")],
                InBackground,
            ),
            (
                "GET",
                &[
                    ("sec-fetch-mode", "no-cors"),
                    ("sec-fetch-dest", "image"),
                    HTML,
                ],
                InBackground,
            ),
            (
                "GET",
                &[
                    ("sec-fetch-mode", "cors"),
                    ("sec-fetch-dest", "empty"),
                    HTML,
                ],
                InBackground,
            ),
            (
                "GET",
                &[
                    MODE,
                    DOCUMENT,
                    site("none"),
                    ("sec-purpose", "prefetch;prerender"),
                ],
                InBackground,
            ),
            (
                "GET",
                &[MODE, DOCUMENT, site("none"), ("upgrade", "websocket")],
                InBackground,
            ),
            // Plain http.
            (
                "GET",
                &[HTML, ("referer", "http://grafana.test:8443/d/1")],
                Here,
            ),
            ("GET", &[HTML, ("referer", "http://GRAFANA.test/")], Here),
            (
                "GET",
                &[HTML, ("referer", "http://grafana.test.evil.test/")],
                Elsewhere,
            ),
            (
                "GET",
                &[HTML, ("referer", "http://evil.test/?http://grafana.test/")],
                Elsewhere,
            ),
            (
                "GET",
                &[HTML, ("referer", "http://grafana.test@evil.test/")],
                Elsewhere,
            ),
            ("GET", &[HTML], Elsewhere),
            (
                "POST",
                &[HTML, ("origin", "http://grafana.test:8443")],
                Here,
            ),
            (
                "POST",
                &[
                    HTML,
                    ("origin", "null"),
                    ("referer", "http://grafana.test:8443/"),
                ],
                Elsewhere,
            ),
            ("POST", &[HTML, ("origin", "http://evil.test")], Elsewhere),
            (
                "HEAD",
                &[HTML, ("referer", "http://grafana.test:8443/")],
                InBackground,
            ),
            (
                "GET",
                &[("accept", "image/avif,image/webp,*/*;q=0.8")],
                InBackground,
            ),
            ("GET", &[("accept", "*/*")], InBackground),
            ("GET", &[], InBackground),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let opened = Opened::of(&method, &map(headers), &host);
            assert_eq!(opened, expected, "{method} {headers:?}");
        }
    }
}
