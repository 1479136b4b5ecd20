//! Users with many groups.

use std::net::SocketAddr;

use authentik_standin::User;
use authentik_standin::nginx::{Nginx, Shape, free_address};

use super::{HOST, LARGE, PAGE, authentik, connected, header, pairs, status, user};
use crate::support::{Browser, Outpost, PASSWORD, World, location, text};

#[tokio::test]
async fn a_session_that_does_not_fit_is_refused_with_a_page_and_nothing_is_set() {
    let authentik = authentik().await;
    authentik.add_user(user("bob", 400));
    let world = connected(&authentik, &[]).await;
    let mut browser = Browser::default();
    let start = "/outpost.goauthentik.io/start?rd=/";
    let answer = browser.open(&world, HOST, start).await;
    let callback = Browser::authorize_as(&world, &location(&answer), "bob");
    let answer = browser.open(&world, HOST, &callback).await;
    assert_eq!(answer.status(), 500);
    assert!(
        text(&answer).contains("too large for your browser"),
        "{}",
        text(&answer)
    );
    assert_eq!(pairs(&browser.cookies(HOST)), []);
    assert_eq!(world.outpost.store().len(), 0);
    // alice fits.
    browser.log_in(&world, HOST, PAGE).await;
}

#[tokio::test]
async fn parts_are_removed_when_fewer_follow_and_at_sign_out() {
    let authentik = authentik().await;
    authentik.add_user(user("bob", 300));
    let world = connected(&authentik, &[LARGE]).await;
    let mut browser = Browser::default();
    let cookies = browser.log_in_as(&world, HOST, "bob").await;
    let names: Vec<_> = pairs(&cookies).iter().map(|(name, _)| *name).collect();
    assert!(names.len() >= 3, "{names:?}");
    for (index, name) in names.iter().enumerate().skip(1) {
        assert_eq!(**name, format!("{}_{index}", names[0]));
    }
    assert_eq!(status(&world, &cookies).await, 200);
    let fewer = browser.log_in_as(&world, HOST, "alice").await;
    assert_eq!(pairs(&fewer).len(), 1, "{fewer}");
    assert_eq!(status(&world, &fewer).await, 200);
    browser.log_in_as(&world, HOST, "bob").await;
    assert_eq!(pairs(&browser.cookies(HOST)).len(), names.len());
    browser.sign_out(&world, HOST).await;
    assert_eq!(pairs(&browser.cookies(HOST)), []);
}

/// `docs/RELIABILITY.md` has these sizes.
#[tokio::test]
async fn cookies_are_as_large_as_documented() {
    let authentik = authentik().await;
    let world = connected(&authentik, &[LARGE]).await;
    for (groups, expected) in [
        (10, [1_030, 1_280]),
        (100, [1_280, 3_670]),
        (400, [2_220, 11_890]),
    ] {
        let random = user(&format!("random-{groups}"), groups);
        let numbered = User {
            groups: (0..groups).map(|n| format!("department-{n:03}")).collect(),
            ..User::new(&format!("numbered-{groups}"), PASSWORD)
        };
        for (user, expected) in [numbered, random].into_iter().zip(expected) {
            let name = user.username.clone();
            authentik.add_user(user);
            let cookies = Browser::default().log_in_as(&world, HOST, &name).await;
            let size = header(&pairs(&cookies)).len();
            let answer = world.nginx(PAGE, &cookies, &[]).await;
            let token = answer.headers()["x-authentik-jwt"].len();
            assert!(
                size.abs_diff(expected) <= 90,
                "{name}: {size}, token {token}"
            );
        }
    }
}

/// A reverse proxy in front of the outpost.
struct Front(SocketAddr);

impl Outpost for Front {
    fn address(&self) -> SocketAddr {
        self.0
    }
}

/// What fits into the default passes nginx with authentik's documented configuration; what is larger
/// needs larger buffers there.
#[tokio::test]
#[ignore = "needs nginx"]
async fn what_fits_passes_a_real_nginx_and_what_is_larger_needs_its_buffers() {
    let authentik = authentik().await;
    for (settings, groups, expected) in [
        (&[][..], 10, 200),
        (&[], 100, 200),
        (&[LARGE], 200, 200),
        (&[LARGE], 400, 400),
    ] {
        let name = format!("carol-{groups}");
        authentik.add_user(user(&name, groups));
        let world = connected(&authentik, settings).await;
        let front = free_address().expect("free");
        let nginx = Nginx::start(front, world.address(), Shape::Standalone).await;
        let nginx = nginx.expect("nginx");
        let front = World {
            authentik: authentik.clone(),
            outpost: Front(nginx.address()),
        };
        let cookies = Browser::default().log_in_as(&front, HOST, &name).await;
        let headers = [("cookie", &*cookies)];
        let answer = front.get("/", HOST, &headers).await;
        assert_eq!(answer.status(), expected, "{groups}: {}", cookies.len());
    }
}
