//! The control plane: receives configuration and ended sessions from authentik.
//!
//! Five tasks: `run` keeps the configuration fresh, `events` holds the websocket and ends
//! sessions the moment authentik says so, `introspection` finds those that ended while it was down,
//! `presence` ends those of removed providers, `reports` tells authentik of misconfigured reverse
//! proxies.

mod api;
mod back_off;
mod certificates;
mod compile;
mod events;
mod introspection;
mod last_good;
mod presence;
mod probe;
#[cfg(test)]
pub(crate) mod recorded;
mod reports;
mod settings;
mod wire;

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::admin::Readiness;
use crate::clock::Clock;
use crate::model::{Hint, HintText, Outpost};
use crate::route::{Live, Snapshot, Store};
use crate::tasks::Tasks;
use crate::telemetry::log::LogHandle;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::{CHECKED, Misconfiguration, Throttle};
use crate::web::client::BackChannel;
use api::{Api, ApiError, FetchedConfig};
use back_off::{BackOff, random_below};
use certificates::Certificates;
pub use events::WebsocketError;
use last_good::LastGood;
use presence::PresenceKeeper;
pub use probe::{Listed, Probe, Stored};
pub use settings::{Reloadable, Settings};

/// What the control plane works on. Cheap to clone.
#[derive(Clone)]
pub struct Control(Arc<Context>);

/// What the tasks of a [`Control`] share.
pub struct Context {
    /// How to work.
    pub settings: Settings,
    /// How to work for now. The application replaces it; the tasks follow.
    pub reloadable: watch::Sender<Arc<Reloadable>>,
    /// Notified when authentik refuses the token, so that its file is read at once.
    pub secret_refused: Arc<Notify>,
    /// Where snapshots are published.
    pub live: Live,
    /// Whose sessions end.
    pub store: Store,
    /// The way to authentik.
    pub back_channel: BackChannel,
    /// The time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// Readiness, set once a configuration is loaded.
    pub readiness: Readiness,
    /// The log, whose level authentik may change.
    pub log: LogHandle,
}

impl Context {
    /// The settings that may change, as of now.
    fn reloadable(&self) -> Arc<Reloadable> {
        Arc::clone(&self.reloadable.borrow())
    }

    /// Records whether the saved configuration is served because authentik is unavailable.
    fn set_stale(&self, stale: bool) {
        self.live.health().set_stale(stale);
        self.metrics.stale(stale);
    }

    /// Records whether the websocket to authentik is connected.
    fn set_connected(&self, outpost: &Outpost, connected: bool) {
        self.live.health().set_connected(connected);
        self.metrics.connected(outpost, connected);
    }
}

/// The configuration could not be loaded. The text says the cause, [`Hint`] what to do.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct LoadError(#[from] ApiError);

impl Hint for LoadError {
    fn hint(&self) -> Option<HintText> {
        self.0.hint()
    }
}

/// What the tasks tell each other.
#[derive(Default)]
struct Signals {
    /// authentik says that something changed.
    update: Notify,
    /// The websocket was down for a while.
    gap: Notify,
    /// A provider was removed from the outpost, or added to it.
    presence: Notify,
    /// The outpost, once known.
    outpost: watch::Sender<Option<Outpost>>,
}

impl Control {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Context) -> Self {
        Self(Arc::new(parts))
    }

    /// Loads the configuration once and publishes it.
    pub async fn load_once(&self) -> Result<(), LoadError> {
        let signals = Signals::default();
        Refresher::new(&self.0).fetch(&signals).await?;
        Ok(())
    }

    /// Starts the tasks.
    pub fn spawn(&self, tasks: &Tasks, misconfigurations: Receiver<Misconfiguration>) {
        let signals = Arc::new(Signals::default());
        let (this, task_signals) = (Arc::clone(&self.0), Arc::clone(&signals));
        // Now, not in the task: a signal without a handler would end the program.
        let user_signal = user_signal();
        tasks.spawn(move |stop| async move { run(&this, &task_signals, user_signal, stop).await });
        let (this, task_signals) = (Arc::clone(&self.0), Arc::clone(&signals));
        tasks.spawn(move |stop| async move { events::run(&this, &task_signals, stop).await });
        let (this, task_signals) = (Arc::clone(&self.0), Arc::clone(&signals));
        tasks
            .spawn(move |stop| async move { introspection::run(&this, &task_signals, stop).await });
        let (this, task_signals) = (Arc::clone(&self.0), Arc::clone(&signals));
        tasks.spawn(move |stop| async move { presence::run(&this, &task_signals, stop).await });
        let (this, task_signals) = (Arc::clone(&self.0), signals);
        tasks.spawn(move |stop| async move {
            reports::run(&this, &task_signals, misconfigurations, stop).await;
        });
    }
}

/// Fetches the configuration: at once, at intervals, on SIGUSR1, when authentik asks, and when
/// settings changed.
async fn run(
    control: &Context,
    signals: &Signals,
    mut user_signal: UserSignal,
    stop: CancellationToken,
) {
    let mut refresher = Refresher::new(control);
    let mut back_off = BackOff::new(control.settings.reconnect_backoff_max);
    // Drawn when it is needed: the first random numbers of a process take about 20 ms.
    let offset = LazyCell::new(|| random_below(control.settings.refresh_jitter));
    let mut reloads = control.reloadable.subscribe();
    let mut due = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = reloads.changed() => {
                refresher.recompile(signals).await;
                due = Instant::now();
            }
            () = signals.update.notified() => due = due.min(Instant::now() + *offset),
            () = user_signal.received() => due = Instant::now(),
            () = sleep_until(due) => {
                let next = tokio::select! {
                    () = stop.cancelled() => return,
                    Ok(()) = reloads.changed() => {
                        refresher.recompile(signals).await;
                        continue;
                    }
                    interval = refresher.refresh(signals) => interval,
                };
                due = Instant::now() + match next {
                    Some(interval) => { back_off.reset(); interval }
                    None => back_off.next(),
                };
            }
        }
    }
}

/// Remembers what the last refresh found, so that unchanged applications are kept as they are.
struct Refresher<'a> {
    control: &'a Context,
    sites: compile::Known,
    certificates: Certificates,
    served: Option<Outpost>,
    /// What is served, and when authentik sent it (Unix seconds).
    answers: Option<(FetchedConfig, i64)>,
    /// The settings with which the sites were made.
    settings: Arc<Reloadable>,
    last_good: LastGood,
    presence: PresenceKeeper,
    throttle: Throttle,
}

impl<'a> Refresher<'a> {
    fn new(control: &'a Context) -> Self {
        Self {
            control,
            sites: compile::Known::new(),
            certificates: Certificates::new(),
            served: None,
            answers: None,
            settings: control.reloadable(),
            last_good: LastGood::new(control),
            presence: PresenceKeeper::new(control),
            throttle: Throttle::default(),
        }
    }

    /// One refresh. Returns when the next one is due, or `None` if it failed; then everything
    /// stays as it was.
    async fn refresh(&mut self, signals: &Signals) -> Option<Duration> {
        match self.fetch(signals).await {
            Ok(interval) => {
                self.throttle.reset();
                if let Some((answers, received_at)) = &self.answers {
                    self.last_good.keep(answers, *received_at).await;
                }
                Some(interval)
            }
            Err(error) => {
                if self.throttle.should_log(&error.to_string()) {
                    tracing::error!(
                        %error,
                        hint = error.hint().as_deref(),
                        "configuration not loaded"
                    );
                }
                if error.is_refusal() {
                    self.control.secret_refused.notify_one();
                }
                if self.served.is_none() && error.is_outage() {
                    self.fall_back(signals).await;
                }
                None
            }
        }
    }

    async fn fetch(&mut self, signals: &Signals) -> Result<Duration, ApiError> {
        let token = self.control.reloadable().token.clone();
        let api = Api::new(&self.control.settings, &token, &self.control.back_channel);
        let asked_at = self.control.clock.now();
        let mut answers = api.fetch().await?;
        if answers.version.is_none() {
            // It is asked again with the next refresh; what was known then is as good.
            answers.version = self.served.as_ref().and_then(|o| o.version.clone());
        }
        if self.control.settings.certificates {
            let (providers, known) = (&answers.providers, &self.certificates);
            self.certificates = certificates::fetch(&api, providers, known).await;
        }
        let received_at = self.control.clock.now();
        let interval = self
            .apply(&answers, received_at, Some(asked_at), signals)
            .await?;
        self.answers = Some((answers, received_at));
        self.control.set_stale(false);
        tracing::info!(
            outpost = self.served.as_ref().map(|outpost| &*outpost.name),
            applications = self.control.live.load().table.sites().len(),
            version = self
                .served
                .as_ref()
                .and_then(|outpost| outpost.version.as_deref()),
            "configuration loaded from authentik",
        );
        Ok(interval)
    }

    /// Serves what authentik sent last with the settings as of now.
    async fn recompile(&mut self, signals: &Signals) {
        let answers = self.answers.take();
        if !self.last_good.has_token(self.control) {
            let records = answers.as_ref().map_or(&[][..], |(it, _)| &it.providers);
            self.presence = self.presence.renewed(self.control, records, &self.sites);
            self.last_good = LastGood::new(self.control);
        }
        if let Some((answers, received_at)) = answers {
            // It was applied before, and nothing that it can fail for has changed.
            let _ = self.apply(&answers, received_at, None, signals).await;
            self.answers = Some((answers, received_at));
        }
    }

    /// Serves what an earlier process, or another replica, received last.
    async fn fall_back(&mut self, signals: &Signals) {
        let Some(kept) = self.last_good.read().await else {
            return;
        };
        let age = self.control.clock.now() - kept.received_at;
        let applied = self.apply(&kept.answers, kept.received_at, None, signals);
        match applied.await {
            Ok(_) => {
                self.answers = Some((kept.answers, kept.received_at));
                self.control.set_stale(true);
                tracing::warn!(
                    age_seconds = age,
                    "authentik is unreachable, serving the last good configuration"
                );
            }
            Err(error) => tracing::warn!(
                %error,
                hint = error.hint().as_deref(),
                "last good configuration cannot be used"
            ),
        }
    }

    /// Serves what authentik answered at `received_at` (Unix seconds). It was asked at `asked_at`; by
    /// an earlier process if that is `None`.
    async fn apply(
        &mut self,
        answers: &FetchedConfig,
        received_at: i64,
        asked_at: Option<i64>,
        signals: &Signals,
    ) -> Result<Duration, ApiError> {
        let control = self.control;
        let outpost = answers.outpost(control.settings.outpost_id)?;
        if let Some(level) = &outpost.log_level {
            control.log.set_level(level);
        }
        let settings = control.reloadable();
        // Names and hosts of the outpost are part of every application, and so are the settings.
        let reuse =
            self.served.as_ref() == Some(&outpost) && Arc::ptr_eq(&self.settings, &settings);
        let compiler = compile::Compiler {
            control,
            settings: &settings,
            outpost: &outpost,
            certificates: &self.certificates,
            reuse,
        };
        let (table, refused, sites) = compiler.table(&answers.providers, &self.sites);
        if table.sites().is_empty() {
            tracing::warn!(
                name: CHECKED,
                hint = "assign them in authentik under Applications > Outposts (they may still belong to the embedded outpost)",
                "no application is assigned to outpost {:?}",
                outpost.name,
            );
        }
        let presence = self.presence.update(&answers.providers, &sites, asked_at);
        let presence_changed = presence.await;
        self.sites = sites;
        self.settings = settings;
        self.served = Some(outpost.clone());
        control.metrics.updated(&outpost, received_at);
        control.live.health().set_updated_at(received_at);
        control.live.store(Snapshot {
            outpost: Some(outpost.clone()),
            table,
            refused,
        });
        if presence_changed {
            signals.presence.notify_one();
        }
        control.readiness.configured();
        let interval_s = outpost.refresh_interval_s;
        signals.outpost.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&outpost);
            *known = Some(outpost);
            changed
        });
        let own = control.settings.refresh_interval;
        Ok(own.unwrap_or_else(|| refresh_interval(interval_s)))
    }
}

/// authentik's refresh interval: 5 minutes if it sets none, at least 30 seconds.
fn refresh_interval(seconds: i64) -> Duration {
    let seconds = u64::try_from(seconds)
        .ok()
        .filter(|s| *s > 0)
        .unwrap_or(300);
    Duration::from_secs(seconds.max(30))
}

/// SIGUSR1 asks for a refresh.
struct UserSignal(Option<tokio::signal::unix::Signal>);

fn user_signal() -> UserSignal {
    UserSignal(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined1()).ok())
}

impl UserSignal {
    async fn received(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_what_authentik_wishes_within_reason() {
        for (wished, expected) in [(300, 300), (0, 300), (-1, 300), (5, 30), (31, 31)] {
            assert_eq!(refresh_interval(wished).as_secs(), expected, "{wished}");
        }
    }
}
