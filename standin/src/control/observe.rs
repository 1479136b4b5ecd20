//! What arrived at the stand-in, as tests see it.

use serde_json::Value;

use super::Standin;
use crate::state::requests::Recorded;

impl Standin {
    /// Every request since the start or the last [`clear_requests`](Self::clear_requests), oldest
    /// first; websocket handshakes too, and those that a fault was applied to. Only the latest
    /// 20 000 are kept.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared().lock().requests.0.iter().cloned().collect()
    }

    /// Waits until at least `n` remembered requests satisfy `wanted`.
    pub async fn wait_requests(&self, n: usize, wanted: impl Fn(&Recorded) -> bool) {
        self.shared()
            .wait_until(|state| state.requests.0.iter().filter(|r| wanted(r)).count() >= n)
            .await;
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.shared().lock().requests.0.clear();
    }

    /// The events that were accepted, oldest first: the JSON bodies as posted.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.shared().lock().events.clone()
    }

    /// The `args` of every hello, oldest first.
    #[must_use]
    pub fn hellos(&self) -> Vec<Value> {
        self.shared().lock().hellos.clone()
    }

    /// Waits until `n` hellos have arrived since the start.
    pub async fn wait_hellos(&self, n: usize) {
        self.shared()
            .wait_until(|state| state.hellos.len() >= n)
            .await;
    }

    /// How many websockets are connected.
    #[must_use]
    pub fn websockets(&self) -> usize {
        self.shared().lock().peers.len()
    }

    /// Waits until a websocket is connected that has said hello.
    pub async fn wait_websocket(&self) {
        self.shared()
            .wait_until(|state| state.peers.iter().any(|peer| peer.said_hello))
            .await;
    }

    /// The code of every close frame that a websocket's client sent first, oldest first; `None` is
    /// a frame without a code.
    #[must_use]
    pub fn closes(&self) -> Vec<Option<u16>> {
        self.shared().lock().closes.clone()
    }

    /// Waits until no websocket is connected.
    pub async fn wait_no_websocket(&self) {
        self.shared()
            .wait_until(|state| state.peers.is_empty())
            .await;
    }
}
