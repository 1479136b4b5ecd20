//! The connection that all commands share. It reconnects with back-off; while it is known to be
//! down, commands fail at once.

pub(super) mod error;
pub(super) mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use futures_util::future::BoxFuture;
use redis::{Cmd, FromRedisValue, RedisError};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::store::error::StoreError;
use crate::store::redis::connection::error::{Failure, is_demoted, is_lost, is_refusal};
use crate::store::redis::connection::server::{Link, Server};
use crate::telemetry::Throttle;
use crate::telemetry::metrics::StoreMetrics;

/// Initial delay between two attempts to connect; doubles with each attempt.
const MIN_RECONNECT_DELAY: Duration = Duration::from_millis(50);
/// Maximum delay between two attempts to connect.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);
/// Consecutive failed commands after which a cluster connection is reopened.
const MAX_CLUSTER_FAILURES: u32 = 5;
/// Minimum age of a connection before it counts as stable, or is reopened because its server is
/// read-only.
const MIN_STABLE_TIME: Duration = Duration::from_secs(2);

#[derive(Clone)]
enum State {
    /// Connecting for the first time, or just lost: commands wait.
    Trying,
    Up(Established),
    /// Connecting failed.
    Down(Failure),
}

#[derive(Clone)]
struct Established {
    link: Link,
    number: u64,
    since: Instant,
}

/// The connection to Redis.
pub(in crate::store::redis) struct Connection {
    server: ArcSwap<Server>,
    /// Notified when the server is replaced.
    replaced: Notify,
    /// Notified when Redis refuses the credentials.
    refused: Notify,
    state: watch::Sender<State>,
    failures: AtomicU32,
    command_errors: Throttle,
    metrics: StoreMetrics,
}

impl Connection {
    pub(in crate::store::redis) fn new(server: Server, metrics: StoreMetrics) -> Self {
        Self {
            server: ArcSwap::from_pointee(server),
            replaced: Notify::new(),
            refused: Notify::new(),
            state: watch::Sender::new(State::Trying),
            failures: AtomicU32::new(0),
            command_errors: Throttle::default(),
            metrics,
        }
    }

    /// Where Redis is, and how connections to it are opened.
    pub(in crate::store::redis) fn server(&self) -> Guard<Arc<Server>> {
        self.server.load()
    }

    /// Time-out of one command.
    pub(in crate::store::redis) fn timeout(&self) -> Duration {
        self.server.load().timeout()
    }

    /// Opens connections with other credentials from now on. The connection that is open stays; that
    /// of a cluster is opened again, since its client keeps the credentials.
    pub(in crate::store::redis) fn replace_server(&self, server: Server) {
        self.server.store(Arc::new(server));
        self.replaced.notify_one();
    }

    /// Waits until Redis refuses the credentials.
    pub(in crate::store::redis) async fn refused(&self) {
        self.refused.notified().await;
    }

    /// Notes that a connection could not be opened, or a command not be run.
    pub(in crate::store::redis) fn note(&self, error: &RedisError) {
        if is_refusal(error) {
            self.refused.notify_one();
        }
    }

    /// Whether Redis is connected.
    pub(in crate::store::redis) fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), State::Up(_))
    }

    /// Runs a command. Retries it once if the connection breaks, so that it may run twice.
    pub(in crate::store::redis) async fn query<T: FromRedisValue>(
        &self,
        command: &Cmd,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let result = match self.attempt(command).await {
            Err(Unsuccessful::ConnectionLost(_)) => self.attempt(command).await,
            result => result,
        };
        self.metrics.observe(started.elapsed(), result.is_ok());
        result.map_err(|unsuccessful| match unsuccessful {
            Unsuccessful::ConnectionLost(failure) | Unsuccessful::Final(failure) => {
                self.error(&failure)
            }
        })
    }

    async fn attempt<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unsuccessful> {
        let Established {
            mut link,
            number,
            since,
        } = self.established().await?;
        // A cluster gives up by itself, after having looked for another node.
        let deadline = self.timeout() * if self.server().is_cluster() { 3 } else { 1 };
        let Ok(answer) = timeout(deadline, command.query_async(&mut link)).await else {
            let failure = Failure::timeout(deadline);
            // The server hangs: later commands fail at once.
            self.note_failure(number, State::Down(failure.clone()));
            return Err(Unsuccessful::Final(failure));
        };
        let error = match answer {
            Ok(value) => {
                self.failures.store(0, Ordering::Relaxed);
                return Ok(value);
            }
            Err(error) => error,
        };
        let failure = Failure::from(&error);
        self.note(&error);
        if is_lost(&error) || is_refusal(&error) {
            self.note_failure(number, State::Trying);
            if !self.server().is_cluster() {
                return Err(Unsuccessful::ConnectionLost(failure));
            }
        } else if is_demoted(&error) && since.elapsed() > MIN_STABLE_TIME {
            self.set_state(number, State::Trying);
        }
        if self.command_errors.should_log(&failure.cause) {
            tracing::error!(
                error = &*failure.cause,
                hint = failure.hint,
                "Redis at {} refuses a command",
                self.server()
            );
        }
        Err(Unsuccessful::Final(failure))
    }

    /// The connection, or why there is none. Waits only while that is being found out.
    async fn established(&self) -> Result<Established, Unsuccessful> {
        let slow = || Err(Unsuccessful::Final(Failure::connecting()));
        let known = match &*self.state.borrow() {
            State::Trying => None,
            State::Up(established) => Some(Ok(established.clone())),
            State::Down(failure) => Some(Err(Unsuccessful::Final(failure.clone()))),
        };
        if let Some(known) = known {
            return known;
        }
        let mut states = self.state.subscribe();
        let settled = states.wait_for(|state| !matches!(state, State::Trying));
        match timeout(self.timeout(), settled).await {
            Ok(Ok(state)) => match &*state {
                State::Up(established) => Ok(established.clone()),
                State::Down(failure) => Err(Unsuccessful::Final(failure.clone())),
                State::Trying => slow(),
            },
            _ => slow(),
        }
    }

    /// Counts a failure that may be due to the connection. A cluster client recovers by itself, so
    /// its connection is reopened after several failures only.
    fn note_failure(&self, number: u64, next: State) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.server().is_cluster() || failures >= MAX_CLUSTER_FAILURES {
            self.set_state(number, next);
        }
    }

    fn set_state(&self, number: u64, next: State) {
        self.state.send_if_modified(|state| {
            let is_same = matches!(state, State::Up(up) if up.number == number);
            if is_same {
                *state = next;
            }
            is_same
        });
    }

    fn error(&self, failure: &Failure) -> StoreError {
        let Failure { cause, hint } = failure;
        StoreError::new(format!("Redis at {}: {cause}", self.server()), *hint)
    }

    /// Maintains the connection. Calls `resync` when connected and periodically. Never returns.
    pub(in crate::store::redis) async fn maintain<'a>(
        &self,
        resync: impl Fn() -> BoxFuture<'a, ()>,
    ) {
        let throttle = Throttle::default();
        let mut states = self.state.subscribe();
        let mut pause = MIN_RECONNECT_DELAY;
        let mut is_logged_up = false;
        for number in 0_u64.. {
            let deadline = 4 * self.timeout();
            let server = self.server.load_full();
            let failure = match timeout(deadline, server.connect()).await {
                Ok(Ok(link)) => {
                    let since = Instant::now();
                    self.failures.store(0, Ordering::Relaxed);
                    self.state.send_replace(State::Up(Established {
                        link,
                        number,
                        since,
                    }));
                    self.metrics.up(true);
                    if !is_logged_up {
                        tracing::info!("Redis at {} is connected", self.server());
                        is_logged_up = true;
                    }
                    let mut lost = std::pin::pin!(async {
                        let _ = states
                            .wait_for(|state| !matches!(state, State::Up(_)))
                            .await;
                    });
                    loop {
                        // `resync` waits for the connection, so its loss is checked first.
                        tokio::select! {
                            biased;
                            () = &mut lost => break,
                            () = resync() => {}
                        }
                        tokio::select! {
                            () = &mut lost => break,
                            () = tokio::time::sleep(MAX_RECONNECT_DELAY) => {}
                            () = self.replaced.notified(), if server.is_cluster() => {
                                self.renew(number).await;
                            }
                        }
                    }
                    self.metrics.up(false);
                    if since.elapsed() > MIN_STABLE_TIME {
                        throttle.reset();
                        pause = MIN_RECONNECT_DELAY;
                        continue;
                    }
                    // Lost right after connecting: back off, and fail commands meanwhile.
                    Failure::new(
                        "the connection is closed as soon as it is established",
                        "check Redis's own log",
                    )
                }
                Ok(Err(error)) => {
                    self.note(&error);
                    Failure::from(&error)
                }
                Err(_) => Failure::timeout(deadline),
            };
            if throttle.should_log(&failure.cause) {
                is_logged_up = false;
                tracing::error!(
                    error = &*failure.cause,
                    hint = failure.hint,
                    "Redis at {} cannot be reached, sessions that are not cached get 503",
                    self.server(),
                );
            }
            self.state.send_replace(State::Down(failure));
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (2 * pause).min(MAX_RECONNECT_DELAY),
                () = self.replaced.notified() => pause = MIN_RECONNECT_DELAY,
            }
        }
    }

    /// Opens a connection in place of one that works. If that fails, the old one stays: the server
    /// may learn of the new credentials later.
    async fn renew(&self, number: u64) {
        let server = self.server.load_full();
        if let Ok(Ok(link)) = timeout(4 * server.timeout(), server.connect()).await {
            let since = Instant::now();
            self.set_state(
                number,
                State::Up(Established {
                    link,
                    number,
                    since,
                }),
            );
        }
    }
}

/// How an attempt to run a command ended.
enum Unsuccessful {
    /// The connection broke: another attempt on a new one may succeed.
    ConnectionLost(Failure),
    /// Another attempt would fail as well.
    Final(Failure),
}
