//! Concurrent reads of one record share one request to Redis.

use bytes::Bytes;
use dashmap::DashMap;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

use crate::model::SessionKey;
use crate::store::error::StoreError;

/// The result of a read, shared by all callers.
pub(in crate::store::redis) type ReadResult = Result<Option<Bytes>, StoreError>;
type Flight = Shared<BoxFuture<'static, ReadResult>>;

/// See the module.
#[derive(Default)]
pub(in crate::store::redis) struct SingleFlight(DashMap<SessionKey, Flight>);

impl SingleFlight {
    /// Joins the read of `key`, or starts one.
    pub(in crate::store::redis) async fn run(
        &self,
        key: SessionKey,
        begin: impl FnOnce() -> BoxFuture<'static, ReadResult>,
    ) -> ReadResult {
        let flight = self
            .0
            .entry(key)
            .or_insert_with(|| begin().shared())
            .clone();
        // The first caller to finish or to be dropped removes the entry, so that a later caller
        // gets a result that is not older than its call.
        let _guard = RemoveOnDrop {
            single_flight: self,
            key,
            flight: flight.clone(),
        };
        flight.await
    }
}

struct RemoveOnDrop<'a> {
    single_flight: &'a SingleFlight,
    key: SessionKey,
    flight: Flight,
}

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        let same = |_: &SessionKey, flight: &Flight| flight.ptr_eq(&self.flight);
        self.single_flight.0.remove_if(&self.key, same);
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
    async fn concurrent_callers_share_one_read() {
        let (single_flight, reads) = (SingleFlight::default(), AtomicUsize::new(0));
        let (key, answer) = (SessionId::random().key(), Arc::new(Notify::new()));
        let join = || {
            single_flight.run(key, || {
                reads.fetch_add(1, Ordering::Relaxed);
                let answer = Arc::clone(&answer);
                async move {
                    answer.notified().await;
                    Ok(Some(Bytes::from_static(b"x")))
                }
                .boxed()
            })
        };
        let all = futures_util::future::join_all((0..100).map(|_| join()));
        let (found, ()) = tokio::join!(all, async { answer.notify_one() });
        assert!(
            found
                .into_iter()
                .all(|found| found.expect("read").is_some())
        );
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        assert!(single_flight.0.is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn a_dropped_read_blocks_no_later_one() {
        let single_flight = SingleFlight::default();
        let key = SessionId::random().key();
        let never = || std::future::pending::<ReadResult>().boxed();
        assert!(single_flight.run(key, never).now_or_never().is_none());
        let found = single_flight.run(key, || async { Ok(None) }.boxed()).await;
        assert_eq!(found.expect("read"), None, "a read of its own");
    }
}
