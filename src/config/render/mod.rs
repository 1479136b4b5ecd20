//! The documentation of the settings: help, reference and example files.

mod help;
mod reference;

pub use help::environment_help;
pub use reference::{Language, example, settings_table};
