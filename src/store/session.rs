//! A session in the store: the plain value, what is live about it, and what its application has
//! prepared from it.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use secrecy::ExposeSecret as _;
use tokio::sync::Notify;

use crate::model::Session;

/// What a session takes beside itself: the entries in the cache and in the indexes, and what the
/// allocator rounds up.
const ENTRY_BYTES: usize = 512;

/// What an application can prepare from a session. `Clone` is there for what the store derives; it
/// clones shared sessions only.
pub trait Prepared: Clone + Send + Sync + 'static {}

impl<T: Clone + Send + Sync + 'static> Prepared for T {}

/// What the store needs to know of the application that a session belongs to.
pub trait SessionContext: Sync {
    /// What the application prepares once per session, such as header values. The store keeps it
    /// beside the session and does not look into it.
    type Prepared: Prepared;

    /// The application's secret; the record's key is derived from it and the session id.
    fn seal_key(&self) -> &[u8; 32];

    /// Prepares a session that is new, or was read from the backend.
    fn prepare(&self, session: &Session) -> Self::Prepared;

    /// Approximate size of what was prepared, in bytes.
    fn prepared_bytes(prepared: &Self::Prepared) -> usize;
}

/// A session in the store. Its state is shared by every copy in caches and in requests.
pub struct LiveSession<P> {
    session: Session,
    prepared: P,
    weight: u64,
    refresh_retry_at: AtomicI64,
    introspected_at: AtomicI64,
    used_at: AtomicI64,
    confirmed: AtomicU64,
    revoked: AtomicBool,
    /// Notified when the session is revoked or replaced.
    changed: Notify,
}

impl<P> LiveSession<P> {
    /// A session with what its application prepares from it.
    #[must_use]
    pub fn new(session: Session, context: &(impl SessionContext<Prepared = P> + ?Sized)) -> Self {
        let prepared = context.prepare(&session);
        let weight = weight(&session, context, &prepared);
        Self::from_parts(session, prepared, weight)
    }

    fn from_parts(session: Session, prepared: P, weight: u64) -> Self {
        Self {
            session,
            prepared,
            weight,
            refresh_retry_at: AtomicI64::new(0),
            introspected_at: AtomicI64::new(0),
            used_at: AtomicI64::new(0),
            confirmed: AtomicU64::new(0),
            revoked: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// What the application has prepared.
    #[must_use]
    pub fn prepared(&self) -> &P {
        &self.prepared
    }

    /// Approximate size in bytes, by which the cache is bounded.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// When authentik last confirmed the session, Unix seconds; 0 if it never did.
    #[must_use]
    pub fn introspected_at(&self) -> i64 {
        self.introspected_at.load(Ordering::Relaxed)
    }

    /// Records when authentik confirmed the session, Unix seconds.
    pub(super) fn set_introspected_at(&self, now: i64) {
        self.introspected_at.store(now, Ordering::Relaxed);
    }

    /// The last recorded use, Unix seconds; 0 if there is none.
    #[must_use]
    pub fn used_at(&self) -> i64 {
        self.used_at.load(Ordering::Relaxed)
    }

    /// Records a use at `now` (Unix seconds) if the last one is still `expected`.
    pub(super) fn update_used_at(&self, expected: i64, now: i64) -> bool {
        exchange(&self.used_at, expected, now)
    }

    /// By which connection to authentik the session was last confirmed, if it came from a cookie; 0 if
    /// it was not.
    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    /// Records that the session was confirmed.
    pub(super) fn set_confirmed(&self, listening: u64) {
        self.confirmed.store(listening, Ordering::Release);
    }

    /// Whether this caller is to refresh the session at `now` (Unix seconds): one of many, and not
    /// within [`Session::refresh_retry_seconds`] of another.
    #[must_use]
    pub fn claim_refresh_attempt(&self, now: i64) -> bool {
        let retry_at = self.refresh_retry_at.load(Ordering::Relaxed);
        now >= retry_at
            && exchange(
                &self.refresh_retry_at,
                retry_at,
                now + self.session.refresh_retry_seconds(),
            )
    }

    /// Whether the session is revoked; it may also have expired.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Whether the session is neither revoked nor expired at `now` (Unix seconds).
    #[must_use]
    pub fn is_live(&self, now: i64) -> bool {
        now < self.session.expires_at && !self.is_revoked()
    }

    /// Revokes every copy of the session, including one that a cache is about to take.
    pub(crate) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Notifies users of this session that another one has taken its place.
    pub(super) fn notify_replaced(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until the session is revoked or replaced. Expiry does not count.
    pub async fn changed(&self) {
        // Registered before the flag is read, so that no revocation in between is missed.
        let changed = self.changed.notified();
        if !self.is_revoked() {
            changed.await;
        }
    }
}

impl<P> Deref for LiveSession<P> {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl<P> std::fmt::Debug for LiveSession<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.session.fmt(f)
    }
}

fn exchange(value: &AtomicI64, expected: i64, new: i64) -> bool {
    let order = Ordering::Relaxed;
    value.compare_exchange(expected, new, order, order).is_ok()
}

fn weight<C: SessionContext + ?Sized>(session: &Session, _: &C, prepared: &C::Prepared) -> u64 {
    let token = session.access_token.expose_secret().len();
    let refresh = session.refresh.as_ref();
    let refresh = refresh.map_or(0, |refresh| refresh.token.expose_secret().len());
    let parts = C::prepared_bytes(prepared) + session.claims.heap_bytes() + token + refresh;
    (ENTRY_BYTES + size_of::<LiveSession<C::Prepared>>() + parts) as u64
}

/// An application that prepares nothing.
#[cfg(test)]
pub(super) struct NoContext;

#[cfg(test)]
impl SessionContext for NoContext {
    type Prepared = ();

    fn seal_key(&self) -> &[u8; 32] {
        &[7; 32]
    }

    fn prepare(&self, _: &Session) {}

    fn prepared_bytes((): &()) -> usize {
        0
    }
}

#[cfg(test)]
impl<P: Default> LiveSession<P> {
    /// [`Session::sample`] in the store.
    pub(crate) fn sample() -> Self {
        Self::from_parts(Session::sample(), P::default(), 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_caller_at_a_time_refreshes_a_session() {
        let session = LiveSession::<()>::sample();
        assert!(session.claim_refresh_attempt(2_000) && !session.claim_refresh_attempt(2_009));
        assert!(session.claim_refresh_attempt(2_010));
    }
}
