//! Listeners: TLS, the PROXY protocol, limits and stalled clients.

pub(crate) mod https;
pub(crate) mod limits;
mod stalls;
