//! Where a login ends: at exactly the page that was asked for.

use crate::forward_auth::dialects::{ALL, Surface};
use crate::support::upstream::{self, Upstream, provider};
use crate::support::{Browser, World, location, raw};

const HOST: &str = "grafana.test";

/// What RFC 3986 allows in neither a path nor a query, and how `Location` has it.
const SPECIAL: (&str, &str) = ("/p?x={z}|\"<>\\^`", "/p?x=%7Bz%7D%7C%22%3C%3E%5C%5E%60");

#[tokio::test]
async fn what_a_url_has_as_escapes_only_is_escaped_in_a_return_target() {
    let world = World::with_grafana().await;
    for (rd, landing) in [
        ("%2Fpfad%2F%C3%BC", "/pfad/%C3%BC"),
        ("%2Fa%20b", "/a%20b"),
        ("http%3A%2F%2Fgrafana.test%2F%C3%BC%20b", "/%C3%BC%20b"),
        ("%2Flatin%2F%FC", "/latin/%FC"),
        ("%2Fp%3Fx%3D%7Bz%7D%7C%22%3C%3E%5C%5E%60", SPECIAL.1),
        ("/p?x={z}|\\", "/p?x=%7Bz%7D%7C%5C"),
        ("http://grafana.test//double//slash?x", "//double//slash?x"),
        (
            "/sub-delims!$&'()*+,;=:@/?%41",
            "/sub-delims!$&'()*+,;=:@/?%41",
        ),
    ] {
        let mut browser = Browser::default();
        let landed = browser.log_in(&world, HOST, rd).await;
        assert_eq!(landed, format!("http://{HOST}{landing}"), "{rd}");
    }
}

#[tokio::test]
async fn a_target_of_forward_auth_is_escaped_in_every_dialect() {
    let world = World::with_grafana().await;
    for surface in ALL.into_iter().filter(|surface| surface.redirects()) {
        for (asked, landing) in [
            ("/p?x={z}|\\", "/p?x=%7Bz%7D%7C%5C"),
            ("/a%20b/%C3%BC", "/a%20b/%C3%BC"),
            ("//double//slash?x", "//double//slash?x"),
        ] {
            let mut browser = Browser::default();
            let answer = surface.ask(&world, HOST, asked, &[]).await;
            assert_eq!(answer.status(), 302, "{surface:?} {asked}");
            browser.keep(HOST, answer.headers());
            let callback = Browser::authorize(&world, &location(&answer));
            let answer = browser.open(&world, HOST, &callback).await;
            let expected = format!("http://{HOST}{landing}");
            assert_eq!(location(&answer), expected, "{surface:?} {asked}");
        }
    }
    let answer = Surface::Traefik.ask(&world, HOST, SPECIAL.0, &[]).await;
    let callback = Browser::authorize(&world, &location(&answer));
    assert!(!callback.contains(['{', '"', '\\']), "{callback}");
}

#[tokio::test]
async fn a_target_in_proxy_mode_lands_with_all_its_slashes() {
    let mut upstream = Upstream::start().await;
    let world = upstream::world(provider(upstream.address), &[]).await;
    for (asked, landing) in [
        ("//double//slash?x", "//double//slash?x"),
        ("//evil.test/x", "//evil.test/x"),
        ("/p?x={z}|\\", "/p?x=%7Bz%7D%7C%5C"),
        ("/a\\b", "/a%5Cb"),
    ] {
        let host = upstream::HOST;
        // As it is: libraries change such targets.
        let request = format!("GET {asked} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw(world.address(), request.as_bytes()).await;
        let mut lines = answer.lines();
        let start = lines.find_map(|line| line.strip_prefix("location: http://app.test"));
        let start = start.unwrap_or_else(|| panic!("{asked}: {answer}"));
        let mut browser = Browser::default();
        let answer = browser.open(&world, host, start).await;
        let callback = Browser::authorize(&world, &location(&answer));
        let answer = browser.open(&world, host, &callback).await;
        assert_eq!(
            location(&answer),
            format!("http://{host}{landing}"),
            "{asked}"
        );
    }
    assert!(upstream.arrived().is_none(), "nothing is passed on");
}
