//! Ends of sessions whose cookies browsers, or thieves, still have.

use authentik_standin::{Endpoint, Fault};

use super::{HOST, PAGE, REFUSE, asked, authentik, connected, replica, sign_in, status};
use crate::forward_auth::dialects::ALL;
use crate::support::{Browser, within};

#[tokio::test]
async fn cve_2025_29928_an_end_at_authentik_counts_at_every_replica_for_cookies_seen_later_too() {
    let authentik = authentik().await;
    let here = connected(&authentik, &[]).await;
    let there = connected(&authentik, &[]).await;
    let unseen = connected(&authentik, &[]).await;
    let cookies = sign_in(&here).await;
    assert_eq!(status(&there, &cookies).await, 200);
    authentik.end_sessions_of("alice");
    here.until_nginx_gets(PAGE, &cookies, 401).await;
    there.until_nginx_gets(PAGE, &cookies, 401).await;
    // The third one cannot ask authentik, and knows nevertheless.
    let (one, two) = (asked(&authentik, "introspect"), &unseen);
    two.until_nginx_gets(PAGE, &cookies, 401).await;
    authentik.fault(Endpoint::Introspect, Fault::Reset);
    for replica in [&here, &there, &unseen] {
        assert_eq!(status(replica, &cookies).await, 401);
    }
    assert_eq!(one, 1, "of the second replica");
}

#[tokio::test]
async fn a_session_that_ended_unheard_is_refused_at_its_first_use() {
    let authentik = authentik().await;
    let here = connected(&authentik, &[]).await;
    let cookies = sign_in(&here).await;
    here.outpost.stop().await;
    authentik.end_sessions_of("alice");
    let there = connected(&authentik, &[]).await;
    for surface in ALL {
        let answer = surface
            .ask(&there, HOST, "/d/x", &[("cookie", &cookies)])
            .await;
        assert_ne!(answer.status(), 200, "{surface:?}");
    }
    assert_eq!(asked(&authentik, "introspect"), 1);
    // It is remembered.
    authentik.fault(Endpoint::Introspect, Fault::Reset);
    assert_eq!(status(&there, &cookies).await, 401);
}

#[tokio::test]
async fn after_a_gap_each_session_is_confirmed_before_its_next_use() {
    let authentik = authentik().await;
    // The introspection of all sessions takes a second for each.
    let rate = ("AUTHENTIK_PROXY_SESSION__INTROSPECTIONS_PER_SECOND", "1");
    let world = connected(&authentik, &[rate]).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(sign_in(&world).await);
    }
    authentik.refuse_websockets(true);
    authentik.drop_websockets();
    world
        .until(|world| !world.outpost.live().health().is_connected())
        .await;
    authentik.end_sessions_of("alice");
    for cookies in &all {
        assert_eq!(status(&world, cookies).await, 200, "it cannot know");
    }
    authentik.refuse_websockets(false);
    within(authentik.wait_websocket()).await;
    world
        .until(|world| world.outpost.live().health().is_connected())
        .await;
    let answers = all.iter().map(|cookies| status(&world, cookies));
    let answers = futures_util::future::join_all(answers).await;
    assert_eq!(answers, [401; 3], "at once");
}

#[tokio::test]
async fn a_sign_out_ends_the_session_here_and_at_replicas_that_see_it_later() {
    let authentik = authentik().await;
    let interval = [("AUTHENTIK_PROXY_SESSION__INTROSPECTION_INTERVAL", "1s")];
    let here = connected(&authentik, &[]).await;
    let there = connected(&authentik, &interval).await;
    let unseen = connected(&authentik, &[]).await;
    let mut browser = Browser::default();
    browser.log_in(&here, HOST, PAGE).await;
    let kept = browser.cookies(HOST);
    let other_device = sign_in(&here).await;
    assert_eq!(status(&there, &kept).await, 200);
    browser.sign_out(&here, HOST).await;
    assert!(
        !browser.cookies(HOST).contains("=1."),
        "{}",
        browser.cookies(HOST)
    );
    assert_eq!(asked(&authentik, "revoke"), 2, "both tokens");
    for cookies in [&kept, &other_device] {
        assert_eq!(status(&here, cookies).await, 401);
        assert_eq!(status(&unseen, cookies).await, 401, "authentik says so");
    }
    // This one has it in memory, and learns of it when it introspects.
    there.until_nginx_gets(PAGE, &kept, 401).await;
    // A sign-in afterwards is another session.
    browser.log_in(&unseen, HOST, PAGE).await;
    assert_eq!(status(&here, &browser.cookies(HOST)).await, 200);
}

#[tokio::test]
async fn a_sign_out_does_not_wait_for_an_authentik_that_hangs() {
    let authentik = authentik().await;
    let world = connected(&authentik, &[]).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, PAGE).await;
    let kept = browser.cookies(HOST);
    authentik.fault(Endpoint::Any, Fault::Hang);
    let answer = browser.sign_out(&world, HOST).await;
    assert_eq!(answer.status(), 302);
    assert_eq!(status(&world, &kept).await, 401);
}

#[tokio::test]
async fn authentik_is_down_at_the_first_use_of_a_session() {
    let authentik = authentik().await;
    let here = connected(&authentik, &[]).await;
    let cookies = sign_in(&here).await;
    let allows = connected(&authentik, &[]).await;
    let refuses = connected(&authentik, &[REFUSE]).await;
    authentik.fault(Endpoint::Introspect, Fault::Status(502));
    assert_eq!(status(&allows, &cookies).await, 200);
    assert_eq!(status(&allows, &cookies).await, 200);
    let answer = refuses.nginx(PAGE, &cookies, &[]).await;
    assert_eq!(answer.status(), 500, "nginx knows no 503");
    let reason = &answer.headers()["x-authentik-proxy-error"];
    let reason = reason.to_str().expect("text");
    assert!(reason.contains("did not confirm"), "{reason}");
    // Once each, until it is tried again.
    assert_eq!(asked(&authentik, "introspect"), 2);
    assert_eq!(status(&here, &cookies).await, 200, "it began here");
}

#[tokio::test]
async fn more_first_uses_than_may_be_asked_about_are_decided_by_the_rule() {
    let authentik = authentik().await;
    let here = connected(&authentik, &[]).await;
    let rate = ("AUTHENTIK_PROXY_SESSION__INTROSPECTIONS_PER_SECOND", "1");
    let there = replica(&authentik, &[rate, REFUSE]).await;
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(sign_in(&here).await);
    }
    let answers = all.iter().map(|cookies| status(&there, cookies));
    let answers = futures_util::future::join_all(answers).await;
    let permitted = answers.iter().filter(|status| **status == 200).count();
    assert!((2..=4).contains(&permitted), "{answers:?}");
    assert!(answers.iter().all(|status| matches!(status, 200 | 500)));
}
