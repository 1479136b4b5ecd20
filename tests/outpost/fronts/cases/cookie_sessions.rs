//! Sessions in cookies (`session.store: cookie`): what each reverse proxy lets through, with its recipe
//! as it is printed.

use authentik_standin::caddy;
use axum::Router;
use axum::response::AppendHeaders;
use bytes::Bytes;
use http::{Method, header};

use super::application::mark;
use super::{APP, Jar, Plan, Site, request, shown};
use crate::cookies::{LARGE, STORE, user};
use crate::fronts::client::Protocol;
use crate::fronts::servers::Server;
use crate::fronts::{behind_each_server, serve};
use crate::support::text;

/// A cookie of the application's own.
const THEME: &str = "theme=dark";

/// Bytes of a `Cookie` header that pass, and that do not. The outpost itself takes 64 KiB for a whole
/// head.
fn passed_and_refused(server: Server) -> (usize, usize) {
    match server {
        Server::Nginx(_) | Server::Ingress => (8_100, 8_700),
        Server::Caddy(caddy::Release::Latest) => (15_000, 22_000),
        Server::HaProxy(_) => (31_000, 33_000),
        Server::Envoy | Server::EnvoyGrpc => (58_000, 62_000),
        _ => (58_000, 80_000),
    }
}

/// Whether the identity headers and the token of a user with 400 groups pass, which take 35 KB.
fn passes_identity(server: Server) -> bool {
    !matches!(
        server,
        Server::Nginx(_) | Server::Ingress | Server::HaProxy(_)
    )
}

/// `Set-Cookie` lines of two in a positive authorization response that reach the browser.
fn passed_set_cookies(server: Server) -> usize {
    match server {
        Server::Ingress => 1,
        Server::Envoy => 2,
        _ => 0,
    }
}

behind_each_server!(sessions_in_cookies_pass_as_far_as_documented);

async fn sessions_in_cookies_pass_as_far_as_documented(server: Server) {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let plan = Plan {
            protocol,
            settings: &[STORE, LARGE],
            ..Plan::new(server)
        };
        let site = plan.start().await;
        let (passed, refused) = passed_and_refused(server);
        for (groups, count) in [(10, 1), (100, 1), (200, 2), (400, 4)] {
            let (sent, page) = sign_in(&site, groups).await;
            let what = format!("{server:?} {protocol:?} {groups}: {} bytes", sent.len());
            let parts = sent.split("; ").filter(|cookie| is_part(cookie)).count();
            assert_eq!(parts, count, "{what}");
            let fits = sent.len() < passed && (groups < 400 || passes_identity(server));
            assert_eq!(page.is_some(), fits, "{what}");
            if page.is_some() {
                let with_own = format!("{THEME}; {sent}");
                let answer = site.get(APP, "/", &[("cookie", &with_own)]).await;
                assert_eq!(shown(&text(&answer), "cookie"), [THEME], "{what}");
            }
        }
        let (session, _) = sign_in(&site, 10).await;
        for (length, fits) in [(passed, true), (refused, false)] {
            let status = status(&site, &session, length).await;
            let what = format!("{server:?} {protocol:?}: {length} bytes give {status:?}");
            assert_eq!(status == Some(200), fits, "{what}");
        }
    }
    let in_memory = Plan::new(server).start().await;
    let (_, page) = sign_in(&in_memory, 400).await;
    assert_eq!(page.is_some(), passes_identity(server), "with any store");
    if server != Server::EnvoyGrpc {
        assert_eq!(set_cookies(server).await, passed_set_cookies(server));
    }
}

/// Signs a user in with so many groups. Returns the cookies that the browser has then, and the page of
/// the application if the next request leads there.
async fn sign_in(site: &Site, groups: usize) -> (String, Option<String>) {
    let name = format!("user-{groups}");
    site.world.authentik.add_user(user(&name, groups));
    let (mut jar, url) = (Jar::default(), format!("https://{APP}/"));
    let (landing, answer) = site.try_open(&mut jar, &url, &name).await;
    assert_eq!(landing.as_str(), url, "{answer:?}");
    let page = answer.filter(|answer| answer.status() == 200);
    let page = page.map(|answer| text(&answer));
    if let Some(page) = &page {
        assert!(page.starts_with(&mark(APP)), "{page}");
        assert_eq!(shown(page, "x-authentik-username"), [name]);
        // Caddy leaves an empty header.
        assert!(shown(page, "cookie").concat().is_empty(), "{page}");
    }
    (jar.cookies(APP), page)
}

/// Whether a cookie is part of a session.
fn is_part(cookie: &str) -> bool {
    cookie.starts_with("authentik_proxy_") && !cookie.contains("_login=")
}

/// The status of an answer to a request with a session and further cookies of the outpost, which have
/// this length together; nothing if the connection ends without one.
async fn status(site: &Site, session: &str, length: usize) -> Option<u16> {
    let start = format!("{session}; authentik_proxy_0=");
    // A letter that HTTP/2 does not compress: nginx counts what is compressed.
    let cookies = format!("{start}{}", "X".repeat(length - start.len()));
    let headers = [("cookie", &*cookies)];
    let request = request(Method::GET, APP, "/", &headers, Bytes::new());
    let answer = site.try_send(request).await;
    answer.map(|answer| answer.status().as_u16())
}

/// How many `Set-Cookie` lines of a positive authorization response reach the browser, of two.
async fn set_cookies(server: Server) -> usize {
    let lines = ["a", "b"].map(|name| (header::SET_COOKIE, format!("{name}=1; Path=/")));
    let permit = async move || (AppendHeaders(lines), [("x-authentik-username", "alice")]);
    let plan = Plan {
        outpost: Some(serve(Router::new().fallback(permit)).await),
        ..Plan::new(server)
    };
    let site = plan.start().await;
    let answer = site.get(APP, "/", &[]).await;
    assert!(text(&answer).starts_with(&mark(APP)), "{answer:?}");
    let cookies = answer.headers().get_all(header::SET_COOKIE);
    cookies.iter().count()
}
