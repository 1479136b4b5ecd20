//! `authentik-proxy`: a proxy outpost for authentik.
//!
//! Three planes and one meeting point:
//!
//! - the **control plane** ([`control`]) learns from authentik what to protect: REST pages and
//!   websocket events go in, one immutable [`route::Snapshot`] comes out;
//! - the **data plane** ([`gateway`]) answers requests: it reads the current snapshot once per
//!   request and never waits for the control plane;
//! - the **store** ([`store`]) knows who is signed in.
//!
//! The planes never import each other; they meet at [`route::Live`] and at [`store::Store`], and
//! [`app`] puts them together. `docs/ARCHITECTURE.md` has the map.

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
#[cfg(feature = "discover")]
pub mod discover;
pub mod doctor;
pub mod gateway;
pub mod model;
pub mod oidc;
#[cfg(test)]
mod recordings;
#[cfg(test)]
mod replay;
pub mod route;
pub mod server;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod web;
