//! The memory that websockets take on which nothing is said.

use std::net::SocketAddr;

use authentik_standin::nginx::resident;

use crate::{Proxies, Talk};

/// Websockets that are open at once.
const IDLE: usize = 1000;

/// Prints what each takes, per proxy. Needs about 10,000 open files (`ulimit -n`).
///
/// The outpost and the bare proxy share this process with clients and application, whose ends take
/// the same with each of them; what those take through nginx, where they are alone here, is
/// subtracted.
pub(crate) fn report(proxies: &Proxies) {
    let [(_, ours), (_, nginx), (_, bare)] = proxies.all;
    let own = || resident(std::process::id()).expect("this process runs");
    let theirs = || proxies.nginx.memory().expect("nginx runs");
    // All stay open until the end: memory that is given back would be used again, uncounted. A few
    // come first, for what is needed once.
    let mut talks = proxies
        .all
        .map(|(_, address)| open(proxies, address, 50))
        .into_iter()
        .collect::<Vec<_>>();
    let before = (own(), theirs());
    talks.push(open(proxies, nginx, IDLE));
    let (ends, nginx) = (each(before.0, own()), each(before.1, theirs()));
    let [ours, bare] = [ours, bare].map(|address| {
        let before = own();
        talks.push(open(proxies, address, IDLE));
        each(before, own()) - ends
    });
    println!(
        "upstream websocket, idle: {IDLE}: bytes for each: outpost {ours}, nginx {nginx}, bare {bare}"
    );
}

/// Opens them, without a word.
fn open(proxies: &Proxies, address: SocketAddr, connections: usize) -> Talk {
    let opened = Talk::new(address, connections, &proxies.outpost.cookie);
    proxies.runtime.block_on(opened)
}

fn each(before: u64, after: u64) -> i64 {
    let grown = i64::try_from(after).expect("small") - i64::try_from(before).expect("small");
    grown / i64::try_from(IDLE).expect("small")
}
