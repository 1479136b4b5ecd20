//! authelia/authelia#4905: file managers, git and others send a password only after a challenge.

use authentik_standin::Provider;
use bytes::Bytes;
use http::{Method, Response, header};

use super::{WAYS, Way};
use crate::forward_auth::dialects::Surface;
use crate::support::World;
use crate::support::upstream::HOST;

const BASIC: &str = "Basic realm=\"authentik app password\", charset=\"UTF-8\"";
const BEARER: &str = "Bearer realm=\"authentik\"";

fn challenges(answer: &Response<Bytes>) -> Vec<&str> {
    let values = answer.headers().get_all(header::WWW_AUTHENTICATE).iter();
    values.map(|value| value.to_str().expect("text")).collect()
}

#[tokio::test]
async fn programs_are_challenged_for_a_password_and_browsers_are_not() {
    const PROGRAM: (&str, &str) = ("user-agent", "gvfs/1.50.3");
    const BROWSER: (&str, &str) = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)");
    const SCRIPT: (&str, &str) = ("x-requested-with", "XMLHttpRequest");
    let propfind = Method::from_bytes(b"PROPFIND").expect("a method");
    for way in WAYS {
        let (world, _application) = way.world().await;
        for (headers, expected) in [
            (&[PROGRAM][..], &[BASIC, BEARER][..]),
            (
                &[PROGRAM, ("authorization", "Basic eDp5")],
                &[BASIC, BEARER],
            ),
            (&[BROWSER, SCRIPT], &[BEARER]),
            (&[BROWSER, ("authorization", "Basic eDp5")], &[BEARER]),
            (&[PROGRAM, ("sec-fetch-mode", "cors")], &[BEARER]),
            (&[], &[BEARER]),
        ] {
            let answer = way.send(&world, &propfind, "/dav/", headers).await;
            assert_eq!(answer.status(), 401, "{way:?} {headers:?}");
            if way == Way::Asked(Surface::Nginx) {
                // nginx shows none of this answer: it redirects to the page that starts a login.
                let (host, page) = (HOST, "/outpost.goauthentik.io/start?rd=/dav/");
                let headers = [headers, &[("accept", "application/xml")]].concat();
                let answer = world.get(page, host, &headers).await;
                assert_eq!(answer.status(), 401, "{headers:?}");
                assert_eq!(challenges(&answer), expected, "{headers:?}");
                continue;
            }
            assert_eq!(challenges(&answer), expected, "{way:?} {headers:?}");
        }
    }
}

#[tokio::test]
async fn no_password_is_asked_for_where_none_is_read() {
    let provider = Provider {
        intercept_header_auth: false,
        ..Provider::forward_single("app", &format!("http://{HOST}"))
    };
    let world = World::new(vec![provider]).await;
    let headers = [("user-agent", "gvfs/1.50.3")];
    let way = Way::Asked(Surface::Traefik);
    let answer = way.send(&world, &Method::PUT, "/dav/x", &headers).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(challenges(&answer), [BEARER]);
}
