//! HTTP vocabulary of both planes.

pub mod client;
pub mod cookie;
pub mod framing;
pub mod header_file;
pub mod header_name;
pub mod identity;
pub mod inbound;
pub mod keepalive;
pub mod navigation;
pub mod page;
mod resolver;
pub mod rest;
pub mod trust;
