//! authentik's side: configuration, websocket, certificates, addresses and failures.

mod control;
mod hybrid;
mod presence;
mod proxies;
mod rights;
mod socket;
pub(crate) mod tls;
mod trouble;
