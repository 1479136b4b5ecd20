//! Limits on open connections, in all and per client address, and the choice of the one that is
//! evicted at a limit.
//!
//! The limiter works when a connection is accepted and when it is closed, never for a request.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use crate::web::request::inbound::{Source, TrustedProxies, client_network};

/// Connections beyond the limit that are accepted while all others are busy. They serve probes only.
const RESERVED_FOR_PROBES: usize = 32;
/// Connections examined at most to find an idle one.
const MAX_SCANNED: usize = 1024;

/// The limits, in connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// In all.
    pub(super) total: usize,
    /// Of one client address.
    pub(super) per_client: usize,
    /// Of one trusted proxy.
    pub(super) per_proxy: usize,
}

/// Limits the connections of the listeners that share it.
pub(super) struct ConnectionLimiter {
    bounds: Bounds,
    trusted: TrustedProxies,
    ordinary: Mutex<Table>,
    reserved: Mutex<Table>,
}

/// The right to keep a connection open; given back when dropped.
pub(super) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    number: u64,
    /// Whether the connection serves probes only.
    pub(super) is_reserved: bool,
    /// The requests of the connection.
    pub(super) activity: Activity,
    /// Cancelled when the connection is evicted.
    pub(super) evicted: CancellationToken,
}

impl ConnectionLimiter {
    pub(super) fn new(bounds: Bounds, trusted: TrustedProxies) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            trusted,
            ordinary: Mutex::default(),
            reserved: Mutex::default(),
        })
    }

    /// A permit for a connection from `address`. At a limit, the oldest idle connection is evicted,
    /// at the limit of a client one of its own. `None` if no connection is idle.
    pub(super) fn acquire(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPermit> {
        let Bounds { total, .. } = self.bounds;
        let (client, each) = self.source_of(address);
        for (is_reserved, total, each) in [
            (false, total, each),
            (true, RESERVED_FOR_PROBES, RESERVED_FOR_PROBES),
        ] {
            let connection = Connection {
                turn: 0,
                client,
                activity: Activity::default(),
                evicted: CancellationToken::new(),
            };
            let (activity, evicted) = (connection.activity.clone(), connection.evicted.clone());
            if let Some(number) = self.table(is_reserved).insert(connection, total, each) {
                return Some(ConnectionPermit {
                    limiter: Arc::clone(self),
                    number,
                    is_reserved,
                    activity,
                    evicted,
                });
            }
        }
        None
    }

    /// Evicts idle connections, the oldest first.
    pub(super) fn evict_idle(&self, connections: usize) {
        let mut table = self.table(false);
        for _ in 0..connections {
            table.evict(None);
        }
    }

    /// The source that a connection counts for, and the limit of that source. A trusted proxy shares
    /// its limit with no other address, not even of its own network.
    fn source_of(&self, address: IpAddr) -> (Source, usize) {
        if self.trusted.contains(address) {
            (Source::Proxy(address.to_canonical()), self.bounds.per_proxy)
        } else {
            (
                Source::Client(client_network(address)),
                self.bounds.per_client,
            )
        }
    }

    fn table(&self, is_reserved: bool) -> MutexGuard<'_, Table> {
        let table = if is_reserved {
            &self.reserved
        } else {
            &self.ordinary
        };
        table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionPermit {
    /// Counts the connection for `address`, the client that a load balancer named. `false` if that
    /// client is at its limit.
    #[must_use]
    pub(super) fn assign_to(&self, address: IpAddr) -> bool {
        let (client, each) = self.limiter.source_of(address);
        let mut table = self.limiter.table(self.is_reserved);
        table.assign(self.number, client, each)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.table(self.is_reserved).remove(self.number);
    }
}

struct Connection {
    /// Position in the order of eviction.
    turn: u64,
    client: Source,
    activity: Activity,
    evicted: CancellationToken,
}

/// Numbers of connections by turn: the first is evicted first.
type Queue = BTreeMap<u64, u64>;

/// Open connections by number.
#[derive(Default)]
struct Table {
    last: u64,
    connections: HashMap<u64, Connection>,
    queue: Queue,
    clients: HashMap<Source, Queue>,
}

impl Table {
    /// Adds a connection, evicting another one where a limit is reached. Returns its number.
    fn insert(&mut self, connection: Connection, total: usize, each: usize) -> Option<u64> {
        let client = connection.client;
        if self.is_full(client, each) && !self.evict(Some(client)) {
            return None;
        }
        if self.connections.len() >= total && !self.evict(None) {
            return None;
        }
        let number = self.next();
        self.enqueue(number, connection);
        Some(number)
    }

    fn is_full(&self, client: Source, each: usize) -> bool {
        let queue = self.clients.get(&client);
        queue.is_some_and(|queue| queue.len() >= each)
    }

    fn assign(&mut self, number: u64, client: Source, each: usize) -> bool {
        let Some(connection) = self.remove(number) else {
            // Evicted meanwhile.
            return false;
        };
        if self.is_full(client, each) && !self.evict(Some(client)) {
            return false;
        }
        self.enqueue(
            number,
            Connection {
                client,
                ..connection
            },
        );
        true
    }

    /// Evicts the first idle connection in the queue, or in that of a source. Returns whether there was
    /// one. Connections that are busy or were used since the last scan move to the end of the queue
    /// (second chance).
    fn evict(&mut self, of: Option<Source>) -> bool {
        let queue = |table: &Self| match of {
            Some(client) => table
                .clients
                .get(&client)
                .map(|queue| (queue.len(), first(queue))),
            None => Some((table.queue.len(), first(&table.queue))),
        };
        let length = queue(self).map_or(0, |(length, _)| length);
        for _ in 0..MAX_SCANNED.min(2 * length) {
            let first = queue(self).and_then(|(_, first)| first);
            let Some((number, connection)) = first.and_then(|number| {
                let connection = self.remove(number)?;
                Some((number, connection))
            }) else {
                return false;
            };
            if connection.activity.is_unused() {
                connection.evicted.cancel();
                return true;
            }
            self.enqueue(number, connection);
        }
        false
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn enqueue(&mut self, number: u64, connection: Connection) {
        let turn = self.next();
        self.queue.insert(turn, number);
        let queue = self.clients.entry(connection.client).or_default();
        queue.insert(turn, number);
        self.connections
            .insert(number, Connection { turn, ..connection });
    }

    fn remove(&mut self, number: u64) -> Option<Connection> {
        let connection = self.connections.remove(&number)?;
        self.queue.remove(&connection.turn);
        if let Some(queue) = self.clients.get_mut(&connection.client) {
            queue.remove(&connection.turn);
            if queue.is_empty() {
                self.clients.remove(&connection.client);
            }
        }
        Some(connection)
    }
}

fn first(queue: &Queue) -> Option<u64> {
    queue.first_key_value().map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(total: usize, per_client: usize, per_proxy: usize) -> Arc<ConnectionLimiter> {
        let bounds = Bounds {
            total,
            per_client,
            per_proxy,
        };
        let trusted = vec!["10.0.0.0/8".parse().expect("a network")];
        ConnectionLimiter::new(bounds, TrustedProxies::new(trusted))
    }

    fn acquire(limiter: &Arc<ConnectionLimiter>, address: &str) -> Option<ConnectionPermit> {
        limiter.acquire(address.parse().expect(address))
    }

    fn evicted(permits: &[ConnectionPermit]) -> Vec<usize> {
        let evicted = permits.iter().enumerate();
        let evicted = evicted.filter(|(_, permit)| permit.evicted.is_cancelled());
        evicted.map(|(index, _)| index).collect()
    }

    #[test]
    fn ap_2026_04_the_oldest_idle_connection_is_evicted() {
        let limiter = limiter(3, 3, 3);
        let clients = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
        let mut permits: Vec<_> = clients
            .map(|c| acquire(&limiter, c).expect("a permit"))
            .into();
        let busy = permits[0].activity.begin();
        drop(permits[1].activity.begin());
        // The first is busy, the second was in use a moment ago.
        permits.push(acquire(&limiter, "192.0.2.4").expect("a permit"));
        assert_eq!(evicted(&permits), [2]);
        drop(busy);
        for expected in [&[1, 2][..], &[1, 2, 3], &[0, 1, 2, 3]] {
            permits.push(acquire(&limiter, "192.0.2.4").expect("a permit"));
            assert_eq!(evicted(&permits), expected);
        }
        assert!(permits.iter().all(|permit| !permit.is_reserved));
    }

    #[test]
    fn ap_2026_04_neighbours_of_a_trusted_proxy_have_no_part_in_its_limit() {
        let bounds = Bounds {
            total: 9,
            per_client: 2,
            per_proxy: 4,
        };
        let trusted = vec!["fd00::5/128".parse().expect("a network")];
        let limiter = ConnectionLimiter::new(bounds, TrustedProxies::new(trusted));
        let mut permits: Vec<_> = (0..4)
            .map(|_| acquire(&limiter, "fd00::5").expect("a permit"))
            .collect();
        for _ in 0..3 {
            permits.push(acquire(&limiter, "fd00::6").expect("a permit"));
        }
        assert_eq!(evicted(&permits), [4], "its own oldest one");
    }

    #[test]
    fn ap_2026_04_clients_and_trusted_proxies_have_limits_of_their_own() {
        for (addresses, most) in [
            (["192.0.2.1", "192.0.2.1"], 2),
            (["192.0.2.1", "::ffff:192.0.2.1"], 2),
            (["2001:db8::1", "2001:db8::ffff:0:0:1"], 2),
            (["10.0.0.1", "10.0.0.1"], 4),
        ] {
            let limiter = limiter(100, 2, 4);
            let other = acquire(&limiter, "2001:db8:0:1::1").expect("a permit");
            let mut permits = Vec::new();
            for address in addresses.iter().cycle().take(most) {
                permits.push(acquire(&limiter, address).expect("a permit"));
            }
            assert_eq!(evicted(&permits), [0; 0], "{addresses:?}");
            permits.push(acquire(&limiter, addresses[0]).expect("a permit"));
            assert_eq!(evicted(&permits), [0], "{addresses:?}");
            assert!(!other.evicted.is_cancelled(), "{addresses:?}");
        }
    }

    #[test]
    fn ap_2026_04_connections_are_reserved_for_probes() {
        let limiter = limiter(2, 2, 2);
        let busy: Vec<_> = (0..2)
            .map(|_| acquire(&limiter, "192.0.2.1").expect("a permit"))
            .collect();
        let in_flight: Vec<_> = busy.iter().map(|permit| permit.activity.begin()).collect();
        let reserve: Vec<_> = (0..2 * RESERVED_FOR_PROBES)
            .map(|_| acquire(&limiter, "192.0.2.2").expect("a permit"))
            .collect();
        assert!(reserve.iter().all(|permit| permit.is_reserved));
        assert_eq!(evicted(&busy), [0; 0]);
        assert_eq!(evicted(&reserve).len(), RESERVED_FOR_PROBES);
        let _in_flight: Vec<_> = reserve.iter().map(|p| p.activity.begin()).collect();
        assert!(acquire(&limiter, "192.0.2.3").is_none());
        drop((in_flight, busy));
        let permit = acquire(&limiter, "192.0.2.3").expect("a permit");
        assert!(!permit.is_reserved);
    }

    #[test]
    fn ap_2026_04_a_connection_counts_for_the_client_that_a_load_balancer_names() {
        let limiter = limiter(100, 1, 100);
        let first = acquire(&limiter, "10.0.0.1").expect("a permit");
        assert!(first.assign_to("192.0.2.1".parse().expect("an address")));
        let second = acquire(&limiter, "10.0.0.1").expect("a permit");
        let _busy = first.activity.begin();
        assert!(!second.assign_to("192.0.2.1".parse().expect("an address")));
    }

    #[test]
    fn permits_are_given_back() {
        let limiter = limiter(1, 1, 1);
        for _ in 0..3 {
            let permit = acquire(&limiter, "192.0.2.1").expect("a permit");
            let _busy = permit.activity.begin();
            assert!(!permit.is_reserved);
        }
        let table = limiter.table(false);
        assert!(table.connections.is_empty() && table.queue.is_empty());
        assert!(table.clients.is_empty());
    }
}
