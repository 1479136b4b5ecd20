//! Sessions that browsers have in their cookies (`session.store: cookie`).

mod ends;
mod forged;
mod rights;
mod sessions;
mod sizes;

use authentik_proxy::app::App;
use authentik_standin::{Provider, Standin, User};

use crate::support::{Browser, PASSWORD, World, furnish, start, within};

pub(crate) const HOST: &str = "grafana.test";
pub(crate) const PAGE: &str = "http://grafana.test/d/x";

pub(crate) const STORE: (&str, &str) = ("AUTHENTIK_PROXY_SESSION__STORE", "cookie");
const REFUSE: (&str, &str) = ("AUTHENTIK_PROXY_SESSION__WHEN_UNCONFIRMED", "refuse");

/// An authentik with one application, without outposts.
pub(crate) async fn authentik() -> Standin {
    let authentik = Standin::builder().start().await.expect("started");
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    furnish(&authentik, vec![grafana]);
    authentik
}

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

/// Waits for an answer that comes by itself.
async fn becomes(world: &World, cookies: &str, wanted: u16) {
    within(async {
        while status(world, cookies).await != wanted {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Requests to an endpoint of authentik.
fn asked(authentik: &Standin, endpoint: &str) -> usize {
    let requests = authentik.requests();
    let path = format!("/application/o/{endpoint}/");
    requests.iter().filter(|r| r.path == path).count()
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
fn user(name: &str, groups: usize) -> User {
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
