//! Sessions that outlive their access token.

use authentik_standin::{Endpoint, Fault, Provider, Standin};
use serde_json::json;

use crate::support::{Browser, World};

const HOST: &str = "grafana.test";
const PAGE: &str = "http://grafana.test/";

/// An application that asks for `offline_access`, with short tokens. See [`age_tokens`].
pub(crate) fn grafana() -> Provider {
    let mut grafana = Provider::forward_single("grafana", "http://grafana.test");
    grafana.scopes.push("offline_access".into());
    grafana.access_token_validity = Some(20.0);
    grafana
}

/// Dates alice's tokens back so far that every request finds their session due for a refresh; by 0,
/// they are due in ten seconds.
pub(crate) fn age_tokens(authentik: &Standin, seconds: i64) {
    let now = authentik_proxy::clock::Clock::system().now();
    let claims = match seconds {
        0 => json!({}),
        seconds => json!({"iat": now - seconds}),
    };
    authentik.set_extra_claims("alice", &claims);
}

/// How often new tokens were asked for with a refresh token.
pub(crate) fn refreshes(authentik: &Standin) -> usize {
    let requests = authentik.requests();
    requests
        .iter()
        .filter(|request| request.body.contains("grant_type=refresh_token"))
        .count()
}

#[tokio::test]
async fn issue_5015_an_active_session_outlives_its_token() {
    let world = World::new(vec![grafana()]).await;
    age_tokens(&world.authentik, 60);
    let mut browser = Browser::default();
    let callback = browser.sign_in(&world, HOST, "/").await;
    let answer = browser.open(&world, HOST, &callback).await;
    let cookies = answer.headers().get_all("set-cookie").iter();
    let cookies: Vec<_> = cookies.map(|c| c.to_str().expect("text")).collect();
    assert!(
        cookies[0].contains("Max-Age=604800"),
        "the cookie must not end first: {cookies:?}"
    );

    let session = || {
        let all = world.outpost.store().sweep();
        std::sync::Arc::clone(&all.first().expect("a session").1)
    };
    age_tokens(&world.authentik, 0);
    let before = session();
    let token = |session: &authentik_proxy::route::LiveSession| {
        use secrecy::ExposeSecret as _;
        session.access_token.expose_secret().to_owned()
    };
    let cookies = browser.cookies(HOST);
    let requests = (0..20).map(|_| world.nginx(PAGE, &cookies, &[]));
    for answer in futures_util::future::join_all(requests).await {
        assert_eq!(answer.status(), 200, "no request waits");
    }
    let first = token(&before);
    world.until(|_| token(&session()) != first).await;
    assert_eq!(
        refreshes(&world.authentik),
        1,
        "once, whichever request asks"
    );
    let answer = world.nginx(PAGE, &cookies, &[]).await;
    assert_eq!(answer.status(), 200);
    assert_ne!(answer.headers()["x-authentik-jwt"], first.as_str());

    // The new session ends as the old one did.
    world.authentik.end_sessions_of("alice");
    world.until(|world| world.outpost.store().is_empty()).await;
    assert_eq!(world.nginx(PAGE, &cookies, &[]).await.status(), 401);
}

#[tokio::test]
async fn a_refused_refresh_ends_the_session() {
    let world = World::new(vec![grafana()]).await;
    age_tokens(&world.authentik, 60);
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    // No event announces it: the refresh finds out.
    world.authentik.refuse_websockets(true);
    world.authentik.drop_websockets();
    world.authentik.deactivate("alice");
    let cookies = browser.cookies(HOST);
    assert_eq!(world.nginx(PAGE, &cookies, &[]).await.status(), 200);
    world.until(|world| world.outpost.store().is_empty()).await;
    assert_eq!(world.nginx(PAGE, &cookies, &[]).await.status(), 401);
}

#[tokio::test]
async fn a_refresh_that_fails_is_tried_again_and_the_session_stays() {
    let world = World::new(vec![grafana()]).await;
    age_tokens(&world.authentik, 60);
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    world.authentik.clear_requests();
    world.authentik.fault(Endpoint::Token, Fault::Status(503));
    let cookies = browser.cookies(HOST);
    assert_eq!(world.nginx(PAGE, &cookies, &[]).await.status(), 200);
    world.until(|world| refreshes(&world.authentik) == 1).await;
    assert_eq!(world.nginx(PAGE, &cookies, &[]).await.status(), 200);
    assert_eq!(world.outpost.store().len(), 1);
}

#[tokio::test]
async fn a_token_of_twenty_seconds_is_not_refreshed_by_every_request() {
    let world = World::new(vec![grafana()]).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let cookies = browser.cookies(HOST);
    let (_, session) = world.outpost.store().sweep().pop().expect("a session");
    let due = session.refresh_at().expect("refreshable");
    assert_eq!(session.expires_at - due, 10);
    assert_eq!(world.nginx(PAGE, &cookies, &[]).await.status(), 200);
    // What was queued before is refreshed before.
    age_tokens(&world.authentik, 60);
    let mut second = Browser::default();
    second.log_in(&world, HOST, "/").await;
    age_tokens(&world.authentik, 0);
    let cookies = second.cookies(HOST);
    assert_eq!(world.nginx(PAGE, &cookies, &[]).await.status(), 200);
    world.until(|world| refreshes(&world.authentik) > 0).await;
    assert_eq!(refreshes(&world.authentik), 1, "the due one alone");
}
