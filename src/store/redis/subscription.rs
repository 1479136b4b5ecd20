//! Hearing of sessions that ended at other replicas.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use redis::Value;
use redis::aio::PubSub;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::error::explain;
use super::invalidation::News;
use super::{Redis, keys};
use crate::telemetry::Throttle;

/// Pause before the next attempt to subscribe.
const PAUSE: Duration = Duration::from_millis(500);
/// Shortest time between two proofs that the connection carries news.
const SHORTEST: Duration = Duration::from_millis(20);

/// How far news can be relied on.
#[derive(Default)]
pub(super) struct Subscription {
    /// Counts subscriptions; between two, news were missed. 0 before the first.
    epoch: AtomicU64,
    /// All news up to then have arrived, in milliseconds since the start of the process.
    proven: AtomicU64,
}

impl Subscription {
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether news about what was read in `epoch` would have arrived, but for the last `bound`
    /// milliseconds.
    pub(super) fn covers(&self, epoch: u64, now: u64, bound: u64) -> bool {
        epoch != 0
            && epoch == self.epoch()
            && now.saturating_sub(self.proven.load(Ordering::Acquire)) < bound
    }

    fn begin(&self, now: u64) {
        self.proven.store(now, Ordering::Release);
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    fn prove(&self, then: u64) {
        self.proven.store(then, Ordering::Release);
    }
}

impl Redis {
    /// Listens for ever, subscribing again whenever that ends.
    pub(super) async fn listen(&self) {
        let trouble = Throttle::default();
        let server = self.connection.server();
        loop {
            let patience = 4 * server.timeout();
            let reason = match timeout(patience, server.subscribe(keys::CHANNEL)).await {
                Ok(Ok(news)) => {
                    self.subscription.begin(self.millis());
                    tracing::debug!("news of ended sessions arrive from Redis");
                    let confirm = async {
                        self.catch_up().await;
                        std::future::pending::<()>().await;
                    };
                    tokio::select! {
                        () = self.hear(news) => {}
                        () = confirm => {}
                    }
                    trouble.reset();
                    tracing::debug!("news of ended sessions no longer arrive from Redis");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Ok(Err(error)) => explain(&error),
                Err(_) => format!("there was no answer within {patience:?}"),
            };
            // While Redis is away altogether, that has been said.
            if self.connection.is_up() && trouble.should_log(&reason) {
                tracing::warn!(
                    "news of ended sessions do not arrive from Redis: {reason}; cached sessions are confirmed there every {:?} instead",
                    self.settings.revalidate,
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn hear(&self, news: PubSub) {
        let (mut sink, mut stream) = news.split();
        let mut ticks = interval((self.settings.revalidate / 4).max(SHORTEST));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = stream.next() => match message {
                    Some(message) => self.take(message.get_payload_bytes()),
                    None => return,
                },
                _ = ticks.tick() => {}
            }
            let asked = self.millis();
            let mut pong = std::pin::pin!(timeout(
                self.connection.server().timeout(),
                sink.ping::<Value>()
            ));
            let answered = loop {
                tokio::select! {
                    biased;
                    message = stream.next() => match message {
                        Some(message) => self.take(message.get_payload_bytes()),
                        None => return,
                    },
                    answered = &mut pong => break answered,
                }
            };
            if !matches!(answered, Ok(Ok(_))) {
                return;
            }
            // What was sent before the answer has arrived before it.
            while let Some(Some(message)) = stream.next().now_or_never() {
                self.take(message.get_payload_bytes());
            }
            self.subscription.prove(asked);
        }
    }

    fn take(&self, text: &[u8]) {
        if let Some(news) = News::parse(text) {
            self.apply(&news);
        }
    }
}
