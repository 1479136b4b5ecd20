//! Commands, signals, logs, metrics, traces and the image, as an operator uses them.

mod healthcheck;
mod image;
mod log;
mod metrics;
pub(crate) mod process;
mod reload;
mod rules;
mod secrets;
#[cfg(feature = "otel")]
mod traces;
