//! The schema of the chart's value `config` is made from the settings, so that Helm refuses what the
//! program would refuse.

use std::fmt::Write as _;

use authentik_proxy::config::settings::{Kind, Setting, settings};
use authentik_proxy::config::{Config, ConfigErrors};
use serde_json::{Value, json};

use crate::helm::{CHART, refusal, template};
use crate::{OURS, parse, read, root};

/// The lines around the schema of `config`.
const BEFORE: &str = "    \"config\": {\n";
const AFTER: &str = "\n    },\n    \"trustedProxies\": {";

/// The inside of the schema of `config`: a line for each setting.
fn generated() -> String {
    let mut sections: Vec<(&str, Vec<String>)> = Vec::new();
    for setting in settings() {
        let keys = [Some(setting.key), setting.former_key];
        for key in keys.into_iter().flatten() {
            let (section, name) = key.split_once('.').expect("section and name");
            let index = sections.iter().position(|(name, _)| *name == section);
            let index = index.unwrap_or_else(|| {
                sections.push((section, Vec::new()));
                sections.len() - 1
            });
            let schema = schema(setting, key);
            sections[index]
                .1
                .push(format!("            {name:?}: {schema}"));
        }
    }
    let mut text = "      \"$comment\": \"Generated: UPDATE=1 cargo test --all-features --test deploy schema\",\n      \
                    \"type\": [\"object\", \"null\"],\n      \
                    \"additionalProperties\": false,\n      \
                    \"properties\": {\n"
        .to_owned();
    for (section, settings) in sections {
        let _ = write!(
            text,
            "        {section:?}: {{\n          \"type\": [\"object\", \"null\"],\n          \
             \"additionalProperties\": false,\n          \"properties\": {{\n{}\n          }}\n        }},\n",
            settings.join(",\n")
        );
    }
    text + "        \"applications\": {\"description\": \"Validated by the program\"}\n      }"
}

fn schema(setting: &Setting, key: &str) -> Value {
    let pattern = pattern(setting.kind);
    let mut schema = match setting.kind {
        Kind::Flag => {
            json!({"type": ["boolean", "integer", "string", "null"], "minimum": 0, "maximum": 1})
        }
        Kind::Count | Kind::Size => {
            json!({"type": ["integer", "string", "null"], "minimum": setting.minimum})
        }
        // A number is one of seconds.
        Kind::Duration => json!({
            "type": ["integer", "string", "null"],
            "minimum": setting.minimum.div_ceil(1000),
        }),
        Kind::Addresses | Kind::Dialects | Kind::Networks | Kind::Nodes => json!({
            "type": ["array", "string", "null"],
            "items": {"type": "string", "pattern": pattern},
        }),
        _ => json!({"type": ["string", "null"]}),
    };
    if let Some(pattern) = pattern {
        schema["pattern"] = pattern.into();
    }
    schema["description"] = if key == setting.key {
        setting.about().into()
    } else {
        schema["deprecated"] = true.into();
        format!("Former name of {}", setting.key).into()
    };
    schema
}

/// What texts match: a value, nothing, or a reference to a value. `None`: any text.
fn pattern(kind: Kind) -> Option<String> {
    let list = |item: &str| format!("{}|{item}(\\s*,\\s*{item})*", any_case("none"));
    let words = |words: &[&str]| {
        let words: Vec<_> = words.iter().map(|word| any_case(word)).collect();
        words.join("|")
    };
    let value = match kind {
        Kind::Addresses => list(r"(\[[0-9A-Fa-f:.%]+\]|[0-9.]*):[0-9]+"),
        Kind::CookiePrefix => words(&["none", "host"]),
        Kind::Count => "\\+?[0-9]+".to_owned(),
        Kind::Dialects => list(&format!(
            "({})",
            words(&["all", "nginx", "ingress-nginx", "traefik", "caddy", "envoy"])
        )),
        Kind::Duration => "\\+?[0-9]+|([0-9]+(ms|s|m|h))+".to_owned(),
        Kind::Flag => format!("{}|0|1", words(&["true", "false", "yes", "no"])),
        Kind::Host => r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+\]?".to_owned(),
        Kind::Level => words(&["trace", "debug", "info", "warn", "warning", "error"]),
        Kind::Networks => list("[0-9A-Fa-f:.]+(/[0-9]+)?"),
        Kind::Nodes => list(r"[^\s,]+:[0-9]+"),
        Kind::SessionStore => words(&["memory", "redis", "cookie"]),
        Kind::Size => format!(
            "[0-9]+\\s*({})?",
            words(&["b", "kib", "ki", "mib", "mi", "gib", "gi"])
        ),
        Kind::TlsReqs => words(&["required", "none"]),
        Kind::Token => r"\S+".to_owned(),
        Kind::Url => format!(r"{}[sS]?://[^\s/?#:]\S*", any_case("http")),
        Kind::UrlOrSocket => format!(
            r"{}[sS]?://[^\s/?#:]\S*|{}:///[^\s?#]*[^\s?#/]",
            any_case("http"),
            any_case("unix")
        ),
        Kind::Uuid => {
            "(urn:uuid:|\\{)?[0-9A-Fa-f]{8}-?([0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}\\}?".to_owned()
        }
        Kind::WhenDown => words(&["refuse", "keep"]),
        Kind::WhenUnconfirmed => words(&["allow", "refuse"]),
        Kind::Password | Kind::Path | Kind::Text => return None,
    };
    Some(format!(r"^\s*((env|file)://.*|{value})?\s*$"))
}

/// A pattern for `word` in upper and lower case: JSON Schema has no flag for it.
fn any_case(word: &str) -> String {
    let letters = word.chars().map(|letter| {
        if letter.is_ascii_alphabetic() {
            format!("[{}{letter}]", letter.to_ascii_uppercase())
        } else {
            letter.to_string()
        }
    });
    letters.collect()
}

#[test]
fn the_schema_of_the_file_is_made_from_the_settings() {
    let name = format!("{CHART}/values.schema.json");
    let text = read(&name);
    let (before, rest) = text.split_once(BEFORE).expect("config has a schema");
    let (_, after) = rest
        .split_once(AFTER)
        .expect("trustedProxies follow config");
    let expected = format!("{before}{BEFORE}{}{AFTER}{after}", generated());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(root().join(&name), &expected).expect("written");
    }
    assert!(
        read(&name) == expected,
        "{name} is old: UPDATE=1 cargo test --all-features --test deploy schema"
    );
}

#[test]
#[ignore = "needs Helm"]
fn the_example_file_passes_the_schema() {
    let example = "config/authentik-proxy.example.yaml";
    let text = read(example);
    for text in [text.clone(), with_samples(&text)] {
        let file = parse(example, &text).remove(0);
        template(OURS, &[&format!("--set-json=config={file}")]);
    }
}

/// The example with the settings that are commented out.
fn with_samples(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let rest = line.strip_prefix("  # ");
        let setting = rest.filter(|rest| {
            settings().any(|s| {
                rest.starts_with(&format!(
                    "{}: ",
                    s.key.rsplit('.').next().unwrap_or_default()
                ))
            })
        });
        setting.map_or_else(|| line.to_owned(), |setting| format!("  {setting}"))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What the program makes of the file.
fn load(file: &str) -> Result<Config, ConfigErrors> {
    let path = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file");
    std::fs::write(path.path(), file).expect("written");
    let vars = [("AUTHENTIK_HOST", "http://a"), ("AUTHENTIK_TOKEN", "t")];
    Config::load(Some(path.path()), &vars.into_iter().collect())
}

#[test]
#[ignore = "needs Helm"]
fn the_schema_accepts_what_the_program_accepts() {
    for value in [
        r#"{"session":{"max_age":"24h","idle_timeout":1800,"cache_bytes":"64 Mi"}}"#,
        r#"{"session":null,"identity":{"send_jwt":"No"},"authentik":{"insecure":1}}"#,
        r#"{"listen":{"http":":9000, [::]:9001","https":[],"trusted_proxies":["10.0.0.0/8","env://PROXY?fd00::/8"]}}"#,
        r#"{"redis":{"port":"6380","password":"file:///no/such/file?hunter2","sentinels":"a:1,[::1]:2"}}"#,
        r#"{"control":{"request_timeout":"1m30s","refresh_interval":null},"log":{"level":"WARN"}}"#,
        r#"{"forward_auth":{"dialects":["nginx","Envoy"]},"applications":{"x":{"rules":[{"path":"/","action":"allow"}]}}}"#,
    ] {
        assert!(load(value).is_ok(), "{value}: {:?}", load(value));
        template(OURS, &[&format!("--set-json=config={value}")]);
    }
}

#[test]
#[ignore = "needs Helm"]
fn the_schema_refuses_what_the_program_refuses() {
    for (value, named) in [
        (r#"{"session":{"idle_timout":"1h"}}"#, "idle_timout"),
        (r#"{"sesion":{"idle_timeout":"1h"}}"#, "sesion"),
        (r#"{"session":{"idle_timeout":"1 day"}}"#, "idle_timeout"),
        (r#"{"session":{"idle_timeout":59}}"#, "idle_timeout"),
        (r#"{"listen":{"max_connections":0}}"#, "max_connections"),
        (r#"{"listen":{"http":["localhost:9000"]}}"#, "http"),
        (r#"{"redis":{"password":1234}}"#, "password"),
        (r#"{"redis":{"when_down":"panic"}}"#, "when_down"),
        (
            r#"{"authentik":{"host_browser":"authentik.company"}}"#,
            "host_browser",
        ),
        (r#"{"authentik":{"outpost_id":"7"}}"#, "outpost_id"),
        (r#"{"log":{"level":["info"]}}"#, "level"),
        (r#"{"identity":"yes"}"#, "identity"),
    ] {
        assert!(load(value).is_err(), "{value}");
        let said = refusal(&format!("--set-json=config={value}"));
        assert!(said.contains(named), "{value}: {said}");
    }
}
