//! The table against the program and against the annotated examples.

use std::path::Path;

use super::super::{Config, ConfigErrors};
use super::*;

fn load(file: Option<&Path>, more: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let required = [
        ("AUTHENTIK_HOST", "https://authentik.company"),
        ("AUTHENTIK_TOKEN", "hunter2"),
    ];
    Config::load(file, &required.iter().chain(more).copied().collect())
}

#[test]
fn the_table_is_sound() {
    for (index, setting) in SETTINGS.iter().enumerate() {
        assert_eq!(setting.key.matches('.').count(), 1, "{}", setting.key);
        for other in &SETTINGS[..index] {
            assert_ne!(other.key, setting.key);
            assert_ne!(other.variable(), setting.variable());
        }
        // Each setting is read: a value that nothing accepts is a problem of that setting.
        let found = load(None, &[(&setting.variable(), "\u{1}\n")]).expect_err(setting.key);
        assert!(
            found
                .iter()
                .any(|problem| problem.what.starts_with(setting.variable().as_ref())),
            "{}: {found:?}",
            setting.key
        );
    }
}

#[test]
fn the_examples_hold_every_setting_with_its_default() {
    let bare = load(None, &[]).expect("usable");
    for (name, separator) in [
        ("authentik-proxy.example.yaml", ": "),
        ("authentik-proxy.example.toml", " = "),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("config")
            .join(name);
        let config = load(Some(&path), &[]).expect("usable as it is");
        assert_eq!(
            format!("{config:?}"),
            format!("{bare:?}"),
            "{name} holds other defaults"
        );

        let text = std::fs::read_to_string(&path).expect("it was just loaded");
        for setting in SETTINGS {
            let (section, field) = setting.key.split_once('.').expect("section and name");
            let header = if separator == ": " {
                format!("{section}:")
            } else {
                format!("[{section}]")
            };
            let in_section = text
                .lines()
                .skip_while(|line| *line != header)
                .skip(1)
                .take_while(|line| !line.starts_with('[') && !is_yaml_section(line));
            let off = setting.fallback == Fallback::Required || setting.fallback == Fallback::Unset;
            let start = if off {
                format!("# {field}{separator}")
            } else {
                format!("{field}{}", separator.trim_end())
            };
            let found = in_section
                .map(str::trim_start)
                .any(|line| line.starts_with(&start));
            assert!(found, "{name}: {} is missing", setting.key);
        }
    }
}

fn is_yaml_section(line: &str) -> bool {
    line.ends_with(':') && !line.starts_with([' ', '#'])
}
