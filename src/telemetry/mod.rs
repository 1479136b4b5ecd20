//! What operators see: log lines and metrics.

pub mod log;
pub mod metrics;
mod throttle;

pub use throttle::Throttle;
