//! What operators see: log lines, metrics, and reports at authentik.

pub mod log;
pub mod metrics;
mod report;
mod throttle;

pub use report::{Misconfiguration, Reporter};
pub use throttle::Throttle;
