//! The environment variables, taken once. No other file reads the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

/// A fixed set of environment variables: those of this process, or those of a test.
#[derive(Clone, Default)]
pub struct Vars(BTreeMap<String, OsString>);

impl Vars {
    /// The variables of this process as they are now.
    #[must_use]
    pub fn process() -> Self {
        std::env::vars_os().collect()
    }

    /// The value of a variable; an error if it is not UTF-8.
    pub(super) fn value(&self, name: &str) -> Result<Option<&str>, NotUtf8> {
        self.0
            .get(name)
            .map(|value| value.to_str().ok_or(NotUtf8))
            .transpose()
    }

    /// The value of a variable, unless it is empty or not UTF-8.
    pub(in crate::config) fn text(&self, name: &str) -> Option<&str> {
        let value = self.value(name).ok().flatten();
        value.filter(|value| !value.is_empty())
    }

    /// All variables whose name begins with `prefix`, by name. A value that is not UTF-8 is empty.
    pub(super) fn with_prefix(&self, prefix: &'static str) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .range(prefix.to_owned()..)
            .take_while(move |(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()))
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Vars {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        // Names of settings are ASCII; one that is not UTF-8 is none of them.
        let text = |(name, value): (K, V)| Some((name.into().into_string().ok()?, value.into()));
        Self(pairs.into_iter().filter_map(text).collect())
    }
}

/// Names only: values are secrets or could be.
impl fmt::Debug for Vars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The value of a variable is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotUtf8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_names_and_no_values() {
        let vars: Vars = [("AUTHENTIK_TOKEN", "hunter2")].into_iter().collect();
        assert_eq!(format!("{vars:?}"), r#"{"AUTHENTIK_TOKEN"}"#);
    }

    #[test]
    fn prefix_selects_exactly_the_names_that_begin_with_it() {
        let vars: Vars = [
            ("AUTHENTIK", "0"),
            ("AUTHENTIK_A", "1"),
            ("AUTHENTIK_B", "2"),
            ("AUTHENTJ", "3"),
        ]
        .into_iter()
        .collect();
        let found: Vec<_> = vars.with_prefix("AUTHENTIK_").collect();
        assert_eq!(found, [("AUTHENTIK_A", "1"), ("AUTHENTIK_B", "2")]);
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_not_utf8_is_an_error() {
        use std::os::unix::ffi::OsStringExt;
        let vars: Vars = [("A", OsString::from_vec(vec![0xff]))]
            .into_iter()
            .collect();
        assert_eq!(vars.value("A"), Err(NotUtf8));
        assert_eq!(vars.value("B"), Ok(None));
    }
}
