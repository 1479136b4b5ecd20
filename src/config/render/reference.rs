//! The settings as documents have them: the reference, and the example files.

use std::fmt::Write as _;

use crate::config::settings::{Fallback, Kind, Setting, settings};

/// Maximum width of a comment in an example file.
const COMMENT_COLUMNS: usize = 96;

/// The language of an example file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// YAML.
    Yaml,
    /// TOML.
    Toml,
}

/// Every setting as a table in Markdown, as in `docs/CONFIGURATION.md`.
#[must_use]
pub fn settings_table() -> String {
    let mut table = "| variable | key in the file | default | meaning |\n\
                     | --- | --- | --- | --- |\n"
        .to_owned();
    for setting in settings() {
        let (key, about, detail) = (setting.key, setting.about(), setting.detail());
        let separator = if detail.is_empty() { "" } else { ". " };
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            table,
            "| `{}` | `{key}` | {} | {about}{separator}{detail} |",
            setting.variable(),
            fallback(setting)
        );
    }
    table
}

fn fallback(setting: &Setting) -> String {
    match setting.fallback {
        Fallback::Required => "**required**".to_owned(),
        Fallback::Unset => "–".to_owned(),
        // Tables break lines at spaces only.
        Fallback::Value(value) => format!("`{}`", value.replace(',', ", ")),
    }
}

/// Every setting with its default, by section, as in the files of `config/`.
///
/// # Panics
/// Never: every key has a section and a name.
#[must_use]
pub fn example(language: Language) -> String {
    let mut text = String::new();
    let mut section = "";
    let (indent, equals) = match language {
        Language::Yaml => ("  ", ": "),
        Language::Toml => ("", " = "),
    };
    for setting in settings() {
        let (of, name) = setting.key.split_once('.').expect("section and name");
        if of != section {
            let separator = if section.is_empty() { "" } else { "\n" };
            // Writing to a `String` cannot fail.
            let _ = match language {
                Language::Yaml => writeln!(text, "{separator}{of}:"),
                Language::Toml => writeln!(text, "{separator}[{of}]"),
            };
            section = of;
        }
        let (off, value) = match setting.fallback {
            Fallback::Value(value) => ("", value),
            Fallback::Required | Fallback::Unset => ("# ", sample(setting.kind)),
        };
        let value = literal(setting.kind, value);
        comment(&mut text, indent, &documentation(setting));
        let _ = writeln!(text, "{indent}{off}{name}{equals}{value}");
    }
    text
}

fn documentation(setting: &Setting) -> String {
    let required = match setting.fallback {
        Fallback::Required => "Required. ",
        Fallback::Unset | Fallback::Value(_) => "",
    };
    let detail = setting.detail();
    let separator = if detail.is_empty() { "" } else { ". " };
    let text = format!("{required}{}{separator}{detail}", setting.about());
    without_links(&text)
}

/// `[PAGE.md](…)` as `docs/PAGE.md`.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        let (page, after) = link.split_once("](").expect("brackets begin links only");
        let (_, after) = after.split_once(')').expect("a link ends");
        plain.push_str(before);
        plain.push_str("docs/");
        plain.push_str(page);
        rest = after;
    }
    plain.push_str(rest);
    plain
}

fn comment(out: &mut String, indent: &str, text: &str) {
    let mut line = format!("{indent}#");
    for word in text.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > COMMENT_COLUMNS {
            out.push_str(&line);
            out.push('\n');
            line = format!("{indent}#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

/// A value as both languages write it.
fn literal(kind: Kind, value: &str) -> String {
    match kind {
        Kind::Count | Kind::Flag => value.to_owned(),
        _ if kind.is_list() && value == "none" => "[]".to_owned(),
        _ if kind.is_list() && value != "all" => {
            let items: Vec<_> = value.split(',').map(|item| format!("{item:?}")).collect();
            format!("[{}]", items.join(", "))
        }
        _ => format!("{value:?}"),
    }
}

/// A value for settings without a default.
fn sample(kind: Kind) -> &'static str {
    match kind {
        Kind::Duration => "30m",
        Kind::Host => "redis.company",
        Kind::Nodes => "redis-0.redis:26379,redis-1.redis:26379",
        Kind::Password => "file:///run/secrets/password",
        Kind::Path => "/path/to/file",
        Kind::Token => "file:///run/secrets/token",
        Kind::Url | Kind::UrlOrSocket => "https://authentik.company",
        Kind::Uuid => "3f0970c5-d6a3-43b2-9a36-d74665c6b24e",
        Kind::SessionStore => "cookie",
        _ => "authentik-proxy",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_have_the_table_that_the_program_prints() {
        let document = include_str!("../../../docs/CONFIGURATION.md");
        assert!(
            document.contains(&settings_table()),
            "put this into docs/CONFIGURATION.md (authentik-proxy config --reference):\n{}",
            settings_table()
        );
    }

    #[test]
    fn the_example_files_have_the_settings_that_the_program_prints() {
        for (language, name, file) in [
            (
                Language::Yaml,
                "yaml",
                include_str!("../../../config/authentik-proxy.example.yaml"),
            ),
            (
                Language::Toml,
                "toml",
                include_str!("../../../config/authentik-proxy.example.toml"),
            ),
        ] {
            let expected = example(language);
            assert!(
                file.contains(&expected),
                "put this into config/authentik-proxy.example.{name} \
                 (authentik-proxy config --example {name}):\n{expected}"
            );
        }
    }
}
