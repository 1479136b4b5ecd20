//! Which of our own pages a request is for.

use super::surface::Surface;
use crate::model::eager_path;

const CALLBACK_MARKER: &str = "X-authentik-auth-callback";
const LOGOUT_MARKER: &str = "X-authentik-logout";
const ENVOY: &str = "/auth/envoy";

/// The outpost's own endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    /// Are we alive?
    Ping,
    /// Do we want traffic?
    Ready,
    /// Begins a login; with the raw query.
    Start(&'a str),
    /// Ends a login; with the raw query.
    Callback(&'a str),
    /// Ends a session; with the raw query.
    SignOut(&'a str),
    /// A reverse proxy asks about a request.
    Forward(Surface<'a>),
    /// Assets of the vendor's pages; ours need none.
    Static,
    /// Below our own path, but no page of ours.
    Unknown,
    /// Anything else.
    Other,
}

impl<'a> Endpoint<'a> {
    /// Sorts a request by its target, path and query. The markers count on any path, except on
    /// subrequests of reverse proxies, whose own query is never a person's.
    pub(super) fn of(target: &'a str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let own = path
            .split_once("/outpost.goauthentik.io")
            .map(|(_, rest)| rest);
        match own {
            Some("/ping") => return Self::Ping,
            Some("/ready") => return Self::Ready,
            Some("/auth/nginx") => return Self::Forward(Surface::Nginx),
            Some("/auth/traefik" | "/auth/caddy") => return Self::Forward(Surface::Forwarded),
            Some(own) if own == ENVOY || own.starts_with("/auth/envoy/") => {
                let start = path.len() - own.len() + ENVOY.len();
                if leaves(path, &path[..start]) {
                    return Self::Unknown;
                }
                return Self::Forward(Surface::Envoy(&target[start..]));
            }
            Some(own) if own.starts_with("/static/") => return Self::Static,
            _ => {}
        }
        if marked(query, CALLBACK_MARKER) {
            return Self::Callback(query);
        }
        if marked(query, LOGOUT_MARKER) {
            return Self::SignOut(query);
        }
        match own {
            Some("/start") => Self::Start(query),
            Some("/callback") => Self::Callback(query),
            Some("/sign_out") => Self::SignOut(query),
            Some(own) if own.is_empty() || own.starts_with('/') => Self::Unknown,
            _ => Self::Other,
        }
    }
}

/// Whether a server in front of us may take a path that begins with `prefix` for another one, such
/// as that of a login, and let clients ask what only reverse proxies may.
fn leaves(path: &str, prefix: &str) -> bool {
    (path.contains("..") || path.contains('%'))
        && !eager_path(path).starts_with(&eager_path(prefix))
}

/// Whether the query has `name=true`; authentik's error redirects go on with a second `?`.
fn marked(query: &str, name: &str) -> bool {
    query
        .split(['&', '?'])
        .any(|pair| pair.strip_prefix(name) == Some("=true"))
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, Surface};

    #[test]
    fn sorts_requests() {
        let callback = "X-authentik-auth-callback=true?error=access_denied&state=x";
        for (uri, expected) in [
            ("/outpost.goauthentik.io/ping", Endpoint::Ping),
            ("/sub/outpost.goauthentik.io/ping", Endpoint::Ping),
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
                Endpoint::Forward(Surface::Nginx),
            ),
            (
                "/outpost.goauthentik.io/auth/nginx?X-authentik-auth-callback=true",
                Endpoint::Forward(Surface::Nginx),
            ),
            (
                "/outpost.goauthentik.io/auth/traefik",
                Endpoint::Forward(Surface::Forwarded),
            ),
            (
                "/outpost.goauthentik.io/auth/caddy",
                Endpoint::Forward(Surface::Forwarded),
            ),
            (
                "/outpost.goauthentik.io/auth/envoy",
                Endpoint::Forward(Surface::Envoy("")),
            ),
            (
                "/outpost.goauthentik.io/auth/envoy/a/b?X-authentik-logout=true",
                Endpoint::Forward(Surface::Envoy("/a/b?X-authentik-logout=true")),
            ),
            (
                "/outpost.goauthentik.io/auth/envoy?x=1",
                Endpoint::Forward(Surface::Envoy("?x=1")),
            ),
            (
                "/outpost.goauthentik.io/auth/envoy/outpost.goauthentik.io/ping",
                Endpoint::Forward(Surface::Envoy("/outpost.goauthentik.io/ping")),
            ),
            (
                "/outpost.goauthentik.io/auth/envoy/a/..%2fb%20",
                Endpoint::Forward(Surface::Envoy("/a/..%2fb%20")),
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
            ("/sub/outpost.goauthentik.io/x?y", Endpoint::Unknown),
            ("/?X-authentik-auth-callback=false", Endpoint::Other),
            ("/", Endpoint::Other),
            ("/outpost.goauthentik.iox/ping", Endpoint::Other),
        ] {
            assert_eq!(Endpoint::of(uri), expected, "{uri}");
        }
    }
}
