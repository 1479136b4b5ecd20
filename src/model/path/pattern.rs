//! Expressions that rules match paths with.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};

/// Expressions that every path matches, in the usual spellings.
const EVERY_PATH: [&str; 9] = ["", "^", "/", "^/", ".*", "^.*", "^/.*", "^.*$", "^/.*$"];

/// An expression for paths, unanchored.
#[derive(Debug, Clone)]
pub struct PathPattern {
    exact: Regex,
    /// The same without regard to case, as Express, Caddy, ASP.NET and Windows compare paths.
    folded: Regex,
}

impl PathPattern {
    /// Compiles an expression.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        let folded = RegexBuilder::new(text).case_insensitive(true).build()?;
        let exact = Regex::new(text)?;
        Ok(Self { exact, folded })
    }

    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.exact.as_str()
    }

    /// Whether the path matches as it stands: what opens has to.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.exact.is_match(path)
    }

    /// Whether the path matches in any of its spellings: what restricts holds for all of them.
    #[must_use]
    pub(in crate::model) fn matches_any(&self, spellings: &Spellings<'_>) -> bool {
        let matches = |text: &str| self.exact.is_match(text) || self.folded.is_match(text);
        matches(spellings.path) || spellings.others.iter().any(|text| matches(text))
    }

    /// Whether there is no path that does not match; only the usual spellings are known.
    #[must_use]
    pub(in crate::model) fn matches_everything(&self) -> bool {
        EVERY_PATH.contains(&self.as_str())
    }
}

/// A reading of a path, and what many applications take for the same.
#[derive(Debug)]
pub(in crate::model) struct Spellings<'a> {
    path: &'a str,
    others: Vec<Cow<'a, str>>,
}

impl<'a> Spellings<'a> {
    /// The spellings of a reading: without the slash at the end (Express, ASP.NET), without the dots
    /// and spaces at the end of names (Windows), with spaces for `+` (PHP's `urldecode`), and without
    /// the script that a front controller is called by (`/index.php/path`). Linear in the path,
    /// without allocation where there is nothing of this.
    pub(in crate::model) fn of(path: &'a str) -> Self {
        let mut others = Vec::new();
        let tidy = match tidy(path) {
            Cow::Borrowed(text) => Cow::Borrowed(without_end(text)),
            Cow::Owned(text) => Cow::Owned(without_end(&text).to_owned()),
        };
        if let Some((before, behind)) = script(&tidy) {
            others.push(Cow::Owned(behind.to_owned()));
            if !before.is_empty() {
                others.push(Cow::Owned(format!("{before}{behind}")));
            }
        }
        if tidy != path {
            others.push(tidy);
        }
        Self { path, others }
    }

    /// How many there are.
    #[cfg(test)]
    pub(in crate::model) fn len(&self) -> usize {
        1 + self.others.len()
    }

    /// How many bytes all have together.
    #[cfg(test)]
    pub(in crate::model) fn bytes(&self) -> usize {
        self.path.len() + self.others.iter().map(|text| text.len()).sum::<usize>()
    }

    /// The reading itself.
    pub(in crate::model) fn path(&self) -> &'a str {
        self.path
    }
}

/// Names without the dots and spaces at their end, and spaces for `+`.
fn tidy(path: &str) -> Cow<'_, str> {
    let ends = |name: &str| name.ends_with(['.', ' ']);
    if !path.contains('+') && !path.split('/').any(ends) {
        return Cow::Borrowed(path);
    }
    let names = path
        .split('/')
        .map(|name| name.trim_end_matches(['.', ' ']));
    let names: Vec<_> = names.map(|name| name.replace('+', " ")).collect();
    Cow::Owned(names.join("/"))
}

/// A path without the slash at its end.
fn without_end(path: &str) -> &str {
    path.strip_suffix('/')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(path)
}

/// What stands before and behind the segment that names a PHP script.
fn script(path: &str) -> Option<(&str, &str)> {
    let mut end = 0;
    for segment in path.split_inclusive('/') {
        let start = end;
        end += segment.len();
        let name = segment.strip_suffix('/')?.as_bytes();
        if name.len() >= 4 && name[name.len() - 4..].eq_ignore_ascii_case(b".php") {
            return Some((&path[..start.saturating_sub(1)], &path[end - 1..]));
        }
    }
    None
}
