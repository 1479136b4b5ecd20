//! Counters of what became of requests, logins and refreshes. Their labels have few values, all of
//! which are there from the start, so that rates and alerts see the first one counted.

use std::marker::PhantomData;
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use crate::model::Dialect;

/// The values of a label.
pub trait Label: Copy {
    /// All values, as they are exposed.
    const VALUES: &'static [&'static str];

    /// Where this value stands in [`Label::VALUES`].
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
    /// Why a request was not served.
    Refusal {
        /// Nobody is signed in.
        SignInRequired = "sign_in_required",
        /// `Authorization` is worth nothing at authentik.
        Credentials = "credentials",
        /// A rule of our own configuration file.
        Rule = "rule",
        /// A path that servers could read differently.
        AmbiguousPath = "ambiguous_path",
        /// Not a page of ours.
        NotFound = "not_found",
        /// A method that is not passed on, or that a page of ours does not have.
        Method = "method",
        /// A page of ours that acts, not opened as a page.
        Background = "background",
        /// No configuration from authentik yet.
        NotConfigured = "not_configured",
        /// A `Host` that is no host.
        InvalidHost = "invalid_host",
        /// A body in another transfer coding than `chunked`.
        TransferCoding = "transfer_coding",
        /// A host that no application has.
        UnknownHost = "unknown_host",
        /// An authorization request whose hosts name different applications.
        ContradictingHosts = "contradicting_hosts",
        /// A dialect or a listener that is not for it.
        NotOffered = "not_offered",
        /// A reverse proxy that does not say what was asked for.
        MisconfiguredProxy = "misconfigured_proxy",
        /// Sessions cannot be looked up.
        Store = "store",
        /// authentik cannot be asked about credentials.
        Authentik = "authentik",
        /// A client has caused too many requests to authentik.
        TooManyRequests = "too_many_requests",
    }
}

label! {
    /// What became of a login.
    LoginOutcome {
        /// The browser was sent to authentik.
        Started = "started",
        /// There is a session.
        Succeeded = "succeeded",
        /// authentik said no (RFC 6749 section 4.1.2.1).
        Denied = "denied",
        /// State or cookie were lost, again.
        Unmatched = "unmatched",
        /// The session's cookie never comes back.
        Loop = "loop",
        /// The reverse proxy protects our own callback.
        Misrouted = "misrouted",
        /// authentik does not answer us.
        Unreachable = "unreachable",
        /// The code, our client or the token was not acceptable.
        Invalid = "invalid",
    }
}

label! {
    /// Why an application gave no answer.
    UpstreamErrorKind {
        /// Its name could not be resolved.
        Dns = "dns",
        /// Nothing listens there.
        Refused = "refused",
        /// TLS failed.
        Tls = "tls",
        /// There was no connection in time.
        ConnectTimeout = "connect_timeout",
        /// There was no answer in time.
        ResponseTimeout = "response_timeout",
        /// The connection broke.
        Connection = "connection",
        /// The client did not finish its request.
        Client = "client",
        /// It spoke another protocol than was asked for.
        Protocol = "protocol",
        /// A claim of the person's token names no place.
        Claim = "claim",
    }
}

label! {
    /// What became of a refresh (RFC 6749 section 6).
    RefreshOutcome {
        /// The session goes on with new tokens.
        Succeeded = "succeeded",
        /// authentik refused; the session ended.
        Refused = "refused",
        /// authentik could not be asked; another try follows.
        Failed = "failed",
        /// The new tokens could not be kept.
        Lost = "lost",
    }
}

label! {
    /// Where a session was found.
    Lookup {
        /// In the memory of this process, without asking anybody.
        Hit = "hit",
        /// Redis was asked.
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

    /// Counts one.
    pub fn count(&self, value: L) {
        self.0[value.index()].inc();
    }

    /// How many were counted.
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
