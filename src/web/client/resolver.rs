//! DNS: the system's resolver, with stale answers while it fails (RFC 8767).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo};
use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use quick_cache::sync::Cache;
use tower_service::Service;

use crate::telemetry::Throttle;

/// Names whose addresses are cached.
const MAX_NAMES: usize = 1024;
/// How long a stale answer is used while look-ups fail (RFC 8767 section 6).
const MAX_STALE: Duration = Duration::from_hours(24);
/// A look-up that takes longer counts as failed if there is a stale answer (RFC 8767 section 5).
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(1800);
/// Minimum time between a failed look-up and the next one of the same name.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum DnsError {
    /// DNS denies the name (NXDOMAIN) or its addresses.
    #[error("{0}")]
    Absent(io::Error),
    /// DNS fails (SERVFAIL, time-out).
    #[error("{0}")]
    Unanswered(io::Error),
}

type Addresses = Vec<SocketAddr>;
type LookUp = dyn Fn(Name) -> BoxFuture<'static, Result<Addresses, DnsError>> + Send + Sync;

/// Resolves names; while DNS fails, the last answer is used for a day. Cheap to clone; clones share
/// the cache.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

struct Shared {
    look_up: Box<LookUp>,
    timeout: Duration,
    known: Cache<Name, Known>,
    throttle: Throttle,
}

#[derive(Clone)]
struct Known {
    addresses: Addresses,
    /// When DNS answered.
    learnt: Instant,
    /// When DNS failed since then.
    failed: Option<Instant>,
}

impl Resolver {
    /// Asks the system's resolver.
    pub(super) fn system() -> Self {
        Self::over(system, LOOKUP_TIMEOUT)
    }

    fn over<L, F>(look_up: L, timeout: Duration) -> Self
    where
        L: Fn(Name) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Addresses, DnsError>> + Send + 'static,
    {
        Self(Arc::new(Shared {
            look_up: Box::new(move |name| Box::pin(look_up(name))),
            timeout,
            known: Cache::new(MAX_NAMES),
            throttle: Throttle::default(),
        }))
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { Ok(shared.resolve(name).await?.into_iter()) })
    }
}

impl Shared {
    async fn resolve(&self, name: Name) -> Result<Addresses, DnsError> {
        let known = self.known.get(&name);
        let Some(known) = known.filter(|known| known.learnt.elapsed() < MAX_STALE) else {
            let addresses = (self.look_up)(name.clone()).await?;
            return Ok(self.learn(name, addresses));
        };
        if known
            .failed
            .is_some_and(|when| when.elapsed() < RETRY_INTERVAL)
        {
            return Ok(known.addresses);
        }
        let looked_up = (self.look_up)(name.clone());
        let failure = match tokio::time::timeout(self.timeout, looked_up).await {
            Ok(Ok(addresses)) => return Ok(self.learn(name, addresses)),
            Ok(Err(error @ DnsError::Absent(_))) => {
                self.known.remove(&name);
                return Err(error);
            }
            Ok(Err(DnsError::Unanswered(error))) => error.to_string(),
            Err(_) => format!("no answer within {:?}", self.timeout),
        };
        // By the error alone: in an outage, all names fail alike.
        if self.throttle.should_log(&failure) {
            tracing::warn!(
                error = failure,
                hint = "check the cluster's DNS",
                "DNS lookup of {} fails, using its last known addresses",
                name.as_str(),
            );
        }
        let addresses = known.addresses.clone();
        let failed = Some(Instant::now());
        self.known.insert(name, Known { failed, ..known });
        Ok(addresses)
    }

    fn learn(&self, name: Name, addresses: Addresses) -> Addresses {
        let known = Known {
            addresses: addresses.clone(),
            learnt: Instant::now(),
            failed: None,
        };
        self.known.insert(name, known);
        addresses
    }
}

/// The C library's resolver, the only one that knows all name sources of a system.
async fn system(name: Name) -> Result<Addresses, DnsError> {
    let hints = AddrInfoHints {
        socktype: SockType::Stream.into(),
        ..AddrInfoHints::default()
    };
    let looked_up = tokio::task::spawn_blocking(move || {
        let found = getaddrinfo(Some(name.as_str()), None, Some(hints))?;
        let addresses = found.map(|found| found.map(|found| found.sockaddr));
        Ok(addresses.collect::<io::Result<Addresses>>()?)
    });
    match looked_up.await {
        Ok(found) => found.map_err(|error: LookupError| error.into()),
        // The program ends.
        Err(error) => Err(DnsError::Unanswered(error.into())),
    }
}

impl From<LookupError> for DnsError {
    fn from(error: LookupError) -> Self {
        match error.kind() {
            LookupErrorKind::NoName | LookupErrorKind::NoData => Self::Absent(error.into()),
            _ => Self::Unanswered(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Mutex;

    use super::*;

    type Answer = Result<Addresses, DnsError>;

    /// What DNS says to each question; nothing at all to further ones.
    fn scripted(answers: Vec<Answer>, timeout: Duration) -> Resolver {
        let answers = Mutex::new(answers.into_iter());
        Resolver::over(
            move |_| {
                let next = answers.lock().expect("no panic").next();
                async move {
                    match next {
                        Some(answer) => answer,
                        None => pending().await,
                    }
                }
            },
            timeout,
        )
    }

    fn at(last: u8) -> Addresses {
        vec![SocketAddr::from(([10, 0, 0, last], 0))]
    }

    fn unanswered() -> Answer {
        Err(DnsError::Unanswered(io::Error::other("no server")))
    }

    fn absent() -> Answer {
        Err(DnsError::Absent(io::Error::other("no such name")))
    }

    async fn ask(resolver: &Resolver) -> Option<Addresses> {
        let name = "grafana.monitoring".parse().expect("a name");
        let found = resolver.clone().call(name).await;
        match found {
            Ok(addresses) => Some(addresses.collect()),
            Err(error) => {
                assert!(error.is::<DnsError>(), "{error}");
                None
            }
        }
    }

    /// As if the pause after a failure were over.
    fn go_on(resolver: &Resolver) {
        let names: Vec<_> = resolver.0.known.iter().collect();
        for (name, known) in names {
            let known = Known {
                failed: None,
                ..known
            };
            resolver.0.known.insert(name, known);
        }
    }

    #[tokio::test]
    async fn stale_answers_are_served_while_dns_is_silent() {
        let answers = vec![Ok(at(1)), Ok(at(2)), unanswered(), Ok(at(3))];
        let resolver = scripted(answers, LOOKUP_TIMEOUT);
        assert_eq!(ask(&resolver).await, Some(at(1)));
        assert_eq!(ask(&resolver).await, Some(at(2)), "it moved");
        assert_eq!(ask(&resolver).await, Some(at(2)), "an outage");
        assert_eq!(ask(&resolver).await, Some(at(2)), "without asking again");
        go_on(&resolver);
        assert_eq!(ask(&resolver).await, Some(at(3)), "the outage is over");
    }

    #[tokio::test]
    async fn a_dns_server_that_never_answers_delays_no_request() {
        let resolver = scripted(vec![Ok(at(1))], Duration::from_millis(10));
        assert_eq!(ask(&resolver).await, Some(at(1)));
        assert_eq!(ask(&resolver).await, Some(at(1)));
        assert_eq!(ask(&resolver).await, Some(at(1)));
    }

    #[tokio::test]
    async fn a_name_that_is_gone_is_forgotten() {
        let answers = vec![unanswered(), Ok(at(1)), absent(), unanswered()];
        let resolver = scripted(answers, LOOKUP_TIMEOUT);
        assert_eq!(ask(&resolver).await, None, "never known");
        assert_eq!(ask(&resolver).await, Some(at(1)));
        assert_eq!(
            ask(&resolver).await,
            None,
            "others may have its address now"
        );
        assert_eq!(ask(&resolver).await, None, "and it is not cached");
    }

    #[tokio::test]
    async fn names_are_remembered_for_a_day() {
        let resolver = scripted(vec![Ok(at(1)), unanswered()], LOOKUP_TIMEOUT);
        assert_eq!(ask(&resolver).await, Some(at(1)));
        let (name, known) = resolver.0.known.iter().next().expect("remembered");
        let Some(learnt) = known.learnt.checked_sub(MAX_STALE) else {
            // The machine runs for less than a day.
            return;
        };
        resolver.0.known.insert(name, Known { learnt, ..known });
        assert_eq!(ask(&resolver).await, None);
    }

    #[tokio::test]
    async fn the_systems_resolver_is_asked() {
        let found = system("localhost".parse().expect("a name")).await;
        let found = found.expect("it has addresses");
        assert!(found.iter().all(|address| address.ip().is_loopback()));
        // DNS says that there is none, or there is no DNS.
        let error = system("no-such-name.invalid".parse().expect("a name")).await;
        error.expect_err("it has none");
    }
}
