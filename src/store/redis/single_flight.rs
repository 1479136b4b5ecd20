//! Reads in flight: whoever wants a record that is just being read waits for the same answer.

use bytes::Bytes;
use dashmap::DashMap;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

use crate::model::SessionKey;
use crate::store::StoreError;

/// What a read finds.
pub(super) type Found = Result<Option<Bytes>, StoreError>;
type Flight = Shared<BoxFuture<'static, Found>>;

/// See the module.
#[derive(Default)]
pub(super) struct Flights(DashMap<SessionKey, Flight>);

impl Flights {
    /// Joins the read of `key`, or begins one.
    pub(super) async fn join(
        &self,
        key: SessionKey,
        begin: impl FnOnce() -> BoxFuture<'static, Found>,
    ) -> Found {
        let flight = self
            .0
            .entry(key)
            .or_insert_with(|| begin().shared())
            .clone();
        // Whoever leaves first, with an answer or without, closes the door: who comes later gets
        // an answer that is not older than the question.
        let _door = Door {
            flights: self,
            key,
            flight: flight.clone(),
        };
        flight.await
    }
}

struct Door<'a> {
    flights: &'a Flights,
    key: SessionKey,
    flight: Flight,
}

impl Drop for Door<'_> {
    fn drop(&mut self) {
        let same = |_: &SessionKey, flight: &Flight| flight.ptr_eq(&self.flight);
        self.flights.0.remove_if(&self.key, same);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;
    use crate::model::SessionId;

    #[tokio::test]
    async fn many_ask_and_one_reads() {
        let (flights, reads) = (Flights::default(), AtomicUsize::new(0));
        let (key, answer) = (SessionId::random().key(), Arc::new(Notify::new()));
        let join = || {
            flights.join(key, || {
                reads.fetch_add(1, Ordering::Relaxed);
                let answer = Arc::clone(&answer);
                async move {
                    answer.notified().await;
                    Ok(Some(Bytes::from_static(b"x")))
                }
                .boxed()
            })
        };
        let everybody = futures_util::future::join_all((0..100).map(|_| join()));
        let (found, ()) = tokio::join!(everybody, async { answer.notify_one() });
        assert!(
            found
                .into_iter()
                .all(|found| found.expect("read").is_some())
        );
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        assert!(flights.0.is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn who_gives_up_keeps_nobody_waiting() {
        let flights = Flights::default();
        let key = SessionId::random().key();
        let never = || std::future::pending::<Found>().boxed();
        assert!(flights.join(key, never).now_or_never().is_none());
        let found = flights.join(key, || async { Ok(None) }.boxed()).await;
        assert_eq!(found.expect("read"), None, "a read of its own");
    }
}
