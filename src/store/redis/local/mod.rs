//! What this process holds: cached sessions, their index, reads in progress and pending writes.

pub(super) mod cache;
pub(super) mod index;
pub(super) mod outbox;
pub(super) mod single_flight;
