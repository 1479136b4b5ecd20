//! HTTP vocabulary of both planes.

pub mod client;
pub mod cookie;
pub mod identity;
pub mod inbound;
pub mod navigation;
pub mod page;
