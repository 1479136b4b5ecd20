//! What an application is told about the user and the connection, whatever the client says.

use authentik_standin::{Standin, User};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::support::upstream::{HOST, Recorded, Upstream, alice, provider, raw, status, world};
use crate::support::{Browser, PASSWORD, World, get};

const USER_HEADERS: [&str; 7] = [
    "username",
    "groups",
    "entitlements",
    "email",
    "name",
    "uid",
    "jwt",
];

/// An application, and a world in which `/open` needs no login.
async fn with_open_path(more: &[(&str, &str)]) -> (Upstream, World) {
    let upstream = Upstream::start().await;
    let mut provider = provider(upstream.address);
    provider.skip_path_regex = "^/open".into();
    let world = world(provider, more).await;
    (upstream, world)
}

/// What arrives of a request with these header lines.
async fn arrives(upstream: &mut Upstream, world: &World, target: &str, lines: &str) -> Recorded {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}{}\r\n",
        if lines.contains("Connection:") {
            ""
        } else {
            "Connection: close\r\n"
        }
    );
    let answer = raw(world.address(), request.as_bytes()).await;
    assert_eq!(
        status(&answer),
        200,
        "{lines}: {}",
        String::from_utf8_lossy(&answer)
    );
    upstream.next().await
}

#[tokio::test]
async fn cve_2025_64484_and_cve_2026_33433_no_spelling_of_an_identity_header_survives() {
    let (mut upstream, world) = with_open_path(&[]).await;
    let cookie = alice(&world).await;
    let mut lines = String::new();
    for name in USER_HEADERS {
        let upper = name.to_uppercase();
        for spelling in [
            format!("X-authentik-{name}"),
            format!("X-AUTHENTIK-{upper}"),
            format!("X_authentik_{name}"),
            format!("X.authentik.{name}"),
            format!("x-authentik_{name}"),
            format!("X_Authentik-{name}"),
        ] {
            lines.extend([&spelling, ": forged\r\n"]);
        }
    }
    lines += "X-authentik-new: forged\r\nX_authentik_new: forged\r\nX.Authentik-New: forged\r\nX-authentik-meta-app: forged\r\nX_authentik_meta_outpost: forged\r\n";
    let own = format!("Cookie: {cookie}\r\n");
    for (target, cookie, username) in [
        ("/private", own.as_str(), "alice"),
        ("/open", &own, "alice"),
        ("/open/x", "", ""),
    ] {
        let recorded = arrives(&mut upstream, &world, target, &format!("{cookie}{lines}")).await;
        assert_eq!(recorded.one("x-authentik-username"), username, "{target}");
        for name in USER_HEADERS {
            assert_eq!(
                recorded.all(&format!("x-authentik-{name}")).len(),
                1,
                "{name}"
            );
        }
        assert_eq!(recorded.one("x-authentik-meta-app"), "app");
        for (name, value) in &recorded.headers {
            assert_ne!(value, b"forged", "{target}: {name}");
        }
    }
}

#[tokio::test]
async fn ghsa_62c8_mh53_4cqv_connection_takes_no_identity_header_away() {
    let (mut upstream, world) = with_open_path(&[]).await;
    let cookie = alice(&world).await;
    let lines = format!(
        "Cookie: {cookie}; a=1\r\nX-Own: 1\r\nX-Kept: 1\r\nX-authentik-username: admin\r\nConnection: close, X-authentik-username, x-authentik-jwt, X-Authentik-Meta-App, X-Forwarded-For, X-Forwarded-Host, Host, X-Own\r\n"
    );
    let recorded = arrives(&mut upstream, &world, "/", &lines).await;
    assert_eq!(recorded.one("x-authentik-username"), "alice");
    assert!(!recorded.one("x-authentik-jwt").is_empty());
    assert_eq!(recorded.one("x-authentik-meta-app"), "app");
    assert_eq!(recorded.one("x-forwarded-for"), "127.0.0.1");
    assert_eq!(recorded.one("host"), HOST);
    assert_eq!(
        (recorded.one("x-own"), recorded.one("x-kept")),
        (String::new(), "1".into())
    );
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "te",
    ] {
        assert_eq!(recorded.one(name), "", "{name}");
    }
}

#[tokio::test]
async fn go_2026_5532_our_cookies_and_credentials_never_reach_an_application() {
    let upstream = Upstream::start().await;
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_user(User {
        app_password: Some("app-pass".into()),
        ..User::new("robot", PASSWORD)
    });
    let world = World::beside(authentik, vec![provider(upstream.address)], &[]).await;
    let mut upstream = upstream;
    let cookie = alice(&world).await;
    assert_eq!(
        cookie.matches("authentik_proxy_").count(),
        2,
        "session and login: {cookie}"
    );
    for (sent, expected) in [
        (format!("Cookie: {cookie}\r\n"), ""),
        (format!("Cookie: a=1; {cookie}; b=2\r\n"), "a=1; b=2"),
        (
            format!("Cookie: a=1\r\nCookie: {cookie};b=2\r\nCookie: c=\"3\"\r\n"),
            "a=1; b=2; c=\"3\"",
        ),
        (
            format!("Cookie: {cookie}; authentik_proxy_0badcafe=other\r\n"),
            "",
        ),
        (
            format!("Cookie: xauthentik_proxy_1=kept; {cookie}\r\n"),
            "xauthentik_proxy_1=kept",
        ),
    ] {
        let recorded = arrives(&mut upstream, &world, "/", &sent).await;
        assert_eq!(recorded.one("cookie"), expected, "{sent}");
    }

    // What is the application's own comes through …
    let lines = format!("Cookie: {cookie}\r\nAuthorization: Bearer the-applications-own\r\n");
    let recorded = arrives(&mut upstream, &world, "/", &lines).await;
    assert_eq!(recorded.one("authorization"), "Bearer the-applications-own");
    // … and what opened the door does not, neither at first nor with the cookie that it gave.
    let robot = format!("Basic {}", STANDARD.encode("robot:app-pass"));
    let headers = [("authorization", robot.as_str())];
    let answer = get(world.address(), "/api", HOST, &headers).await;
    assert_eq!(answer.status(), 200);
    let recorded = upstream.next().await;
    assert_eq!(recorded.one("x-authentik-username"), "robot");
    assert_eq!(recorded.one("authorization"), "");
    let mut client = Browser::default();
    client.keep(HOST, answer.headers());
    for cookie in [client.cookies(HOST), cookie] {
        let lines = format!("Cookie: {cookie}\r\nAuthorization: {robot}\r\n");
        let recorded = arrives(&mut upstream, &world, "/", &lines).await;
        assert_eq!(recorded.one("authorization"), "", "{cookie}");
    }
}

#[tokio::test]
async fn cve_2026_35051_forwarded_headers_of_untrusted_clients_are_replaced() {
    const FORGED: &str = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: other.test\r\nX-Forwarded-Prefix: /evil\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX_Forwarded_For: 1.2.3.4\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n";
    let untrusted = ("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", "none");
    let (mut upstream, world) = with_open_path(&[untrusted]).await;
    let recorded = arrives(&mut upstream, &world, "/open", FORGED).await;
    assert_eq!(recorded.one("x-forwarded-for"), "127.0.0.1");
    assert_eq!(recorded.one("x-forwarded-proto"), "http");
    assert_eq!(recorded.one("x-forwarded-host"), HOST);
    for name in [
        "x-forwarded-prefix",
        "x-forwarded-port",
        "x-real-ip",
        "forwarded",
        "x_forwarded_for",
        "x-original-url",
        "x-rewrite-url",
    ] {
        assert_eq!(recorded.one(name), "", "{name}");
    }

    // From a reverse proxy that is trusted they count, and ours are added.
    let (mut upstream, world) = with_open_path(&[]).await;
    let forged = FORGED.replace("other.test", HOST);
    let recorded = arrives(&mut upstream, &world, "/open", &forged).await;
    assert_eq!(recorded.one("x-forwarded-for"), "1.2.3.4, 127.0.0.1");
    assert_eq!(recorded.one("x-forwarded-proto"), "https");
    assert_eq!(recorded.one("x-real-ip"), "1.2.3.4");
    assert_eq!(recorded.one("x_forwarded_for"), "", "no proxy spells it so");
    for name in ["x-original-url", "forwarded", "x-forwarded-prefix"] {
        assert_eq!(recorded.one(name), "", "{name}");
    }
    // Traefik writes `wss` and `ws` for websockets; of a list the nearest reverse proxy added the last.
    for (written, expected) in [
        ("wss", "https"),
        ("WS", "http"),
        ("http,https", "https"),
        ("https, ws", "http"),
        ("https,", "http"),
    ] {
        let line = format!("X-Forwarded-Proto: {written}\r\n");
        let recorded = arrives(&mut upstream, &world, "/open", &line).await;
        assert_eq!(recorded.one("x-forwarded-proto"), expected, "{written}");
    }
    let list = format!("X-Forwarded-Host: unknown.test, {HOST}\r\n");
    let recorded = arrives(&mut upstream, &world, "/open", &list).await;
    assert_eq!(recorded.one("x-forwarded-host"), HOST);
    let twice = "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3\r\n";
    let recorded = arrives(&mut upstream, &world, "/open", twice).await;
    assert_eq!(
        recorded.one("x-forwarded-for"),
        "1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.1"
    );
    let recorded = arrives(&mut upstream, &world, "/open", "").await;
    assert_eq!(recorded.one("x-real-ip"), "", "is not invented");
}

#[tokio::test]
async fn an_application_gets_credentials_from_the_users_attributes() {
    let upstream = Upstream::start().await;
    let authentik = Standin::builder().start().await.expect("started");
    let mut provider = provider(upstream.address);
    provider.basic_auth_enabled = true;
    provider.basic_auth_user_attribute = "app_user".into();
    provider.basic_auth_password_attribute = "app_password".into();
    let world = World::beside(authentik, vec![provider], &[]).await;
    let mut upstream = upstream;
    world.authentik.add_user(User {
        attributes: json!({
            "app_user": "robot",
            "app_password": "p:w",
            "additionalHeaders": {"X-Remote-User": "r", "X-Number": 7, "X_Odd.Name": "o", "Host": "evil", "Content-Length": "9"},
        }),
        ..User::new("rob", PASSWORD)
    });
    let mut browser = Browser::default();
    let cookies = browser.log_in_as(&world, HOST, "rob").await;
    let lines = format!(
        "Cookie: {cookies}\r\nX_Remote_User: root\r\nx-remote-user: root\r\nX-Odd-Name: root\r\nX_Odd_Name: root\r\nAuthorization: Bearer forged\r\n"
    );
    let recorded = arrives(&mut upstream, &world, "/", &lines).await;
    let basic = format!("Basic {}", STANDARD.encode("robot:p:w"));
    assert_eq!(recorded.one("authorization"), basic);
    assert_eq!(recorded.one("x-remote-user"), "r");
    assert_eq!(recorded.one("x_remote_user"), "");
    assert_eq!(recorded.one("x_odd.name"), "o");
    assert_eq!(recorded.one("x-odd-name"), "");
    assert_eq!(recorded.one("x_odd_name"), "");
    assert_eq!(recorded.one("x-number"), "7");
    assert_eq!(
        (
            recorded.one("host").as_str(),
            recorded.one("content-length").as_str()
        ),
        (HOST, "")
    );
}

/// `additionalHeaders` of one user say nothing of another: without the setting `X-Remote-User` is
/// the client's to choose wherever the user has none.
#[tokio::test]
async fn what_identity_headers_names_is_no_client_s_to_say() {
    let mut upstream = Upstream::start().await;
    let mut open = provider(upstream.address);
    open.skip_path_regex = "^/open".into();
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_user(User {
        attributes: json!({"additionalHeaders": {"X-Remote-User": "rob"}}),
        ..User::new("rob", PASSWORD)
    });
    let file = "applications: {app: {identity_headers: [X-Remote-User, X_Groups]}}";
    let world = World::with_file(authentik, vec![open], file, &[]).await;
    let rob = Browser::default().log_in_as(&world, HOST, "rob").await;
    let alice = alice(&world).await;
    for (target, cookies, expected) in [
        ("/", rob.as_str(), "rob"),
        ("/", &alice, ""),
        ("/open", "", ""),
    ] {
        let lines = format!(
            "Cookie: {cookies}\r\nX-Remote-User: root\r\nX_Remote_User: root\r\nx-remote.user: root\r\nX-Groups: root\r\nX_Groups: root\r\nX-Remote: kept\r\n"
        );
        let recorded = arrives(&mut upstream, &world, target, &lines).await;
        assert_eq!(recorded.one("x-remote-user"), expected, "{target}");
        assert_eq!(recorded.one("x-remote"), "kept");
        let forged: Vec<_> = recorded
            .headers
            .iter()
            .filter(|(_, v)| v == b"root")
            .collect();
        assert!(forged.is_empty(), "{target}: {forged:?}");
    }
    let request = format!(
        "POST /open HTTP/1.1\r\nHost: {HOST}\r\nConnection: close, TE\r\nTE: trailers\r\nTrailer: X_Remote_User, X-Note\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX_Remote_User: root\r\nX-Note: kept\r\n\r\n"
    );
    assert_eq!(status(&raw(world.address(), request.as_bytes()).await), 200);
    assert_eq!(
        upstream.next().await.trailers.to_lowercase(),
        "x-note: kept"
    );
}

#[tokio::test]
async fn claims_choose_another_host_and_another_application() {
    let mut upstream = Upstream::start().await;
    let mut other = Upstream::start().await;
    let world = world(provider(upstream.address), &[]).await;
    for (name, claims) in [
        ("hosted", json!({"host_header": "inner.test:81"})),
        (
            "moved",
            json!({"backend_override": format!("http://{}", other.address)}),
        ),
        (
            "bad",
            json!({"backend_override": "ftp://x", "is_superuser": true}),
        ),
        ("worse", json!({"host_header": "a b\r\nX: y"})),
    ] {
        world.authentik.add_user(User {
            extra_claims: json!({"ak_proxy": claims}),
            ..User::new(name, PASSWORD)
        });
    }
    let cookies = async |user: &str| Browser::default().log_in_as(&world, HOST, user).await;
    let lines = format!("Cookie: {}\r\n", cookies("hosted").await);
    let recorded = arrives(&mut upstream, &world, "/x", &lines).await;
    assert_eq!(recorded.one("host"), "inner.test:81");
    assert_eq!(recorded.one("x-forwarded-host"), HOST);

    let lines = format!("Cookie: {}\r\n", cookies("moved").await);
    let recorded = arrives(&mut other, &world, "/y?z", &lines).await;
    assert_eq!(recorded.line, b"GET /y?z HTTP/1.1");
    assert_eq!(recorded.one("host"), HOST);

    for (user, told) in [("bad", "backend_override"), ("worse", "Misconfigured")] {
        let cookies = cookies(user).await;
        let answer = get(world.address(), "/", HOST, &[("cookie", &cookies)]).await;
        assert_eq!(answer.status(), 502, "{user}");
        let page = crate::support::text(&answer);
        assert!(page.contains(told), "{page}");
    }
    assert!(upstream.arrived().is_none() && other.arrived().is_none());
}
