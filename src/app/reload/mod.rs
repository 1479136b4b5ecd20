//! Reads the configuration again while the program runs: when its files change, on SIGHUP, and when
//! a server refuses a secret. All or nothing: what is wrong is logged, and what was in use stays.
//!
//! Files are compared by content. That works wherever files can be read, whatever replaces them: an
//! editor, kubelet with its symbolic links, a network file system.

mod prepare;
mod status;

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Config, Fingerprint, SourceFile};
use crate::control::{self, Reloadable};
use crate::model::Hint as _;
use crate::route::{Live, Store};
use crate::telemetry::metrics::SourceMetrics;
use crate::upstream::Upstream;
use crate::web::client::BackChannel;
use prepare::{Prepared, Ready, prepare};
pub(super) use prepare::{header_sources, reloadable};
use status::Status;

/// How often files are looked at. A change applies when it is seen twice, so that a file is not used
/// while it is being written.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// What a new configuration is applied to.
pub(super) struct Parts {
    pub(super) reloadable: watch::Sender<Arc<Reloadable>>,
    pub(super) secret_refused: Arc<Notify>,
    pub(super) store: Store,
    pub(super) back_channel: BackChannel,
    pub(super) upstream: Upstream,
    pub(super) live: Live,
    pub(super) metrics: SourceMetrics,
    pub(super) clock: Clock,
}

impl Parts {
    pub(super) fn new(control: &control::Context, upstream: Upstream) -> Self {
        Self {
            reloadable: control.reloadable.clone(),
            secret_refused: Arc::clone(&control.secret_refused),
            store: control.store.clone(),
            back_channel: control.back_channel.clone(),
            upstream,
            live: control.live.clone(),
            metrics: control.metrics.sources(),
            clock: control.clock.clone(),
        }
    }
}

/// See the module.
pub(super) struct Reloader {
    /// As of the start: what these have of settings that need a restart is in use.
    started: Config,
    /// The last that was usable.
    current: Config,
    parts: Parts,
    /// The files to look at, with their content at the last attempt.
    files: Vec<SourceFile>,
    /// The files of what is in use.
    applied: Vec<SourceFile>,
    /// Another content that was seen once.
    unsettled: Option<Vec<Fingerprint>>,
    status: Status,
    hangup: Option<Signal>,
}

impl Reloader {
    /// Handles SIGHUP from now on.
    pub(super) fn new(config: &Config, parts: Parts) -> Self {
        let files = prepare::sources(config);
        let status = Status::new(&files, parts.clock.now());
        status.publish(&parts.live, &parts.metrics);
        Self {
            started: config.clone(),
            current: config.clone(),
            parts,
            applied: files.clone(),
            files,
            unsettled: None,
            status,
            hangup: signal(SignalKind::hangup()).ok(),
        }
    }

    /// Follows changes until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let work = async {
            let mut ticks = interval(POLL_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = received(&mut self.hangup) => self.read_on_signal().await,
                    () = self.parts.secret_refused.notified() => self.read_if_changed().await,
                    () = self.parts.store.refused() => self.read_if_changed().await,
                    _ = ticks.tick(), if self.has_files() => self.read_if_settled().await,
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    fn has_files(&self) -> bool {
        !self.files.is_empty() || !self.parts.reloadable.borrow().header_files.is_empty()
    }

    async fn read_on_signal(&mut self) {
        tracing::info!("SIGHUP received, reading the configuration again");
        self.look().await;
        self.read(true).await;
    }

    /// After a refusal: the file may have changed since it was last looked at.
    async fn read_if_changed(&mut self) {
        if self.look().await.is_some() {
            self.read(false).await;
        }
    }

    async fn read_if_settled(&mut self) {
        let seen = self.look().await;
        if seen.is_some() && seen == self.unsettled {
            self.read(false).await;
        } else {
            self.unsettled = seen;
        }
    }

    /// The content of the files if it is another one; reads header values as well.
    async fn look(&self) -> Option<Vec<Fingerprint>> {
        let files = self.files.clone();
        let header_files = self.parts.reloadable.borrow().header_files.clone();
        let looked = spawn_blocking(move || {
            header_files.refresh();
            SourceFile::other_content(&files)
        });
        // Joining fails only if reading panics.
        looked.await.unwrap_or_default()
    }

    /// Reads everything, and applies it unless something is wrong. CA certificates are read if their
    /// files have changed, or `always`.
    async fn read(&mut self, always: bool) {
        self.unsettled = None;
        let current = self.current.clone();
        let reloadable = Arc::clone(&self.parts.reloadable.borrow());
        let applied = self.applied.clone();
        let started = self.started.clone();
        let prepared =
            spawn_blocking(move || prepare(&started, &current, &applied, &reloadable, always));
        let Ok(Prepared { files, result }) = prepared.await else {
            return;
        };
        match result {
            Ok(ready) => {
                self.applied.clone_from(&files);
                self.files = files;
                self.status.succeeded(&self.files, self.parts.clock.now());
                self.apply(ready);
            }
            Err(problems) => {
                self.status.failed(&files);
                self.files = files;
                self.publish();
                for problem in problems {
                    tracing::error!(
                        error = %problem,
                        hint = problem.hint().as_deref(),
                        "configuration cannot be reloaded, the previous one stays in use",
                    );
                }
            }
        }
    }

    /// Shows the status: before the log tells of it, so that who reads the one finds the other.
    fn publish(&self) {
        self.status.publish(&self.parts.live, &self.parts.metrics);
    }

    fn apply(&mut self, ready: Ready) {
        let Ready {
            config,
            reloadable,
            trust,
            has_other_ca_files,
            redis,
        } = ready;
        let changed: Vec<_> = self.current.differences(&config).collect();
        let mut applied: Vec<_> = changed
            .iter()
            .filter(|it| it.reloadable)
            .map(|it| it.key)
            .collect();
        if self.current.has_other_applications(&config) {
            applied.push("applications");
        }
        if has_other_ca_files {
            applied.push("CA certificates");
        }
        let waiting = self
            .started
            .differences(&config)
            .filter(|it| !it.reloadable);
        self.status.needs_restart = waiting.map(|it| it.key).collect();
        if let Some(reloadable) = reloadable {
            self.parts.store.add_subject_index_key(&reloadable.token);
            self.parts.reloadable.send_replace(Arc::new(reloadable));
        }
        if let Some(server) = redis {
            self.parts.store.replace_server(server);
        }
        if let Some(trust) = trust {
            self.parts.back_channel.replace_trust(&trust);
            self.parts.upstream.replace_trust(&trust);
        }
        self.publish();
        for warning in &config.warnings {
            if !self.current.warnings.contains(warning) {
                tracing::warn!(hint = warning.hint.as_deref(), "{warning}");
            }
        }
        tracing::info!(applied = applied.join(", "), "configuration reloaded");
        if !self.status.needs_restart.is_empty() {
            tracing::warn!(
                settings = self.status.needs_restart.join(", "),
                hint = "restart the outpost",
                "settings changed that apply after a restart only",
            );
        }
        self.current = config;
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::config::{Egress, Vars};
    use crate::telemetry::metrics::Metrics;
    use crate::upstream::Timeouts;
    use crate::web::client::trust::Trust;
    use crate::web::header::files::HeaderFiles;

    fn reloader(token: &Path) -> Reloader {
        let variables = [
            ("AUTHENTIK_HOST", "https://authentik.company".to_owned()),
            ("AUTHENTIK_TOKEN", format!("file://{}", token.display())),
        ];
        let vars: Vars = variables.into_iter().collect();
        let config = Config::load(None, &vars).expect("usable");
        let reloadable = super::reloadable(&config, HeaderFiles::default());
        let clock = Clock::manual(1_000);
        let trust = Trust::load(None).expect("authorities");
        let timeouts = Timeouts {
            connect: Duration::from_secs(1),
            response: Duration::from_secs(1),
        };
        let parts = Parts {
            reloadable: watch::Sender::new(Arc::new(reloadable)),
            secret_refused: Arc::default(),
            store: Store::memory(clock.clone(), None),
            back_channel: BackChannel::over(
                &trust,
                false,
                Duration::from_secs(1),
                &Egress::default(),
            ),
            upstream: Upstream::new(&trust, timeouts),
            live: Live::default(),
            metrics: Metrics::new().sources(),
            clock,
        };
        Reloader::new(&config, parts)
    }

    fn token(reloader: &Reloader) -> String {
        let reloadable = reloader.parts.reloadable.borrow();
        reloadable.token.expose_secret().to_owned()
    }

    fn has_failed(reloader: &Reloader) -> bool {
        let health = reloader.parts.live.health().settings();
        health.sources.iter().any(|source| source.failed)
    }

    #[tokio::test]
    async fn a_file_that_is_still_being_written_is_not_used() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        let write = |text: &str| std::fs::write(&path, text).expect("written");
        write("old");
        let mut reloader = reloader(&path);
        for part in ["", "ne", "new"] {
            write(part);
            reloader.read_if_settled().await;
            assert_eq!(token(&reloader), "old");
        }
        reloader.read_if_settled().await;
        assert_eq!(token(&reloader), "new");
    }

    #[tokio::test]
    async fn a_refusal_waits_for_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        std::fs::write(&path, "old").expect("written");
        let mut reloader = reloader(&path);
        let mut changes = reloader.parts.reloadable.subscribe();
        reloader.read_if_changed().await;
        assert!(!changes.has_changed().expect("open"), "it is the same");
        std::fs::write(&path, "new").expect("written");
        reloader.read_if_changed().await;
        assert_eq!(token(&reloader), "new");
        assert!(changes.borrow_and_update().token.expose_secret() == "new");
    }

    #[tokio::test]
    async fn what_is_wrong_is_tried_once_and_the_old_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        std::fs::write(&path, "old").expect("written");
        let mut reloader = reloader(&path);
        for wrong in [Some("a b"), Some(""), None] {
            match wrong {
                Some(text) => std::fs::write(&path, text).expect("written"),
                None => std::fs::remove_file(&path).expect("removed"),
            }
            reloader.read_if_changed().await;
            assert_eq!(token(&reloader), "old");
            assert!(has_failed(&reloader), "{wrong:?}");
            assert_eq!(reloader.look().await, None, "nothing else to try");
        }
        std::fs::write(&path, "old").expect("written");
        reloader.read_if_changed().await;
        assert!(!has_failed(&reloader));
    }
}
