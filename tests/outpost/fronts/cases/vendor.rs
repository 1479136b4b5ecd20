//! Traefik as authentik's documentation configures it, instead of the recipe.

use http::header;
use tokio_tungstenite::tungstenite::Error;

use super::application::mark;
use super::{APP, Jar, Plan, shown};
use crate::fronts::servers::Server;
use crate::support::{NAVIGATION, SIGN_OUT, location, text};

/// With `trustForwardHeader: true`, Traefik sends `X-Forwarded-Proto: wss` about a websocket.
#[tokio::test]
#[ignore = "needs Traefik"]
async fn websockets_pass_behind_traefik_as_authentik_configures_it() {
    let site = Plan::new(Server::TraefikOfAuthentik).start().await;
    let mut jar = Jar::default();
    let url = format!("https://{APP}/d/x%2Fy?a=%20b");
    let (landing, answer) = site.open(&mut jar, &url, "alice").await;
    assert_eq!(landing.as_str(), url, "{answer:?}");
    let page = text(&answer);
    assert!(page.starts_with(&mark(APP)), "{page}");
    assert_eq!(shown(&page, "x-authentik-username"), ["alice"]);

    let cookies = jar.cookies(APP);
    let (_socket, response) = site.websocket(&cookies).await.expect("a websocket");
    assert_eq!(response.headers()["x-user"], "alice");
    for cookies in ["", "authentik_proxy_12345678=forged"] {
        let refused = site.websocket(cookies).await.err().expect("refused");
        let Error::Http(answer) = *refused else {
            panic!("{refused}");
        };
        assert_eq!(answer.status(), 401, "{answer:?}");
        assert!(!answer.headers().contains_key(header::SET_COOKIE));
    }

    let headers = [&NAVIGATION[..], &[("cookie", cookies.as_str())]].concat();
    let answer = site.get(APP, SIGN_OUT, &headers).await;
    assert!(location(&answer).contains("/end-session/"), "{answer:?}");
    assert!(site.websocket(&cookies).await.is_err());
}

/// What a client claims about the scheme and the host is not what is authorized.
#[tokio::test]
#[ignore = "needs Traefik"]
async fn a_client_of_such_a_traefik_cannot_choose_what_is_authorized() {
    let site = Plan::new(Server::TraefikOfAuthentik).start().await;
    for claim in [
        ("x-forwarded-uri", "/open"),
        ("x-forwarded-host", super::OTHER),
        ("x-forwarded-proto", "ws"),
        ("x-forwarded-method", "OPTIONS"),
    ] {
        let answer = site.get(APP, "/page", &[claim, NAVIGATION[0]]).await;
        assert_eq!(answer.status(), 302, "{claim:?} {answer:?}");
        let target = location(&answer);
        assert!(target.contains("app.example.com"), "{claim:?} {target}");
        assert!(!text(&answer).contains(&mark(APP)), "{claim:?}");
    }
}
