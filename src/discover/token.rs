//! authentik's token, read again when its file changes. What is wrong is logged, and the token that
//! was in use stays.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::spawn_blocking;

use crate::config::{Discovery, Fingerprint, SourceFile};

/// How often the files are looked at. A change applies when it is seen twice, so that a file is not
/// used while it is being written.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The files that the settings were read from.
pub(super) struct TokenFiles {
    /// The last that were usable.
    settings: Discovery,
    /// The files, with their content at the last attempt.
    files: Vec<SourceFile>,
    /// Another content that was seen once.
    unsettled: Option<Vec<Fingerprint>>,
}

impl TokenFiles {
    pub(super) fn new(settings: &Discovery) -> Self {
        Self {
            settings: settings.clone(),
            files: settings.files().to_vec(),
            unsettled: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Another token, if the files have another content for the second time.
    pub(super) async fn read_if_settled(&mut self) -> Option<SecretString> {
        let seen = self.look().await;
        if seen.is_some() && seen == self.unsettled {
            return self.read(seen?).await;
        }
        self.unsettled = seen;
        None
    }

    /// Another token, if the files have another content: after a refusal.
    pub(super) async fn read_if_changed(&mut self) -> Option<SecretString> {
        let seen = self.look().await?;
        self.read(seen).await
    }

    async fn look(&self) -> Option<Vec<Fingerprint>> {
        let files = self.files.clone();
        let looked = spawn_blocking(move || SourceFile::other_content(&files));
        // Joining fails only if reading panics.
        looked.await.unwrap_or_default()
    }

    async fn read(&mut self, seen: Vec<Fingerprint>) -> Option<SecretString> {
        self.unsettled = None;
        let settings = self.settings.clone();
        let read = spawn_blocking(move || settings.reload()).await.ok()?;
        match read {
            Ok(settings) => {
                self.files = settings.files().to_vec();
                let before = std::mem::replace(&mut self.settings, settings).token;
                let token = &self.settings.token;
                if token.expose_secret() == before.expose_secret() {
                    return None;
                }
                tracing::info!(applied = "discover.token", "configuration reloaded");
                Some(token.clone())
            }
            Err(problems) => {
                // The same content is not tried again.
                for (file, content) in self.files.iter_mut().zip(seen) {
                    file.content = content;
                }
                for problem in problems.iter() {
                    tracing::error!(
                        error = %problem,
                        hint = problem.hint.as_deref(),
                        "configuration cannot be reloaded, the previous one stays in use",
                    );
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Vars};

    #[tokio::test]
    async fn a_token_is_read_when_it_settles_or_was_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        write("old");
        let variables = [
            ("AUTHENTIK_HOST", "https://authentik.company".to_owned()),
            (
                "AUTHENTIK_PROXY_DISCOVER__TOKEN",
                format!("file://{}", path.display()),
            ),
        ];
        let vars: Vars = variables.into_iter().collect();
        let settings = Config::discovery(None, &vars).expect("usable");
        let mut files = TokenFiles::new(&settings);
        assert!(!files.is_empty());
        let shown = |token: Option<SecretString>| token.map(|it| it.expose_secret().to_owned());

        assert_eq!(shown(files.read_if_changed().await), None, "the same");
        for part in ["", "ne", "new"] {
            write(part);
            assert_eq!(shown(files.read_if_settled().await), None, "{part}");
        }
        assert_eq!(shown(files.read_if_settled().await), Some("new".into()));
        assert_eq!(shown(files.read_if_settled().await), None, "nothing else");

        for wrong in ["a b", ""] {
            write(wrong);
            assert_eq!(shown(files.read_if_changed().await), None, "{wrong:?}");
            assert_eq!(files.look().await, None, "it is tried once");
        }
        write("newer");
        assert_eq!(shown(files.read_if_changed().await), Some("newer".into()));
    }
}
