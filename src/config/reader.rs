//! Finds each setting's value in the layers, follows references, parses, and keeps every problem.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::applications::Policies;
use super::env::Vars;
use super::error::{ConfigErrors, Problems};
use super::file::{self, Given, Values};
use super::parse::Wrong;
use super::reference::{self, Resolved};
use super::settings::{FILE_VARIABLE, Fallback, Kind, Setting};
use super::unknown;
use crate::model::Diagnostic;

/// Longest value that a problem quotes, in characters.
const QUOTED: usize = 60;

/// The layers, and what was found wrong with them so far.
pub(super) struct Reader<'a> {
    vars: &'a Vars,
    file: Values,
    policies: Policies,
    problems: Problems,
    warnings: Vec<Diagnostic>,
}

/// A value that is set, before parsing.
struct Found {
    text: String,
    /// The variable or key it came from.
    origin: String,
    /// Whether a problem may quote it.
    public: bool,
}

impl<'a> Reader<'a> {
    /// Reads the file, if one is named by the caller or by the environment.
    pub(super) fn open(cli_path: Option<&Path>, vars: &'a Vars) -> Self {
        let mut reader = Self {
            vars,
            file: Values::new(),
            policies: Policies::new(),
            problems: Problems::default(),
            warnings: Vec::new(),
        };
        if let Some(path) = cli_path
            .map(Path::to_owned)
            .or_else(|| reader.path_from_variable())
        {
            (reader.file, reader.policies) = file::read(&path, &mut reader.problems);
        }
        reader
    }

    /// Complains about variables that are nobody's.
    pub(super) fn check_variable_names(&mut self) {
        self.problems.extend(unknown::errors(self.vars));
        self.warnings.extend(unknown::warnings(self.vars));
    }

    /// A setting without which there is no configuration; absence is a problem.
    pub(super) fn required<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let setting = setting(key);
        let before = self.problems.len();
        let value = self.read(setting, parse);
        if value.is_none() && self.problems.len() == before {
            self.missing(setting);
        }
        value
    }

    /// A setting that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.read(setting(key), parse)
    }

    /// A setting with a default, which also stands in for a value that is a problem.
    pub(super) fn value<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> T {
        let setting = setting(key);
        self.read(setting, &parse).unwrap_or_else(|| {
            let Fallback::Value(default) = setting.fallback else {
                unreachable!("{key} is read as a setting with a default and has none");
            };
            parse(default).expect("the table's defaults are valid")
        })
    }

    /// Whether the variable of a setting is set, whatever its value. A file says nothing of the
    /// kind: it may spell out defaults.
    pub(super) fn has_variable(&self, setting: &Setting) -> bool {
        !matches!(self.vars.value(&setting.variable()), Ok(None | Some("")))
    }

    /// A variable that is nobody's setting, unless it is empty.
    pub(super) fn environment(&self, name: &str) -> Option<&str> {
        let value = self.vars.value(name).ok().flatten();
        value.filter(|value| !value.is_empty())
    }

    /// The value of a setting for people, and where it comes from.
    pub(super) fn shown(&mut self, setting: &Setting) -> (String, String) {
        match (self.find(setting), setting.fallback) {
            (Some(found), _) => {
                let place = if found.origin == setting.key {
                    "file".to_owned()
                } else {
                    found.origin.clone()
                };
                let public = is_public(setting, &found, &found.text);
                let value = if public {
                    found.text
                } else {
                    "(not shown)".to_owned()
                };
                (value, place)
            }
            (None, Fallback::Value(value)) => (value.to_owned(), "default".to_owned()),
            (None, Fallback::Required | Fallback::Unset) => ("(unset)".to_owned(), String::new()),
        }
    }

    /// Adds a problem that concerns several settings.
    pub(super) fn problem(&mut self, problem: impl Into<Diagnostic>) {
        self.problems.push(problem);
    }

    /// The settings of single applications.
    pub(super) fn take_policies(&mut self) -> Policies {
        std::mem::take(&mut self.policies)
    }

    /// All warnings so far.
    pub(super) fn take_warnings(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.warnings)
    }

    /// What was built, unless there was a problem.
    pub(super) fn finish<T>(self, built: Option<T>) -> Result<T, ConfigErrors> {
        match ConfigErrors::new(self.problems) {
            Some(errors) => Err(errors),
            None => Ok(built.expect("only a setting with a problem is not built")),
        }
    }

    fn path_from_variable(&mut self) -> Option<PathBuf> {
        let found = self.look_up(FILE_VARIABLE)?;
        (!found.text.is_empty()).then(|| OsStr::new(found.text.trim()).into())
    }

    fn read<T>(
        &mut self,
        setting: &Setting,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let found = self.find(setting)?;
        match parse(&found.text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.problems.push(explain(setting, &found, &wrong));
                None
            }
        }
    }

    /// The value of the highest layer that has one that is not empty.
    fn find(&mut self, setting: &Setting) -> Option<Found> {
        let set = |found: &Found| !found.text.trim().is_empty();
        let variable = setting.variable();
        let problems = self.problems.len();
        if let Some(found) = self.look_up(&variable).filter(set) {
            return Some(found);
        }
        if self.problems.len() > problems {
            return None;
        }
        self.take(setting).filter(set)
    }

    fn look_up(&mut self, variable: &str) -> Option<Found> {
        let Ok(text) = self.vars.value(variable) else {
            self.problems
                .push(format!("{variable}: the value is not valid UTF-8"));
            return None;
        };
        self.follow(text?, variable)
    }

    fn take(&mut self, setting: &Setting) -> Option<Found> {
        match self.file.remove(setting.key)? {
            Given::Text(text) => self.follow(&text, setting.key),
            Given::Bare(_) if matches!(setting.kind, Kind::Token | Kind::Password | Kind::Text) => {
                // The file's language may already have changed it, as in 0123 or 1e5.
                self.problems
                    .push(format!("{}: must stand in quotes", setting.key));
                None
            }
            Given::Bare(text) => Some(Found {
                text,
                origin: setting.key.to_owned(),
                public: true,
            }),
            Given::List(_)
                if !matches!(
                    setting.kind,
                    Kind::Addresses | Kind::Dialects | Kind::Networks | Kind::Nodes
                ) =>
            {
                let expects = setting.kind.expects();
                let problem = Diagnostic::new(format!("{}: is a list", setting.key));
                self.problems
                    .push(problem.hinting(format!("expected {expects}")));
                None
            }
            Given::List(items) => self.join(setting.key, &items),
        }
    }

    /// A list as the text that a variable would hold.
    fn join(&mut self, key: &str, items: &[String]) -> Option<Found> {
        let items: Option<Vec<Found>> = items.iter().map(|item| self.follow(item, key)).collect();
        let items = items?;
        let texts: Vec<&str> = items.iter().map(|item| item.text.as_str()).collect();
        let text = if texts.is_empty() {
            "none".to_owned()
        } else {
            texts.join(",")
        };
        let public = items.iter().all(|item| item.public);
        Some(Found {
            text,
            origin: key.to_owned(),
            public,
        })
    }

    fn follow(&mut self, text: &str, origin: &str) -> Option<Found> {
        match reference::resolve(text, self.vars) {
            Ok(Resolved { text, source: None }) => Some(Found {
                text,
                origin: origin.to_owned(),
                public: true,
            }),
            // What stands elsewhere may be a secret that was referred to by mistake.
            Ok(Resolved {
                text,
                source: Some(source),
            }) => Some(Found {
                text,
                origin: format!("{origin} ({source})"),
                public: false,
            }),
            Err(problem) => {
                self.problems.push(Diagnostic {
                    what: format!("{origin}: {}", problem.what),
                    ..problem
                });
                None
            }
        }
    }

    fn missing(&mut self, setting: &Setting) {
        let variable = setting.variable();
        let state = match self.vars.value(&variable) {
            Ok(None) => "is not set",
            _ => "is empty",
        };
        let hint = unknown::misspelling(setting, self.vars).map_or_else(String::new, |name| {
            format!(" ({name} is set; is it misspelled?)")
        });
        let expected = format!(
            "expected {} (in the file: {})",
            setting.kind.expects(),
            setting.key
        );
        self.problems
            .push(Diagnostic::new(format!("{variable}: {state}{hint}")).hinting(expected));
    }
}

fn setting(key: &str) -> &'static Setting {
    Setting::by_key(key).expect("only keys of the table are read")
}

fn explain(setting: &Setting, found: &Found, wrong: &Wrong) -> Diagnostic {
    let value = wrong.part.as_deref().unwrap_or(&found.text);
    let shown = if is_public(setting, found, value) {
        quote(value)
    } else {
        "the value".to_owned()
    };
    let quotes = if in_quotes(&found.text) {
        " (the quotes are part of the value)"
    } else {
        ""
    };
    let (origin, expects) = (&found.origin, setting.kind.expects());
    Diagnostic::new(format!("{origin}: {shown} {}{quotes}", wrong.reason))
        .hinting(format!("expected {expects}"))
}

/// Whether a value, or a part of it, may be shown.
fn is_public(setting: &Setting, found: &Found, value: &str) -> bool {
    // A URL with `@` holds a password, and its query or fragment may hold a token.
    let credentials = match setting.kind {
        Kind::Url => value.contains(['@', '?', '#']),
        _ => value.contains('@'),
    };
    found.public && !setting.is_secret() && !credentials
}

fn quote(value: &str) -> String {
    match value.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{:?}", format!("{}…", &value[..end])),
        None => format!("{value:?}"),
    }
}

fn in_quotes(value: &str) -> bool {
    value.len() > 1
        && ['"', '\'']
            .iter()
            .any(|quote| value.starts_with(*quote) && value.ends_with(*quote))
}
