//! What operators see: log lines, metrics, traces, and reports at authentik.

mod diagnostic_layer;
pub mod log;
pub mod metrics;
mod report;
mod throttle;
pub mod traces;

pub use diagnostic_layer::{CHECKED, DiagnosticLayer, Logged};
pub use report::{Misconfiguration, Reporter};
pub use throttle::Throttle;
