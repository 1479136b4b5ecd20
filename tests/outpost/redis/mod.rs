//! Sessions in real Redis servers, which are stopped, starved, emptied and replaced.

mod chaos;
mod conformance;
mod forms;
mod idle;
mod last_good;
mod outages;
pub(crate) mod replicas;
mod rotation;
mod scene;
pub(crate) mod server;
mod trouble;
