//! Authentication and authorization of requests.

pub(crate) mod authenticator;
pub(crate) mod authentik_limiter;
pub(crate) mod authorize;
pub(crate) mod cookie_sessions;
pub(crate) mod credentials;
pub(crate) mod failures;
pub(crate) mod new_session;
pub(crate) mod reauthorization;
pub(crate) mod session;
pub(crate) mod session_watch;
pub mod token_refresh;
pub(crate) mod verified_cookies;
