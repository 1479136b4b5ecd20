//! Who is let through to an application, and what everybody else is shown.

use std::io::Write as _;

use authentik_standin::{Provider, Standin, User};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::header;

use crate::support::upstream::{HOST, Upstream, alice, provider, raw, status, world};
use crate::support::{Browser, PASSWORD, World, get, location, text};

#[tokio::test]
async fn a_user_signs_in_and_lands_on_the_page_byte_for_byte() {
    let mut upstream = Upstream::start().await;
    let world = world(provider(upstream.address), &[]).await;
    let page = "/d/x%2Fy?orgId=1&var=%20a+b&rd=/evil";
    let mut browser = Browser::default();
    let answer = browser.open(&world, HOST, page).await;
    assert_eq!(answer.status(), 302);
    let start = location(&answer);
    assert_eq!(
        start,
        "http://app.test/outpost.goauthentik.io/start?rd=http%3A%2F%2Fapp.test%2Fd%2Fx%252Fy%3ForgId%3D1%26var%3D%2520a%2Bb%26rd%3D%2Fevil"
    );
    let start = start.strip_prefix("http://app.test").expect("our own page");
    let answer = browser.open(&world, HOST, start).await;
    let callback = Browser::authorize(&world, &location(&answer));
    let answer = browser.open(&world, HOST, &callback).await;
    assert_eq!(location(&answer), format!("http://{HOST}{page}"));
    assert!(
        upstream.arrived().is_none(),
        "our own pages are never passed on"
    );

    let answer = browser.open(&world, HOST, page).await;
    assert_eq!(
        (answer.status().as_u16(), text(&answer).as_str()),
        (200, "ok")
    );
    assert!(
        !answer.headers().contains_key("x-powered-by"),
        "it is the application's answer"
    );
    assert_eq!(
        upstream.next().await.line,
        format!("GET {page} HTTP/1.1").as_bytes()
    );

    // Out as soon as the session ends at authentik.
    world.authentik.end_sessions_of("alice");
    world.until(|world| world.outpost.store().is_empty()).await;
    assert_eq!(browser.open(&world, HOST, page).await.status(), 302);
    assert!(upstream.arrived().is_none());
}

#[tokio::test]
async fn an_application_below_a_path_has_its_own_login() {
    let upstream = Upstream::start().await;
    let internal = format!("http://{}", upstream.address);
    let below = Provider::proxy("app", "http://app.test/sub", &internal);
    let world = world(below, &[]).await;
    let mut upstream = upstream;
    let mut browser = Browser::default();
    let answer = browser.open(&world, HOST, "/sub/page").await;
    let start = location(&answer);
    assert_eq!(
        start,
        "http://app.test/sub/outpost.goauthentik.io/start?rd=http%3A%2F%2Fapp.test%2Fsub%2Fpage"
    );
    let start = start.strip_prefix("http://app.test").expect("our own page");
    let answer = browser.open(&world, HOST, start).await;
    let callback = Browser::authorize(&world, &location(&answer));
    assert!(
        callback.starts_with("/sub?X-authentik-auth-callback=true"),
        "{callback}"
    );
    let answer = browser.open(&world, HOST, &callback).await;
    assert_eq!(location(&answer), "http://app.test/sub/page");
    assert_eq!(browser.open(&world, HOST, "/sub/page").await.status(), 200);
    assert_eq!(upstream.next().await.line, b"GET /sub/page HTTP/1.1");
}

#[tokio::test]
async fn issue_10057_scripts_are_told_instead_of_redirected() {
    let mut upstream = Upstream::start().await;
    let world = world(provider(upstream.address), &[]).await;
    for headers in [
        [("sec-fetch-mode", "cors")].as_slice(),
        &[("x-requested-with", "XMLHttpRequest")],
        &[("upgrade", "websocket"), ("connection", "upgrade")],
        &[("authorization", "Basic bm9ib2R5OndpdGhvdXQ=")],
        &[("authorization", "Bearer wrong")],
    ] {
        let answer = get(world.address(), "/api/x", HOST, headers).await;
        assert_eq!(answer.status(), 401, "{headers:?}");
        let json: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
        let has_credentials = headers.iter().any(|(name, _)| *name == "authorization");
        let expected = if has_credentials {
            "invalid_credentials"
        } else {
            "login_required"
        };
        assert_eq!(json["error"], expected, "{headers:?}");
        assert!(answer.headers().contains_key(header::WWW_AUTHENTICATE));
    }
    let post = format!(
        "POST /api HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(
        status(&raw(world.address(), post.as_bytes()).await),
        401,
        "without its body"
    );
    assert!(upstream.arrived().is_none());
}

#[tokio::test]
async fn our_own_paths_are_never_passed_on() {
    let mut upstream = Upstream::start().await;
    let mut open = provider(upstream.address);
    open.skip_path_regex = ".*".into();
    let world = world(open, &[]).await;
    for (path, status) in [
        ("/outpost.goauthentik.io", 404),
        ("/outpost.goauthentik.io/", 302),
        ("/outpost.goauthentik.io//", 404),
        ("/outpost.goauthentik.io/unknown?x", 404),
        ("/outpost.goauthentik.io/ping", 204),
        ("/outpost.goauthentik.io/static/x.css", 404),
        ("/outpost.goauthentik.io/start", 302),
        ("/outpost.goauthentik.io/auth/nginx", 404),
    ] {
        let answer = get(world.address(), path, HOST, &[]).await;
        assert_eq!(answer.status(), status, "{path}");
        assert!(upstream.arrived().is_none(), "{path}");
    }
    let near = "/outpost.goauthentik.iox/y";
    assert_eq!(get(world.address(), near, HOST, &[]).await.status(), 200);
    assert_eq!(
        upstream.next().await.line,
        format!("GET {near} HTTP/1.1").as_bytes()
    );
}

#[tokio::test]
async fn an_allowed_path_with_two_readings_needs_a_login() {
    let mut upstream = Upstream::start().await;
    let mut open = provider(upstream.address);
    open.skip_path_regex = "^/public/".into();
    let world = world(open, &[]).await;
    for target in [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/%2e%2e%2fadmin",
        "/public//admin",
        "/public/..;/admin",
        "/public\\..\\admin",
        "/admin?x=/public/",
        "/private",
    ] {
        let answer = get(world.address(), target, HOST, &[]).await;
        assert_eq!(answer.status(), 302, "{target}");
        assert!(upstream.arrived().is_none(), "{target}");
    }
    assert_eq!(
        get(world.address(), "/public/caf\u{e9}", HOST, &[])
            .await
            .status(),
        200
    );
    assert_eq!(upstream.next().await.one("x-authentik-username"), "");
}

#[tokio::test]
async fn programs_come_in_with_their_credentials() {
    let mut upstream = Upstream::start().await;
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_user(User {
        app_password: Some("app-pass".into()),
        ..User::new("robot", PASSWORD)
    });
    let own = Provider {
        intercept_header_auth: false,
        skip_path_regex: "^/api/".into(),
        ..Provider::proxy(
            "home",
            "http://home.test",
            &format!("http://{}", upstream.address),
        )
    };
    let world = World::beside(authentik, vec![provider(upstream.address), own], &[]).await;
    let robot = format!("Basic {}", STANDARD.encode("robot:app-pass"));
    let headers = [("authorization", robot.as_str())];
    for attempt in 0..3 {
        let answer = get(world.address(), "/api/v2/alerts", HOST, &headers).await;
        assert_eq!(answer.status(), 200);
        let is_new = answer.headers().contains_key(header::SET_COOKIE);
        assert_eq!(
            is_new,
            attempt == 0,
            "the cookie comes with the first answer"
        );
        let recorded = upstream.next().await;
        assert_eq!(recorded.one("x-authentik-username"), "robot");
        assert_eq!(recorded.one("authorization"), "");
    }
    // An application with credentials of its own sees them.
    for target in ["/api/websocket", "/api/states"] {
        let token = [("authorization", "Bearer of-the-application")];
        assert_eq!(
            get(world.address(), target, "home.test", &token)
                .await
                .status(),
            200
        );
        assert_eq!(
            upstream.next().await.one("authorization"),
            "Bearer of-the-application"
        );
    }
    assert_eq!(
        get(world.address(), "/", "home.test", &headers)
            .await
            .status(),
        302
    );
    assert!(upstream.arrived().is_none());
}

#[tokio::test]
async fn rules_and_headers_of_our_own_file_hold() {
    let mut upstream = Upstream::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "first\n").expect("written");
    let file = directory.path().join("own.yaml");
    let mut out = std::fs::File::create(&file).expect("a file");
    write!(
        out,
        "applications:\n  app:\n    headers:\n      X-Token: {{file: {}, prefix: 'Bearer '}}\n      Authorization: Bearer fixed\n    rules:\n      - {{path: ^/admin, action: require, groups: [admins]}}\n      - {{path: ^/never, action: deny}}\n      - {{path: ^/open, action: allow}}\n",
        token.display()
    )
    .expect("written");
    let authentik = Standin::builder().start().await.expect("started");
    let path = file.to_str().expect("text");
    let more = [("AUTHENTIK_PROXY_CONFIG", path)];
    let mut world = World::running(authentik, vec![provider(upstream.address)], &more).await;
    world.authentik.add_user(User::new("bob", PASSWORD));
    let alice = Browser::default().log_in_as(&world, HOST, "alice").await;
    let bob = Browser::default().log_in_as(&world, HOST, "bob").await;
    for (cookie, path, status) in [
        (alice.as_str(), "/admin/x", 200),
        (&bob, "/admin/x", 403),
        ("", "/admin/x", 302),
        (&alice, "/never", 403),
        ("", "/never", 403),
        ("", "/open", 200),
        ("", "/open/../admin", 403),
        (&bob, "/other", 200),
    ] {
        let headers = [
            ("cookie", cookie),
            ("x_token", "forged"),
            ("authorization", "mine"),
        ];
        let answer = get(
            world.address(),
            path,
            HOST,
            &headers[..2 + usize::from(status == 200)],
        )
        .await;
        assert_eq!(answer.status(), status, "{path} {cookie}");
        if status == 200 {
            let recorded = upstream.next().await;
            assert_eq!(recorded.one("x-token"), "Bearer first");
            assert_eq!(recorded.one("authorization"), "Bearer fixed");
            assert_eq!(recorded.one("x_token"), "");
        }
        assert!(upstream.arrived().is_none(), "{path}");
    }
    world.outpost.stop().await;
}

#[tokio::test]
async fn what_applications_answer_is_measured() {
    let upstream = Upstream::start().await;
    let world = world(provider(upstream.address), &[]).await;
    let cookie = alice(&world).await;
    let answer = get(world.address(), "/", HOST, &[("cookie", &cookie)]).await;
    assert_eq!(answer.status(), 200);
    let metrics = world.outpost.metrics_addresses()[0];
    let page = text(&get(metrics, "/metrics", "x", &[]).await);
    let line = format!(
        "method=\"GET\",scheme=\"http\",host=\"{HOST}\",upstream_host=\"{}\"}} 1",
        upstream.address
    );
    let name = "authentik_outpost_proxy_upstream_response_duration_seconds_count{outpost_name=\"";
    let found = page
        .lines()
        .any(|found| found.starts_with(name) && found.contains(&line));
    assert!(found, "{line} in {page}");
}
