//! authentik's side: configuration, websocket, certificates, addresses and failures.

mod control;
mod hybrid;
pub(crate) mod tls;
mod trouble;
