//! Requests as they are received: listener, endpoint, dialect, hosts and target.

pub(super) mod dialect;
pub(super) mod endpoint;
pub(super) mod hosts;
pub(super) mod listener;
pub(super) mod target;
