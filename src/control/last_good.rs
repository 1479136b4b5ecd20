//! The last good configuration: what authentik last answered, kept where a later process finds it,
//! so that one that starts while authentik is down can serve.
//!
//! It holds the secrets of all applications and is sealed with a key from the outpost's token:
//! only a holder of the token can read it.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::Context;
use super::api::FetchedConfig;
use crate::model::{Hint, HintText};
use crate::route::Store;
use crate::store::StoreError;
use crate::store::seal::{KeyedHash, Seal};
use crate::telemetry::Throttle;

/// Binds what is sealed to its form; another form would have another context.
const CONTEXT: &[u8] = b"last good configuration, form 1";
/// An unchanged configuration is written again at this interval, so that it does not expire.
const REWRITE_INTERVAL_SECONDS: i64 = 3600;

/// What is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    /// When authentik answered, Unix seconds.
    #[serde(rename = "told_at")]
    pub(super) received_at: i64,
    /// What it answered.
    pub(super) answers: FetchedConfig,
}

/// Why it is not kept, or not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{path}: {reason}")]
    File {
        path: PathBuf,
        reason: std::io::Error,
    },
    #[error("it was modified, or sealed with another token")]
    Sealed,
    #[error("it has another version: {0}")]
    Form(#[from] serde_json::Error),
}

impl Hint for KeepError {
    fn hint(&self) -> Option<HintText> {
        match self {
            Self::Store(error) => error.hint(),
            Self::File { .. } => Some("check AUTHENTIK_PROXY_CONTROL__CACHE_FILE".into()),
            Self::Sealed | Self::Form(_) => None,
        }
    }
}

/// Where something is kept that outlives the process.
pub(super) enum Place {
    File(PathBuf),
    Store(Store, String),
    Nowhere,
}

impl Place {
    /// The place for `name`: beside the file for the configuration, or in a shared store. Its name
    /// there is derived from the outpost's token, since several outposts may share a Redis.
    pub(super) fn of(control: &Context, name: &str, context: &[u8], file: Option<PathBuf>) -> Self {
        match file {
            Some(path) => Self::File(path),
            None if control.store.is_shared() => {
                let token = control.reloadable().token.clone();
                let own = KeyedHash::new(token.expose_secret().as_bytes()).of(context);
                let name = format!("{name}:{}", URL_SAFE_NO_PAD.encode(own));
                Self::Store(control.store.clone(), name)
            }
            None => Self::Nowhere,
        }
    }

    pub(super) async fn write(&self, sealed: Vec<u8>) -> Result<(), KeepError> {
        match self {
            Self::File(path) => on_disk(path, move |path| replace(path, &sealed)).await,
            Self::Store(store, name) => Ok(store.put_blob(name, &sealed).await?),
            Self::Nowhere => Ok(()),
        }
    }

    pub(super) async fn read(&self) -> Result<Option<Vec<u8>>, KeepError> {
        match self {
            Self::File(path) => on_disk(path, read_if_there).await,
            Self::Store(store, name) => Ok(store.blob(name).await?),
            Self::Nowhere => Ok(None),
        }
    }
}

/// See the module.
pub(super) struct LastGood {
    place: Place,
    seal: Seal,
    token: SecretString,
    throttle: Throttle,
    /// What was last written, as a hash, and when.
    written: Option<([u8; 32], i64)>,
}

impl LastGood {
    pub(super) fn new(control: &Context) -> Self {
        let secret = control.reloadable().token.clone();
        let token = secret.expose_secret().as_bytes();
        let file = control.settings.cache_file.clone();
        Self {
            place: Place::of(control, "last-good", CONTEXT, file),
            seal: Seal::derive(b"last good configuration", &[token]),
            token: secret,
            throttle: Throttle::default(),
            written: None,
        }
    }

    /// Whether it is sealed with the token as of now.
    pub(super) fn has_token(&self, control: &Context) -> bool {
        self.token.expose_secret() == control.reloadable().token.expose_secret()
    }

    /// Keeps what authentik answered at `now` (Unix seconds), unless that is kept already.
    pub(super) async fn keep(&mut self, answers: &FetchedConfig, now: i64) {
        if matches!(self.place, Place::Nowhere) {
            return;
        }
        let plain = serde_json::to_vec(answers).expect("JSON values serialise");
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, &plain).as_ref());
        let kept = |(written, then)| written == hash && now - then < REWRITE_INTERVAL_SECONDS;
        if self.written.is_some_and(kept) {
            return;
        }
        match self.write(answers, now).await {
            Ok(()) => {
                self.written = Some((hash, now));
                self.throttle.reset();
            }
            // The store logs its outage itself.
            Err(KeepError::Store(error)) => {
                tracing::debug!(%error, "configuration could not be saved for a later start");
            }
            Err(error) => {
                if self.should_log(&error) {
                    tracing::warn!(
                        %error,
                        hint = error.hint().as_deref(),
                        "configuration could not be saved for a later start"
                    );
                }
            }
        }
    }

    /// What was kept, if there is something and it can be read.
    pub(super) async fn read(&self) -> Option<Kept> {
        let found = match self.place.read().await {
            Ok(found) => found?,
            Err(error) => return self.refuse(&error),
        };
        let Some(plain) = self.seal.open(CONTEXT, &found) else {
            return self.refuse(&KeepError::Sealed);
        };
        match serde_json::from_slice(&plain) {
            Ok(kept) => Some(kept),
            Err(error) => self.refuse(&error.into()),
        }
    }

    fn refuse(&self, error: &KeepError) -> Option<Kept> {
        if self.should_log(error) {
            tracing::warn!(
                %error,
                hint = error.hint().as_deref(),
                "last good configuration could not be read"
            );
        }
        None
    }

    /// The store logs its own errors.
    fn should_log(&self, error: &KeepError) -> bool {
        !matches!(error, KeepError::Store(_)) && self.throttle.should_log(&error.to_string())
    }

    async fn write(&self, answers: &FetchedConfig, now: i64) -> Result<(), KeepError> {
        #[derive(Serialize)]
        struct Plain<'a> {
            #[serde(rename = "told_at")]
            received_at: i64,
            answers: &'a FetchedConfig,
        }
        let plain = Plain {
            received_at: now,
            answers,
        };
        let sealed = self.seal.seal(CONTEXT, &serde_json::to_vec(&plain)?);
        self.place.write(sealed).await
    }
}

/// Works on a file in a thread of its own: a slow disk blocks no other task.
async fn on_disk<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
) -> Result<T, KeepError> {
    let there = path.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&there)).await;
    let done = done.unwrap_or_else(|panicked| Err(std::io::Error::other(panicked)));
    done.map_err(|reason| KeepError::File {
        path: path.to_owned(),
        reason,
    })
}

fn read_if_there(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        content => content.map(Some),
    }
}

/// Replaces a file at once, so that no crash leaves half of it.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(path: &Path, token: &[u8]) -> LastGood {
        LastGood {
            place: Place::File(path.to_owned()),
            seal: Seal::derive(b"last good configuration", &[token]),
            token: std::str::from_utf8(token).expect("text").into(),
            throttle: Throttle::default(),
            written: None,
        }
    }

    #[tokio::test]
    async fn it_is_read_with_the_same_token_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("last-good");
        let answers = FetchedConfig {
            version: Some("2026.2.2".into()),
            outposts: vec![json!({"pk": 1})],
            providers: vec![json!({"client_secret": "hunter2"})],
        };
        let mut kept_here = at(&path, b"token");
        assert!(kept_here.read().await.is_none(), "nothing is there yet");
        kept_here.keep(&answers, 1_000).await;
        let kept = kept_here.read().await.expect("kept");
        assert_eq!((kept.received_at, &kept.answers), (1_000, &answers));
        assert!(at(&path, b"other").read().await.is_none());
        let file = std::fs::read(&path).expect("a file");
        assert!(!String::from_utf8_lossy(&file).contains("hunter2"));

        kept_here
            .keep(&answers, 1_000 + REWRITE_INTERVAL_SECONDS - 1)
            .await;
        assert_eq!(
            kept_here.read().await.expect("kept").received_at,
            1_000,
            "unchanged"
        );
        kept_here
            .keep(&answers, 1_000 + REWRITE_INTERVAL_SECONDS)
            .await;
        assert_ne!(kept_here.read().await.expect("kept").received_at, 1_000);

        std::fs::write(&path, &file[..file.len() - 1]).expect("written");
        assert!(kept_here.read().await.is_none(), "cut off");
    }

    #[tokio::test]
    async fn a_slow_disk_delays_no_other_request() {
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("last-good");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("it runs").success());
        let kept_here = at(&pipe, b"token");
        // The read ends only with the write, which runs on the same thread.
        let write = async {
            let pipe = pipe.clone();
            let written = tokio::task::spawn_blocking(move || std::fs::write(pipe, b"x"));
            written.await.expect("no panic").expect("written");
        };
        let (kept, ()) = tokio::join!(kept_here.read(), write);
        assert!(kept.is_none(), "not sealed with this token");
    }
}
