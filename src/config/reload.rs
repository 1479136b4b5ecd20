//! A configuration that is read again while the program runs.

use super::files::{CONFIG_FILE, SourceFile};
use super::settings::{Setting, settings};
use super::{Config, ConfigErrors, Discovery};

/// The prefix of the settings of the command `discover`, which the server does not use.
const OTHER_COMMAND: &str = "discover.";

/// An attempt to read a configuration again.
#[derive(Debug)]
pub struct Reload {
    /// The configuration, or every problem.
    pub config: Result<Config, ConfigErrors>,
    /// The files that were read, including those that cannot be used.
    pub files: Vec<SourceFile>,
}

impl Config {
    /// Reads the same layers again: the file, the files that settings refer to, and the same
    /// variables.
    #[must_use]
    pub fn reload(&self) -> Reload {
        let (path, vars) = (self.origin.cli_path.as_deref(), &self.origin.vars);
        let (config, files) = Self::read_layers(path, vars, true);
        Reload { config, files }
    }

    /// The files that it was read from.
    #[must_use]
    pub fn files(&self) -> &[SourceFile] {
        &self.origin.files
    }

    /// `SSL_CERT_FILE`, which replaces the system's CA certificates.
    #[must_use]
    pub fn ssl_cert_file(&self) -> Option<&str> {
        self.origin.vars.text("SSL_CERT_FILE")
    }

    /// The settings of the server with another value in `other`. The applications are none.
    pub fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'static Setting> {
        let digest = |config: &'a Self, key| config.origin.digests.get(key);
        settings()
            .filter(|setting| !setting.key.starts_with(OTHER_COMMAND))
            .filter(move |setting| digest(self, setting.key) != digest(other, setting.key))
    }

    /// Whether `other` may have other settings of single applications.
    #[must_use]
    pub fn has_other_applications(&self, other: &Self) -> bool {
        let file = |config: &Self| {
            let mut files = config.origin.files.iter();
            let file = files.find(|file| file.source == CONFIG_FILE)?;
            Some((file.path.clone(), file.content))
        };
        file(self) != file(other)
    }
}

impl Discovery {
    /// Reads the same layers again: the file, the files that settings refer to, and the same
    /// variables.
    pub fn reload(&self) -> Result<Self, ConfigErrors> {
        let (path, vars) = (self.origin.cli_path.as_deref(), &self.origin.vars);
        Config::read_discovery(path, vars, true)
    }

    /// The files that it was read from.
    #[must_use]
    pub fn files(&self) -> &[SourceFile] {
        &self.origin.files
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Vars;

    fn vars(directory: &Path) -> Vars {
        let file = |name: &str| directory.join(name).display().to_string();
        [
            ("AUTHENTIK_HOST", "https://authentik.company".to_owned()),
            ("AUTHENTIK_TOKEN", format!("file://{}", file("token"))),
            ("AUTHENTIK_PROXY_CONFIG", file("outpost.yaml")),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn what_changed_is_found_by_setting() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).expect("written");
        };
        write("token", "one");
        write("outpost.yaml", "upstream: {connect_timeout: 10s}");
        let first = Config::load(None, &vars(directory.path())).expect("usable");
        let sources: Vec<_> = first.files().iter().map(|file| file.source).collect();
        assert_eq!(sources, ["config", "authentik.token"]);
        for (token, file, changed, applications) in [
            ("one", "upstream: {connect_timeout: 10s}", &[][..], false),
            // The default.
            ("one", "", &[], true),
            ("two", "", &["authentik.token"], true),
            (
                "two",
                "upstream: {connect_timeout: 9s}\ndiscover: {owner: b}\napplications: {wiki: {}}",
                &["authentik.token", "upstream.connect_timeout"],
                true,
            ),
        ] {
            write("token", token);
            write("outpost.yaml", file);
            let again = first.reload().config.expect("usable");
            let found: Vec<_> = first.differences(&again).map(|it| it.key).collect();
            assert_eq!(found, changed, "{file}");
            assert_eq!(first.has_other_applications(&again), applications, "{file}");
        }
    }

    #[test]
    fn the_documents_list_what_can_change() {
        let page = include_str!("../../docs/CONFIGURATION.md");
        let (_, section) = page
            .split_once("\n## Changes without a restart\n")
            .expect("a section");
        let (section, _) = section.split_once("\n## ").expect("another one");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let listed = rows.flat_map(|row| {
            let (cell, _) = row.split_once(" | ").expect("cells");
            cell.split(", ").map(|key| key.trim_matches('`').to_owned())
        });
        let mut listed: Vec<_> = listed.filter(|key| key.contains('.')).collect();
        listed.sort();
        let mut known: Vec<_> = settings()
            .filter(|setting| setting.reloadable)
            .map(|setting| setting.key.to_owned())
            .collect();
        known.sort();
        assert_eq!(listed, known);
    }

    #[test]
    fn a_problem_belongs_to_the_file_that_has_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
        write("token", "one");
        write("outpost.yaml", "");
        let first = Config::load(None, &vars(directory.path())).expect("usable");
        let good = "applications: {wiki: {send_jwt: false}}";
        for (token, file, failed) in [
            (Some("a b"), good, &["authentik.token"][..]),
            (Some(" \n"), good, &["authentik.token"]),
            (None, good, &["authentik.token"]),
            (
                Some("one"),
                "applications: {wiki: {send_jvt: false}}",
                &["config"],
            ),
            (Some("one"), "log: {level: loud}", &["config"]),
            (Some("one"), "log: [", &["config"]),
            (
                Some("a b"),
                "log: {level: loud}",
                &["config", "authentik.token"],
            ),
        ] {
            let _ = std::fs::remove_file(path("token"));
            if let Some(token) = token {
                write("token", token);
            }
            write("outpost.yaml", file);
            let again = first.reload();
            assert!(again.config.is_err(), "{file}");
            let found = again.files.iter().filter(|file| file.failed);
            let found: Vec<_> = found.map(|file| file.source).collect();
            assert_eq!(found, failed, "{token:?} {file}");
        }
    }
}
