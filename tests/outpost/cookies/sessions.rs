//! What replicas do with the sessions of each other's browsers.

use authentik_standin::Provider;

use super::{
    HOST, PAGE, STORE, asked, authentik, connected, found_and_decrypted, replica, sign_in, status,
};
use crate::forward_auth::dialects::ALL;
use crate::support::{Browser, World, location};

#[tokio::test]
async fn issue_18098_a_restart_signs_no_user_out_without_redis() {
    let authentik = authentik().await;
    let before = connected(&authentik, &[]).await;
    let cookies = sign_in(&before).await;
    before.outpost.stop().await;
    let after = connected(&authentik, &[]).await;
    let answer = after.nginx(PAGE, &cookies, &[]).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-authentik-username"], "alice");
    assert_eq!(answer.headers()["x-authentik-groups"], "admins|users");
    assert!(!answer.headers()["x-authentik-jwt"].is_empty());
}

#[tokio::test]
async fn replicas_share_sessions_and_ask_authentik_once_each() {
    let authentik = authentik().await;
    let here = connected(&authentik, &[]).await;
    let there = connected(&authentik, &[]).await;
    let mut browser = Browser::default();
    let callback = browser.sign_in(&here, HOST, PAGE).await;
    let answer = browser.open(&there, HOST, &callback).await;
    assert_eq!(location(&answer), PAGE, "begun here, finished there");
    let cookies = browser.cookies(HOST);
    for _ in 0..20 {
        assert_eq!(status(&there, &cookies).await, 200);
    }
    assert_eq!(
        asked(&authentik, "introspect"),
        0,
        "it has just begun there"
    );
    assert_eq!(found_and_decrypted(&there).await.1, 0);
    let (one, two) = tokio::join!(status(&here, &cookies), status(&here, &cookies));
    assert_eq!((one, two), (200, 200));
    for _ in 0..20 {
        assert_eq!(status(&here, &cookies).await, 200);
    }
    assert_eq!(asked(&authentik, "introspect"), 1);
    // The two requests at once may both have done so.
    let (found, decrypted) = found_and_decrypted(&here).await;
    assert!((1..=2).contains(&decrypted), "{decrypted}");
    assert_eq!(found + decrypted, 22);
}

#[tokio::test]
async fn sessions_in_cookies_are_known_in_every_dialect() {
    let authentik = authentik().await;
    let here = connected(&authentik, &[]).await;
    let cookies = sign_in(&here).await;
    let there = connected(&authentik, &[]).await;
    for surface in ALL {
        for (world, cookies, expected) in [
            (&here, &*cookies, true),
            (&there, &*cookies, true),
            (&there, "", false),
        ] {
            let answer = surface
                .ask(world, HOST, "/d/x", &[("cookie", cookies)])
                .await;
            assert_eq!(answer.status() == 200, expected, "{surface:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_login_again_replaces_the_session() {
    let world = connected(&authentik().await, &[]).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, PAGE).await;
    let first = browser.cookies(HOST);
    browser.log_in(&world, HOST, PAGE).await;
    assert_ne!(browser.cookies(HOST), first);
    assert_eq!(status(&world, &first).await, 401, "the old one ended");
    assert_eq!(status(&world, &browser.cookies(HOST)).await, 200);
}

/// A program that sends its token every time; its session is in memory.
#[tokio::test]
async fn credentials_get_no_cookie() {
    let authentik = authentik().await;
    let world = connected(&authentik, &[]).await;
    let client_id = world.outpost.live().load().table.sites()[0]
        .application
        .client
        .id
        .clone();
    let token = authentik.mint(&client_id, "alice", serde_json::json!({}));
    let bearer = format!("Bearer {token}");
    for _ in 0..3 {
        let answer = world.nginx(PAGE, "", &[("authorization", &bearer)]).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers().get("set-cookie"), None);
    }
    assert_eq!(
        asked(&authentik, "introspect"),
        1,
        "cached as in every store"
    );
}

#[tokio::test]
async fn tokens_are_not_refreshed_and_the_cookie_has_no_refresh_token() {
    let authentik = authentik().await;
    let mut offline = Provider::forward_single("wiki", "http://wiki.test");
    offline.scopes.push("offline_access".into());
    offline.access_token_validity = Some(60.0);
    authentik.add_provider(offline);
    crate::login::refresh::age_tokens(&authentik, 20);
    let world = connected(&authentik, &[]).await;
    let mut browser = Browser::default();
    browser
        .log_in(&world, "wiki.test", "http://wiki.test/")
        .await;
    let cookies = browser.cookies("wiki.test");
    for _ in 0..3 {
        let answer = world.nginx("http://wiki.test/", &cookies, &[]).await;
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(crate::login::refresh::refreshes(&authentik), 0);
}

#[tokio::test]
async fn memory_and_cookie_sessions_are_not_taken_for_each_other() {
    let authentik = authentik().await;
    let sealed = connected(&authentik, &[]).await;
    let signed = replica(&authentik, &[(STORE.0, "memory")]).await;
    let (in_cookie, in_memory) = (sign_in(&sealed).await, sign_in(&signed).await);
    assert_eq!(status(&signed, &in_memory).await, 200);
    assert_eq!(status(&signed, &in_cookie).await, 401);
    assert_eq!(status(&sealed, &in_memory).await, 401);
}

/// Waits for the end of a stream, in proxy mode.
#[tokio::test]
async fn streams_end_with_their_session() {
    use tokio::io::AsyncReadExt as _;

    let provider = crate::proxy::sessions::endless().await;
    let world: World = crate::support::upstream::world(provider, &[STORE]).await;
    let cookie = crate::support::upstream::alice(&world).await;
    let line = format!("GET /events HTTP/1.1\r\nCookie: {cookie}");
    let mut stream = crate::proxy::streams::ask(world.address(), &line).await;
    let head = crate::proxy::streams::head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    world.authentik.end_sessions_of("alice");
    let mut rest = Vec::new();
    // A reset breaks it off, too.
    let _ = crate::support::within(stream.read_to_end(&mut rest)).await;
}
