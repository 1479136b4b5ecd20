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
    assert_eq!(count, 12);
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

#[test]
fn former_names_are_not_recommended() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let former: Vec<String> = settings()
        .flat_map(|setting| {
            [
                setting.former_key.map(str::to_owned),
                setting.former_variable(),
            ]
        })
        .flatten()
        .collect();
    assert!(former.iter().any(|name| name == "shutdown.timeout"));
    let mut folders = vec![root.join("src"), root.join("deploy"), root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            // Where former names are given on purpose.
            let exempt = [
                "docs/MIGRATION.md",
                "src/config/layers/tests.rs",
                "src/config/settings/tests.rs",
            ];
            if path.is_dir() {
                folders.push(path);
                continue;
            } else if exempt.iter().any(|exempt| path.ends_with(exempt)) {
                continue;
            }
            let bytes = std::fs::read(&path).expect("a file");
            let text = String::from_utf8_lossy(&bytes);
            for name in &former {
                // Aliases are declared as `was("…")`.
                let text = text.replace(&format!("was(\"{name}\")"), "");
                let is_whole = |(at, _): (usize, &str)| {
                    let after = text[at + name.len()..].chars().next();
                    !after.is_some_and(|next| next.is_alphanumeric() || next == '_')
                };
                let found = text.match_indices(name.as_str()).any(is_whole);
                assert!(!found, "{} names {name}", path.display());
            }
        }
    }
}

#[test]
fn the_session_store_is_what_is_set_or_what_is_configured() {
    let store = ("AUTHENTIK_PROXY_SESSION__STORE", "cookie");
    let redis = ("AUTHENTIK_REDIS__HOST", "redis");
    let kind = |kind| (store.0, kind);
    for (more, uses_redis, warns) in [
        (&[][..], false, false),
        (&[redis], true, false),
        (&[kind("redis"), redis], true, false),
        (&[kind("memory")], false, false),
        (&[kind("memory"), redis], false, true),
        (&[store], false, false),
        (&[store, redis], false, true),
    ] {
        let config = load(None, more).expect("usable");
        assert_eq!(config.redis.is_some(), uses_redis, "{more:?}");
        let mut warnings = config.warnings.iter();
        let warned = warnings.any(|warning| warning.what.contains("Redis is not used"));
        assert_eq!(warned, warns, "{more:?}");
    }
    for (more, problem) in [
        (&[kind("redis")][..], "session.store"),
        (
            &[store, ("AUTHENTIK_PROXY_SESSION__IDLE_TIMEOUT", "1h")],
            "session.idle_timeout",
        ),
        (
            &[("AUTHENTIK_PROXY_SESSION__COOKIE_MAX_BYTES", "29KiB")],
            "session.cookie_max_bytes",
        ),
    ] {
        let problems = load(None, more).expect_err(problem);
        let found = problems.iter().any(|found| found.what.starts_with(problem));
        assert!(found, "{problems:?}");
    }
}
