//! What is wrong with a configuration, all of it at once.

use std::fmt;

use crate::model::{Diagnostic, Hint as _};

/// Problems found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Diagnostic>);

impl Problems {
    pub(super) fn push(&mut self, problem: impl Into<Diagnostic>) {
        self.0.push(problem.into());
    }

    pub(super) fn extend(&mut self, problems: impl IntoIterator<Item = Diagnostic>) {
        self.0.extend(problems);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The problems as lines of text, for tests.
    #[cfg(test)]
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.iter().map(Diagnostic::with_hint).collect()
    }
}

/// Every problem of a configuration: never empty, never with a secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Diagnostic>);

impl ConfigErrors {
    /// The problems, if there are any.
    pub(super) fn new(problems: Problems) -> Option<Self> {
        (!problems.0.is_empty()).then_some(Self(problems.0))
    }

    /// The problems, each without line breaks.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        self.iter()
            .try_for_each(|problem| write!(f, "\n  - {}", problem.with_hint()))
    }
}

impl std::error::Error for ConfigErrors {}
