//! Facts of a request: peer and host, whether a page is being opened, framing of the body.

pub mod framing;
pub mod inbound;
pub mod navigation;
