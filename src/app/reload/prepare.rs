//! Everything about a new configuration that can fail, before anything of it is used.

use crate::config::{Config, Reload, SourceFile};
use crate::control::Reloadable;
use crate::model::{Diagnostic, HeaderSource};

/// What an attempt to read a configuration again has found.
pub(super) struct Prepared {
    /// The files that were read, including those that cannot be used.
    pub(super) files: Vec<SourceFile>,
    /// The configuration, or every problem.
    pub(super) result: Result<Ready, Vec<Diagnostic>>,
}

/// A configuration that can be used.
pub(super) struct Ready {
    pub(super) config: Config,
    /// For the control plane, if it changed.
    pub(super) reloadable: Option<Reloadable>,
}

/// The files that `config` depends on.
pub(super) fn sources(config: &Config) -> Vec<SourceFile> {
    config.files().to_vec()
}

/// Reads the files of `current` again. Blocks.
pub(super) fn prepare(current: &Config, reloadable: &Reloadable) -> Prepared {
    let Reload { config, files } = current.reload();
    let config = match config {
        Ok(config) => config,
        Err(errors) => {
            let result = Err(errors.iter().cloned().collect());
            return Prepared { files, result };
        }
    };
    let changed = current.has_other_applications(&config)
        || current
            .differences(&config)
            .any(|setting| setting.reloadable);
    let reloadable = changed.then(|| Reloadable {
        token: config.authentik.token.clone(),
        policies: config.applications.clone(),
        send_jwt: config.identity.send_jwt,
        reauthorize_interval: config.session.reauthorize_interval,
        header_files: reloadable.header_files.with(header_sources(&config)),
    });
    Prepared {
        files,
        result: Ok(Ready { config, reloadable }),
    }
}

/// Where the values of additional headers are.
pub(in crate::app) fn header_sources(config: &Config) -> impl Iterator<Item = &HeaderSource> {
    let policies = config.applications.values();
    policies.flat_map(|policy| policy.headers.iter().map(|(_, source)| source))
}
