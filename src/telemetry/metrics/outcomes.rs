//! Counters of rejected requests, logins and refreshes by outcome. Each label has a fixed set of values,
//! all exported from the start, so that rates and alerts see the first increment.

use std::marker::PhantomData;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use crate::model::Dialect;

/// The values of a label.
pub trait Label: Copy {
    /// All values, as they are exposed.
    const VALUES: &'static [&'static str];

    /// The index of this value in [`Label::VALUES`].
    fn index(self) -> usize;
}

macro_rules! label {
    ($(#[$about:meta])* $name:ident { $($(#[$meaning:meta])* $variant:ident = $value:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$meaning])* $variant,)+
        }

        impl Label for $name {
            const VALUES: &'static [&'static str] = &[$($value),+];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// Why a request was rejected.
    Rejection {
        /// A login is required.
        LoginRequired = "login_required",
        /// authentik does not accept the credentials in `Authorization`.
        InvalidCredentials = "invalid_credentials",
        /// A rule of the configuration file denies the request.
        Rule = "rule",
        /// Servers normalize the path differently.
        AmbiguousPath = "ambiguous_path",
        /// The outpost has no such page.
        NotFound = "not_found",
        /// A method that is not forwarded, or that the outpost's page does not support.
        MethodNotAllowed = "method_not_allowed",
        /// A page that changes state was requested other than by a navigation.
        NotNavigation = "not_a_navigation",
        /// No configuration was received from authentik yet.
        NotConfigured = "not_configured",
        /// The `Host` is invalid.
        InvalidHost = "invalid_host",
        /// The body has another transfer coding than `chunked`.
        UnsupportedTransferCoding = "unsupported_transfer_coding",
        /// No application has this host.
        UnknownHost = "unknown_host",
        /// The hosts of an authorization request belong to different applications.
        ConflictingHosts = "conflicting_hosts",
        /// The dialect is disabled, or the listener does not offer it.
        NotOffered = "not_offered",
        /// The reverse proxy did not send the original request.
        MisconfiguredProxy = "misconfigured_proxy",
        /// The reverse proxy passes on a URL of a client that is none.
        InvalidUrl = "invalid_url",
        /// The session store is unavailable.
        StoreUnavailable = "store_unavailable",
        /// authentik is unavailable, so that credentials cannot be checked.
        AuthentikUnavailable = "authentik_unavailable",
        /// A client caused too many requests to authentik.
        TooManyRequests = "too_many_requests",
    }
}

label! {
    /// How a login ended, or that it started.
    LoginOutcome {
        /// The browser was redirected to authentik.
        Started = "started",
        /// A session was created.
        Succeeded = "succeeded",
        /// authentik returned an authorization error (RFC 6749 section 4.1.2.1).
        Denied = "denied",
        /// `state` does not match the cookie, or one of them is missing, repeatedly.
        StateMismatch = "state_mismatch",
        /// The browser never returns the session cookie.
        RedirectLoop = "redirect_loop",
        /// The reverse proxy requires a login for the outpost's own callback.
        Misrouted = "misrouted",
        /// The return target is too long.
        TargetTooLong = "target_too_long",
        /// The session does not fit into cookies.
        SessionTooLarge = "session_too_large",
        /// authentik did not answer the token request.
        Unreachable = "unreachable",
        /// The code, the client or the token is invalid.
        Invalid = "invalid",
    }
}

label! {
    /// Why a request to an application failed.
    UpstreamErrorKind {
        /// Its name could not be resolved.
        Dns = "dns",
        /// The connection was refused.
        Refused = "refused",
        /// The TLS handshake failed.
        Tls = "tls",
        /// The connection was not established in time.
        ConnectTimeout = "connect_timeout",
        /// No response head was received in time.
        ResponseTimeout = "response_timeout",
        /// The connection broke.
        Connection = "connection",
        /// The client aborted its request.
        Client = "client",
        /// The application speaks another protocol.
        Protocol = "protocol",
        /// The claim that overrides the backend is invalid.
        Claim = "claim",
    }
}

label! {
    /// How a token refresh (RFC 6749 section 6) ended.
    RefreshOutcome {
        /// The session continues with new tokens.
        Succeeded = "succeeded",
        /// authentik rejected the refresh token; the session ended.
        Rejected = "rejected",
        /// authentik was unavailable; the refresh is retried.
        Failed = "failed",
        /// The new tokens could not be stored.
        NotStored = "not_stored",
    }
}

label! {
    /// Whether the session cache answered.
    CacheResult {
        /// From the memory of this process.
        Hit = "hit",
        /// Redis was queried, or a cookie decrypted.
        Miss = "miss",
    }
}

impl Label for Dialect {
    const VALUES: &'static [&'static str] = Self::NAMES;

    fn index(self) -> usize {
        self as usize
    }
}

/// A counter for each value of a label. Cheap to clone.
#[derive(Debug)]
pub struct Counters<L>(Arc<[Counter]>, PhantomData<fn(L)>);

impl<L: Label> Counters<L> {
    pub(super) fn new(counter: impl FnMut(&'static str) -> Counter) -> Self {
        Self(
            L::VALUES.iter().copied().map(counter).collect(),
            PhantomData,
        )
    }

    /// Increments the counter of `value`.
    pub fn count(&self, value: L) {
        self.0[value.index()].inc();
    }

    /// The count of `value`.
    #[must_use]
    pub fn get(&self, value: L) -> u64 {
        self.0[value.index()].get()
    }
}

impl<L> Clone for Counters<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), PhantomData)
    }
}
