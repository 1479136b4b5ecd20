//! The steps of logins, for `doctor --watch`. Without a reader no step is built and nothing is kept.
//!
//! The context of a request is local to its task, so that a step is published where it happens, without
//! a parameter through every layer.

mod event;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest;
use futures_util::future::BoxFuture;
use http::request::Parts;
use tokio::sync::broadcast::{self, error::RecvError};

use super::access_log::{MAX_HOST_BYTES, clipped};
use super::response::{GatewayResponse, RequestId};
use crate::clock::Clock;
use crate::model::{RequestedUrl, Scheme};
use crate::route::{LiveSession, Site};
use crate::web::request::inbound::Inbound;
use crate::web::request::navigation::is_navigation;
pub use event::{Event, Line, Response, SessionCookie, Step};

/// Lines that wait for a reader. A reader that is further behind is told how many it missed.
const MAX_WAITING_LINES: usize = 256;
/// Readers at once.
pub const MAX_READERS: usize = 4;
/// New sessions whose first request is awaited.
const MAX_NEW_SESSIONS: usize = 64;
/// Length of an error or a hint in an event, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// Publishes the steps of logins to readers. Cheap to clone; the default has no readers.
#[derive(Clone, Default)]
pub struct LoginWatch(Option<Arc<Shared>>);

struct Shared {
    clock: Clock,
    readers: AtomicUsize,
    lines: broadcast::Sender<Arc<str>>,
    /// Sessions that began while there were readers, until their first request.
    new_sessions: Mutex<VecDeque<Arc<LiveSession>>>,
}

impl LoginWatch {
    /// One that may have readers.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self(Some(Arc::new(Shared {
            clock,
            readers: AtomicUsize::new(0),
            lines: broadcast::Sender::new(MAX_WAITING_LINES),
            new_sessions: Mutex::default(),
        })))
    }

    /// Another reader; `None` if there are [`MAX_READERS`].
    #[must_use]
    pub fn read(&self) -> Option<LoginReader> {
        let shared = Arc::clone(self.0.as_ref()?);
        let one_more = |readers| (readers < MAX_READERS).then_some(readers + 1);
        let order = Ordering::Relaxed;
        let added = shared.readers.fetch_update(order, order, one_more);
        added.is_ok().then(|| LoginReader {
            lines: shared.lines.subscribe(),
            shared,
        })
    }

    /// The context of a request, if there are readers.
    pub(super) fn observe(&self, id: &RequestId, inbound: &Inbound<'_>) -> Option<Observed> {
        let shared = self.0.as_ref()?;
        if shared.readers.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(Observed(Arc::new(Request {
            shared: Arc::clone(shared),
            id: id.to_string(),
            client: inbound.client,
            progress: Mutex::new(Progress {
                host: host(inbound.host),
                scheme: inbound.scheme,
                application: None,
                login: None,
                has_steps: false,
            }),
        })))
    }
}

impl Shared {
    fn new_sessions(&self) -> MutexGuard<'_, VecDeque<Arc<LiveSession>>> {
        self.new_sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader of the steps of logins.
pub struct LoginReader {
    shared: Arc<Shared>,
    lines: broadcast::Receiver<Arc<str>>,
}

impl LoginReader {
    /// The next line. Safe to cancel.
    pub async fn next(&mut self) -> Option<Arc<str>> {
        match self.lines.recv().await {
            Ok(line) => Some(line),
            Err(RecvError::Lagged(missed)) => Some(Line::Missed(missed).to_json()),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for LoginReader {
    fn drop(&mut self) {
        if self.shared.readers.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.shared.new_sessions().clear();
        }
    }
}

/// A request while there are readers.
#[derive(Clone)]
pub(super) struct Observed(Arc<Request>);

struct Request {
    shared: Arc<Shared>,
    id: String,
    client: IpAddr,
    progress: Mutex<Progress>,
}

/// What is known of a request so far.
struct Progress {
    host: String,
    scheme: Scheme,
    application: Option<String>,
    login: Option<String>,
    has_steps: bool,
}

tokio::task_local! {
    /// The request that the task handles, if it is observed.
    static REQUEST: Observed;
}

/// Whether the task handles a request that is observed.
pub(super) fn is_observed() -> bool {
    REQUEST.try_with(|_| ()).is_ok()
}

/// Publishes a step of the request that the task handles, if it is observed.
pub(super) fn step(site: &Site, step: impl FnOnce() -> Step) {
    // An error is the usual case: there are no readers.
    let _ = REQUEST.try_with(|observed| {
        observed.0.progress().in_application(site);
        observed.0.publish(step());
    });
}

/// Publishes the step of a navigation to `url`.
pub(super) fn navigation(site: &Site, url: &RequestedUrl<'_>, navigation: impl FnOnce() -> Step) {
    let _ = REQUEST.try_with(|observed| {
        let mut progress = observed.0.progress();
        progress.in_application(site);
        progress.host = host(&url.authority().to_string());
        progress.scheme = url.scheme();
    });
    step(site, navigation);
}

/// Names the login that the steps of this request belong to, by its random value. A part of a hash
/// is published: the value is a secret, which PKCE verifier and nonce are derived from.
pub(super) fn login(random: &str) {
    let _ = REQUEST.try_with(|observed| {
        let digest = digest::digest(&digest::SHA256, random.as_bytes());
        let mut id = String::new();
        for byte in &digest.as_ref()[..4] {
            // Writing to a string cannot fail.
            let _ = write!(id, "{byte:02x}");
        }
        observed.0.progress().login = Some(id);
    });
}

/// Publishes that a session began, and awaits its first request.
pub(super) fn signed_in(site: &Site, session: &Arc<LiveSession>, signed_in: impl FnOnce() -> Step) {
    step(site, signed_in);
    let _ = REQUEST.try_with(|observed| {
        let mut sessions = observed.0.shared.new_sessions();
        if sessions.len() == MAX_NEW_SESSIONS {
            sessions.pop_front();
        }
        sessions.push_back(Arc::clone(session));
    });
}

impl Observed {
    /// Handles the request with its context. Boxed, so that the future of a request that is not
    /// observed stays as it is.
    pub(super) fn scope<'a, T: 'a>(
        &self,
        handling: impl Future<Output = T> + Send + 'a,
    ) -> BoxFuture<'a, T> {
        Box::pin(REQUEST.scope(self.clone(), handling))
    }

    /// Publishes what only the response tells: a failure, and the first request with a new session.
    pub(super) fn answered(&self, parts: &Parts, response: &GatewayResponse) {
        let request = &*self.0;
        let has_steps = request.progress().has_steps;
        match (&response.error, &response.session) {
            (Some(error), None) if has_steps || is_navigation(&parts.method, &parts.headers) => {
                if let Some(site) = &response.site {
                    request.progress().in_application(site);
                }
                let text = |text: &str| clipped(text, MAX_TEXT_BYTES).to_owned();
                request.publish(Step::Failed {
                    status: response.response.status().as_u16(),
                    error: text(&error.to_string()),
                    hint: error.hint.as_deref().map(text),
                });
            }
            (_, Some(session)) if !has_steps && request.takes_new(session) => {
                if let Some(site) = &response.site {
                    request.progress().in_application(site);
                }
                request.publish(Step::Accepted);
            }
            _ => {}
        }
    }
}

impl Request {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the first request with a session that began while there were readers.
    fn takes_new(&self, session: &LiveSession) -> bool {
        let mut sessions = self.shared.new_sessions();
        let found = sessions.iter().position(|new| new.has_same_token(session));
        found.is_some_and(|found| sessions.remove(found).is_some())
    }

    fn publish(&self, step: Step) {
        let mut progress = self.progress();
        progress.has_steps = true;
        let line = Line::Event(Event {
            time: self.shared.clock.now(),
            request_id: self.id.clone(),
            client: self.client,
            scheme: progress.scheme.as_str().to_owned(),
            host: progress.host.clone(),
            application: progress.application.clone(),
            login: progress.login.clone(),
            step,
        });
        // The last reader may have left.
        let _ = self.shared.lines.send(line.to_json());
    }
}

impl Progress {
    /// The request's own host may be that of the outpost; only a navigation tells the one that the
    /// user opened.
    fn in_application(&mut self, site: &Site) {
        if self.application.is_none() {
            self.application = Some(site.application.slug.clone());
            self.host = host(site.application.external.host());
        }
    }
}

fn host(text: &str) -> String {
    clipped(text, MAX_HOST_BYTES).to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::web::request::inbound::TrustedProxies;

    fn observe(watch: &LoginWatch) -> Option<Observed> {
        let request = http::Request::get("/path?query").header("host", "a.test");
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let peer = SocketAddr::from(([192, 0, 2, 7], 1));
        let trusted = TrustedProxies::new(Vec::new());
        let inbound = Inbound::read(&parts, peer, &trusted);
        watch.observe(&RequestId::of(&parts.headers, || false), &inbound)
    }

    #[test]
    fn requests_are_observed_while_there_are_readers() {
        assert!(observe(&LoginWatch::default()).is_none());
        assert!(LoginWatch::default().read().is_none(), "there is no socket");
        let watch = LoginWatch::new(Clock::manual(7));
        assert!(observe(&watch).is_none());
        let readers: Vec<_> = (0..MAX_READERS).map_while(|_| watch.read()).collect();
        assert_eq!(readers.len(), MAX_READERS);
        assert!(watch.read().is_none(), "there are enough");
        assert!(observe(&watch).is_some());
        drop(readers);
        assert!(observe(&watch).is_none());
        assert!(watch.read().is_some());
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_how_many_steps_it_missed() {
        let watch = LoginWatch::new(Clock::manual(7));
        let mut reader = watch.read().expect("the first");
        let observed = observe(&watch).expect("there is a reader");
        for _ in 0..MAX_WAITING_LINES + 44 {
            observed.0.publish(Step::Accepted);
        }
        let parse = |line: Option<Arc<str>>| -> Line {
            serde_json::from_str(&line.expect("a line")).expect("JSON")
        };
        assert_eq!(parse(reader.next().await), Line::Missed(44));
        for _ in 0..MAX_WAITING_LINES {
            let line = parse(reader.next().await);
            assert!(
                matches!(line, Line::Event(Event { time: 7, .. })),
                "{line:?}"
            );
        }
        assert!(reader.lines.is_empty());
    }

    #[tokio::test]
    async fn steps_belong_to_the_task_of_the_request() {
        let watch = LoginWatch::new(Clock::manual(7));
        let mut reader = watch.read().expect("the first");
        let observed = observe(&watch).expect("there is a reader");
        assert!(!is_observed());
        let login_id = observed.scope(async {
            assert!(is_observed());
            login("random");
            REQUEST.with(|observed| observed.0.progress().login.clone())
        });
        let id = login_id.await.expect("set");
        assert!(id.len() == 8 && !is_observed());
        observed.0.publish(Step::Accepted);
        let line = reader.next().await.expect("a line");
        assert!(line.contains(&id) && line.contains("a.test"), "{line}");
        assert!(!line.contains("path") && !line.contains("query"), "{line}");
    }
}
