//! Files of both languages, right and wrong.

use super::*;

fn read_text(extension: &str, text: &str) -> (Values, Vec<String>) {
    let path = format!("outpost.{extension}");
    let mut problems = Problems::default();
    let (values, _) = read(Path::new(&path), Ok(text.to_owned()), &mut problems);
    (values, problems.lines())
}

#[test]
fn both_languages_give_the_same_values() {
    let yaml = "
listen:
  http: [\"0.0.0.0:1\", \"[::]:1\"]
  max_connections: 5
redis:
  tls: true
session:
  # all of it commented out
shutdown: {drain_timeout: 25s, delay: }
";
    let toml = "
[listen]
http = ['0.0.0.0:1', '[::]:1']
max_connections = 5
[redis]
tls = true
[session]
[shutdown]
drain_timeout = '25s'
";
    for (extension, text) in [("yaml", yaml), ("yml", yaml), ("toml", toml)] {
        let (values, problems) = read_text(extension, text);
        assert_eq!(problems, [""; 0], "{extension}");
        let expected = Values::from([
            (
                "listen.http",
                RawValue::List(vec!["0.0.0.0:1".into(), "[::]:1".into()]),
            ),
            ("listen.max_connections", RawValue::Unquoted("5".into())),
            ("redis.tls", RawValue::Unquoted("true".into())),
            ("shutdown.drain_timeout", RawValue::Text("25s".into())),
        ]);
        assert_eq!(values, expected, "{extension}");
    }
}

#[test]
fn unknown_keys_are_named_with_their_path_and_a_suggestion() {
    for (text, expected) in [
        (
            "listen: {htp: ':1'}",
            "listen.htp: unknown key; did you mean listen.http?",
        ),
        (
            "lisen: {http: ':1'}",
            "lisen: unknown key; did you mean listen?",
        ),
        (
            "timeout: 5s",
            "timeout: unknown key; did you mean shutdown.drain_timeout?",
        ),
        (
            "AUTHENTIK_HOST: x",
            "AUTHENTIK_HOST: unknown key; did you mean authentik.host?",
        ),
        ("banana: 1", "banana: unknown key"),
        ("listen: 9000", "listen: is a section, not a value"),
        (
            "log: {level: {a: b}}",
            "log.level: is not a value; expected trace, debug, info",
        ),
        (
            "log: {level: [[a]]}",
            "log.level: is not a value; expected trace, debug, info",
        ),
    ] {
        let (_, problems) = read_text("yaml", text);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert!(problems[0].starts_with(expected), "{text}: {problems:?}");
    }
}

#[test]
fn every_unknown_key_is_reported() {
    let (_, problems) = read_text("toml", "a = 1\nb = 2\n[listen]\nc = 3");
    assert_eq!(problems.len(), 3, "{problems:?}");
}

#[test]
fn numbers_keep_what_was_written_where_it_matters() {
    let (values, _) = read_text("yaml", "authentik: {token: 0123, host: 1_0}");
    assert_eq!(values["authentik.token"], RawValue::Text("0123".into()));
    assert_eq!(values["authentik.host"], RawValue::Text("1_0".into()));
}

#[test]
fn broken_files_are_located_and_never_quoted() {
    for (extension, text, expected) in [
        ("yaml", "authentik:\n  token: 'hunter2\n", "not valid YAML"),
        (
            "yaml",
            "authentik:\n  token: *hunter2\n",
            "not valid YAML (line 2, column",
        ),
        (
            "yaml",
            "authentik:\n  token: !!int hunter2\n",
            "not valid YAML (line 2, column",
        ),
        (
            "yaml",
            "redis: {db: 1, db: hunter2}\n",
            "duplicate key (line 1",
        ),
        (
            "toml",
            "[authentik]\ntoken = hunter2\n",
            "not valid TOML (line 2)",
        ),
        (
            "toml",
            "[authentik]\ntoken = 'a'\ntoken = 'hunter2'\n",
            "duplicate key (line 3)",
        ),
        ("yaml", "- hunter2\n", "the file must consist of sections"),
        ("yaml", "hunter2", "the file must consist of sections"),
    ] {
        let (_, problems) = read_text(extension, text);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert!(problems[0].contains(expected), "{text}: {problems:?}");
        assert!(!problems[0].contains("hunter2"), "{text}: {problems:?}");
    }
}

#[test]
fn empty_files_set_nothing() {
    for (extension, text) in [("yaml", ""), ("yaml", "# nothing\n"), ("toml", "")] {
        let (values, problems) = read_text(extension, text);
        assert!(values.is_empty() && problems.is_empty(), "{problems:?}");
    }
}

#[test]
fn a_file_that_is_absent_or_of_another_kind_is_a_problem() {
    let mut problems = Problems::default();
    for path in ["/nowhere/proxy.yaml", "/nowhere/proxy.json"].map(Path::new) {
        read(path, std::fs::read_to_string(path), &mut problems);
    }
    let problems = problems.lines();
    assert!(problems[0].starts_with("/nowhere/proxy.yaml: cannot read the configuration file"));
    assert!(
        problems[1].ends_with("ends in .yaml, .yml or .toml"),
        "{problems:?}"
    );
}
