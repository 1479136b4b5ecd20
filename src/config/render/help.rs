//! The environment variables in `--help`.

use std::fmt::Write as _;

use crate::config::settings::{FILE_VARIABLE, Fallback, IGNORED_VARIABLES, Setting, settings};

/// The environment variables with their meaning and default.
#[must_use]
pub fn environment_help() -> String {
    let mut help = "Environment variables:\n".to_owned();
    entry(
        &mut help,
        FILE_VARIABLE,
        "Configuration file, as --config",
        "",
    );
    for setting in settings() {
        entry(
            &mut help,
            &setting.variable(),
            &setting.about(),
            &fallback(setting),
        );
    }
    help.push_str(
        "\nVariables override the file; an empty variable is not set. A value env://NAME?default or\n\
         file:///path?default is read from that variable or file.\n",
    );
    // Writing to a `String` cannot fail.
    let _ = write!(
        help,
        "Accepted without effect:\n  {}",
        IGNORED_VARIABLES.join("\n  ")
    );
    help
}

fn entry(help: &mut String, name: &str, about: &str, fallback: &str) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(help, "  {name}\n          {about}{fallback}");
}

fn fallback(setting: &Setting) -> String {
    match setting.fallback {
        Fallback::Required => " [required]".to_owned(),
        Fallback::Unset => String::new(),
        // The longest default would not fit behind the description.
        Fallback::Value(value) if value.len() > 40 => format!("\n          [default: {value}]"),
        Fallback::Value(value) => format!(" [default: {value}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_listed_with_its_meaning_and_default() {
        let help = environment_help();
        for setting in settings() {
            let from = format!("  {}\n          {}", setting.variable(), setting.about());
            assert!(help.contains(&from), "{} is missing in {help}", setting.key);
            if let Fallback::Value(default) = setting.fallback {
                assert!(
                    help.contains(&format!("[default: {default}]")),
                    "{}",
                    setting.key
                );
            }
        }
    }

    #[test]
    fn lines_fit_a_terminal() {
        for line in environment_help().lines() {
            assert!(line.chars().count() <= 100, "too wide: {line}");
        }
    }
}
