//! Where a login leads to.

use authentik_standin::Provider;
use http::{Method, header};
use url::Url;

use super::{WAYS, Way};
use crate::forward_auth::dialects::Surface;
use crate::support::upstream::HOST;
use crate::support::{Browser, NAVIGATION, World, location, text};

/// greenpau/caddy-authorize#60, authelia/authelia#2538: a form is sent after the session has ended. A
/// redirect loses it, and the login returned to its URL with GET.
#[tokio::test]
async fn a_form_that_is_sent_without_a_session_is_answered_by_a_page() {
    let page = format!("http://{HOST}/edit?id=1&x=%20a+b");
    let action = format!("http://{HOST}/save?id=1");
    for way in WAYS {
        if way == Way::Asked(Surface::Nginx) {
            // It redirects by itself, and shows none of the answer.
            continue;
        }
        let (world, _application) = way.world().await;
        for (referer, expected) in [
            (page.as_str(), &page),
            ("https://other.test/form", &action),
            ("http://app.test/outpost.goauthentik.io/sign_out", &action),
        ] {
            let headers = [&NAVIGATION[..], &[("referer", referer)]].concat();
            let answer = way
                .send(&world, &Method::POST, "/save?id=1", &headers)
                .await;
            assert_eq!(answer.status(), 401, "{way:?} {referer}");
            assert!(!answer.headers().contains_key(header::SET_COOKIE));
            assert!(answer.headers().contains_key(header::WWW_AUTHENTICATE));
            let shown = text(&answer);
            assert!(shown.contains("was not passed on"), "{shown}");
            let (_, link) = shown.split_once("href=\"").expect("a link");
            let (link, _) = link.split_once('"').expect("its end");
            let home = Url::parse(&action).expect("a URL");
            let start = home.join(link).expect("a URL");
            let start = &start[url::Position::BeforePath..];
            let mut browser = Browser::default();
            let answer = browser.open(&world, HOST, start).await;
            let callback = Browser::authorize(&world, &location(&answer));
            let answer = browser.open(&world, HOST, &callback).await;
            assert_eq!(&location(&answer), expected, "{way:?} {referer}");
        }
        // A page is redirected, whatever it came from.
        let headers = [&NAVIGATION[..], &[("referer", page.as_str())]].concat();
        let answer = way.send(&world, &Method::GET, "/save?id=1", &headers).await;
        assert_eq!(answer.status(), 302, "{way:?}");
    }
}

/// goauthentik/authentik#26270: an external host with a path and a slash at its end, behind nginx. The
/// stand-in refuses a redirect URI that authentik has not registered.
#[tokio::test]
async fn an_external_host_below_a_path_signs_in_with_and_without_a_slash() {
    for external in ["http://app.test/sso/", "http://app.test/sso"] {
        let world = World::new(vec![Provider::forward_single("app", external)]).await;
        for page in ["/sso/", "/sso/page?x=1"] {
            let mut browser = Browser::default();
            let url = format!("http://{HOST}{page}");
            let landing = browser.log_in(&world, HOST, &url).await;
            assert_eq!(landing, url, "{external}");
            let cookies = browser.cookies(HOST);
            let answer = world.nginx(&url, &cookies, &[]).await;
            assert_eq!(answer.status(), 200, "{external} {page}");
        }
        let answer = world.nginx("http://app.test/", "", &[]).await;
        assert_ne!(answer.status(), 200, "what is not below the path");
    }
}
