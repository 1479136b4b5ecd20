//! AP-2026-06: what is not opened as a page signs no user in or out, and another site's page asks
//! first.

use authentik_standin::nginx::{Nginx, Shape, free_address};
use authentik_standin::{Provider, Standin};
use bytes::Bytes;
use fantoccini::Locator;
use http::{Method, Request, Response, header};
use http_body_util::Full;

use crate::forward_auth::dialects::{ALL, Surface};
use crate::login::browser::Chromium;
use crate::support::{Browser, NAVIGATION, SIGN_OUT, World, location, send, text};

const HOST: &str = "grafana.test";
const MARKER: &str = "/?X-authentik-logout=true";
const PAGE: &str = "http://grafana.test/d";

type Headers<'a> = &'a [(&'a str, &'a str)];

/// What browsers and programs send that open no page.
const BACKGROUND: [(&str, Headers<'static>); 12] = [
    // Chromium: speculation rules, their prerender, and `link rel=prefetch`.
    (
        "GET",
        &[
            NAVIGATION[0],
            NAVIGATION[2],
            ("sec-fetch-site", "same-origin"),
            ("sec-purpose", "prefetch"),
        ],
    ),
    (
        "GET",
        &[
            NAVIGATION[0],
            NAVIGATION[2],
            ("sec-fetch-site", "none"),
            ("sec-purpose", "prefetch;prerender"),
        ],
    ),
    (
        "GET",
        &[
            ("accept", "*/*"),
            ("sec-fetch-mode", "no-cors"),
            ("sec-fetch-dest", "empty"),
            ("purpose", "prefetch"),
        ],
    ),
    ("GET", &[NAVIGATION[0], ("x-moz", "prefetch")]),
    // An image, a script, a frame, a fetch.
    (
        "GET",
        &[
            ("accept", "image/avif,*/*;q=0.8"),
            ("sec-fetch-mode", "no-cors"),
            ("sec-fetch-dest", "image"),
            ("sec-fetch-site", "same-origin"),
        ],
    ),
    ("GET", &[("accept", "image/avif,*/*;q=0.8")]),
    (
        "GET",
        &[
            NAVIGATION[0],
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-dest", "empty"),
            ("sec-fetch-site", "same-origin"),
        ],
    ),
    (
        "GET",
        &[
            NAVIGATION[0],
            NAVIGATION[2],
            ("sec-fetch-dest", "iframe"),
            ("sec-fetch-site", "same-origin"),
        ],
    ),
    (
        "POST",
        &[
            ("accept", "*/*"),
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-site", "same-origin"),
        ],
    ),
    (
        "GET",
        &[NAVIGATION[0], ("x-requested-with", "XMLHttpRequest")],
    ),
    // A program, and one that only looks.
    ("GET", &[("accept", "*/*")]),
    ("HEAD", &NAVIGATION),
];

/// Pages that another origin opens, or an unknown one.
const ELSEWHERE: [(&str, Headers<'static>); 6] = [
    (
        "GET",
        &[
            NAVIGATION[0],
            NAVIGATION[2],
            NAVIGATION[3],
            ("sec-fetch-site", "cross-site"),
        ],
    ),
    (
        "GET",
        &[
            NAVIGATION[0],
            NAVIGATION[2],
            NAVIGATION[3],
            ("sec-fetch-site", "same-site"),
        ],
    ),
    (
        "POST",
        &[
            NAVIGATION[0],
            NAVIGATION[2],
            NAVIGATION[3],
            ("sec-fetch-site", "same-site"),
        ],
    ),
    ("GET", &[NAVIGATION[0], ("referer", "http://wiki.test/")]),
    ("GET", &[NAVIGATION[0]]),
    ("POST", &[NAVIGATION[0], ("origin", "null")]),
];

/// Asks for one of our own pages: itself, or by the question of a reverse proxy.
async fn open(
    world: &World,
    surface: Option<Surface>,
    method: &str,
    target: &str,
    headers: Headers<'_>,
) -> Response<Bytes> {
    let method: Method = method.parse().expect("a method");
    let request = match surface {
        Some(surface) => surface.request(method, HOST, target),
        None => Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, HOST),
    };
    let with = |request: http::request::Builder, (name, value): &(&str, &str)| {
        request.header(*name, *value)
    };
    let request = headers.iter().fold(request, with);
    let request = request.body(Full::default()).expect("a request");
    send(world.address(), request).await
}

/// Where our own pages are reached: directly, and where the reverse proxy asks about them, too.
fn ways() -> impl Iterator<Item = Option<Surface>> {
    let asked = ALL.into_iter().filter(|surface| surface.redirects());
    std::iter::once(None).chain(asked.map(Some))
}

async fn is_signed_in(world: &World, cookies: &str) -> bool {
    world.nginx(PAGE, cookies, &[]).await.status() == 200
}

/// Where the form of the page leads that asks, relative to that page's path.
fn form(page: &str) -> String {
    let (_, rest) = page
        .split_once("<form method=\"post\" action=\"")
        .expect(page);
    rest.split('"')
        .next()
        .unwrap_or_default()
        .replace("&amp;", "&")
}

#[tokio::test]
async fn ap_2026_06_nothing_in_the_background_signs_out() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let cookies = browser.cookies(HOST);
    for way in ways() {
        for target in [SIGN_OUT, MARKER] {
            for (method, headers) in BACKGROUND {
                let headers = [headers, &[("cookie", &cookies)]].concat();
                let answer = open(&world, way, method, target, &headers).await;
                assert_eq!(answer.status(), 403, "{way:?} {method} {headers:?}");
                assert!(!answer.headers().contains_key("set-cookie"));
                assert!(is_signed_in(&world, &cookies).await, "{method} {headers:?}");
            }
            for method in ["OPTIONS", "PUT", "DELETE"] {
                let headers = [&NAVIGATION[..], &[("cookie", &cookies)]].concat();
                let answer = open(&world, way, method, target, &headers).await;
                assert_eq!(answer.status(), 405, "{way:?} {method}");
                assert_eq!(answer.headers()["allow"], "GET, HEAD, POST");
            }
        }
    }
    assert!(is_signed_in(&world, &cookies).await);
}

#[tokio::test]
async fn ap_2026_06_a_page_from_elsewhere_asks_before_it_signs_out() {
    let world = World::with_grafana().await;
    for way in ways() {
        for target in [SIGN_OUT, MARKER] {
            let mut browser = Browser::default();
            browser.log_in(&world, HOST, "/").await;
            let cookies = browser.cookies(HOST);
            let cookie = [("cookie", cookies.as_str())];
            let mut action = String::new();
            for (method, headers) in ELSEWHERE {
                let headers = [headers, &cookie].concat();
                let page = open(&world, way, method, target, &headers).await;
                // A reverse proxy must not take it for permission.
                let status = if way.is_some() { 403 } else { 200 };
                assert_eq!(page.status(), status, "{way:?} {method} {headers:?}");
                let policy = page.headers()["content-security-policy"].to_str();
                assert!(policy.expect("text").contains("frame-ancestors 'none'"));
                assert_eq!(page.headers()["x-frame-options"], "DENY");
                assert_eq!(page.headers()["cache-control"], "no-store");
                action = form(&text(&page));
                assert!(is_signed_in(&world, &cookies).await, "{method} {headers:?}");
            }
            let path = target.split('?').next().expect("a path");
            let confirmed = format!("{path}{action}");
            // The token counts in a POST, for this session, and as it is.
            let forged = confirmed.replace("confirm=", "confirm=A");
            let headers = [ELSEWHERE[0].1, &cookie].concat();
            for (method, action) in [("GET", &confirmed), ("POST", &forged)] {
                open(&world, way, method, action, &headers).await;
                assert!(is_signed_in(&world, &cookies).await, "{method} {action}");
            }
            let mut other = Browser::default();
            other.log_in(&world, HOST, "/").await;
            let others = other.cookies(HOST);
            let headers_of_other = [ELSEWHERE[0].1, &[("cookie", &others)]].concat();
            open(&world, way, "POST", &confirmed, &headers_of_other).await;
            assert!(
                is_signed_in(&world, &others).await,
                "another session's token"
            );

            let answer = open(&world, way, "POST", &confirmed, &cookie).await;
            assert_eq!(answer.status(), 303, "{way:?} {target}");
            assert!(location(&answer).ends_with("/end-session/"));
            assert!(!is_signed_in(&world, &cookies).await);
        }
    }
}

#[tokio::test]
async fn ap_2026_06_a_page_of_the_application_signs_out_at_once() {
    let world = World::with_grafana().await;
    for way in ways() {
        for (method, headers) in [
            ("GET", &NAVIGATION[..]),
            (
                "GET",
                &[
                    NAVIGATION[0],
                    NAVIGATION[2],
                    NAVIGATION[3],
                    ("sec-fetch-site", "same-origin"),
                ],
            ),
            (
                "POST",
                &[
                    NAVIGATION[0],
                    NAVIGATION[2],
                    NAVIGATION[3],
                    ("sec-fetch-site", "same-origin"),
                ],
            ),
            (
                "GET",
                &[NAVIGATION[0], ("referer", "http://grafana.test/d?x")],
            ),
            ("POST", &[NAVIGATION[0], ("origin", "http://grafana.test")]),
        ] {
            let mut browser = Browser::default();
            browser.log_in(&world, HOST, "/").await;
            let cookies = browser.cookies(HOST);
            let headers = [headers, &[("cookie", &cookies)]].concat();
            let answer = open(&world, way, method, SIGN_OUT, &headers).await;
            assert!(
                location(&answer).ends_with("/end-session/"),
                "{way:?} {headers:?}"
            );
            assert!(!is_signed_in(&world, &cookies).await);
        }
    }
}

#[tokio::test]
async fn ap_2026_06_what_is_loaded_in_advance_begins_and_ends_no_login() {
    let world = World::with_grafana().await;
    let start = "/outpost.goauthentik.io/start?rd=/d";
    for way in ways() {
        for (method, headers) in &BACKGROUND[..4] {
            for target in [start, "/d"] {
                if way.is_none() && target == "/d" {
                    continue;
                }
                let answer = open(&world, way, method, target, headers).await;
                assert_eq!(answer.status(), 401, "{way:?} {target} {headers:?}");
                assert!(!answer.headers().contains_key("set-cookie"));
            }
        }
        // Monitors ask by HEAD; they are told where it goes, and nothing is counted.
        let answer = open(&world, way, "HEAD", start, &NAVIGATION).await;
        assert!(location(&answer).contains("/application/o/authorize/"));
        assert!(!answer.headers().contains_key("set-cookie"));

        let mut browser = Browser::default();
        let callback = browser.sign_in(&world, HOST, "/d").await;
        let cookies = browser.cookies(HOST);
        for (method, headers) in [BACKGROUND[0], BACKGROUND[2], ("HEAD", &NAVIGATION)] {
            let headers = [headers, &[("cookie", &cookies)]].concat();
            let answer = open(&world, way, method, &callback, &headers).await;
            assert_eq!(answer.status(), 403, "{way:?} {method} {headers:?}");
        }
        let headers = [&NAVIGATION[..], &[("cookie", &cookies)]].concat();
        let answer = open(&world, way, "POST", &callback, &headers).await;
        assert_eq!(answer.status(), 405);
        // The code is still good.
        let answer = open(&world, way, "GET", &callback, &headers).await;
        assert_eq!(location(&answer), PAGE, "{way:?}");
        let names = answer.headers().get_all("set-cookie").iter();
        assert!(names.count() >= 1, "signed in: {answer:?}");
    }
}

#[tokio::test]
async fn ap_2026_06_a_prefetch_of_an_application_is_not_sent_to_a_login() {
    let backend = Provider::proxy("grafana", "http://grafana.test", "http://127.0.0.1:1");
    let world = World::new(vec![backend]).await;
    let file = "applications: {grafana: {redirect_scripts: true}}";
    let scripts = World::with_file(
        Standin::builder().start().await.expect("started"),
        vec![Provider::forward_single("grafana", "http://grafana.test")],
        file,
        &[],
    )
    .await;
    for (method, headers) in &BACKGROUND[..4] {
        let answer = open(&world, None, method, "/d", headers).await;
        assert_eq!(answer.status(), 401, "{headers:?}");
        let traefik = Some(Surface::Traefik);
        let answer = open(&scripts, traefik, method, "/d", headers).await;
        assert_eq!(answer.status(), 401, "{headers:?}");
    }
    let answer = open(&world, None, "GET", "/d", &NAVIGATION).await;
    assert_eq!(answer.status(), 302);
}

/// As a real browser does it, behind a real nginx: `localhost` is trustworthy, so that it sends
/// Fetch Metadata.
#[tokio::test]
#[ignore = "needs Chromium and nginx"]
async fn ap_2026_06_a_browser_signs_out_by_a_click_and_not_by_an_image() {
    let address = free_address().expect("a port");
    let [host, evil] =
        ["grafana", "evil"].map(|name| format!("{name}.localhost:{}", address.port()));
    let authentik = Standin::builder().start().await.expect("started");
    let grafana = Provider::forward_single("grafana", &format!("http://{host}"));
    let evil = Provider {
        skip_path_regex: ".*".into(),
        ..Provider::forward_single("evil", &format!("http://{evil}"))
    };
    let world = World::beside(authentik, vec![grafana, evil], &[]).await;
    let nginx = Nginx::start(address, world.address(), Shape::Standalone)
        .await
        .expect("nginx is installed: apt-get install nginx-light");
    let chromium = Chromium::start().await;
    let client = &chromium.client;
    let page = format!("http://{host}/d");
    client.goto(&page).await.expect("a page");
    chromium.sign_in().await;
    chromium.element("#page").await;

    // In a page of the application itself: an image, a fetch, a frame.
    let sign_out = format!("http://{host}{SIGN_OUT}");
    let load = "const [url, done] = [arguments[0], arguments[arguments.length - 1]];
        const image = new Image();
        image.onload = image.onerror = async () => {
            await fetch(url, {credentials: 'include'}).catch(() => 0);
            await fetch(url, {method: 'HEAD', credentials: 'include'}).catch(() => 0);
            const frame = document.createElement('iframe');
            frame.onload = () => done(true);
            frame.src = url;
            document.body.append(frame);
        };
        image.src = url;";
    let args = vec![sign_out.clone().into()];
    client.execute_async(load, args).await.expect("loaded");
    let sessions = || world.outpost.store().len();
    assert_eq!(sessions(), 1, "no image, no fetch and no frame signs out");

    // A page of another site sends the browser there.
    client
        .goto(&format!("http://evil.localhost:{}/", address.port()))
        .await
        .expect("a page");
    let leave = "window.location = arguments[0]";
    let args = vec![sign_out.into()];
    client.execute(leave, args).await.expect("left");
    let button = chromium.element("form button").await;
    assert_eq!(button.text().await.expect("text"), "Sign out");
    assert_eq!(sessions(), 1, "it asks first");
    crate::login::browser::keep(
        "sign-out.png",
        &client.screenshot().await.expect("a picture"),
    );
    button.click().await.expect("clicked");
    world.until(|world| world.outpost.store().is_empty()).await;
    let waiting = client.wait();
    let ended = waiting.for_element(Locator::Css("a, button")).await;
    ended.expect("authentik's page");
    let url = client.current_url().await.expect("a URL");
    assert!(
        url.as_str().starts_with(world.authentik.url().as_str()),
        "{url}"
    );
    assert!(url.query().is_none(), "no token: {url}");

    chromium.stop().await;
    nginx.stop().await.expect("stopped");
}
