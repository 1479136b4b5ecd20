//! The effective settings.

use std::fmt::Write as _;
use std::path::Path;

use super::layers::{Reader, Vars};
use super::settings::settings;
use super::{Config, ConfigErrors};
use crate::model::Hint as _;

/// Each setting with its effective value and its origin, a line each. Secrets and values that are
/// read from references are not shown.
pub fn effective_settings(cli_path: Option<&Path>, vars: &Vars) -> Result<String, ConfigErrors> {
    let config = Config::load(cli_path, vars)?;
    let mut reader = Reader::open(cli_path, vars, false);
    let lines: Vec<[String; 3]> = settings()
        .map(|setting| {
            let (value, origin) = reader.shown(setting);
            [setting.key.to_owned(), value, origin]
        })
        .collect();
    // Two widths, and std pads to them: a helper for tables would be longer.
    let width = |column: usize| {
        let texts = lines.iter().map(|line| line[column].chars().count());
        // One long list must not push every other line's origin out of sight.
        texts.filter(|width| *width <= 40).max().unwrap_or_default()
    };
    let (keys, values) = (width(0), width(1));
    let mut text = String::new();
    for [key, value, origin] in &lines {
        let line = format!("{key:keys$}  {value:values$}  {origin}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    // Writing to a `String` cannot fail.
    for slug in config.applications.keys() {
        let _ = writeln!(text, "applications.{slug}");
    }
    for warning in &config.warnings {
        let _ = writeln!(text, "warning: {}", warning.with_hint());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_with_their_origin_and_secrets_are_not() {
        let mut file = tempfile::Builder::new()
            .suffix(".yaml")
            .tempfile()
            .expect("a temporary file");
        let text = "listen: {http: ['[::]:9000']}\napplications: {grafana: {send_jwt: false}}\n";
        std::io::Write::write_all(&mut file, text.as_bytes()).expect("it can be written");
        let vars: Vars = [
            ("AUTHENTIK_HOST", "https://authentik.test"),
            ("AUTHENTIK_TOKEN", "hunter2"),
            ("AUTHENTIK_REDIS__HOST", "env://WHERE"),
            ("AUTHENTIK_REDIS__PASSWORD", "hunter3"),
            ("WHERE", "somewhere"),
        ]
        .into_iter()
        .collect();
        let shown = effective_settings(Some(file.path()), &vars).expect("it is valid");
        let line = |key: &str| {
            let line = shown.lines().find(|line| line.starts_with(key));
            let words = line.unwrap_or_default().split_whitespace();
            words.collect::<Vec<_>>().join(" ")
        };
        for (key, expected) in [
            (
                "authentik.host ",
                "authentik.host https://authentik.test AUTHENTIK_HOST",
            ),
            (
                "authentik.token",
                "authentik.token (not shown) AUTHENTIK_TOKEN",
            ),
            ("listen.http ", "listen.http [::]:9000 file"),
            ("listen.metrics", "listen.metrics [::]:9300 default"),
            (
                "redis.host",
                "redis.host (not shown) AUTHENTIK_REDIS__HOST (env://WHERE)",
            ),
            (
                "redis.password",
                "redis.password (not shown) AUTHENTIK_REDIS__PASSWORD",
            ),
            ("redis.username", "redis.username (unset)"),
            ("applications.", "applications.grafana"),
        ] {
            assert_eq!(line(key), expected, "in\n{shown}");
        }
        assert!(
            !shown.contains("hunter") && !shown.contains("somewhere"),
            "{shown}"
        );
    }

    #[test]
    fn problems_are_shown_instead() {
        let errors = effective_settings(None, &Vars::default()).expect_err("nothing is set");
        assert!(errors.to_string().contains("AUTHENTIK_HOST"), "{errors}");
    }
}
