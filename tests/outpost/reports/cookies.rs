//! Cookies of the outpost among those of others.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{WAYS, Way};
use crate::forward_auth::dialects::Surface;
use crate::support::upstream::{HOST, alice};
use crate::support::{Browser, NAVIGATION, World, location, within};

/// thomseddon/traefik-forward-auth#238, oauth2-proxy/oauth2-proxy#2163: a cookie for each login that
/// starts, until servers refuse the header.
#[tokio::test]
async fn many_logins_that_start_leave_one_small_cookie() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    for number in 0..100 {
        let start = format!("/outpost.goauthentik.io/start?rd=/page/{number}");
        let answer = browser.open(&world, "grafana.test", &start).await;
        assert_eq!(answer.status(), 302, "{number}");
    }
    let cookies = browser.cookies("grafana.test");
    assert_eq!(cookies.matches('=').count(), 1, "{cookies}");
    assert!(cookies.len() < 512, "{cookies}");
    let landing = browser.log_in(&world, "grafana.test", "/page/x").await;
    assert_eq!(landing, "http://grafana.test/page/x");
}

/// oauth2-proxy/oauth2-proxy#2606: a login cookie of the same name, of a parent domain, is sent first or
/// last. oauth2-proxy/oauth2-proxy#3269: so are cookies of other instances.
#[tokio::test]
async fn a_login_succeeds_beside_cookies_of_the_same_name() {
    let world = World::with_grafana().await;
    let host = "grafana.test";
    let mut other = Browser::default();
    other
        .open(&world, host, "/outpost.goauthentik.io/start?rd=/old")
        .await;
    let stale = other.cookies(host);
    let name = stale.split('=').next().expect("a name").to_owned();
    let foreign = "authentik_proxy_00000000=abc.def; authentik_proxy_00000000_login=x.1.2.3.4";
    for more in [
        stale.as_str(),
        &format!("{name}=garbage"),
        &format!("{name}="),
        foreign,
    ] {
        for first in [true, false] {
            let both = |own: &str| match (own.is_empty(), first) {
                (true, _) => more.to_owned(),
                (false, true) => format!("{more}; {own}"),
                (false, false) => format!("{own}; {more}"),
            };
            let mut browser = Browser::default();
            let start = "/outpost.goauthentik.io/start?rd=/page";
            let answer = world.get(start, host, &[("cookie", more)]).await;
            browser.keep(host, answer.headers());
            let callback = Browser::authorize(&world, &location(&answer));
            let sent = both(&browser.cookies(host));
            let answer = world.get(&callback, host, &[("cookie", &sent)]).await;
            assert_eq!(
                location(&answer),
                "http://grafana.test/page",
                "{more} {first}"
            );
            browser.keep(host, answer.headers());
            let sent = both(&browser.cookies(host));
            let answer = Surface::Traefik
                .ask(&world, host, "/page", &[("cookie", &sent)])
                .await;
            assert_eq!(answer.status(), 200, "{more} {first}");
        }
    }
}

/// cloudflare/pingora#892, mitmproxy/mitmproxy#5337: browsers send each cookie in a field of its own over
/// HTTP/2, and an application that speaks HTTP/1.1 reads one of them.
#[tokio::test]
async fn cookies_of_an_http2_client_reach_an_application_in_one_field() {
    let (world, mut application) = Way::Proxied.world().await;
    let own = alice(&world).await;
    let stream = TcpStream::connect(world.address())
        .await
        .expect("it listens");
    let executor = TokioExecutor::new();
    let handshake = http2::handshake(executor, TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.expect("HTTP/2");
    tokio::spawn(connection);
    let mut request = Request::builder().uri(format!("http://{HOST}/page"));
    for cookie in ["first=1", "_csrf=x=y", &own, "last=\"a b\""] {
        request = request.header("cookie", cookie);
    }
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let answer = within(sender.send_request(request))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    let sent = application.next().await.one("cookie");
    assert_eq!(sent, "first=1; _csrf=x=y; last=\"a b\"");
}

/// trahloff/Aldine#26, amphp/http#5: what other applications of the host set is no cookie by the letter.
/// authelia/authelia#2331: or there is very much of it.
#[tokio::test]
async fn a_session_is_found_among_malformed_and_long_cookies() {
    let long = format!("guide={}", "x".repeat(30_000));
    for way in WAYS {
        let (world, _application) = way.world().await;
        let mut browser = Browser::default();
        browser.log_in(&world, HOST, "/").await;
        let own = browser.cookies(HOST);
        for other in [
            "x=100%",
            "truncated=%E0%A4%A",
            "{\"consent\":{\"a\":1}}",
            "json={\"a\": \"b c\", \"d\": [1]}",
            "name with spaces=1",
            "=no-name",
            "no-value",
            ";;;",
            "quoted=\"a; b\"",
            "caf\u{e9}=\u{65e5}\u{672c}",
            "a:b=implied,eu",
            &long,
        ] {
            for sent in [format!("{other}; {own}"), format!("{own}; {other}")] {
                let headers = [NAVIGATION[0], ("cookie", &sent)];
                let answer = way.send(&world, &Method::GET, "/page", &headers).await;
                assert_eq!(answer.status(), 200, "{way:?} {other:.40}");
            }
        }
        // payloadcms/payload#5266, authelia/authelia#9245: and applications decode all cookies.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.=; ".contains(c);
        assert!(own.chars().all(is_plain), "{own}");
    }
}
