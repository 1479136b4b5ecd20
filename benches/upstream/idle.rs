//! Memory of idle websockets.

use std::net::SocketAddr;

use authentik_standin::nginx::resident;

use crate::{Proxies, Talk};

/// Open websockets.
const IDLE: usize = 1000;

/// Prints the memory of each, per proxy. Needs about 10,000 open files (`ulimit -n`).
///
/// The outpost and the bare proxy share this process with clients and application, whose ends take
/// the same memory with each of them; their memory with nginx, where they are alone in this process,
/// is subtracted.
pub(crate) fn report(proxies: &Proxies) {
    let [(_, outpost), (_, nginx), (_, bare)] = proxies.all;
    let own = || resident(std::process::id()).expect("this process runs");
    let nginx_memory = || proxies.nginx.memory().expect("nginx runs");
    // All stay open until the end: freed memory would be reused without being counted. A few come
    // first, to warm up.
    let mut talks = proxies
        .all
        .map(|(_, address)| open(proxies, address, 50))
        .into_iter()
        .collect::<Vec<_>>();
    let before = (own(), nginx_memory());
    talks.push(open(proxies, nginx, IDLE));
    let (ends, nginx) = (each(before.0, own()), each(before.1, nginx_memory()));
    let [outpost, bare] = [outpost, bare].map(|address| {
        let before = own();
        talks.push(open(proxies, address, IDLE));
        each(before, own()) - ends
    });
    println!(
        "upstream websocket, idle: {IDLE}: bytes for each: outpost {outpost}, nginx {nginx}, bare {bare}"
    );
}

/// Opens websockets and sends nothing.
fn open(proxies: &Proxies, address: SocketAddr, connections: usize) -> Talk {
    let opened = Talk::new(address, connections, &proxies.outpost.cookie);
    proxies.runtime.block_on(opened)
}

fn each(before: u64, after: u64) -> i64 {
    let grown = i64::try_from(after).expect("small") - i64::try_from(before).expect("small");
    grown / i64::try_from(IDLE).expect("small")
}
