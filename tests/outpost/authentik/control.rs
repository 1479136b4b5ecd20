//! What authentik tells reaches the data plane, and what goes wrong there does not.

use std::time::Duration;

use authentik_standin::{Dialect, Endpoint, Fault, Provider, Standin};
use serde_json::json;

use crate::support::{Browser, World, start};

const HOST: &str = "grafana.test";
const PAGE: &str = "http://grafana.test/";

async fn status(world: &World, browser: &Browser) -> u16 {
    world
        .nginx(PAGE, &browser.cookies(HOST), &[])
        .await
        .status()
        .as_u16()
}

#[tokio::test]
async fn issue_2023_a_session_that_ends_at_authentik_ends_here_in_both_dialects() {
    for dialect in [Dialect::V2025_6, Dialect::V2026_2] {
        let authentik = Standin::builder()
            .dialect(dialect)
            .start()
            .await
            .expect("started");
        let grafana = Provider::forward_single("grafana", "http://grafana.test");
        let world = World::beside(authentik, vec![grafana], &[]).await;
        let mut browser = Browser::default();
        browser.log_in(&world, HOST, "/").await;
        assert_eq!(status(&world, &browser).await, 200);
        world.authentik.end_sessions_of("alice");
        world.until(|world| world.outpost.store().is_empty()).await;
        assert_eq!(status(&world, &browser).await, 401);
    }
}

#[tokio::test]
async fn a_change_arrives_by_websocket() {
    let world = World::with_grafana().await;
    assert_eq!(
        world
            .nginx("http://grafana.test/open/x", "", &[])
            .await
            .status(),
        401
    );
    world
        .authentik
        .patch_provider("grafana", json!({"skip_path_regex": "^/open/"}));
    let opened = async {
        while world
            .nginx("http://grafana.test/open/x", "", &[])
            .await
            .status()
            != 200
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), opened)
        .await
        .expect("the change arrives");
    assert_eq!(
        world
            .nginx("http://grafana.test/closed", "", &[])
            .await
            .status(),
        401
    );
}

#[tokio::test]
async fn sessions_outlive_a_change_and_a_restart_of_authentik() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let hellos = world.authentik.hellos().len();
    world.authentik.stop().await;
    assert_eq!(
        status(&world, &browser).await,
        200,
        "served while authentik is down"
    );
    world
        .authentik
        .start_again()
        .await
        .expect("the port is free");
    world.authentik.wait_hellos(hellos + 1).await;
    assert_eq!(status(&world, &browser).await, 200, "and after it is back");
}

#[tokio::test]
async fn an_event_that_was_missed_is_found_by_the_re_check() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    world.authentik.refuse_websockets(true);
    world.authentik.drop_websockets();
    world.authentik.end_sessions_of("alice");
    assert_eq!(status(&world, &browser).await, 200, "nobody told");
    world.authentik.refuse_websockets(false);
    world.until(|world| world.outpost.store().is_empty()).await;
    assert_eq!(status(&world, &browser).await, 401);
}

#[tokio::test]
async fn the_hello_reports_authentiks_own_version() {
    let world = World::with_grafana().await;
    let hello = world.authentik.hellos().pop().expect("a hello");
    assert_eq!(hello["version"], "2026.2.2");
    assert!(hello["uuid"].is_string() && hello["hostname"].is_string());
}

#[tokio::test]
async fn one_bad_provider_fails_alone() {
    let authentik = Standin::builder().start().await.expect("started");
    authentik.raw_provider(json!({"pk": 99, "name": "broken", "external_host": "not a url"}));
    authentik.raw_provider(json!({"pk": "text", "name": null, "mode": 7}));
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    let world = World::beside(authentik, vec![grafana], &[]).await;
    assert_eq!(world.outpost.live().load().table.sites().len(), 1);
}

#[tokio::test]
async fn more_providers_than_a_page_holds_are_all_found() {
    let providers = (0..120)
        .map(|n| Provider::forward_single(&format!("app{n}"), &format!("http://app{n}.test")))
        .collect();
    let world = World::new(providers).await;
    assert_eq!(world.outpost.live().load().table.sites().len(), 120);
    assert_eq!(
        world.nginx("http://app119.test/", "", &[]).await.status(),
        401
    );
    assert_eq!(
        world.nginx("http://app120.test/", "", &[]).await.status(),
        500
    );
}

#[tokio::test]
async fn issue_12448_a_path_prefix_in_authentik_host_is_kept() {
    let authentik = Standin::builder()
        .path_prefix("/auth/")
        .start()
        .await
        .expect("started");
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    let world = World::beside(authentik, vec![grafana], &[]).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    assert_eq!(status(&world, &browser).await, 200);
}

#[tokio::test]
async fn trouble_at_the_start_is_survived_and_ends_by_itself() {
    for fault in [
        Fault::Status(503),
        Fault::Html,
        Fault::WrongJson,
        Fault::Reset,
        Fault::Status(403),
    ] {
        let authentik = Standin::builder().start().await.expect("started");
        authentik.fault(Endpoint::Any, fault);
        authentik.add_provider(Provider::forward_single("grafana", "http://grafana.test"));
        let outpost = start(&authentik, &[]).await;
        let world = World { authentik, outpost };
        let ping = world.get("/outpost.goauthentik.io/ping", "x", &[]).await;
        assert_eq!(ping.status(), 204);
        assert_eq!(
            world
                .get("/outpost.goauthentik.io/ready", "x", &[])
                .await
                .status(),
            503
        );
        assert_eq!(world.get("/", HOST, &[]).await.status(), 503);
        assert_eq!(world.nginx(PAGE, "", &[]).await.status(), 500);
        world.authentik.clear_faults();
        world
            .until(|world| world.outpost.live().load().outpost.is_some())
            .await;
        assert_eq!(
            world
                .get("/outpost.goauthentik.io/ready", "x", &[])
                .await
                .status(),
            200
        );
    }
}

#[tokio::test]
async fn the_configured_outpost_is_chosen_among_several() {
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_outpost("another");
    let id = authentik.outpost_id().to_string();
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    let world = World::beside(authentik, vec![grafana], &[("AUTHENTIK_OUTPOST_ID", &id)]).await;
    let outpost = world.served();
    assert_eq!(outpost.id.to_string(), id);
}

#[tokio::test]
async fn metrics_have_the_vendors_names() {
    let world = World::with_grafana().await;
    world.nginx(PAGE, "", &[]).await;
    let address = world.outpost.metrics_addresses()[0];
    let metrics = crate::support::get(address, "/metrics", "x", &[]).await;
    let metrics = crate::support::text(&metrics);
    for name in [
        "authentik_outpost_info{",
        "authentik_outpost_last_update{",
        "authentik_outpost_connection{",
        "authentik_outpost_proxy_request_duration_seconds_bucket{",
        "host=\"grafana.test\"",
    ] {
        assert!(metrics.contains(name), "{name} in\n{metrics}");
    }
    let ping = crate::support::get(address, "/outpost.goauthentik.io/ping", "x", &[]).await;
    assert_eq!(ping.status(), 204);
}

/// Whether the gauge of the websocket says that it is connected.
async fn is_connected(world: &World) -> bool {
    let address = world.outpost.metrics_addresses()[0];
    let metrics = crate::support::get(address, "/metrics", "x", &[]).await;
    let metrics = crate::support::text(&metrics);
    let gauge = metrics
        .lines()
        .find(|line| line.starts_with("authentik_outpost_connection{"));
    gauge.expect("the gauge").ends_with(" 1")
}

#[tokio::test]
async fn a_websocket_is_connected_once_something_was_heard() {
    let authentik = Standin::builder().start().await.expect("started");
    authentik.ignore_hellos(true);
    let world = World::beside(authentik, vec![], &[]).await;
    world.authentik.wait_hellos(1).await;
    assert!(!is_connected(&world).await, "the handshake is no answer");
    world.authentik.trigger_update();
    let heard = async {
        while !is_connected(&world).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard)
        .await
        .expect("a frame is an answer");
}

#[tokio::test]
async fn stopping_drains_and_says_goodbye() {
    let world = World::with_grafana().await;
    let (address, authentik) = (world.address(), world.authentik.clone());
    world.outpost.stop().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    assert_eq!(authentik.websockets(), 0);
}

#[tokio::test]
async fn a_domain_login_begins_on_any_host_and_finishes_at_once() {
    let auth = Provider::forward_domain("domain", "http://auth.home.test", "home.test");
    let world = World::new(vec![auth]).await;
    let start = "/outpost.goauthentik.io/start?rd=http://app.home.test/page";
    let answer = world.get(start, "app.home.test", &[]).await;
    let cookie = answer.headers()["set-cookie"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(cookie.ends_with("; Domain=home.test"), "{cookie}");
    let callback = Browser::authorize(&world, &crate::support::location(&answer));
    let pair = cookie.split(';').next().expect("a cookie");
    let answer = world
        .get(&callback, "auth.home.test", &[("cookie", pair)])
        .await;
    assert_eq!(
        crate::support::location(&answer),
        "http://app.home.test/page"
    );
    let cookie = answer.headers()["set-cookie"]
        .to_str()
        .expect("text")
        .to_owned();
    let pair = cookie.split(';').next().expect("a cookie");
    assert_eq!(
        world
            .nginx("http://other.home.test/", pair, &[])
            .await
            .status(),
        200
    );
    assert_eq!(
        world.nginx("http://evilhome.test/", "", &[]).await.status(),
        401
    );
}

#[tokio::test]
async fn a_misconfigured_reverse_proxy_is_reported_once_and_without_credentials() {
    let world = World::with_grafana().await;
    let headers = [
        ("cookie", "authentik_proxy_x=secret-cookie"),
        ("authorization", "Bearer secret-token"),
        (
            "x-original-url",
            "http://u:secret-password@grafana.test/?x=secret-query",
        ),
        ("x-sent-from", "nginx-ingress-controller"),
    ];
    let check = "/outpost.goauthentik.io/auth/nginx?secret-query";
    for _ in 0..3 {
        assert_eq!(world.get(check, "outpost", &headers).await.status(), 500);
    }
    world
        .until(|world| !world.authentik.events().is_empty())
        .await;
    let events = world.authentik.events();
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(event["action"], "configuration_error");
    assert_eq!(event["client_ip"], "127.0.0.1");
    let context = &event["context"];
    assert_eq!(
        context["headers"]["x-sent-from"],
        "nginx-ingress-controller"
    );
    assert_eq!(context["url"], "/outpost.goauthentik.io/auth/nginx");
    assert!(
        context["message"]
            .as_str()
            .is_some_and(|text| text.contains("X-Original-URL"))
    );
    assert!(!event.to_string().contains("secret"), "{event}");
}

#[tokio::test]
async fn our_own_refresh_interval_outranks_authentiks() {
    let authentik = Standin::builder().start().await.expect("started");
    let more = [("AUTHENTIK_PROXY_CONTROL__REFRESH_INTERVAL", "1s")];
    let world = World::beside(authentik, vec![], &more).await;
    // A silent change: nobody tells.
    world.authentik.refuse_websockets(true);
    world.authentik.drop_websockets();
    world
        .authentik
        .add_provider(Provider::forward_single("late", "http://late.test"));
    world
        .until(|world| world.outpost.live().load().table.sites().len() == 1)
        .await;
}
