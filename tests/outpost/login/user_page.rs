//! The page about a user's session.

use authentik_standin::{Provider, Standin, User};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::Full;

use crate::forward_auth::dialects::ALL;
use crate::login::refresh::age_tokens;
use crate::support::{Browser, NAVIGATION, PASSWORD, World, location, send, text};

const HOST: &str = "grafana.test";
const OWN: &str = "/outpost.goauthentik.io/";
const PAGE: &str = "http://grafana.test/";

type Headers<'a> = &'a [(&'a str, &'a str)];

pub(crate) async fn open(world: &World, cookies: &str, more: Headers<'_>) -> Response<Bytes> {
    let headers = [&NAVIGATION[..], &[("cookie", cookies)], more].concat();
    world.get(OWN, HOST, &headers).await
}

pub(crate) async fn post(world: &World, target: &str, cookies: &str) -> Response<Bytes> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{OWN}{target}"))
        .header(header::HOST, HOST)
        .header(header::COOKIE, cookies)
        .body(Full::default());
    send(world.address(), request.expect("a request")).await
}

/// Where the buttons of a page lead.
pub(crate) fn actions(page: &str) -> Vec<String> {
    let parts = page.split("<form method=\"post\" action=\"").skip(1);
    let parts = parts.map(|part| part.split('"').next().unwrap_or_default());
    parts.map(|part| part.replace("&amp;", "&")).collect()
}

async fn passes(world: &World, cookies: &str) -> bool {
    world.nginx(PAGE, cookies, &[]).await.status() == 200
}

#[tokio::test]
async fn a_user_sees_their_session_and_nothing_secret() {
    let world = World::with_grafana().await;
    world.authentik.add_user(User {
        name: "Bob <b>\"Builder\"</b>".to_owned(),
        groups: vec!["a&b".to_owned()],
        ..User::new("bob", PASSWORD)
    });
    age_tokens(&world.authentik, 0);
    let mut browser = Browser::default();
    let cookies = browser.log_in_as(&world, HOST, "bob").await;
    let answer = open(&world, &cookies, &[("x-secret", "hunter2")]).await;
    assert_eq!(answer.status(), 200);
    let headers = answer.headers();
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["x-frame-options"], "DENY");
    let policy = headers["content-security-policy"].to_str().expect("text");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    let page = text(&answer);
    for shown in [
        "Bob &lt;b&gt;&quot;Builder&quot;&lt;/b&gt;",
        "bob@example.test",
        "a&amp;b",
        "<dt>Since</dt>",
        "<dt>Until</dt>",
        "http://grafana.test",
        "/if/user/",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let jwt = world.nginx(PAGE, &cookies, &[]).await;
    let jwt = jwt.headers()["x-authentik-jwt"].to_str().expect("text");
    let cookie = cookies.split_once('=').expect("a cookie").1;
    for hidden in [
        "hunter2",
        "x-secret",
        "<dt>Peer</dt>",
        "<script",
        jwt,
        cookie,
    ] {
        assert!(!page.contains(hidden), "{hidden}: {page}");
    }
}

#[tokio::test]
async fn an_administrator_sees_what_the_outpost_reads_without_values() {
    let world = World::with_grafana().await;
    world.authentik.add_user(User {
        is_superuser: true,
        ..User::new("root", PASSWORD)
    });
    let mut browser = Browser::default();
    let cookies = browser.log_in_as(&world, HOST, "root").await;
    assert!(passes(&world, &cookies).await);
    let more = [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-secret", "hunter2"),
        ("authorization-like", "<script>"),
    ];
    let page = text(&open(&world, &cookies, &more).await);
    for shown in [
        "<dd>grafana.test (from the request itself)</dd>",
        "<dd>http (of the connection)</dd>",
        "<dd>203.0.113.7 (from x-forwarded-for of the peer)</dd>",
        "<dd>127.0.0.1 (trusted: its forwarded headers count)</dd>",
        "x-secret",
        "<dd>forward_single</dd>",
        "<dd>Allow: the user is signed in</dd>",
        "<dd>nginx (1)</dd>",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let cookie = cookies.split_once('=').expect("a cookie").1;
    for hidden in ["hunter2", "<script", cookie] {
        assert!(!page.contains(hidden), "{hidden}: {page}");
    }
}

#[tokio::test]
async fn without_a_session_the_page_leads_to_the_login_and_back() {
    let world = World::with_grafana().await;
    let answer = open(&world, "", &[]).await;
    assert_eq!(answer.status(), 302);
    let mut browser = Browser::default();
    browser.keep(HOST, answer.headers());
    let callback = Browser::authorize(&world, &location(&answer));
    let landed = browser.open(&world, HOST, &callback).await;
    assert_eq!(
        location(&landed),
        "http://grafana.test/outpost.goauthentik.io/"
    );

    let script = [("accept", "*/*"), ("sec-fetch-mode", "cors")];
    assert_eq!(world.get(OWN, HOST, &script).await.status(), 401);
    let cookies = browser.cookies(HOST);
    let script = [&script[..], &[("cookie", &cookies)]].concat();
    assert_eq!(world.get(OWN, HOST, &script).await.status(), 403);
    let posted = post(&world, "", &cookies).await;
    assert_eq!(
        (posted.status().as_u16(), &posted.headers()["allow"]),
        (405, &"GET, HEAD".parse().expect("a value"))
    );
}

#[tokio::test]
async fn a_user_signs_out_here_or_everywhere() {
    let world = World::with_grafana().await;
    let mut browsers = [Browser::default(), Browser::default()];
    let mut cookies = Vec::new();
    for browser in &mut browsers {
        browser.log_in(&world, HOST, "/").await;
        cookies.push(browser.cookies(HOST));
    }
    let page = text(&open(&world, &cookies[0], &[]).await);
    let [here, everywhere] = &actions(&page)[..] else {
        panic!("{page}");
    };
    // Another session's token is none.
    post(&world, here, &cookies[1]).await;
    assert!(passes(&world, &cookies[1]).await);
    let out = post(&world, here, &cookies[0]).await;
    assert_eq!(out.status(), 200);
    assert!(text(&out).contains("You are signed out of this application."));
    assert!(!passes(&world, &cookies[0]).await);
    assert!(passes(&world, &cookies[1]).await, "on another device");

    let page = text(&open(&world, &cookies[1], &[]).await);
    let again = browsers[0].log_in(&world, HOST, "/").await;
    assert_eq!(again, PAGE);
    assert_ne!(&actions(&page)[1], everywhere);
    let out = post(&world, &actions(&page)[1], &cookies[1]).await;
    assert_eq!(out.status(), 303);
    assert!(location(&out).ends_with("/end-session/"));
    assert_eq!(world.outpost.store().len(), 0);
}

#[tokio::test]
async fn the_page_is_there_in_every_dialect_that_shows_responses() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let cookies = browser.cookies(HOST);
    let headers = [&NAVIGATION[..], &[("cookie", &cookies)]].concat();
    for surface in ALL.into_iter().filter(|surface| surface.redirects()) {
        let answer = surface.ask(&world, HOST, OWN, &headers).await;
        // A reverse proxy must not take it for permission.
        assert_eq!(answer.status(), 403, "{surface:?}");
        assert!(text(&answer).contains("You are signed in"), "{surface:?}");
        let answer = surface.ask(&world, HOST, OWN, &NAVIGATION).await;
        assert_eq!(answer.status(), 302, "{surface:?}");
    }
}

#[tokio::test]
async fn one_setting_turns_the_page_off() {
    let authentik = Standin::builder().start().await.expect("started");
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    let off = [("AUTHENTIK_PROXY_SESSION__USER_PAGE", "false")];
    let world = World::beside(authentik, vec![grafana], &off).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    for cookies in ["", &browser.cookies(HOST)] {
        assert_eq!(open(&world, cookies, &[]).await.status(), 404);
    }
}
