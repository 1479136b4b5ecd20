//! Published attacks on programs of this kind, each under its identifier, on every surface and in
//! both modes of forward auth. `docs/SECURITY.md` lists them with what is done about them.

mod addresses;
mod cookies;
mod cost;
mod exhaustion;
mod headers;
mod host_servers;
mod hosts;
mod identity;
mod own_paths;
mod paths;
mod random;
mod redirects;
mod tokens;
mod urls;

use authentik_standin::Provider;

use crate::support::{Browser, World};

const HOST: &str = "grafana.test";

/// An application that owns its host, and one that owns the whole domain. Everything below
/// `/public/` and `/open` itself pass without a session.
fn modes() -> [Provider; 2] {
    [
        Provider::forward_single("grafana", "http://grafana.test"),
        Provider::forward_domain("grafana", "http://auth.grafana.test", "grafana.test"),
    ]
    .map(|provider| Provider {
        skip_path_regex: "test/public/|^/public/\n/open$".into(),
        ..provider
    })
}

/// A world for each mode.
async fn worlds() -> [World; 2] {
    let [single, domain] = modes();
    [
        World::new(vec![single]).await,
        World::new(vec![domain]).await,
    ]
}

/// The cookies of a signed-in user.
async fn signed_in(world: &World) -> String {
    let mut browser = Browser::default();
    browser.log_in(world, HOST, "/").await;
    browser.cookies(HOST)
}

/// The session cookie among those, as name and value.
fn session_cookie(cookies: &str) -> (&str, &str) {
    let mut pairs = cookies.split("; ").filter_map(|pair| pair.split_once('='));
    let session = pairs.find(|(name, _)| !name.ends_with("_login"));
    session.expect("a session cookie")
}
