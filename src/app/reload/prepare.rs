//! Everything about a new configuration that can fail, before anything of it is used.

use std::path::Path;

use crate::config::{Config, Reload, SourceFile};
use crate::control::Reloadable;
use crate::model::{Diagnostic, HeaderSource, Hint};
use crate::store::RedisServer;
use crate::web::client::trust::{TlsError, Trust};
use crate::web::header::files::HeaderFiles;

/// The names of the files of trusted CA certificates among the sources.
const CA_FILE: &str = "tls.ca_file";
const SYSTEM_FILE: &str = "SSL_CERT_FILE";
const REDIS_CA_FILE: &str = "redis.tls_ca_cert";

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
    /// The trusted CA certificates, if they may have changed.
    pub(super) trust: Option<Trust>,
    /// Whether the files of those are others.
    pub(super) has_other_ca_files: bool,
    /// Credentials and CA certificates of Redis, if they may have changed.
    pub(super) redis: Option<RedisServer>,
}

/// The files that `config` depends on.
pub(super) fn sources(config: &Config) -> Vec<SourceFile> {
    let mut files = config.files().to_vec();
    files.extend(ca_files(config));
    files
}

/// The files of trusted CA certificates.
fn ca_files(config: &Config) -> impl Iterator<Item = SourceFile> {
    let own = config.tls.ca_file.clone().map(|path| (CA_FILE, path));
    let system = config
        .ssl_cert_file()
        .map(|path| (SYSTEM_FILE, path.into()));
    let redis = config.redis.as_ref().filter(|redis| redis.options.tls);
    let redis = redis.and_then(|redis| redis.options.tls_ca_cert.clone());
    let redis = redis.map(|path| (REDIS_CA_FILE, path));
    let all = own.into_iter().chain(system).chain(redis);
    all.map(|(source, path)| SourceFile::new(source, path))
}

/// Reads the files of `current` again; the servers of Redis stay those of `started`. CA certificates
/// are read if their files are not as in `applied`, or `always`. Blocks.
pub(super) fn prepare(
    started: &Config,
    current: &Config,
    applied: &[SourceFile],
    reloadable: &Reloadable,
    always: bool,
) -> Prepared {
    let mut prepared = attempt(started, current, applied, reloadable, always);
    if prepared.result.is_err() {
        // A file that was not reached this time may be what is corrected next.
        for old in applied {
            let mut files = prepared.files.iter();
            if !files.any(|new| new.is(old.source, &old.path)) {
                let file = SourceFile::new(old.source, old.path.clone());
                prepared.files.push(file);
            }
        }
    }
    prepared
}

fn attempt(
    started: &Config,
    current: &Config,
    applied: &[SourceFile],
    reloadable: &Reloadable,
    always: bool,
) -> Prepared {
    let Reload { config, mut files } = current.reload();
    let config = match config {
        Ok(config) => config,
        Err(errors) => {
            let result = Err(errors.iter().cloned().collect());
            return Prepared { files, result };
        }
    };
    let mut ca_files: Vec<_> = ca_files(&config).collect();
    let is_ca_file = |file: &&SourceFile| [CA_FILE, SYSTEM_FILE].contains(&file.source);
    let mut trust = None;
    let trusted = ca_files.iter().filter(is_ca_file);
    let has_other_ca_files = !applied.iter().filter(is_ca_file).eq(trusted);
    if always || has_other_ca_files {
        let system_file = config.ssl_cert_file().map(Path::new);
        match Trust::reload(config.tls.ca_file.as_deref(), system_file) {
            Ok(found) => trust = Some(found),
            Err(error) => {
                let source = match error {
                    TlsError::SystemFile(..) => SYSTEM_FILE,
                    TlsError::CaFile(..) | TlsError::Setup(_) => CA_FILE,
                };
                return refused(files, ca_files, source, &error);
            }
        }
    }
    let is_redis_ca = |file: &&SourceFile| file.source == REDIS_CA_FILE;
    let has_other_ca = !applied
        .iter()
        .filter(is_redis_ca)
        .eq(ca_files.iter().filter(is_redis_ca));
    let is_redis = |key: &str| key.starts_with("redis.");
    let differs = current
        .differences(&config)
        .any(|it| it.reloadable && is_redis(it.key));
    let mut redis = None;
    if let (Some(started), Some(new)) = (&started.redis, &config.redis)
        && (always || differs || has_other_ca)
    {
        match RedisServer::new(started.clone().with_access_of(new)) {
            Ok(server) => redis = Some(server),
            Err(error) => return refused(files, ca_files, REDIS_CA_FILE, &error),
        }
    }
    files.append(&mut ca_files);
    let changed = current.has_other_applications(&config)
        || current
            .differences(&config)
            .any(|setting| setting.reloadable);
    let reloadable = changed.then(|| {
        let header_files = reloadable.header_files.with(header_sources(&config));
        self::reloadable(&config, header_files)
    });
    Prepared {
        files,
        result: Ok(Ready {
            config,
            reloadable,
            trust,
            has_other_ca_files,
            redis,
        }),
    }
}

/// What an attempt found that failed because of the CA certificates in `source`.
fn refused(
    mut files: Vec<SourceFile>,
    ca_files: Vec<SourceFile>,
    source: &'static str,
    error: &impl Hint,
) -> Prepared {
    files.extend(ca_files.into_iter().map(|file| SourceFile {
        failed: file.source == source,
        ..file
    }));
    let problem = Diagnostic {
        what: error.to_string(),
        cause: None,
        hint: error.hint(),
    };
    let result = Err(vec![problem]);
    Prepared { files, result }
}

/// What the control plane needs of `config` and may change.
pub(in crate::app) fn reloadable(config: &Config, header_files: HeaderFiles) -> Reloadable {
    Reloadable {
        token: config.authentik.token.clone(),
        policies: config.applications.clone(),
        send_jwt: config.identity.send_jwt,
        reauthorize_interval: config.session.reauthorize_interval,
        header_files,
    }
}

/// Where the values of additional headers are.
pub(in crate::app) fn header_sources(config: &Config) -> impl Iterator<Item = &HeaderSource> {
    let policies = config.applications.values();
    policies.flat_map(|policy| policy.headers.iter().map(|(_, source)| source))
}
