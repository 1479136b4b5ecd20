//! The definitions against the program and the example files.

use std::path::Path;

use super::*;
use crate::config::{Config, ConfigErrors};

fn load(file: Option<&Path>, more: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let required = [
        ("AUTHENTIK_HOST", "https://authentik.company"),
        ("AUTHENTIK_TOKEN", "hunter2"),
    ];
    Config::load(file, &required.iter().chain(more).copied().collect())
}

#[test]
fn the_definitions_are_sound() {
    let all: Vec<_> = settings().collect();
    for (index, setting) in all.iter().enumerate() {
        assert_eq!(setting.key.matches('.').count(), 1, "{}", setting.key);
        for other in &all[..index] {
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
fn the_minimums_in_the_documentation_are_accepted() {
    let mut count = 0;
    for setting in settings() {
        let about = setting.about();
        let Some((_, minimum)) = about.split_once("; minimum ") else {
            continue;
        };
        let loaded = load(None, &[(&setting.variable(), minimum)]);
        assert!(loaded.is_ok(), "{about}: {loaded:?}");
        count += 1;
    }
    assert_eq!(count, 10);
}

#[test]
fn the_examples_hold_the_defaults() {
    let bare = load(None, &[]).expect("usable");
    for name in [
        "authentik-proxy.example.yaml",
        "authentik-proxy.example.toml",
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
    }
}
