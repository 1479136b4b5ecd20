//! Former names of settings, and how errors quote values.

use std::io::Write as _;
use std::time::Duration;

use super::*;
use crate::config::Config;
use crate::model::Hint as _;

fn with(more: &[(&str, &str)]) -> Vars {
    let required = [
        ("AUTHENTIK_HOST", "https://authentik.company"),
        ("AUTHENTIK_TOKEN", "hunter2"),
    ];
    required.iter().chain(more).copied().collect()
}

fn load(more: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::load(None, &with(more))
}

fn problems(result: Result<Config, ConfigErrors>) -> Vec<String> {
    let errors = result.expect_err("not usable");
    errors.iter().map(Diagnostic::with_hint).collect()
}

fn yaml(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new()
        .suffix(".yaml")
        .tempfile()
        .expect("a temporary file");
    file.write_all(text.as_bytes()).expect("it can be written");
    file
}

#[test]
fn former_names_are_accepted_with_a_warning() {
    let config = load(&[("AUTHENTIK_PROXY_SHUTDOWN__TIMEOUT", "7s")]).expect("usable");
    assert_eq!(config.shutdown.drain_timeout, Duration::from_secs(7));
    let warnings: Vec<_> = config.warnings.iter().map(Diagnostic::with_hint).collect();
    assert_eq!(
        warnings,
        [
            "AUTHENTIK_PROXY_SHUTDOWN__TIMEOUT is deprecated, the next release does not accept it; \
          rename it to AUTHENTIK_PROXY_SHUTDOWN__DRAIN_TIMEOUT"
        ]
    );

    let in_file = yaml("session: {max_age: 2h, login_timeout: 5m}");
    let config = Config::load(Some(in_file.path()), &with(&[])).expect("usable");
    assert_eq!(config.session.absolute_lifetime, Duration::from_hours(2));
    assert_eq!(config.session.login_ttl, Duration::from_mins(5));
    let warnings: Vec<_> = config.warnings.iter().map(Diagnostic::with_hint).collect();
    assert_eq!(
        warnings,
        [
            "session.max_age is deprecated, the next release does not accept it; rename it to \
             session.absolute_lifetime",
            "session.login_timeout is deprecated, the next release does not accept it; rename it to \
             session.login_ttl",
        ]
    );
}

#[test]
fn a_setting_under_both_names_is_a_problem() {
    let found = problems(load(&[
        ("AUTHENTIK_PROXY_REDIS__TIMEOUT", "1s"),
        ("AUTHENTIK_PROXY_REDIS__COMMAND_TIMEOUT", "1s"),
    ]));
    assert_eq!(
        found,
        [
            "AUTHENTIK_PROXY_REDIS__COMMAND_TIMEOUT: is also set as AUTHENTIK_PROXY_REDIS__TIMEOUT, \
          its former name; remove AUTHENTIK_PROXY_REDIS__TIMEOUT"
        ]
    );
    let in_file = yaml("control: {hello_interval: 5s, heartbeat_interval: 5s}");
    let found = problems(Config::load(Some(in_file.path()), &with(&[])));
    assert_eq!(
        found,
        [
            "control.heartbeat_interval: is also set as control.hello_interval, its former name; \
          remove control.hello_interval"
        ]
    );
    // A variable overrides the file, whatever the name there.
    let vars = with(&[("AUTHENTIK_PROXY_CONTROL__HEARTBEAT_INTERVAL", "7s")]);
    let old = yaml("control: {hello_interval: 5s}");
    let config = Config::load(Some(old.path()), &vars).expect("usable");
    assert_eq!(config.control.heartbeat_interval, Duration::from_secs(7));
}

#[test]
fn values_are_quoted_without_line_breaks_and_not_at_length() {
    let found = problems(load(&[("AUTHENTIK_LOG_LEVEL", "a\nb")]));
    assert!(
        found[0].starts_with(r#"AUTHENTIK_LOG_LEVEL: "a\nb" is not"#),
        "{found:?}"
    );
    let found = problems(load(&[("AUTHENTIK_LOG_LEVEL", &"é".repeat(500))]));
    assert!(found[0].contains("é…\""), "{found:?}");
    assert!(found[0].chars().count() < 160, "{found:?}");
    let found = problems(load(&[("AUTHENTIK_INSECURE", "\"true\"")]));
    assert!(
        found[0].contains("(the quotes are part of the value)"),
        "{found:?}"
    );
}
