//! The subscription to invalidation messages of other replicas.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use redis::Value;
use redis::aio::PubSub;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::RedisStore;
use super::format::keys;
use crate::store::redis::connection::error::Failure;
use crate::store::redis::format::invalidation::Invalidation;
use crate::store::session::Prepared;
use crate::telemetry::Throttle;

/// Delay before the next attempt to subscribe.
const RESUBSCRIBE_DELAY: Duration = Duration::from_millis(500);
/// Minimum interval of pings on the subscription.
const MIN_PING_INTERVAL: Duration = Duration::from_millis(20);

/// Which messages are known to have arrived.
#[derive(Default)]
pub(super) struct Subscription {
    /// Number of the subscription; messages between two are missed. 0 before the first.
    epoch: AtomicU64,
    /// All messages published until then have arrived, in milliseconds since the start of the
    /// process.
    current_until: AtomicU64,
}

impl Subscription {
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether every message since a read in `epoch` has arrived, except for the last `bound`
    /// milliseconds.
    pub(super) fn covers(&self, epoch: u64, now: u64, bound: u64) -> bool {
        epoch != 0
            && epoch == self.epoch()
            && now.saturating_sub(self.current_until.load(Ordering::Acquire)) < bound
    }

    fn begin(&self, now: u64) {
        self.current_until.store(now, Ordering::Release);
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    fn advance(&self, until: u64) {
        self.current_until.store(until, Ordering::Release);
    }
}

impl<P: Prepared> RedisStore<P> {
    /// Receives messages and subscribes again whenever the subscription breaks. Never returns.
    pub(super) async fn run_subscription(&self) {
        let throttle = Throttle::default();
        loop {
            let server = Arc::clone(&self.connection.server());
            let deadline = 4 * server.timeout();
            let failure = match timeout(deadline, server.subscribe(keys::CHANNEL)).await {
                Ok(Ok(messages)) => {
                    self.subscription.begin(self.millis());
                    tracing::debug!("subscribed to Redis pub/sub");
                    let resync = async {
                        self.resync().await;
                        std::future::pending::<()>().await;
                    };
                    tokio::select! {
                        () = self.receive(messages) => {}
                        () = resync => {}
                    }
                    throttle.reset();
                    tracing::debug!("Redis pub/sub connection lost");
                    tokio::time::sleep(RESUBSCRIBE_DELAY).await;
                    continue;
                }
                Ok(Err(error)) => {
                    self.connection.note(&error);
                    Failure::from(&error)
                }
                Err(_) => Failure::timeout(deadline),
            };
            // While Redis is down, the connection has logged that.
            if self.connection.is_up() && throttle.should_log(&failure.cause) {
                tracing::warn!(
                    error = &*failure.cause,
                    hint = failure.hint,
                    "Redis pub/sub is down, revalidating cached sessions every {:?}",
                    self.settings.revalidate,
                );
            }
            tokio::time::sleep(RESUBSCRIBE_DELAY).await;
        }
    }

    async fn receive(&self, pubsub: PubSub) {
        let (mut sink, mut stream) = pubsub.split();
        let mut ticks = interval((self.settings.revalidate / 4).max(MIN_PING_INTERVAL));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = stream.next() => match message {
                    Some(message) => self.handle_message(message.get_payload_bytes()),
                    None => return,
                },
                _ = ticks.tick() => {}
            }
            let pinged_at = self.millis();
            let mut pong = std::pin::pin!(timeout(self.connection.timeout(), sink.ping::<Value>()));
            let reply = loop {
                tokio::select! {
                    biased;
                    message = stream.next() => match message {
                        Some(message) => self.handle_message(message.get_payload_bytes()),
                        None => return,
                    },
                    reply = &mut pong => break reply,
                }
            };
            if !matches!(reply, Ok(Ok(_))) {
                return;
            }
            // Messages sent before the reply have arrived before it.
            while let Some(Some(message)) = stream.next().now_or_never() {
                self.handle_message(message.get_payload_bytes());
            }
            self.subscription.advance(pinged_at);
        }
    }

    fn handle_message(&self, text: &[u8]) {
        if let Some(invalidation) = Invalidation::parse(text) {
            self.apply_locally(&invalidation);
        }
    }
}
