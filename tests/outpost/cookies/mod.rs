//! Sessions that browsers have in their cookies (`session.store: cookie`).

mod ends;
mod forged;
mod rights;
mod sessions;
mod sizes;

use authentik_proxy::app::App;
use authentik_standin::{Standin, User};

pub(crate) use crate::redis::replicas::{HOST, PAGE, authentik};
use crate::support::{Browser, PASSWORD, World, get, start, text};

pub(crate) const STORE: (&str, &str) = ("AUTHENTIK_PROXY_SESSION__STORE", "cookie");
/// What the cookies of a session with 400 groups need.
pub(crate) const LARGE: (&str, &str) = ("AUTHENTIK_PROXY_SESSION__COOKIE_MAX_BYTES", "28KiB");
const REFUSE: (&str, &str) = ("AUTHENTIK_PROXY_SESSION__WHEN_UNCONFIRMED", "refuse");

/// A replica that is configured and, unless websockets are refused, connected.
pub(crate) async fn replica(authentik: &Standin, more: &[(&str, &str)]) -> World {
    let outpost: App = start(authentik, &[&[STORE], more].concat()).await;
    let authentik = authentik.clone();
    let world = World { authentik, outpost };
    world
        .until(|world| world.outpost.live().load().outpost.is_some())
        .await;
    world
}

/// The same, once it receives the ends of sessions.
async fn connected(authentik: &Standin, more: &[(&str, &str)]) -> World {
    let world = replica(authentik, more).await;
    world
        .until(|world| world.outpost.live().health().is_connected())
        .await;
    world
}

pub(crate) async fn status(world: &World, cookies: &str) -> u16 {
    world.nginx(PAGE, cookies, &[]).await.status().as_u16()
}

/// Requests to an endpoint of authentik.
fn asked(authentik: &Standin, endpoint: &str) -> usize {
    let requests = authentik.requests();
    let path = format!("/application/o/{endpoint}/");
    requests.iter().filter(|r| r.path == path).count()
}

/// Sessions that a replica found in memory, and texts of cookies that it tried to decrypt.
async fn found_and_decrypted(world: &World) -> (usize, usize) {
    let address = world.outpost.metrics_addresses()[0];
    let metrics = get(address, "/metrics", "localhost", &[]).await;
    let metrics = text(&metrics);
    let count = |result: &str| {
        let name = "authentik_outpost_session_cache_requests_total";
        let start = format!("{name}{{result=\"{result}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&*start));
        line.expect("a counter").parse().expect("a number")
    };
    (count("hit"), count("miss"))
}

/// The names and values of a `Cookie` header.
fn pairs(cookies: &str) -> Vec<(&str, &str)> {
    let pairs = cookies.split("; ").filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(name, _)| !name.ends_with("_login"))
        .collect()
}

fn header(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
    pairs.join("; ")
}

/// A user with as many groups.
pub(crate) fn user(name: &str, groups: usize) -> User {
    // Names that hardly compress.
    let group = |n: usize| {
        let hash = (n as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(17);
        format!(
            "{hash:016x}{:016x}",
            hash.wrapping_mul(0xd6e8_feb8_6659_fd93)
        )
    };
    User {
        groups: (0..groups).map(group).collect(),
        ..User::new(name, PASSWORD)
    }
}

async fn sign_in(world: &World) -> String {
    let mut browser = Browser::default();
    browser.log_in(world, HOST, PAGE).await;
    browser.cookies(HOST)
}
