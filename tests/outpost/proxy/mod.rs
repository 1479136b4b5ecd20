//! Mode `proxy`: the outpost in front of the application.

mod attacks;
mod breaks;
mod browser;
mod bytes;
mod failures;
mod frames;
pub(crate) mod grpc;
mod headers;
mod identity;
mod in_flight;
mod live;
mod login;
pub(crate) mod programs;
mod recipes;
pub(crate) mod sessions;
pub(crate) mod streams;
mod websocket;
