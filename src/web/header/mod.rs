//! Header fields: their names, values that are read from files, and identity headers.

pub mod files;
pub mod identity;
pub mod names;
