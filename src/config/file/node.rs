//! The content of a configuration file, YAML or TOML, without its meaning.

use std::fmt;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value of a file.
pub(crate) enum Node {
    Nothing,
    Text(String),
    /// A number or a boolean: text without quotes, as YAML or TOML read it.
    Unquoted(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    pub(crate) fn into_item(self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Unquoted(text) => Some(text),
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
        Ok(Node::Unquoted(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Unquoted(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Unquoted(value.to_string()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Unquoted(value.to_string()))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Unquoted(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Unquoted(value.to_string()))
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

/// Parses the text of a file by the extension of its name.
pub(super) fn load(path: &Path, text: std::io::Result<String>) -> Result<Node, String> {
    let parse = match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => yaml,
        Some("toml") => toml,
        _ => return Err("the name of a configuration file ends in .yaml, .yml or .toml".into()),
    };
    let text = text.map_err(|error| format!("cannot read the configuration file: {error}"))?;
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
            serde_saphyr::Error::DuplicateMappingKey { .. } => "duplicate key",
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
            "duplicate key"
        } else {
            "not valid TOML"
        };
        format!("{problem} (line {line})")
    })
}
