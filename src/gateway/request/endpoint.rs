//! Which of the outpost's endpoints a request is for.

use http::HeaderMap;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::gateway::request::dialect::refine;
use crate::model::{Dialect, Dialects, ExternalUrl};

/// The path of the outpost's own endpoints.
pub(crate) const OUTPOST_PATH: &str = "/outpost.goauthentik.io";
const CALLBACK_MARKER: &str = "X-authentik-auth-callback";
const LOGOUT_MARKER: &str = "X-authentik-logout";
const ENVOY: &str = "/auth/envoy";

/// The outpost's own endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint<'a> {
    /// Liveness.
    Ping,
    /// Readiness.
    Ready,
    /// Begins a login; with the raw query.
    Start(&'a str),
    /// Ends a login; with the raw query.
    Callback(&'a str),
    /// Ends a session; with the raw query.
    SignOut(&'a str),
    /// The page about the user's session.
    UserPage,
    /// An authorization request of a reverse proxy: its dialect, and the argument behind the path. That
    /// is the query of the auth URL for nginx, and the target to authorize for Envoy.
    ForwardAuth(Dialect, &'a str),
    /// Assets of the vendor's pages; those of this outpost need none.
    Static,
    /// Below the outpost's path, but no endpoint.
    Unknown,
    /// Anything else: a request for an application.
    Application,
}

impl<'a> Endpoint<'a> {
    /// The endpoint of a request's target, path and query. The outpost's paths count at the root,
    /// byte for byte, and where `own_path` finds them below an application; any other spelling of
    /// them is an application's path. The markers count on any path, except on authorization
    /// requests, whose query is never a user's.
    pub(crate) fn of(target: &'a str, own_path: impl FnOnce(&'a str) -> Option<&'a str>) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let at_root = path.strip_prefix(OUTPOST_PATH);
        let own = match at_root {
            None if path.contains(OUTPOST_PATH) => own_path(path),
            at_root => at_root,
        };
        match own {
            Some("/ping") => return Self::Ping,
            Some("/ready") => return Self::Ready,
            Some("/auth/nginx") => return Self::ForwardAuth(Dialect::Nginx, query),
            Some("/auth/traefik") => return Self::ForwardAuth(Dialect::Traefik, ""),
            Some("/auth/caddy") => return Self::ForwardAuth(Dialect::Caddy, ""),
            Some(own) if own == ENVOY || own.starts_with("/auth/envoy/") => {
                if escapes_prefix(&own[ENVOY.len()..]) {
                    return Self::Unknown;
                }
                let start = path.len() - own.len() + ENVOY.len();
                return Self::ForwardAuth(Dialect::Envoy, &target[start..]);
            }
            Some(own) if own.starts_with("/static/") => return Self::Static,
            _ => {}
        }
        if has_marker(query, CALLBACK_MARKER) {
            return Self::Callback(query);
        }
        if has_marker(query, LOGOUT_MARKER) {
            return Self::SignOut(query);
        }
        match own {
            Some("/start") => Self::Start(query),
            Some("/callback") => Self::Callback(query),
            Some("/sign_out") => Self::SignOut(query),
            Some("/") => Self::UserPage,
            Some(own) if own.is_empty() || own.starts_with('/') => Self::Unknown,
            _ => Self::Application,
        }
    }

    /// Tells ingress-nginx from nginx, which has the same endpoint.
    pub(crate) fn refine(self, headers: &HeaderMap, enabled: Dialects) -> Self {
        match self {
            Self::ForwardAuth(dialect, argument) => {
                Self::ForwardAuth(refine(dialect, headers, enabled), argument)
            }
            other => other,
        }
    }
}

/// Whether some server may resolve a path to one above its beginning, and so take Envoy's
/// authorization request for one to another endpoint. No browser requests such a path.
///
/// Servers differ in what they decode, take for a separator or merge. So whatever any of them
/// takes for `..` leads up here, and only what all of them take for a name leads down.
fn escapes_prefix(path: &str) -> bool {
    let mut depth = 0_usize;
    for written in path.split('/') {
        let decoded = decoded(written);
        let parts = decoded.split(|byte| matches!(byte, b'/' | b'\\'));
        let names = parts.map(|part| {
            let name = part.split(|byte| *byte == b';').next().unwrap_or_default();
            name.trim_ascii()
        });
        let mut is_name = true;
        for name in names {
            match name {
                b"" | b"." => is_name = false,
                b".." => {
                    is_name = false;
                    // Above the beginning.
                    let Some(above) = depth.checked_sub(1) else {
                        return true;
                    };
                    depth = above;
                }
                _ => {}
            }
        }
        depth += usize::from(is_name);
    }
    false
}

/// Decodes what is percent-encoded, also several times over, as `%uXXXX` or as overlong UTF-8: a `.`
/// or a separator comes out of every spelling that some server reads as one. Linear, since every
/// step shortens what was read.
fn decoded(text: &str) -> Vec<u8> {
    let mut read: Vec<u8> = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        read.push(byte);
        while let Some((length, byte)) = last_encoded(&read) {
            read.truncate(read.len() - length);
            read.push(byte);
        }
    }
    read
}

/// The length of the encoded byte that `read` ends with, and that byte.
fn last_encoded(read: &[u8]) -> Option<(usize, u8)> {
    let hex = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).ok()?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)
    };
    let low = |value: u16| value.to_le_bytes()[0];
    match *read {
        [.., b'%', b'u' | b'U', a, b, c, d] => Some((6, low(hex(&[a, b, c, d])?))),
        [.., b'%', a, b] => Some((3, low(hex(&[a, b])?))),
        [.., 0xe0, high @ 0x80..=0x81, rest @ 0x80..=0xbf]
        | [.., high @ 0xc0..=0xc1, rest @ 0x80..=0xbf] => {
            let length = if high < 0xc0 { 3 } else { 2 };
            Some((length, (high & 1) << 6 | rest & 0x3f))
        }
        _ => None,
    }
}

/// A link that starts a login with the return target `target`.
pub(crate) fn start_url(target: &str) -> String {
    let target = utf8_percent_encode(target, NON_ALPHANUMERIC);
    format!("{OUTPOST_PATH}/start?rd={target}")
}

/// The absolute URL of one of the outpost's own paths, below an application.
pub(crate) fn own_url(external: &ExternalUrl, own_path: &str) -> String {
    let home = external.as_str().trim_end_matches('/');
    format!("{home}{own_path}")
}

/// Whether the query has `name=true`; authentik's error redirects continue with a second `?`.
fn has_marker(query: &str, name: &str) -> bool {
    query
        .split(['&', '?'])
        .any(|pair| pair.strip_prefix(name) == Some("=true"))
}

#[cfg(test)]
mod tests {
    use super::Endpoint;
    use crate::model::Dialect;

    #[test]
    fn sorts_requests() {
        let callback = "X-authentik-auth-callback=true?error=access_denied&state=x";
        for (uri, expected) in [
            ("/outpost.goauthentik.io/ping", Endpoint::Ping),
            ("/sub/outpost.goauthentik.io/ping", Endpoint::Ping),
            ("/sub/outpost.goauthentik.io/ready", Endpoint::Ready),
            ("/other/outpost.goauthentik.io/ping", Endpoint::Application),
            ("/outpost.goauthentik.io/ready", Endpoint::Ready),
            ("/outpost.goauthentik.io/static/x.css", Endpoint::Static),
            (
                "/outpost.goauthentik.io/start?rd=/x",
                Endpoint::Start("rd=/x"),
            ),
            (
                "/outpost.goauthentik.io/callback?code=c",
                Endpoint::Callback("code=c"),
            ),
            (
                &format!("/any/path?{callback}"),
                Endpoint::Callback(callback),
            ),
            (
                "/?X-authentik-logout=true",
                Endpoint::SignOut("X-authentik-logout=true"),
            ),
            ("/outpost.goauthentik.io/sign_out", Endpoint::SignOut("")),
            (
                "/outpost.goauthentik.io/auth/nginx",
                Endpoint::ForwardAuth(Dialect::Nginx, ""),
            ),
            (
                "/outpost.goauthentik.io/auth/nginx?X-authentik-auth-callback=true",
                Endpoint::ForwardAuth(Dialect::Nginx, "X-authentik-auth-callback=true"),
            ),
            (
                "/outpost.goauthentik.io/auth/traefik",
                Endpoint::ForwardAuth(Dialect::Traefik, ""),
            ),
            (
                "/outpost.goauthentik.io/auth/caddy",
                Endpoint::ForwardAuth(Dialect::Caddy, ""),
            ),
            (
                "/outpost.goauthentik.io/auth/envoy",
                Endpoint::ForwardAuth(Dialect::Envoy, ""),
            ),
            (
                "/outpost.goauthentik.io/auth/envoy/a/b?X-authentik-logout=true",
                Endpoint::ForwardAuth(Dialect::Envoy, "/a/b?X-authentik-logout=true"),
            ),
            (
                "/outpost.goauthentik.io/auth/envoy?x=1",
                Endpoint::ForwardAuth(Dialect::Envoy, "?x=1"),
            ),
            (
                "/outpost.goauthentik.io/auth/envoy/outpost.goauthentik.io/ping",
                Endpoint::ForwardAuth(Dialect::Envoy, "/outpost.goauthentik.io/ping"),
            ),
            (
                "/outpost.goauthentik.io/auth/envoy/a/..%2fb%20",
                Endpoint::ForwardAuth(Dialect::Envoy, "/a/..%2fb%20"),
            ),
            (
                "/outpost.goauthentik.io/auth/envoy/..%2f..%2fstart",
                Endpoint::Unknown,
            ),
            (
                "/outpost.goauthentik.io/auth/envoy/%2e%2e/x",
                Endpoint::Unknown,
            ),
            (
                "/outpost.goauthentik.io/auth/envoy/..;/../start/outpost.goauthentik.io/auth/envoy",
                Endpoint::Unknown,
            ),
            ("/outpost.goauthentik.io/auth/envoyx", Endpoint::Unknown),
            ("/outpost.goauthentik.io/auth/nginx/", Endpoint::Unknown),
            ("/outpost.goauthentik.io", Endpoint::Unknown),
            ("/outpost.goauthentik.io/", Endpoint::UserPage),
            ("/sub/outpost.goauthentik.io/?x", Endpoint::UserPage),
            ("/other/outpost.goauthentik.io/", Endpoint::Application),
            ("/outpost.goauthentik.io//", Endpoint::Unknown),
            ("/sub/outpost.goauthentik.io/x?y", Endpoint::Unknown),
            ("/?X-authentik-auth-callback=false", Endpoint::Application),
            ("/", Endpoint::Application),
            ("/outpost.goauthentik.iox/ping", Endpoint::Application),
        ] {
            let own_path = |path| str::strip_prefix(path, "/sub/outpost.goauthentik.io");
            assert_eq!(Endpoint::of(uri, own_path), expected, "{uri}");
        }
    }

    #[test]
    fn ap_2026_02_own_paths_count_at_a_known_base_only() {
        for path in [
            "/foo/outpost.goauthentik.io/auth/nginx",
            "/foo/outpost.goauthentik.io/start",
            "/OUTPOST.goauthentik.io/outpost.goauthentik.io/auth/envoy/x",
            "/outpost%2egoauthentik.io/outpost.goauthentik.io/auth/nginx",
            "/outpost%2egoauthentik.io/start/outpost.goauthentik.io/auth/envoy",
            "/x/../outpost.goauthentik.io/auth/nginx",
            "//outpost.goauthentik.io/auth/nginx",
            "/Outpost.goauthentik.io/auth/nginx",
        ] {
            assert_eq!(
                Endpoint::of(path, |_| None),
                Endpoint::Application,
                "{path}"
            );
        }
        // Whatever follows is no base again.
        let nested = "/outpost.goauthentik.io/start/outpost.goauthentik.io/auth/nginx";
        assert_eq!(Endpoint::of(nested, |_| None), Endpoint::Unknown);
    }

    #[test]
    fn ap_2026_02_no_reading_leads_out_of_envoys_question() {
        let long = format!("/..%2f{}x", "%25".repeat(20_000));
        for (path, escapes) in [
            ("", false),
            ("/", false),
            ("/a/b?c", false),
            ("/a%2Fb/c%20d", false),
            ("/a/..;/b", false),
            ("/a/..%2fb", false),
            ("/a/b/..%5c..%5cc", false),
            ("/a/..", false),
            ("/a..b/...", false),
            (
                "/v1/projects/group%2Fname/files/dir%2F.gitlab-ci.yml",
                false,
            ),
            ("/..", true),
            ("/..%2f..%2fstart", true),
            ("/%2e%2e/x", true),
            ("/%252e%252e/x", true),
            ("/%c0%ae%c0%ae/x", true),
            ("/%e0%80%ae./x", true),
            ("/%u002e./x", true),
            ("/..%5c..%5cstart", true),
            ("/..;/../start", true),
            ("/.%2e;x/start", true),
            ("//a/../../start", true),
            ("//../start", true),
            ("/a/../../start", true),
            ("/a%2fb/../../start", true),
            // The first reads as a name to nginx, and as two and a way up to others.
            ("/a%5cb/..%2f..%2fstart", true),
            ("/..%2f..%2fauth%5Cenvoy%5Cz%2f..%2fstart", true),
            (long.as_str(), true),
        ] {
            assert_eq!(super::escapes_prefix(path), escapes, "{path}");
        }
    }
}
