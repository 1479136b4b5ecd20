//! Sessions in real Redis servers, which are stopped, starved, emptied and replaced.

mod conformance;
mod forms;
mod last_good;
mod outages;
mod replicas;
pub(crate) mod server;
mod trouble;
