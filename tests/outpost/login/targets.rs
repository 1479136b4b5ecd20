//! Where a login ends: at exactly the page that was asked for.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::forward_auth::dialects::{ALL, Surface};
use crate::support::upstream::{self, Upstream, provider};
use crate::support::{Browser, World, location, raw, text};

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

/// A path and query of this length, with all that RFC 3986 allows there.
fn long(length: usize) -> String {
    let start = "/long;a,b/%C3%BC?x=1&y=(~);z,!$'*+@:/?";
    format!("{start}{}", "x;y,".repeat(length))[..length].to_owned()
}

/// The names of the cookies that are set for the callback alone.
fn kept_for_callback(answer: &http::Response<bytes::Bytes>) -> Vec<String> {
    let cookies = answer.headers().get_all("set-cookie").iter();
    let texts = cookies.map(|cookie| cookie.to_str().expect("text"));
    let kept = texts.filter(|cookie| cookie.contains("; Path=/outpost.goauthentik.io/callback; "));
    kept.map(|cookie| {
        assert!(cookie.len() < 4096, "browsers accept no more");
        cookie.split('=').next().unwrap_or_default().to_owned()
    })
    .collect()
}

#[tokio::test]
async fn long_targets_land_exactly_and_are_stored_nowhere() {
    let world = World::with_grafana().await;
    for length in [4000, 4097, 6000, 8192] {
        let (target, url) = (long(length), format!("http://{HOST}{}", long(length)));
        let encoded = utf8_percent_encode(&url, NON_ALPHANUMERIC).to_string();
        for rd in [target.as_str(), &url, &encoded] {
            let mut browser = Browser::default();
            let start = format!("/outpost.goauthentik.io/start?rd={rd}");
            let answer = browser.open(&world, HOST, &start).await;
            assert_eq!(answer.status(), 302, "{length}");
            assert!(location(&answer).len() < 8000, "authentik has to accept it");
            assert_eq!(kept_for_callback(&answer).is_empty(), length <= 4000);
            assert!(world.outpost.store().is_empty(), "there is no session yet");
            let callback = Browser::authorize(&world, &location(&answer));
            let answer = browser.open(&world, HOST, &callback).await;
            assert_eq!(location(&answer), url, "{length}");
            assert!(
                !browser.cookies(HOST).contains("_login_"),
                "they are removed"
            );
            world.authentik.end_sessions_of("alice");
            world.until(|world| world.outpost.store().is_empty()).await;
        }
        for surface in ALL.into_iter().filter(|surface| surface.redirects()) {
            let mut browser = Browser::default();
            let answer = surface.ask(&world, HOST, &target, &[]).await;
            browser.keep(HOST, answer.headers());
            let callback = Browser::authorize(&world, &location(&answer));
            let answer = browser.open(&world, HOST, &callback).await;
            assert_eq!(location(&answer), url, "{surface:?} {length}");
        }
        world.authentik.end_sessions_of("alice");
        world.until(|world| world.outpost.store().is_empty()).await;
    }
}

#[tokio::test]
async fn long_targets_land_exactly_in_proxy_mode() {
    let upstream = Upstream::start().await;
    let world = upstream::world(provider(upstream.address), &[]).await;
    for length in [4000, 8192] {
        let mut browser = Browser::default();
        let mut answer = browser.open(&world, upstream::HOST, &long(length)).await;
        if let Some(start) = location(&answer).strip_prefix("http://app.test") {
            answer = browser.open(&world, upstream::HOST, start).await;
        }
        let callback = Browser::authorize(&world, &location(&answer));
        let answer = browser.open(&world, upstream::HOST, &callback).await;
        let expected = format!("http://{}{}", upstream::HOST, long(length));
        assert_eq!(location(&answer), expected, "{length}");
    }
    let answer = world.get(&long(9000), upstream::HOST, &[]).await;
    assert_eq!(answer.status(), 414);
    assert!(text(&answer).contains("The address is too long"));
}

#[tokio::test]
async fn targets_above_8_kib_are_refused_with_a_page() {
    let world = World::with_grafana().await;
    let target = long(9000);
    let start = format!("/outpost.goauthentik.io/start?rd={target}");
    let mut answers = vec![world.get(&start, HOST, &[]).await];
    for surface in ALL.into_iter().filter(|surface| surface.redirects()) {
        answers.push(surface.ask(&world, HOST, &target, &[]).await);
    }
    for answer in answers {
        assert_eq!(answer.status(), 414);
        assert!(!answer.headers().contains_key("set-cookie"));
        let page = text(&answer);
        assert!(page.contains("The address is too long"), "{page}");
    }
}

#[tokio::test]
async fn a_long_target_that_the_browser_lost_or_another_host_replaced_leads_nowhere() {
    let world = World::with_grafana().await;
    for replaced in [
        None,
        Some("http://evil.test/"),
        Some("http://grafana.test/other"),
    ] {
        let mut browser = Browser::default();
        let start = format!("/outpost.goauthentik.io/start?rd={}", long(5000));
        let answer = browser.open(&world, HOST, &start).await;
        let kept = kept_for_callback(&answer);
        assert_eq!(kept.len(), 2);
        let callback = Browser::authorize(&world, &location(&answer));
        let cookies = browser.cookies(HOST);
        let own = cookies
            .split("; ")
            .filter(|cookie| !cookie.contains("_login_"));
        let mut sent = own.collect::<Vec<_>>().join("; ");
        if let Some(value) = replaced {
            sent = format!("{sent}; {}={value}", kept[0]);
        }
        let answer = world.get(&callback, HOST, &[("cookie", &sent)]).await;
        assert_eq!(answer.status(), 200, "{replaced:?}");
        assert!(!answer.headers().contains_key("location"));
        assert!(text(&answer).contains("Please open it again"));
        browser.keep(HOST, answer.headers());
        let cookies = browser.cookies(HOST);
        let answer = world.nginx("http://grafana.test/x", &cookies, &[]).await;
        assert_eq!(answer.status(), 200, "signed in");
    }
}
