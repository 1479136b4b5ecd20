//! The stand-in on the wire, compared with facts from the recordings of two real servers.

mod api;
mod oidc;
#[path = "../../../src/recordings.rs"]
#[expect(dead_code, reason = "the outpost's tests use more of it")]
mod recordings;
mod shape;
mod support;
mod websocket;
