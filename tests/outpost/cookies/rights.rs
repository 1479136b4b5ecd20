//! Rights that change while browsers have their sessions in cookies.

use super::{HOST, PAGE, STORE, asked, authentik, connected, sign_in, status};
use crate::authentik::presence::attach;
use crate::login::person::Person;
use crate::login::reauthorize::{DUE, INTERVAL};
use crate::login::refresh::age_tokens;
use crate::login::user_page::{actions, open, post};
use crate::support::{NAVIGATION, World, text};

const GRACE: &str = "AUTHENTIK_PROXY_SESSION__REAUTHORIZE_GRACE_PERIOD";

/// What a navigation gets, and what a script gets.
async fn standing(world: &World, cookies: &str) -> (u16, u16) {
    let navigation = world.nginx(PAGE, cookies, &NAVIGATION).await;
    (navigation.status().as_u16(), status(world, cookies).await)
}

#[tokio::test]
async fn a_new_authorization_gives_a_new_cookie_and_the_old_one_stays_due() {
    let authentik = authentik().await;
    let here = connected(&authentik, &[INTERVAL, (GRACE, "1h")]).await;
    let strict = connected(&authentik, &[INTERVAL, (GRACE, "0")]).await;
    let mut person = Person::signed_in(&here, HOST, "alice", DUE).await;
    let old = person.browser.cookies(HOST);
    assert_eq!(standing(&here, &old).await, (401, 200), "due");
    assert_eq!(standing(&strict, &old).await, (401, 401), "suspended");
    // Two tabs, one after the other: the first one's cookie stays good.
    let landed = person.start(&here, HOST).await;
    assert_eq!(landed.status(), 302, "{landed:?}");
    let first = person.browser.cookies(HOST);
    let landed = person.start(&here, HOST).await;
    assert_eq!(landed.status(), 302, "{landed:?}");
    let second = person.browser.cookies(HOST);
    for cookies in [&first, &second] {
        assert_ne!(*cookies, old);
        for world in [&here, &strict] {
            assert_eq!(standing(world, cookies).await, (200, 200));
        }
    }
    assert_eq!(
        standing(&here, &old).await,
        (401, 200),
        "no longer than before"
    );
    assert_eq!(standing(&strict, &old).await, (401, 401));
}

#[tokio::test]
async fn cookies_do_not_come_back_with_their_provider() {
    let authentik = authentik().await;
    let here = connected(&authentik, &[]).await;
    let there = connected(&authentik, &[]).await;
    // Clocks may differ by five seconds.
    age_tokens(&authentik, 60);
    let cookies = sign_in(&here).await;
    attach(&[&here, &there], false).await;
    attach(&[&here, &there], true).await;
    for world in [&here, &there] {
        assert_eq!(status(world, &cookies).await, 401);
    }
}

#[tokio::test]
async fn the_page_of_the_user_ends_sessions_in_cookies() {
    for button in 0..2 {
        let authentik = authentik().await;
        let world = connected(&authentik, &[STORE]).await;
        let unseen = connected(&authentik, &[]).await;
        let cookies = sign_in(&world).await;
        let page = text(&open(&world, &cookies, &[]).await);
        let actions = actions(&page);
        let action = actions.get(button).expect("a button");
        let answer = post(&world, action, &cookies).await;
        assert!(answer.status().as_u16() < 400, "{action}: {answer:?}");
        assert_eq!(asked(&authentik, "revoke"), 1, "{action}");
        assert_eq!(status(&world, &cookies).await, 401, "{action}");
        assert_eq!(status(&unseen, &cookies).await, 401, "{action}");
    }
}
