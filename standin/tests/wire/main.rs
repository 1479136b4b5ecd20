//! The stand-in on the wire, compared with facts from the recordings of two real servers.

mod api;
mod oidc;
mod support;
mod websocket;
