//! Providers that are removed from the outpost, and come back.

use std::sync::Arc;

use authentik_standin::{Endpoint, Fault};
use serde_json::json;

use crate::login::refresh::age_tokens;
use crate::redis::replicas::{HOST, PAGE, authentik, becomes, replica, status, told_and_untold};
use crate::redis::server::Server;
use crate::support::{Browser, World, start, within};

/// Takes grafana off the outpost or puts it on again, and waits until these replicas have noticed.
pub(crate) async fn attach(worlds: &[&World], attached: bool) {
    worlds[0].authentik.attach_provider("grafana", attached);
    for world in worlds {
        let sites = usize::from(attached);
        world
            .until(|world| world.outpost.live().load().table.sites().len() == sites)
            .await;
    }
}

#[tokio::test]
async fn a_session_does_not_come_back_with_its_provider() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, PAGE).await;
    assert_eq!(status(&world, &browser).await, 200);
    attach(&[&world], false).await;
    world.until(|world| world.outpost.store().is_empty()).await;
    attach(&[&world], true).await;
    assert_eq!(status(&world, &browser).await, 401);
    browser.log_in(&world, HOST, PAGE).await;
    assert_eq!(status(&world, &browser).await, 200, "a new session");
}

#[tokio::test]
async fn a_session_ends_with_the_secret_of_its_cookie() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    age_tokens(&world.authentik, 60);
    browser.log_in(&world, HOST, PAGE).await;
    let client_secret = json!({"client_secret": "another-secret-of-the-client-0123456789"});
    world.authentik.patch_provider("grafana", client_secret);
    let site = || Arc::as_ptr(&world.outpost.live().load().table.sites()[0]);
    let before = site();
    world.until(|_| site() != before).await;
    assert_eq!(status(&world, &browser).await, 200, "the client's secret");
    let cookie_secret = json!({"cookie_secret": "another-secret-of-cookies"});
    world.authentik.patch_provider("grafana", cookie_secret);
    world.until(|world| world.outpost.store().is_empty()).await;
    assert_eq!(status(&world, &browser).await, 401);
}

#[tokio::test]
async fn a_list_that_fails_or_is_damaged_ends_no_session() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    age_tokens(&world.authentik, 60);
    browser.log_in(&world, HOST, PAGE).await;
    let asked = || {
        let requests = world.authentik.requests();
        let lists = requests
            .iter()
            .filter(|request| request.path.contains("outposts/proxy/"));
        lists.count()
    };
    for fault in [
        Fault::Status(500),
        Fault::Status(403),
        Fault::Html,
        Fault::WrongJson,
        Fault::Truncated,
        Fault::Reset,
        Fault::MissingField("results".into()),
        Fault::MissingField("client_id".into()),
        Fault::MissingField("cookie_secret".into()),
        Fault::MissingField("pk".into()),
    ] {
        world.authentik.fault(Endpoint::Providers, fault.clone());
        let before = asked();
        world.authentik.trigger_update();
        world.until(|_| asked() > before).await;
        let faulty = world.outpost.live().load_full();
        world.authentik.clear_faults();
        world.authentik.trigger_update();
        world
            .until(|world| {
                let current = world.outpost.live().load_full();
                !Arc::ptr_eq(&current, &faulty) && current.refused.is_empty()
            })
            .await;
        assert_eq!(status(&world, &browser).await, 200, "{fault:?}");
        assert_eq!(world.outpost.store().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn no_replica_brings_a_session_back_with_its_provider() {
    let (authentik, redis) = (authentik().await, Server::start(&[]).await);
    let here = replica(&authentik, &redis).await;
    age_tokens(&authentik, 60);
    let [mut cached, mut read, mut unread] = [(); 3].map(|()| Browser::default());
    for browser in [&mut cached, &mut read, &mut unread] {
        browser.log_in(&here, HOST, PAGE).await;
    }
    here.outpost.stop().await;

    // The replica that sees the removal has only one of them in its cache.
    let witness = replica(&authentik, &redis).await;
    within(authentik.wait_websocket()).await;
    assert_eq!(status(&witness, &cached).await, 200);
    attach(&[&witness], false).await;
    world_is_empty(&witness).await;
    attach(&[&witness], true).await;
    assert_eq!(status(&witness, &cached).await, 401);
    assert_eq!(status(&witness, &read).await, 401);
    // One that starts later knows it, too.
    let late = replica(&authentik, &redis).await;
    assert_eq!(status(&late, &unread).await, 401);
    age_tokens(&authentik, 0);
    unread.log_in(&witness, HOST, PAGE).await;
    for replica in [&witness, &late] {
        assert_eq!(status(replica, &unread).await, 200, "a new session");
    }
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_removal_before_the_start_is_noticed() {
    let (authentik, redis) = (authentik().await, Server::start(&[]).await);
    let before = replica(&authentik, &redis).await;
    age_tokens(&authentik, 60);
    let mut browser = Browser::default();
    browser.log_in(&before, HOST, PAGE).await;
    before.outpost.stop().await;
    authentik.attach_provider("grafana", false);
    let after = replica(&authentik, &redis).await;
    within(authentik.wait_websocket()).await;
    attach(&[&after], true).await;
    assert_eq!(status(&after, &browser).await, 401);
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_replica_that_missed_the_removal_learns_of_it() {
    let (authentik, redis) = (authentik().await, Server::start(&[]).await);
    let (told, untold) = told_and_untold(&authentik, &redis).await;
    age_tokens(&authentik, 60);
    let mut browser = Browser::default();
    browser.log_in(&untold, HOST, PAGE).await;
    attach(&[&told], false).await;
    attach(&[&told], true).await;
    assert_eq!(
        status(&untold, &browser).await,
        200,
        "it fetches nothing yet"
    );
    authentik.refuse_websockets(false);
    untold
        .until(|world| world.authentik.websockets() == 2)
        .await;
    becomes(&untold, &browser, 401).await;
    assert_eq!(status(&told, &browser).await, 401);
}

#[tokio::test]
async fn without_redis_a_file_remembers_the_providers() {
    let authentik = authentik().await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("last-good");
    let path = path.to_str().expect("text");
    let settings = [("AUTHENTIK_PROXY_CONTROL__CACHE_FILE", path)];
    for attached in [true, false] {
        authentik.attach_provider("grafana", attached);
        let outpost = start(&authentik, &settings).await;
        let world = World {
            authentik: authentik.clone(),
            outpost,
        };
        world
            .until(|world| world.outpost.live().load().outpost.is_some())
            .await;
        world.outpost.stop().await;
    }
    authentik.attach_provider("grafana", true);
    let world = World::beside(authentik, Vec::new(), &settings).await;
    age_tokens(&world.authentik, 60);
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, PAGE).await;
    assert_eq!(
        status(&world, &browser).await,
        401,
        "it began before the provider came"
    );
    age_tokens(&world.authentik, 0);
    browser.log_in(&world, HOST, PAGE).await;
    assert_eq!(status(&world, &browser).await, 200);
}

async fn world_is_empty(world: &World) {
    world.until(|world| world.outpost.store().is_empty()).await;
}
