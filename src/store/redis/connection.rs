//! The one connection that all commands share: opened again and again until it stands, known to
//! everybody as up or down, so that nobody waits for a Redis that is known to be away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use redis::{Cmd, FromRedisValue};
use tokio::sync::watch;
use tokio::time::timeout;

use super::error::{SILENT, explain, is_demoted, is_lost};
use super::server::{Link, Server};
use crate::store::StoreError;
use crate::telemetry::Throttle;
use crate::telemetry::metrics::StoreMetrics;

/// First pause between two attempts to connect; each is twice as long as the one before.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Commands that fail in a row before a cluster's connection is opened anew.
const PATIENCE: u32 = 5;
/// A server that takes no writes is looked for anew this often at most.
const SETTLED: Duration = Duration::from_secs(2);

#[derive(Clone)]
enum State {
    /// Not connected yet, or just lost: worth a short wait.
    Trying,
    Up(Established),
    /// Connecting failed, and this is why.
    Down(Arc<str>),
}

#[derive(Clone)]
struct Established {
    link: Link,
    number: u64,
    since: Instant,
}

/// See the module.
pub(super) struct Connection {
    server: Server,
    state: watch::Sender<State>,
    failures: AtomicU32,
    refusals: Throttle,
    metrics: StoreMetrics,
}

impl Connection {
    pub(super) fn new(server: Server, metrics: StoreMetrics) -> Self {
        Self {
            server,
            state: watch::Sender::new(State::Trying),
            failures: AtomicU32::new(0),
            refusals: Throttle::default(),
            metrics,
        }
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Whether commands reach Redis, as far as known.
    pub(super) fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), State::Up(_))
    }

    /// Runs a command. It may run twice, when the connection breaks under it.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let started = Instant::now();
        let result = match self.attempt(command).await {
            Err(Failure::Lost(_)) => self.attempt(command).await,
            result => result,
        };
        self.metrics.observe(started.elapsed(), result.is_ok());
        result.map_err(|failure| match failure {
            Failure::Lost(reason) | Failure::Final(reason) => self.error(&reason),
        })
    }

    async fn attempt<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        let Established {
            mut link,
            number,
            since,
        } = self.established().await?;
        // A cluster gives up by itself, after having looked for another node.
        let patience = self.server.timeout() * if self.server.is_cluster() { 3 } else { 1 };
        let Ok(answer) = timeout(patience, command.query_async(&mut link)).await else {
            let reason = format!("there was no answer within {patience:?}; {SILENT}");
            // It hangs: nobody else shall wait as long as we did.
            self.lost(number, State::Down(reason.as_str().into()));
            return Err(Failure::Final(reason));
        };
        let error = match answer {
            Ok(value) => {
                self.failures.store(0, Ordering::Relaxed);
                return Ok(value);
            }
            Err(error) => error,
        };
        let reason = explain(&error);
        if is_lost(&error) {
            self.lost(number, State::Trying);
            if !self.server.is_cluster() {
                return Err(Failure::Lost(reason));
            }
        } else if is_demoted(&error) && since.elapsed() > SETTLED {
            self.leave(number, State::Trying);
        }
        if self.refusals.should_log(&reason) {
            tracing::error!("Redis at {} refuses a command: {reason}", self.server);
        }
        Err(Failure::Final(reason))
    }

    /// The connection, or why there is none. Waits only while that is being found out.
    async fn established(&self) -> Result<Established, Failure> {
        let known = match &*self.state.borrow() {
            State::Trying => None,
            State::Up(established) => Some(Ok(established.clone())),
            State::Down(reason) => Some(Err(Failure::Final(reason.to_string()))),
        };
        if let Some(known) = known {
            return known;
        }
        let mut states = self.state.subscribe();
        let settled = states.wait_for(|state| !matches!(state, State::Trying));
        match timeout(self.server.timeout(), settled).await {
            Ok(Ok(state)) => match &*state {
                State::Up(established) => Ok(established.clone()),
                State::Down(reason) => Err(Failure::Final(reason.to_string())),
                State::Trying => Err(Failure::slow()),
            },
            _ => Err(Failure::slow()),
        }
    }

    /// A command failed that may have failed because of the connection. A cluster's is left only
    /// when that goes on: it mends itself.
    fn lost(&self, number: u64, next: State) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.server.is_cluster() || failures >= PATIENCE {
            self.leave(number, next);
        }
    }

    fn leave(&self, number: u64, next: State) {
        self.state.send_if_modified(|state| {
            let ours = matches!(state, State::Up(up) if up.number == number);
            if ours {
                *state = next;
            }
            ours
        });
    }

    fn error(&self, reason: &str) -> StoreError {
        StoreError::new(format!("Redis at {}: {reason}", self.server))
    }

    /// Keeps the connection up, for ever. Calls `catch_up` whenever it stands, and now and then.
    pub(super) async fn keep<'a>(&self, catch_up: impl Fn() -> BoxFuture<'a, ()>) {
        let trouble = Throttle::default();
        let mut states = self.state.subscribe();
        let mut pause = SHORTEST_PAUSE;
        let mut said_up = false;
        for number in 0_u64.. {
            let patience = 4 * self.server.timeout();
            let reason = match timeout(patience, self.server.connect()).await {
                Ok(Ok(link)) => {
                    let since = Instant::now();
                    self.failures.store(0, Ordering::Relaxed);
                    self.state.send_replace(State::Up(Established {
                        link,
                        number,
                        since,
                    }));
                    self.metrics.up(true);
                    if !said_up {
                        tracing::info!("Redis at {} is connected", self.server);
                        said_up = true;
                    }
                    let mut lost = std::pin::pin!(async {
                        let _ = states
                            .wait_for(|state| !matches!(state, State::Up(_)))
                            .await;
                    });
                    loop {
                        // Who catches up waits for the connection, so its loss comes first.
                        tokio::select! {
                            biased;
                            () = &mut lost => break,
                            () = catch_up() => {}
                        }
                        if timeout(LONGEST_PAUSE, &mut lost).await.is_ok() {
                            break;
                        }
                    }
                    self.metrics.up(false);
                    if since.elapsed() > SETTLED {
                        trouble.reset();
                        pause = SHORTEST_PAUSE;
                        continue;
                    }
                    // Up and lost at once: no hurry, and nobody shall wait.
                    "the connection breaks as soon as it stands; look at Redis's own log".into()
                }
                Ok(Err(error)) => explain(&error),
                Err(_) => format!(
                    "there was no answer within {patience:?}; check that Redis is not stuck, and that firewalls and network policies let us reach it"
                ),
            };
            if trouble.should_log(&reason) {
                said_up = false;
                tracing::error!(
                    "Redis at {} cannot be reached: {reason}; sessions that are not cached here are answered with 503 until then",
                    self.server,
                );
            }
            self.state.send_replace(State::Down(reason.into()));
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }
}

enum Failure {
    /// The connection broke; a new one may do.
    Lost(String),
    Final(String),
}

impl Failure {
    fn slow() -> Self {
        Self::Final(format!("connecting takes long; {SILENT}"))
    }
}
