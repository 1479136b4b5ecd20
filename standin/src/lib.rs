//! A stand-in for an authentik server.
//!
//! It speaks the part of authentik that a proxy outpost and a browser see (the REST API, the
//! outpost websocket, `OpenID` Connect and a sign-in page) and answers as two recorded servers do,
//! see [`Dialect`]. Tests steer it through a [`Standin`] handle: change providers, end sessions,
//! inject faults, restart, and look at what arrived.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use authentik_standin::{Provider, Standin, User};
//!
//! let authentik = Standin::builder().start().await?;
//! authentik.add_provider(Provider::forward_single("grafana", "https://grafana.example.test"));
//! authentik.add_user(User::new("alice", "alice-pass-1"));
//! let host = authentik.url();
//! # let _ = host;
//! # Ok(())
//! # }
//! ```
//!
//! It listens on the loopback interface only unless told otherwise and keeps everything in
//! memory. It is no identity provider: it never hashes a password and never forgets a session.

mod api;
mod builder;
pub mod caddy;
mod control;
mod credentials;
pub mod envoy;
mod fault;
mod handle;
pub mod haproxy;
mod http_types;
mod keys;
pub mod nginx;
mod observe;
mod oidc;
mod pages;
mod program;
pub mod prometheus;
mod provider;
mod random;
mod records;
mod routes;
mod server;
mod sessions;
mod state;
pub mod traefik;
mod user;
mod websocket;

pub use builder::{Builder, Dialect};
pub use fault::{Endpoint, Fault};
pub use handle::Standin;
pub use observe::Recorded;
pub use provider::{Mode, Provider, Signing};
pub use user::User;
