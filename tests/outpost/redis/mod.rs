//! Sessions in real Redis servers, which are stopped, starved, emptied and replaced.

mod conformance;
mod replicas;
mod server;
