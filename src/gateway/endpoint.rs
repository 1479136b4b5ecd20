//! Which of our own pages a request is for.

use http::Uri;

const CALLBACK_MARKER: &str = "X-authentik-auth-callback";
const LOGOUT_MARKER: &str = "X-authentik-logout";

/// The outpost's own endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    /// Are we alive?
    Ping,
    /// Do we want traffic?
    Ready,
    /// Begins a login.
    Start,
    /// Ends a login; with the raw query.
    Callback(&'a str),
    /// Ends a session.
    SignOut,
    /// nginx asks about a request.
    Nginx,
    /// Assets of the vendor's pages; ours need none.
    Static,
    /// Anything else.
    Other,
}

impl<'a> Endpoint<'a> {
    /// Sorts a request. The markers count on any path, except on nginx's subrequests, whose own
    /// query is never a person's.
    pub(super) fn of(uri: &'a Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let own = uri
            .path()
            .split_once("/outpost.goauthentik.io")
            .map(|(_, rest)| rest);
        match own {
            Some("/ping") => return Self::Ping,
            Some("/ready") => return Self::Ready,
            Some("/auth/nginx") => return Self::Nginx,
            Some(own) if own.starts_with("/static/") => return Self::Static,
            _ => {}
        }
        if marked(query, CALLBACK_MARKER) {
            return Self::Callback(query);
        }
        if marked(query, LOGOUT_MARKER) {
            return Self::SignOut;
        }
        match own {
            Some("/start") => Self::Start,
            Some("/callback") => Self::Callback(query),
            Some("/sign_out") => Self::SignOut,
            _ => Self::Other,
        }
    }
}

/// Whether the query has `name=true`; authentik's error redirects go on with a second `?`.
fn marked(query: &str, name: &str) -> bool {
    query
        .split(['&', '?'])
        .any(|pair| pair.strip_prefix(name) == Some("=true"))
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn sorts_requests() {
        let callback = "X-authentik-auth-callback=true?error=access_denied&state=x";
        for (uri, expected) in [
            ("/outpost.goauthentik.io/ping", Endpoint::Ping),
            ("/sub/outpost.goauthentik.io/ping", Endpoint::Ping),
            ("/outpost.goauthentik.io/ready", Endpoint::Ready),
            ("/outpost.goauthentik.io/static/x.css", Endpoint::Static),
            ("/outpost.goauthentik.io/start?rd=/x", Endpoint::Start),
            (
                "/outpost.goauthentik.io/callback?code=c",
                Endpoint::Callback("code=c"),
            ),
            (
                &format!("/any/path?{callback}"),
                Endpoint::Callback(callback),
            ),
            ("/?X-authentik-logout=true", Endpoint::SignOut),
            ("/outpost.goauthentik.io/sign_out", Endpoint::SignOut),
            ("/outpost.goauthentik.io/auth/nginx", Endpoint::Nginx),
            (
                "/outpost.goauthentik.io/auth/nginx?X-authentik-auth-callback=true",
                Endpoint::Nginx,
            ),
            ("/outpost.goauthentik.io/auth/nginx/", Endpoint::Other),
            ("/?X-authentik-auth-callback=false", Endpoint::Other),
            ("/", Endpoint::Other),
            ("/outpost.goauthentik.iox/ping", Endpoint::Other),
        ] {
            let parsed = uri.parse().expect(uri);
            assert_eq!(Endpoint::of(&parsed), expected, "{uri}");
        }
    }
}
