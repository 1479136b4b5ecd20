//! The configuration file, YAML or TOML, taken apart into the raw values of known settings.

pub(super) mod node;

use std::collections::HashMap;
use std::path::Path;

use super::applications::{self, Policies};
use super::error::Problems;
use super::settings::{Setting, by_key, settings};
use super::suggest::{did_you_mean, nearest};
use crate::model::Diagnostic;
use node::{Node, load};

/// A value of the file, before parsing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RawValue {
    /// Text.
    Text(String),
    /// A number or a boolean: text without quotes, as YAML or TOML read it.
    Unquoted(String),
    /// A list of such.
    List(Vec<String>),
}

/// The values by key, which may be a former one.
pub(super) type Values = HashMap<&'static str, RawValue>;

/// Takes the text of the file at `path` apart. Problems are added to `problems`; what could be
/// understood is returned.
pub(super) fn read(
    path: &Path,
    text: std::io::Result<String>,
    problems: &mut Problems,
) -> (Values, Policies) {
    let (mut values, mut policies) = (Values::new(), Policies::new());
    match load(path, text) {
        Ok(Node::Map(mut entries)) => {
            let section = entries
                .iter()
                .position(|(name, _)| name == applications::SECTION);
            if let Some(section) = section {
                policies = applications::read(entries.swap_remove(section).1, problems);
            }
            let mut walk = Walk {
                values: &mut values,
                problems,
            };
            walk.section("", entries);
        }
        Ok(Node::Nothing) => {}
        Ok(_) => problems.push(format!(
            "{}: the file must consist of sections",
            path.display()
        )),
        Err(problem) => problems.push(format!("{}: {problem}", path.display())),
    }
    (values, policies)
}

struct Walk<'a> {
    values: &'a mut Values,
    problems: &'a mut Problems,
}

impl Walk<'_> {
    fn section(&mut self, path: &str, entries: Vec<(String, Node)>) {
        for (name, node) in entries {
            let key = if path.is_empty() {
                name
            } else {
                format!("{path}.{name}")
            };
            match by_key(&key) {
                Some((setting, key)) => self.value(setting, key, node),
                None if is_section(&key) => match node {
                    Node::Map(entries) => self.section(&key, entries),
                    // A section of which every line is commented out.
                    Node::Nothing => {}
                    _ => self
                        .problems
                        .push(format!("{key}: is a section, not a value")),
                },
                None => self.problems.push(unknown_key(&key)),
            }
        }
    }

    fn value(&mut self, setting: &Setting, key: &'static str, node: Node) {
        let value = match node {
            Node::Nothing => return,
            Node::Text(text) => RawValue::Text(text),
            Node::Unquoted(text) => RawValue::Unquoted(text),
            Node::List(items) => match items.into_iter().map(Node::into_item).collect() {
                Some(items) => RawValue::List(items),
                None => return self.misshapen(setting, key),
            },
            Node::Map(_) => return self.misshapen(setting, key),
        };
        self.values.insert(key, value);
    }

    fn misshapen(&mut self, setting: &Setting, key: &str) {
        let expects = setting.kind.expects();
        let problem = Diagnostic::new(format!("{key}: is not a value"));
        self.problems
            .push(problem.hinting(format!("expected {expects}")));
    }
}

fn is_section(key: &str) -> bool {
    sections().any(|section| section == key)
}

fn sections() -> impl Iterator<Item = &'static str> {
    settings()
        .filter_map(|setting| setting.key.rsplit_once('.'))
        .map(|(section, _)| section)
}

fn unknown_key(key: &str) -> Diagnostic {
    let keys = || settings().map(|setting| setting.key);
    let last = key.rsplit('.').next().unwrap_or(key);
    let meant = nearest(
        key,
        keys().chain(sections()).chain([applications::SECTION]),
        key.len() / 4 + 1,
    )
    .or_else(|| {
        // The name in another section, or the former one.
        let named = |key: &str| key.rsplit('.').next() == Some(last);
        let setting = settings().find(|s| named(s.key) || s.former_key.is_some_and(named))?;
        Some(setting.key)
    })
    .or_else(|| Some(settings().find(|setting| setting.variable() == key)?.key));
    Diagnostic {
        hint: did_you_mean(meant),
        ..format!("{}: unknown key", key.escape_debug()).into()
    }
}

#[cfg(test)]
mod tests;
