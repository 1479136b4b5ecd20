//! Published attacks on programs of this kind, each with its identifier.

use authentik_standin::Provider;
use proptest::prelude::*;

use crate::support::{Browser, World};

const HOST: &str = "grafana.test";
const PAGE: &str = "http://grafana.test/private";

#[tokio::test]
async fn ghsa_5wcc_hf24_rf5h_other_headers_decide_nothing() {
    let world = World::with_grafana().await;
    let own = "/outpost.goauthentik.io/ping";
    for (name, value) in [
        ("x-original-uri", own),
        ("x-rewrite-url", own),
        ("x-forwarded-uri", own),
        (
            "forwarded",
            "host=grafana.test;proto=https;path=/outpost.goauthentik.io/ping",
        ),
        ("x-forwarded-prefix", "/outpost.goauthentik.io"),
        ("user-agent", "kube-probe/1.30"),
        ("user-agent", "GoogleHC/1.0"),
    ] {
        let answer = world.nginx(PAGE, "", &[(name, value)]).await;
        assert_eq!(answer.status(), 401, "{name}");
    }
    let twice = world
        .nginx(PAGE, "", &[("x-original-url", "http://grafana.test/other")])
        .await;
    assert_eq!(twice.status(), 500, "a repeated X-Original-URL");
    assert_eq!(
        world
            .nginx("http://grafana.test/outpost.goauthentik.io/x", "", &[])
            .await
            .status(),
        401
    );
}

#[tokio::test]
async fn a_forwarded_host_of_another_application_opens_nothing() {
    let world = World::new(vec![
        Provider::forward_single("grafana", "http://grafana.test"),
        Provider::forward_single("secret", "http://secret.test"),
    ])
    .await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let cookies = browser.cookies(HOST);
    let forged = [("x-forwarded-host", "grafana.test")];
    assert_eq!(
        world
            .nginx("http://grafana.test/", &cookies, &forged)
            .await
            .status(),
        200
    );
    assert_eq!(
        world
            .nginx("http://secret.test/", &cookies, &forged)
            .await
            .status(),
        401
    );
    assert_eq!(
        world
            .nginx("http://unknown.test/", &cookies, &forged)
            .await
            .status(),
        500
    );
}

#[tokio::test]
async fn cve_2026_25748_malformed_cookies_open_nothing() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let good = browser.cookies(HOST);
    let session = good
        .split("; ")
        .find(|c| !c.contains("_login="))
        .expect("a session cookie");
    let (name, value) = session.split_once('=').expect("a cookie");
    assert_eq!(world.nginx(PAGE, session, &[]).await.status(), 200);
    let login = good
        .split("; ")
        .find_map(|c| c.split_once("_login="))
        .expect("a login cookie")
        .1;
    for bad in [
        String::new(),
        value[..value.len() - 1].to_owned(),
        value[1..].to_owned(),
        format!("{value}x"),
        value.to_uppercase(),
        value.replace('.', ""),
        "A".repeat(8192),
        "\u{ff}\u{fe}".repeat(20),
        login.to_owned(),
    ] {
        let answer = world.nginx(PAGE, &format!("{name}={bad}"), &[]).await;
        assert_eq!(answer.status(), 401, "{bad:?}");
    }
    let doubled = format!("{name}=x; {session}");
    assert_eq!(
        world.nginx(PAGE, &doubled, &[]).await.status(),
        200,
        "a stale cookie does no harm"
    );
}

#[tokio::test]
async fn cve_2026_30851_identity_headers_are_there_and_empty_without_a_session() {
    let mut provider = Provider::forward_single("grafana", "http://grafana.test");
    provider.skip_path_regex = "^/open".into();
    let world = World::new(vec![provider]).await;
    let answer = world
        .nginx(
            "http://grafana.test/open",
            "",
            &[("x-authentik-username", "admin")],
        )
        .await;
    assert_eq!(answer.status(), 200);
    for name in [
        "username",
        "groups",
        "entitlements",
        "email",
        "name",
        "uid",
        "jwt",
    ] {
        let found = answer.headers().get(format!("x-authentik-{name}"));
        assert_eq!(
            found.map(http::HeaderValue::as_bytes),
            Some(b"".as_slice()),
            "{name}"
        );
    }
}

#[tokio::test]
async fn cve_2021_32637_an_unusable_original_url_is_an_error() {
    let world = World::with_grafana().await;
    for url in [
        "",
        "/private",
        "grafana.test/x",
        "http://",
        "ftp://grafana.test/",
        "http://grafana.test/ä",
    ] {
        let answer = world.nginx(url, "", &[]).await;
        assert_eq!(answer.status(), 500, "{url:?}");
        assert!(
            answer.headers().contains_key("x-authentik-proxy-error"),
            "{url:?}"
        );
    }
}

#[tokio::test]
async fn an_unknown_host_is_told_as_the_vendor_tells_it() {
    let world = World::new(vec![
        Provider::forward_single("a", "http://a.test"),
        Provider::forward_single("b", "http://b.test"),
    ])
    .await;
    let answer = world.get("/", "c.test", &[]).await;
    assert_eq!(answer.status(), 400);
    let body: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
    assert_eq!(body["Message"], "no app for hostname");
    assert_eq!(body["Host"], "c.test");
    assert_eq!(world.get("/", "c.test;x", &[]).await.status(), 400);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever a client sends without a session: no 2xx, no panic, no undocumented status.
    #[test]
    fn random_requests_open_nothing(
        cookie in "[ -~]{0,80}",
        url in "(http://grafana\\.test)?[!-~]{0,60}",
        name in "x-[a-z-]{1,20}",
        value in "[ -~]{0,40}",
    ) {
        use std::sync::LazyLock;
        struct Shared(tokio::runtime::Runtime, World);
        static SHARED: LazyLock<Shared> = LazyLock::new(|| {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let world = runtime.block_on(World::with_grafana());
            Shared(runtime, world)
        });
        let Shared(runtime, world) = &*SHARED;
        prop_assume!(name != "x-original-url");
        let answer = runtime.block_on(world.nginx(&url, &cookie, &[(&name, value.trim())]));
        prop_assert!(matches!(answer.status().as_u16(), 401 | 500), "{}", answer.status());
        prop_assert!(world.outpost.store().is_empty());
    }
}

#[tokio::test]
async fn a_page_that_asks_us_itself_is_not_shown_the_token() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let own = "http://grafana.test/outpost.goauthentik.io/auth/nginx";
    let answer = world.nginx(own, &browser.cookies(HOST), &[]).await;
    assert_eq!(answer.status(), 401);
    assert!(!answer.headers().contains_key("x-authentik-jwt"));
}

#[tokio::test]
async fn the_vendors_assets_are_not_found_on_any_host() {
    let world = World::with_grafana().await;
    let asset = "/outpost.goauthentik.io/static/dist/x.css";
    assert_eq!(world.get(asset, "unknown", &[]).await.status(), 404);
}
