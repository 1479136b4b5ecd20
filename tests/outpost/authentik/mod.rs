//! authentik's side: configuration, websocket, certificates, addresses and failures.

mod control;
mod hybrid;
pub(crate) mod presence;
mod proxies;
mod rights;
mod socket;
pub(crate) mod tls;
mod trouble;
