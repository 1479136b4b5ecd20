//! The configuration file, YAML or TOML, taken apart into the raw values of known settings.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::applications::{self, Policies};
use super::error::Problems;
use super::settings::{SETTINGS, Setting};
use super::suggest::{did_you_mean, nearest};
use crate::model::Diagnostic;

/// A raw value of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// Text.
    Text(String),
    /// A number or a truth value: what the file's language made of text without quotes.
    Bare(String),
    /// A list of such.
    List(Vec<String>),
}

/// The raw values by key.
pub(super) type Values = HashMap<&'static str, Given>;

/// Reads a file. Problems are added to `problems`; what could be read is returned.
pub(super) fn read(path: &Path, problems: &mut Problems) -> (Values, Policies) {
    let (mut values, mut policies) = (Values::new(), Policies::new());
    match load(path) {
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

fn load(path: &Path) -> Result<Node, String> {
    let parse = match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => yaml,
        Some("toml") => toml,
        _ => return Err("the name of a configuration file ends in .yaml, .yml or .toml".into()),
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the configuration file: {error}"))?;
    parse(&text)
}

/// Errors of the parsers name a line. They never quote the file, which may hold secrets.
fn yaml(text: &str) -> Result<Node, String> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    if text.trim().is_empty() {
        return Ok(Node::Nothing);
    }
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let problem = match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { .. } => "a key stands there twice",
            _ => "not valid YAML",
        };
        let place = error.location().map(|place| (place.line(), place.column()));
        place.map_or_else(
            || problem.to_owned(),
            |(line, column)| format!("{problem} (line {line}, column {column})"),
        )
    })
}

fn toml(text: &str) -> Result<Node, String> {
    toml::from_str(text).map_err(|error| {
        let before = error
            .span()
            .and_then(|span| text.get(..span.start))
            .unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let problem = if error.message().starts_with("duplicate key") {
            "a key stands there twice"
        } else {
            "not valid TOML"
        };
        format!("{problem} (line {line})")
    })
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
            match Setting::by_key(&key) {
                Some(setting) => self.value(setting, node),
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

    fn value(&mut self, setting: &'static Setting, node: Node) {
        let given = match node {
            Node::Nothing => return,
            Node::Text(text) => Given::Text(text),
            Node::Bare(text) => Given::Bare(text),
            Node::List(items) => match items.into_iter().map(Node::into_item).collect() {
                Some(items) => Given::List(items),
                None => return self.misshapen(setting),
            },
            Node::Map(_) => return self.misshapen(setting),
        };
        self.values.insert(setting.key, given);
    }

    fn misshapen(&mut self, setting: &Setting) {
        let expects = setting.kind.expects();
        let problem = Diagnostic::new(format!("{}: is not a value", setting.key));
        self.problems
            .push(problem.hinting(format!("expected {expects}")));
    }
}

fn is_section(key: &str) -> bool {
    sections().any(|section| section == key)
}

fn sections() -> impl Iterator<Item = &'static str> {
    SETTINGS
        .iter()
        .filter_map(|setting| setting.key.rsplit_once('.'))
        .map(|(section, _)| section)
}

fn unknown_key(key: &str) -> Diagnostic {
    let keys = || SETTINGS.iter().map(|setting| setting.key);
    let last = key.rsplit('.').next().unwrap_or(key);
    let meant = nearest(
        key,
        keys().chain(sections()).chain([applications::SECTION]),
        key.len() / 4 + 1,
    )
    .or_else(|| keys().find(|known| known.rsplit('.').next() == Some(last)))
    .or_else(|| {
        Some(
            SETTINGS
                .iter()
                .find(|setting| setting.variable() == key)?
                .key,
        )
    });
    Diagnostic {
        hint: did_you_mean(meant),
        ..format!("{}: unknown key", key.escape_debug()).into()
    }
}

/// A file's content before anything is known about it.
pub(super) enum Node {
    Nothing,
    Text(String),
    Bare(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    pub(super) fn into_item(self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Bare(text) => Some(text),
            Self::Nothing | Self::List(_) | Self::Map(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a section")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bare(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Bare(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Bare(value.to_string()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Bare(value.to_string()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Bare(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Bare(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
