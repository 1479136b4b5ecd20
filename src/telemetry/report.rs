//! Misconfigured reverse proxies, reported to the operator through authentik's event log.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::Throttle;

/// Reports that may wait for being sent; more are dropped.
const MAX_QUEUED: usize = 4;

/// A request that a reverse proxy should have sent otherwise. Holds no credentials: URLs are
/// without query, headers are chosen by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misconfiguration {
    /// What is wrong and what to do.
    pub message: String,
    /// Address of the client.
    pub client: IpAddr,
    /// What was asked for.
    pub url: String,
    /// Headers that show what the reverse proxy sends.
    pub headers: Vec<(&'static str, String)>,
}

/// Takes reports, at most one a minute: clients can cause them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reporter {
    sender: mpsc::Sender<Misconfiguration>,
    throttle: Arc<Throttle>,
}

impl Reporter {
    /// A reporter, and where its reports come out.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<Misconfiguration>) {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED);
        let throttle = Arc::default();
        (Self { sender, throttle }, receiver)
    }

    /// Passes a report on. It is made only when it is due; a full queue drops it.
    pub fn report(&self, make: impl FnOnce() -> Misconfiguration) {
        if self.throttle.should_log("") {
            let _ = self.sender.try_send(make());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_minute_however_many_are_caused() {
        let (reporter, mut reports) = Reporter::channel();
        let report = || Misconfiguration {
            message: "m".into(),
            client: [127, 0, 0, 1].into(),
            url: "u".into(),
            headers: vec![],
        };
        for _ in 0..10 {
            reporter.report(report);
        }
        assert_eq!(reports.try_recv().ok(), Some(report()));
        assert!(reports.try_recv().is_err());
    }
}
