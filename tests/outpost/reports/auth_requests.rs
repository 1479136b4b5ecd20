//! Authorization requests as reverse proxies send them that are configured by hand.

use bytes::Bytes;
use http::Method;

use super::{WAYS, Way};
use crate::forward_auth::dialects::ALL;
use crate::support::upstream::{HOST, raw, status};
use crate::support::{Browser, World};

/// `bitly/oauth2_proxy#442`, oauth2-proxy/oauth2-proxy#2149 and #3397: nginx without
/// `proxy_pass_request_body off` sends the length of a body that never comes. The answer does not wait
/// for it, and the connection, on which it may still come, ends.
#[tokio::test]
async fn an_announced_body_that_never_comes_is_not_waited_for() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    browser.log_in(&world, "grafana.test", "/").await;
    let cookies = browser.cookies("grafana.test");
    for (cookie, expected) in [(cookies.as_str(), 200), ("", 401)] {
        for length in ["Content-Length: 77", "Transfer-Encoding: chunked"] {
            for connection in ["keep-alive", "upgrade"] {
                let request = format!(
                    "GET /outpost.goauthentik.io/auth/nginx HTTP/1.1\r\nHost: outpost\r\n\
                     X-Original-URL: http://grafana.test/api\r\nX-Original-Method: POST\r\n\
                     Connection: {connection}\r\nCookie: {cookie}\r\n{length}\r\n\r\n"
                );
                let answer = raw(world.address(), request.as_bytes()).await;
                assert_eq!(status(&answer), expected, "{length} {connection}");
            }
        }
    }
}

/// caddyserver/caddy#5430, hummingbird-project/hummingbird#773: the authorization request of a websocket
/// is an upgrade itself, and must be answered as a request.
#[tokio::test]
async fn an_authorization_request_is_never_upgraded() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    browser.log_in(&world, "grafana.test", "/").await;
    let cookies = browser.cookies("grafana.test");
    for surface in ALL {
        for (cookie, expected) in [(cookies.as_str(), 200), ("", 401)] {
            let lines = format!(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: {cookie}\r\n"
            );
            let answer = surface
                .ask_raw(&world, "grafana.test", "/api/live/ws", lines.as_bytes())
                .await;
            assert_eq!(status(answer.as_bytes()), expected, "{surface:?}");
        }
    }
}

/// BeryJu/hass-auth-header#212: a signed-in page calls its own API with its own token, which authentik
/// does not know. oauth2-proxy/oauth2-proxy#935: so does an application with Basic credentials.
#[tokio::test]
async fn an_applications_own_credentials_pass_where_the_user_is_signed_in() {
    for credentials in [
        "Bearer the-applications-own",
        "Basic YWRtaW46c2VjcmV0",
        "Digest a=\"b\"",
    ] {
        for way in WAYS {
            let (world, mut upstream) = way.world().await;
            let mut browser = Browser::default();
            browser.log_in(&world, HOST, "/").await;
            let cookies = browser.cookies(HOST);
            let headers = [
                ("cookie", cookies.as_str()),
                ("authorization", credentials),
                ("accept", "application/json"),
            ];
            let answer = way
                .send(&world, &Method::POST, "/api/websocket", &headers)
                .await;
            assert_eq!(answer.status(), 200, "{way:?} {credentials}");
            if way == Way::Proxied {
                assert_eq!(upstream.next().await.one("authorization"), credentials);
                assert_eq!(answer.body(), &Bytes::from_static(b"ok"));
            }
        }
    }
}
