//! What a configuration was made of.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::env::Vars;
use crate::config::files::SourceFile;

/// What a configuration was made of, so that it can be made again.
#[derive(Clone)]
pub(in crate::config) struct Origin {
    /// The configuration file that the command line names.
    pub(in crate::config) cli_path: Option<PathBuf>,
    /// The variables.
    pub(in crate::config) vars: Vars,
    /// The files that were read.
    pub(in crate::config) files: Vec<SourceFile>,
    /// Digests of the settings' values as text, by key.
    pub(in crate::config) digests: BTreeMap<&'static str, u64>,
}

/// No content: it says nothing about the values of the configuration.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").finish_non_exhaustive()
    }
}
