//! Finds the value of each setting in the layers, follows references, parses, and collects problems.

mod env;
mod origin;
mod reference;
mod unknown;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

pub use env::Vars;
pub(super) use origin::Origin;

use super::applications::Policies;
use super::error::{ConfigErrors, Problems};
use super::file::{self, RawValue, Values};
use super::files::{self, CONFIG_FILE, SourceFile};
use super::settings::{FILE_VARIABLE, Fallback, Kind, ParseError, Setting, Source, Typed};
use crate::model::Diagnostic;
use reference::Resolved;

/// Maximum length of a value in an error, in characters.
const MAX_QUOTED_CHARS: usize = 60;

/// The layers, and the problems found in them so far.
pub(crate) struct Reader<'a> {
    vars: &'a Vars,
    cli_path: Option<&'a Path>,
    /// Whether files are read again, by a running program.
    again: bool,
    files: Vec<SourceFile>,
    /// Digests of the settings' values as text, by key.
    digests: BTreeMap<&'static str, u64>,
    /// Problems of files other than the configuration file.
    attributed: usize,
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
    /// The index of the file that it was read from.
    file: Option<usize>,
}

impl<'a> Reader<'a> {
    /// Reads the file, if one is named by the caller or by the environment.
    pub(crate) fn open(cli_path: Option<&'a Path>, vars: &'a Vars, again: bool) -> Self {
        let mut reader = Self {
            vars,
            cli_path,
            again,
            files: Vec::new(),
            digests: BTreeMap::new(),
            attributed: 0,
            file: Values::new(),
            policies: Policies::new(),
            problems: Problems::default(),
            warnings: Vec::new(),
        };
        if let Some(path) = cli_path
            .map(Path::to_owned)
            .or_else(|| reader.path_from_variable())
        {
            let text = reader.read_file(CONFIG_FILE, &path);
            (reader.file, reader.policies) = file::read(&path, text, &mut reader.problems);
        }
        reader
    }

    fn read_file(&mut self, source: &'static str, path: &Path) -> io::Result<String> {
        let (text, content) = files::read(path, self.again);
        self.files.push(SourceFile {
            source,
            path: path.to_owned(),
            content,
            failed: false,
        });
        text
    }

    /// Where the values came from.
    pub(crate) fn origin(&self) -> Origin {
        let mut files = self.files.clone();
        let config = files.iter_mut().find(|file| file.source == CONFIG_FILE);
        if let Some(config) = config {
            config.failed |= self.problems.len() > self.attributed;
        }
        Origin {
            cli_path: self.cli_path.map(Path::to_owned),
            vars: self.vars.clone(),
            files,
            digests: self.digests.clone(),
        }
    }

    /// Attributes the problem that was just added to the file that the value was read from, if any.
    fn attribute(&mut self, file: Option<usize>) {
        if let Some(file) = file {
            self.files[file].failed = true;
            self.attributed += 1;
        }
    }

    /// Reports unknown variables.
    pub(crate) fn check_variable_names(&mut self) {
        self.problems.extend(unknown::errors(self.vars));
        self.warnings.extend(unknown::warnings(self.vars));
    }

    /// Whether the variable of a setting is set, whatever its value. The file does not count: it may
    /// list defaults.
    pub(crate) fn has_variable(&self, setting: &Setting) -> bool {
        let names = [
            Some(setting.variable().into_owned()),
            setting.former_variable(),
        ];
        let is_set = |name: String| !matches!(self.vars.value(&name), Ok(None | Some("")));
        names.into_iter().flatten().any(is_set)
    }

    /// A variable that is not a setting, unless it is empty.
    pub(crate) fn environment(&self, name: &str) -> Option<&str> {
        self.vars.text(name)
    }

    /// The value of a setting as it is shown, and its origin.
    pub(crate) fn shown(&mut self, setting: &Setting) -> (String, String) {
        match (self.find(setting), setting.fallback) {
            (Some(found), _) => {
                let place = if [Some(setting.key), setting.former_key]
                    .contains(&Some(found.origin.as_str()))
                {
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
    pub(crate) fn problem(&mut self, problem: impl Into<Diagnostic>) {
        self.problems.push(problem);
    }

    /// The number of problems so far.
    pub(crate) fn problem_count(&self) -> usize {
        self.problems.len()
    }

    /// The settings of single applications.
    pub(crate) fn take_policies(&mut self) -> Policies {
        std::mem::take(&mut self.policies)
    }

    /// All warnings so far.
    pub(crate) fn take_warnings(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.warnings)
    }

    /// The configuration, or the problems.
    pub(crate) fn finish<T>(self, built: Option<T>) -> Result<T, ConfigErrors> {
        match ConfigErrors::new(self.problems) {
            Some(errors) => Err(errors),
            None => Ok(built.expect("only a setting with a problem is not built")),
        }
    }

    fn path_from_variable(&mut self) -> Option<PathBuf> {
        let found = self.look_up(FILE_VARIABLE, CONFIG_FILE)?;
        (!found.text.is_empty()).then(|| OsStr::new(found.text.trim()).into())
    }

    fn read<T>(&mut self, setting: &Typed<T>) -> Option<T> {
        let found = self.find(&setting.setting);
        let text = match (&found, setting.setting.fallback) {
            (Some(found), _) => found.text.as_str(),
            (None, Fallback::Value(default)) => default,
            (None, Fallback::Required | Fallback::Unset) => "",
        };
        let digest = files::digest(text.as_bytes());
        self.digests.insert(setting.setting.key, digest);
        let found = found?;
        match setting.parser.parse(&found.text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems
                    .push(explain(&setting.setting, &found, &error));
                self.attribute(found.file);
                None
            }
        }
    }

    /// The value of the highest layer that has one that is not empty.
    fn find(&mut self, setting: &Setting) -> Option<Found> {
        let problems = self.problems.len();
        let variable = setting.variable();
        let current = self.look_up(&variable, setting.key);
        let former = setting.former_variable();
        let former = former.and_then(|name| Some((self.look_up(&name, setting.key)?, name)));
        let found = self.choose(&variable, current, former);
        if found.is_some() || self.problems.len() > problems {
            return found;
        }
        let current = self.take(setting, setting.key);
        let former = setting.former_key;
        let former = former.and_then(|key| Some((self.take(setting, key)?, key.to_owned())));
        self.choose(setting.key, current, former)
    }

    /// The value under a name or, with a warning, under its former name. Both are a problem.
    fn choose(
        &mut self,
        name: &str,
        current: Option<Found>,
        former: Option<(Found, String)>,
    ) -> Option<Found> {
        let is_set = |found: &Found| !found.text.trim().is_empty();
        let current = current.filter(is_set);
        let Some((found, former)) = former.filter(|(found, _)| is_set(found)) else {
            return current;
        };
        if current.is_some() {
            let problem =
                Diagnostic::new(format!("{name}: is also set as {former}, its former name"));
            self.problems
                .push(problem.hinting(format!("remove {former}")));
            return current;
        }
        let warning = Diagnostic::new(format!(
            "{former} is deprecated, the next release does not accept it"
        ));
        self.warnings
            .push(warning.hinting(format!("rename it to {name}")));
        Some(found)
    }

    fn look_up(&mut self, variable: &str, source: &'static str) -> Option<Found> {
        let Ok(text) = self.vars.value(variable) else {
            self.problems
                .push(format!("{variable}: the value is not valid UTF-8"));
            return None;
        };
        self.follow(text?, variable, source)
    }

    fn take(&mut self, setting: &Setting, key: &str) -> Option<Found> {
        match self.file.remove(key)? {
            RawValue::Text(text) => self.follow(&text, key, setting.key),
            RawValue::Unquoted(_) if setting.kind.needs_quotes() => {
                self.problems.push(format!("{key}: must be quoted"));
                None
            }
            RawValue::Unquoted(text) => Some(Found {
                text,
                origin: key.to_owned(),
                public: true,
                file: None,
            }),
            RawValue::List(_) if !setting.kind.is_list() => {
                let problem = Diagnostic::new(format!("{key}: is a list"));
                let expects = setting.kind.expects();
                self.problems
                    .push(problem.hinting(format!("expected {expects}")));
                None
            }
            RawValue::List(items) => self.join(key, &items, setting.key),
        }
    }

    /// A list as the text that a variable would hold.
    fn join(&mut self, key: &str, items: &[String], source: &'static str) -> Option<Found> {
        let items = items.iter().map(|item| self.follow(item, key, source));
        let items: Vec<Found> = items.collect::<Option<_>>()?;
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
            file: items.iter().find_map(|item| item.file),
        })
    }

    fn follow(&mut self, text: &str, origin: &str, source: &'static str) -> Option<Found> {
        let vars = self.vars;
        let before = self.files.len();
        let resolved = reference::resolve(text, vars, |path| self.read_file(source, path));
        let file = (self.files.len() > before).then_some(before);
        match resolved {
            Ok(Resolved { text, source: None }) => Some(Found {
                text,
                origin: origin.to_owned(),
                public: true,
                file,
            }),
            // The content may be a secret that was referenced by mistake.
            Ok(Resolved {
                text,
                source: Some(source),
            }) => Some(Found {
                text,
                origin: format!("{origin} ({source})"),
                public: false,
                file,
            }),
            Err(problem) => {
                self.problems.push(Diagnostic {
                    what: format!("{origin}: {}", problem.what),
                    ..problem
                });
                self.attribute(file);
                None
            }
        }
    }

    /// Adds the problem that a required setting is not set.
    pub(crate) fn missing(&mut self, setting: &Setting) {
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
        let mut files = self.files.iter();
        let file = files.position(|file| file.source == setting.key);
        self.attribute(file);
    }
}

impl Source for Reader<'_> {
    fn required<T>(&mut self, setting: &Typed<T>) -> Option<T> {
        let problems = self.problems.len();
        let value = self.read(setting);
        if value.is_none() && self.problems.len() == problems {
            self.missing(&setting.setting);
        }
        value
    }

    fn optional<T>(&mut self, setting: &Typed<T>) -> Option<T> {
        self.read(setting)
    }

    fn default<T>(&mut self, setting: &Typed<T>) -> T {
        self.read(setting).unwrap_or_else(|| {
            let Setting { key, fallback, .. } = setting.setting;
            let Fallback::Value(default) = fallback else {
                unreachable!("{key} is read as a setting with a default and has none");
            };
            setting.parser.parse(default).expect("defaults are valid")
        })
    }
}

fn explain(setting: &Setting, found: &Found, error: &ParseError) -> Diagnostic {
    let value = error.part.as_deref().unwrap_or(&found.text);
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
    Diagnostic::new(format!("{origin}: {shown} {}{quotes}", error.reason))
        .hinting(format!("expected {expects}"))
}

/// Whether a value, or a part of it, may be shown.
fn is_public(setting: &Setting, found: &Found, value: &str) -> bool {
    // A URL with `@` holds a password, and its query or fragment may hold a token.
    let credentials = match setting.kind {
        Kind::Url | Kind::UrlOrSocket => value.contains(['@', '?', '#']),
        _ => value.contains('@'),
    };
    found.public && !setting.kind.is_secret() && !credentials
}

fn quote(value: &str) -> String {
    match value.char_indices().nth(MAX_QUOTED_CHARS) {
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

#[cfg(test)]
mod tests;
