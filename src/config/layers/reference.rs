//! References to variables and files: `env://NAME?default` and `file:///path?default`.

use std::io::{self, ErrorKind};
use std::path::Path;

use super::env::Vars;
use crate::model::Diagnostic;

/// A value after its reference was resolved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// The value; not resolved again.
    pub(super) text: String,
    /// The reference without its default, which may be a secret; `None` if the text was none.
    pub(super) source: Option<String>,
}

/// Resolves a reference; `read` reads files. Errors do not contain the default.
pub(super) fn resolve(
    text: &str,
    vars: &Vars,
    read: impl FnOnce(&Path) -> io::Result<String>,
) -> Result<Resolved, Diagnostic> {
    if let Some(reference) = text.trim().strip_prefix("env://") {
        let (name, default) = split(reference);
        from_variable(name, default, vars)
    } else if let Some(reference) = text.trim().strip_prefix("file://") {
        let (path, default) = split(reference);
        from_file(path, default, read)
    } else {
        Ok(Resolved {
            text: text.to_owned(),
            source: None,
        })
    }
}

fn split(reference: &str) -> (&str, Option<&str>) {
    match reference.split_once('?') {
        Some((place, default)) => (place, Some(default)),
        None => (reference, None),
    }
}

fn from_variable(name: &str, default: Option<&str>, vars: &Vars) -> Result<Resolved, Diagnostic> {
    let source = format!("env://{}", name.escape_debug());
    let text = match vars.value(name) {
        Ok(found) => found.or(default),
        Err(_) => return Err(format!("{source}: the variable is not valid UTF-8").into()),
    };
    match text {
        Some(text) => Ok(Resolved {
            text: text.to_owned(),
            source: Some(source),
        }),
        None => Err(
            Diagnostic::new(format!("{source}: the variable is not set"))
                .hinting(format!("set it, or give a default as in {source}?default")),
        ),
    }
}

fn from_file(
    path: &str,
    default: Option<&str>,
    read: impl FnOnce(&Path) -> io::Result<String>,
) -> Result<Resolved, Diagnostic> {
    let source = format!("file://{}", path.escape_debug());
    if !path.starts_with('/') {
        return Err(
            format!("{source}: the path must be absolute, as in file:///run/secrets/x").into(),
        );
    }
    match read(Path::new(path)) {
        Ok(content) => Ok(Resolved {
            text: content.trim().to_owned(),
            source: Some(source),
        }),
        // Only a file that is absent is replaced: one that cannot be read is a mistake.
        Err(error) if error.kind() == ErrorKind::NotFound && default.is_some() => Ok(Resolved {
            text: default.unwrap_or_default().to_owned(),
            source: Some(source),
        }),
        Err(error) => Err(
            Diagnostic::new(format!("{source}: cannot read the file: {error}"))
                .hinting("mount it there, let the program read it, or correct the path"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn text(value: &str, vars: &Vars) -> Result<String, String> {
        let resolved = resolve(value, vars, |path| std::fs::read_to_string(path));
        let resolved = resolved.map(|resolved| resolved.text);
        resolved.map_err(|problem| problem.what)
    }

    #[test]
    fn variables_are_followed_once() {
        let vars: Vars = [("A", "value"), ("EMPTY", ""), ("CHAIN", "env://A")]
            .into_iter()
            .collect();
        for (value, expected) in [
            ("plain", "plain"),
            (
                "https://authentik.company/?x",
                "https://authentik.company/?x",
            ),
            ("env://A", "value"),
            ("env://A?other", "value"),
            (" env://A ", "value"),
            ("env://NONE?other", "other"),
            ("env://NONE?a?b=c", "a?b=c"),
            ("env://NONE?", ""),
            ("env://EMPTY?other", ""),
            ("env://CHAIN", "env://A"),
            ("env://NONE?env://A", "env://A"),
        ] {
            assert_eq!(text(value, &vars).as_deref(), Ok(expected), "{value}");
        }
        let error = text("env://NONE", &vars).expect_err("nothing to read");
        assert!(
            error.starts_with("env://NONE: the variable is not set"),
            "{error}"
        );
    }

    #[test]
    fn files_are_trimmed_and_may_be_absent_with_a_default() {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(b"  hunter2\n\n").expect("it can be written");
        let vars = Vars::default();
        let present = format!("file://{}?other", file.path().display());
        assert_eq!(text(&present, &vars).as_deref(), Ok("hunter2"));

        let absent = "/nowhere/authentik/token";
        assert_eq!(
            text(&format!("file://{absent}?a b"), &vars).as_deref(),
            Ok("a b")
        );
        let error = text(&format!("file://{absent}"), &vars).expect_err("nothing to read");
        assert!(
            error.contains(absent) && error.contains("cannot read the file"),
            "{error}"
        );
        let error = text("file://relative", &vars).expect_err("not absolute");
        assert!(error.contains("must be absolute"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_replaced_by_the_default() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let value = format!("file://{}?hunter2", directory.path().display());
        let error = text(&value, &Vars::default()).expect_err("a directory is no file");
        assert!(
            !error.contains("hunter2"),
            "the default may be a secret: {error}"
        );
    }
}
