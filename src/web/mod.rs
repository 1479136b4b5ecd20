//! HTTP vocabulary of both planes.

pub mod client;
pub mod cookie;
pub mod cookie_parts;
pub mod header;
pub mod keepalive;
pub mod page;
pub mod request;
