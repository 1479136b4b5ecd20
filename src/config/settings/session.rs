//! Sessions, and what applications receive about users.

use std::time::Duration;

use super::definition::{Fallback, Setting, Source, Typed, section};
use super::values::{CookiePrefix, SessionStore, WhenUnconfirmed};
use crate::config::settings::parse::parser::{
    COOKIE_PREFIX, FLAG, MINUTE, Parser, SECOND, SESSION_STORE, WHEN_UNCONFIRMED, ZERO, count,
    duration, size,
};

section! {
    /// Sessions of users.
    pub struct Session in "session" {
        /// Where sessions are kept: memory, redis or cookie
        ///
        /// `cookie` seals them in the browser's cookie. Unset: `redis` if Redis is configured, else
        /// `memory`. [RELIABILITY.md](RELIABILITY.md#choosing-a-session-store) compares them.
        store: SessionStore = SESSION_STORE, optional;
        /// Maximum size of a session in a cookie
        ///
        /// In the header `Cookie`; at most 28KiB. A larger session is refused at sign-in. The default passes nginx and Tomcat as
        /// they are: [RELIABILITY.md](RELIABILITY.md#size-of-session-cookies).
        cookie_max_bytes: usize = size(1 << 10), default("6KiB");
        /// Unconfirmed sessions in cookies: allow or refuse
        ///
        /// The first use of a session at a replica waits for introspection, 2 seconds at most:
        /// [RELIABILITY.md](RELIABILITY.md#sessions-in-cookies).
        when_unconfirmed: WhenUnconfirmed = WHEN_UNCONFIRMED, default("allow");
        /// Maximum memory for cached sessions, with Redis
        ///
        /// Without Redis all sessions are in memory, at most 512 per user.
        cache_bytes: usize = size(1 << 20), default("64MiB");
        /// Interval between introspections of an active session
        introspection_interval: Duration = duration(SECOND), default("10m"), was("session.recheck_interval");
        /// Maximum number of introspection requests per second
        introspections_per_second: u32 = count(1), default("10"), was("session.recheck_per_second");
        /// Maximum lifetime of a session that is refreshed
        ///
        /// Sessions are refreshed while in use if the provider has the scope `offline_access`. Sessions in
        /// cookies are not refreshed, and last no longer than this.
        absolute_lifetime: Duration = duration(MINUTE), default("168h"), was("session.max_age");
        /// Idle timeout of a session
        ///
        /// Requests, streams and websockets count as use. Use is recorded ten times per timeout, so a
        /// session ends after 90 to 100 % of it. Unset: no idle timeout.
        idle_timeout: Duration = duration(MINUTE), optional;
        /// Interval after which authentik authorizes a session again
        ///
        /// The next navigation then goes through authentik, usually without a prompt: its policies and
        /// groups of then apply. `applications.<slug>.reauthorize_interval` overrides it for an application.
        /// Unset: never. [RELIABILITY.md](RELIABILITY.md#changes-at-authentik) says when sessions end.
        reauthorize_interval: Duration = duration(MINUTE), optional, reloadable(true);
        /// How long scripts, streams and websockets go on after reauthorization is due
        ///
        /// After it the session is suspended until authentik has authorized it again.
        reauthorize_grace_period: Duration = duration(ZERO), default("15m");
        /// How long a login can be completed after it started
        login_ttl: Duration = duration(MINUTE), default("1h"), was("session.login_timeout");
        /// Show signed-in users their session at /outpost.goauthentik.io/
        ///
        /// The page says who is signed in, since when and how long, and signs out. Administrators of
        /// authentik also see what the outpost reads from their request, without values of headers.
        user_page: bool = FLAG, default("true");
        /// Prefix of cookie names: none, or host for __Host-
        ///
        /// Other hosts of the domain cannot set cookies with the prefix. Used over TLS in the modes
        /// `proxy` and `forward_single`, where browsers accept it. Cookies with and without it are read.
        /// [MIGRATION.md](MIGRATION.md#names-of-cookies) says when to set `host`.
        cookie_prefix: CookiePrefix = COOKIE_PREFIX, default("none");
        /// Return the application's Cookie and Authorization from forward auth
        ///
        /// Positive responses have both without the outpost's cookies and credentials, for reverse
        /// proxies that copy them:
        /// [SECURITY.md](SECURITY.md#cookies-and-credentials-of-the-outpost-behind-forward-auth).
        echo_credentials: bool = FLAG, default("false");
    }
}

section! {
    /// Identity headers, unless an application has settings of its own.
    pub struct Identity in "identity" {
        /// Send applications the user's access token in X-authentik-jwt
        ///
        /// `false` is safer: the token has all attributes of the user, and is a valid bearer token until
        /// it expires. `applications.<slug>.send_jwt` overrides it for an application.
        send_jwt: bool = FLAG, default("true"), reloadable(true);
    }
}
