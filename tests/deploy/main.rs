//! What `deploy/`, `config/` and the documents say is true of this program: names of variables,
//! keys, ports, paths, metrics and files, images and the alerts. Where `kubectl` or `promtool` is
//! missing, a test says so and leaves out that part.

mod custom;
mod evidence;
mod helm;
mod helm_values;
mod kubernetes;
mod links;
mod monitoring;
mod recipes;
mod schema;

use std::collections::BTreeSet;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::process::Command;

use authentik_proxy::config::settings::{
    FILE_VARIABLE, Fallback, IGNORED_VARIABLES, Kind, Setting, settings,
};
use authentik_proxy::config::{Config, Vars};
use regex::Regex;
use serde_json::Value;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const OURS: &str = "authentik-proxy";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every file below `directory`, with its name from the root.
fn files(directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut left = vec![root().join(directory)];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a directory");
            left.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else {
            let name = path.strip_prefix(root()).expect("below the root");
            let name = name.to_str().expect("a name that is text").to_owned();
            found.push((name.clone(), read(&name)));
        }
    }
    assert!(!found.is_empty(), "nothing in {directory}");
    found.sort();
    found
}

/// Whether it is YAML as it stands: templates of a chart become it.
fn is_yaml(name: &str) -> bool {
    let extension = Path::new(name).extension();
    let template = name.contains("/templates/");
    !template && extension.is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn parse(name: &str, text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every YAML document below `deploy/`, with the name of its file.
fn documents() -> Vec<(String, Value)> {
    let yaml = files("deploy").into_iter().filter(|(n, _)| is_yaml(n));
    yaml.flat_map(|(name, text)| {
        let parsed = parse(&name, &text).into_iter();
        parsed.map(move |document| (name.clone(), document))
    })
    .collect()
}

/// Calls `see` with every value inside of `value`, and the key that it stands under.
fn walk<'a>(value: &'a Value, key: &'a str, see: &mut impl FnMut(&'a str, &'a Value)) {
    see(key, value);
    match value {
        Value::Object(entries) => entries
            .iter()
            .for_each(|(key, value)| walk(value, key, see)),
        Value::Array(values) => values.iter().for_each(|value| walk(value, key, see)),
        _ => {}
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of ours")
}

/// The documents for readers: everything below `deploy/`, `docs/` and `config/`, and three files more.
fn texts() -> Vec<(String, String)> {
    let mut texts: Vec<_> = ["deploy", "docs", "config"]
        .into_iter()
        .flat_map(files)
        .collect();
    let single = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"];
    texts.extend(single.map(|name| (name.to_owned(), read(name))));
    texts
}

/// Everything that `pattern` captures in [`texts`].
fn mentions(pattern: &str) -> Vec<(String, String)> {
    let pattern = self::pattern(pattern);
    let texts = texts();
    let mut found = Vec::new();
    for (name, text) in texts {
        let captures = pattern.captures_iter(&text);
        found.extend(captures.map(|one| (name.clone(), one[1].to_owned())));
    }
    found
}

/// Runs a program; returns what it printed.
fn run(program: &str, arguments: &[&str]) -> String {
    feed(program, arguments, "")
}

/// The same with something on standard input.
fn feed(program: &str, arguments: &[&str], input: &str) -> String {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(input.as_bytes()).expect("written");
    file.rewind().expect("a file can be read again");
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .stdin(file)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; scripts/test.sh installs it"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}{errors}");
    text
}

#[test]
fn every_file_parses() {
    for (name, text) in files("deploy").into_iter().chain(files("config")) {
        if is_yaml(&name) {
            assert!(!parse(&name, &text).is_empty(), "{name} is empty");
        } else if Path::new(&name).extension().is_some_and(|e| e == "json") {
            let parsed: Result<Value, _> = serde_json::from_str(&text);
            assert!(parsed.is_ok(), "{name}: {parsed:?}");
        }
    }
    let vars = [("AUTHENTIK_HOST", "http://a"), ("AUTHENTIK_TOKEN", "t")];
    for name in [
        "config/authentik-proxy.example.yaml",
        "config/authentik-proxy.example.toml",
        "deploy/kustomize/base/authentik-proxy.yaml",
    ] {
        let vars: Vars = vars.into_iter().collect();
        let config = Config::load(Some(&root().join(name)), &vars);
        assert!(config.is_ok(), "{name}: {config:?}");
    }
}

#[test]
fn every_variable_exists() {
    let mut known: BTreeSet<String> = settings().map(|s| s.variable().into()).collect();
    known.extend(settings().filter_map(Setting::former_variable));
    known.extend(IGNORED_VARIABLES.iter().map(|&name| name.to_owned()));
    known.insert(FILE_VARIABLE.to_owned());
    let mut found = mentions(r"\b(AUTHENTIK_[A-Z0-9_]+)");
    // The beginning of several names; and what Kubernetes makes of a Service.
    found.retain(|(_, variable)| !variable.ends_with('_') && variable != "AUTHENTIK_PROXY_PORT");
    assert!(found.len() > 150, "the pattern finds too little");
    for (name, variable) in found {
        assert!(known.contains(&variable), "{name}: {variable}");
    }
}

#[test]
fn every_key_exists() {
    let mut known: BTreeSet<_> = settings().map(|setting| setting.key).collect();
    known.extend(settings().filter_map(|setting| setting.former_key));
    let sections: BTreeSet<_> = known
        .iter()
        .filter_map(|key| key.split('.').next())
        .collect();
    let sections: Vec<_> = sections.into_iter().collect();
    let found = mentions(&format!("`((?:{})\\.[a-z_]+)`", sections.join("|")));
    assert!(found.len() > 60, "the pattern finds too little");
    for (name, key) in found {
        assert!(known.contains(&*key), "{name}: {key}");
    }
}

#[test]
fn every_source_and_test_exists() {
    let mut found = mentions(r"\b((?:src|tests|standin|benches)/[\w/.-]+\.rs)\b");
    // Generated: `evidence` checks what it names.
    found.retain(|(name, _)| name != "docs/TESTS.md");
    for (name, file) in found {
        assert!(root().join(&file).is_file(), "{name}: {file}");
    }
    // The table of files: a name without a directory stands beside the one before it.
    let architecture = read("docs/ARCHITECTURE.md");
    let (_, table) = architecture
        .split_once("\n## The files\n")
        .expect("a table");
    let mut count = 0;
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.split(" | ").next().unwrap_or_default();
        let mut directory = root().join("src");
        for path in cell.split('`').skip(1).step_by(2) {
            if path.contains('*') || path.contains("authentik-proxy:") {
                continue;
            }
            let own = root().join("src").join(path);
            let found = if own.exists() {
                own
            } else {
                directory.join(path)
            };
            assert!(found.exists(), "docs/ARCHITECTURE.md: {path}");
            directory = found.parent().expect("a directory").to_owned();
            count += 1;
        }
    }
    assert!(count > 50, "the table is not understood");
}

#[test]
fn every_port_is_listened_on() {
    let addresses = settings().filter(|s| s.kind == Kind::Addresses);
    let mut known: BTreeSet<u64> = addresses
        .filter_map(|setting| match setting.fallback {
            Fallback::Value(address) => address.rsplit(':').next()?.parse().ok(),
            _ => None,
        })
        .collect();
    assert_eq!(known, BTreeSet::from([9000, 9443, 9300]));
    // Off by default; the ports are what our manifests choose.
    let own = mentions(
        r"AUTHENTIK_PROXY_LISTEN__(?:EXT_AUTHZ|FORWARD_AUTH)(?:=|: |\n\s*value: )\S*:(\d+)",
    );
    known.extend(
        own.iter()
            .map(|(_, port)| port.parse::<u64>().expect("a port")),
    );

    // A version after an image's colon has a dot.
    let mut found = mentions(r"\b(?:authentik-proxy|outpost)(?:\.[a-z.-]+)?:(\d[\d.]*)");
    found.retain(|(_, port)| !port.contains('.'));
    let mut found: Vec<(String, u64)> = found
        .into_iter()
        .map(|(name, port)| (name, port.parse().expect("a port")))
        .collect();
    let documents = documents();
    for (name, document) in &documents {
        walk(document, "", &mut |_, value| {
            let is_ours = value["name"] == OURS || value["metadata"]["name"] == OURS;
            if !is_ours {
                return;
            }
            let lists = [&value["ports"], &value["spec"]["ports"]];
            let mut ports = vec![&value["port"], &value["port"]["number"]];
            for port in lists.into_iter().filter_map(Value::as_array).flatten() {
                ports.extend([&port["containerPort"], &port["port"]]);
            }
            let ports = ports.into_iter().filter_map(Value::as_u64);
            found.extend(ports.map(|port| (name.clone(), port)));
        });
    }
    assert!(found.len() > 20, "too little is found");
    for (name, port) in found {
        assert!(known.contains(&port), "{name}: {port}");
    }
}

#[test]
fn every_path_exists() {
    let endpoints = read("src/gateway/request/endpoint.rs");
    let program = endpoints.split("#[cfg(test)]").next().unwrap_or_default();
    let known: BTreeSet<_> = pattern(r#""(/[a-z_/]+)""#)
        .captures_iter(program)
        .map(|one| one[1].trim_end_matches('/').to_owned())
        .collect();
    let found = mentions(r"/outpost\.goauthentik\.io(/[a-z_/]*[a-z_])");
    assert!(found.len() > 10, "the pattern finds too little");
    for (name, path) in found {
        // Also a part that several paths have in common, as in `/auth/*`.
        let common = format!("{path}/");
        let exists = known.contains(&path) || known.iter().any(|k| k.starts_with(&common));
        assert!(exists, "{name}: {path}");
    }
    assert!(read("src/admin.rs").contains("\"/metrics\""));
}

#[test]
fn nothing_but_the_program_is_run_in_our_image() {
    // It is made from nothing: there is no shell in it, and no tool.
    let call = pattern(r"\bexec\b[^\n]*\bauthentik-proxy\b[^\n]* -- +(\S+)");
    let mut calls = 0;
    for (name, text) in files("docs").into_iter().chain(files("deploy")) {
        for found in call.captures_iter(&text) {
            assert_eq!(&found[1], OURS, "{name}: {}", &found[0]);
            calls += 1;
        }
    }
    assert!(calls > 0, "the pattern finds nothing");
}

#[test]
fn cve_2021_25746_no_snippet_annotation() {
    // They let every user who may create an Ingress write nginx's configuration (CVE-2021-25742 and
    // CVE-2021-25746, CVE-2023-5043, CVE-2023-5044).
    for (name, document) in documents() {
        walk(&document, "", &mut |key, _| {
            assert!(!key.contains("snippet"), "{name}: {key}");
        });
    }
}

#[test]
fn images_are_pinned() {
    let mut found = Vec::new();
    let documents = documents();
    for (name, document) in &documents {
        walk(document, "", &mut |key, value| {
            if let (true, Some(image)) = (key == "image", value.as_str()) {
                found.push((name.clone(), image.to_owned()));
            }
            if let Some(tag) = value["newTag"].as_str() {
                found.push((name.clone(), format!("{OURS}:{tag}")));
            }
        });
    }
    let dockerfile = read("deploy/Dockerfile");
    for one in pattern(r"(?m)^FROM (\S+)").captures_iter(&dockerfile) {
        // That one is empty, and always the same.
        if &one[1] != "scratch" {
            found.push(("deploy/Dockerfile".to_owned(), one[1].to_owned()));
        }
    }
    assert!(found.len() > 5, "too little is found");
    for (name, image) in found {
        let (repository, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
        assert_ne!(tag, "latest", "{name}: {image}");
        if repository.rsplit('/').next() == Some(OURS) {
            assert_eq!(tag, VERSION, "{name}: {image}");
        }
    }
}
