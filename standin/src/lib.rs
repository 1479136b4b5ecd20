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
mod control;
mod dialect;
mod fault;
mod message;
mod oidc;
mod pages;
mod programs;
mod random;
mod records;
mod server;
mod state;

pub use builder::Builder;
pub use control::Standin;
pub use dialect::Dialect;
pub use fault::{Endpoint, Fault};
pub use programs::{caddy, envoy, haproxy, nginx, prometheus, traefik};
pub use records::provider::{Mode, Provider, Signing};
pub use records::user::User;
pub use state::requests::Recorded;
