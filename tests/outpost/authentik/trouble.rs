//! Trouble with authentik is told once, with cause and fix, and ends by itself.

use std::time::Duration;

use authentik_standin::{Endpoint, Fault, Provider, Standin};
use nix::sys::signal::Signal;

use crate::authentik::tls::Authority;
use crate::operations::process::Process;
use crate::support::{Outpost as _, World, furnish, get, within};

const API: &str = "/api/v3/";

fn grafana() -> Provider {
    Provider::forward_single("grafana", "http://grafana.test")
}

async fn authentik() -> Standin {
    Standin::builder().start().await.expect("started")
}

/// Has several attempts made, told by requests whose path has `part` in it.
async fn attempts(process: &Process, authentik: &Standin, part: &str) {
    for _ in 0..4 {
        authentik.clear_requests();
        process.signal(Signal::SIGUSR1);
        within(authentik.wait_requests(1, |request| request.path.contains(part))).await;
    }
}

/// Waits for several failed attempts, which no event announces.
async fn unseen_attempts(process: &Process) {
    for _ in 0..10 {
        process.signal(Signal::SIGUSR1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits for several attempts of the websocket, which makes them by itself.
async fn handshakes(authentik: &Standin) {
    authentik.clear_requests();
    within(authentik.wait_requests(3, |request| request.path.contains("/ws/outpost/"))).await;
}

/// There is one complaint, with all of this in it, although it was `tried` more than once.
async fn told_once(process: &Process, parts: &[&str], tried: impl Future<Output = ()>) {
    process.wait_line(parts[0]).await;
    tried.await;
    let complaints = process.complaints();
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    for part in parts {
        assert!(complaints[0].contains(part), "{part:?} in {complaints:?}");
    }
    // Meanwhile the program lives, so that it is not restarted.
    assert_eq!(status(process, "ping").await, 204);
}

async fn status(process: &Process, page: &str) -> u16 {
    let page = format!("/outpost.goauthentik.io/{page}");
    let answer = get(process.address(), &page, "x", &[]).await;
    answer.status().as_u16()
}

/// The program works again, says so, and stops in peace.
async fn recovers(process: &mut Process, authentik: &Standin) {
    process.wait_line("configuration loaded").await;
    process
        .wait_line("websocket to authentik is connected")
        .await;
    within(authentik.wait_websocket()).await;
    assert_eq!(status(process, "ready").await, 200);
    process.stop().await;
}

#[tokio::test]
async fn an_unexpected_response_of_authentik_is_logged_once() {
    let json = "answered with text/html; charset=utf-8 instead of JSON";
    for (fault, parts) in [
        (
            Fault::Html,
            &[json, "AUTHENTIK_HOST", "an ingress or a login page"][..],
        ),
        (Fault::Status(404), &["answered with 404", "path prefix"]),
        (
            Fault::Status(503),
            &["answered with 503", "authentik's own log"],
        ),
        (Fault::WrongJson, &["cannot be decoded"]),
        (Fault::Reset, &["cannot be reached", "AUTHENTIK_HOST"]),
        (Fault::Truncated, &["cannot be reached", "AUTHENTIK_HOST"]),
        (Fault::Hang, &["no answer in time", "REQUEST_TIMEOUT"]),
    ] {
        let authentik = authentik().await;
        furnish(&authentik, vec![grafana()]);
        authentik.fault(Endpoint::Any, fault.clone());
        let timeout = ("AUTHENTIK_PROXY_CONTROL__REQUEST_TIMEOUT", "100ms");
        let more: &[_] = if fault == Fault::Hang {
            &[timeout]
        } else {
            &[]
        };
        let mut process = Process::beside(&authentik, more).await;
        told_once(&process, parts, attempts(&process, &authentik, API)).await;
        assert_eq!(status(&process, "ready").await, 503);
        authentik.clear_faults();
        recovers(&mut process, &authentik).await;
    }
}

#[tokio::test]
async fn a_refused_token_is_logged_once() {
    let authentik = authentik().await;
    let mut process = Process::beside(&authentik, &[("AUTHENTIK_TOKEN", "stale")]).await;
    let parts = [
        "refuses the token",
        "403",
        "AUTHENTIK_TOKEN",
        "View Deployment Info",
    ];
    told_once(&process, &parts, attempts(&process, &authentik, API)).await;
    authentik.rotate_token("stale");
    recovers(&mut process, &authentik).await;
}

#[tokio::test]
async fn a_token_without_outposts_is_logged_once() {
    let authentik = authentik().await;
    authentik.clear_outposts();
    let mut process = Process::beside(&authentik, &[]).await;
    let parts = [
        "belongs to no outpost",
        "Applications > Outposts",
        "use its token",
    ];
    told_once(&process, &parts, attempts(&process, &authentik, API)).await;
    authentik.add_outpost("new");
    // The next thing that is missing.
    process
        .wait_line("no application is assigned to outpost \"new\"")
        .await;
    recovers(&mut process, &authentik).await;
}

#[tokio::test]
async fn a_missing_configured_outpost_is_logged_once() {
    let wanted = "3f0970c5-d6a3-43b2-9a36-d74665c6b24e";
    let first = authentik().await;
    let (address, token, listed) = (first.addr(), first.token(), first.outpost_id());
    let mut process = Process::beside(&first, &[("AUTHENTIK_OUTPOST_ID", wanted)]).await;
    let listed = format!("but \"standin-outpost\" ({listed})");
    let parts = [wanted, &listed, "AUTHENTIK_OUTPOST_ID", "AUTHENTIK_TOKEN"];
    told_once(&process, &parts, attempts(&process, &first, API)).await;
    first.shutdown().await;
    let second = Standin::builder()
        .listen(address)
        .token(&token)
        .outpost_id(wanted.parse().expect("an id"));
    let second = second.start().await.expect("the port is free");
    recovers(&mut process, &second).await;
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_logged_once() {
    let authentik = authentik().await;
    let host = ("AUTHENTIK_HOST", "http://nonexistent.invalid:9000");
    // A resolver without a network may take its time.
    let timeout = ("AUTHENTIK_PROXY_CONTROL__REQUEST_TIMEOUT", "1m");
    let mut process = Process::beside(&authentik, &[host, timeout]).await;
    let parts = [
        "could not be resolved",
        "http://nonexistent.invalid:9000/",
        "AUTHENTIK_HOST",
        "the cluster's DNS",
    ];
    told_once(&process, &parts, unseen_attempts(&process)).await;
    process.stop().await;
}

#[tokio::test]
async fn a_refused_connection_is_logged_once() {
    let authentik = authentik().await;
    authentik.stop().await;
    let mut process = Process::beside(&authentik, &[]).await;
    let url = authentik.url().to_string();
    let parts = [
        "connection was refused",
        &url,
        "AUTHENTIK_HOST",
        "is running",
    ];
    told_once(&process, &parts, unseen_attempts(&process)).await;
    authentik.start_again().await.expect("the port is free");
    recovers(&mut process, &authentik).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_logged_once() {
    let (trusted, untrusted) = (Authority::new(), Authority::new());
    let first = untrusted.authentik().await;
    let (address, token) = (first.addr(), first.token());
    let file = ("AUTHENTIK_PROXY_TLS__CA_FILE", &*trusted.file());
    let mut process = Process::beside(&first, &[file]).await;
    let url = first.url().to_string();
    let parts = ["TLS failed", "invalid peer certificate", &url, "CA"];
    told_once(&process, &parts, unseen_attempts(&process)).await;
    first.shutdown().await;
    let second = Standin::builder()
        .listen(address)
        .token(&token)
        .tls(trusted.server());
    let second = second.start().await.expect("the port is free");
    recovers(&mut process, &second).await;
}

#[tokio::test]
async fn a_refused_websocket_is_logged_once_while_requests_are_served() {
    for (fault, parts) in [
        (None, ["authentik refuses it with 403", "AUTHENTIK_TOKEN"]),
        (
            Some(Fault::Status(502)),
            ["502", "must pass websockets through"],
        ),
        (Some(Fault::Html), ["200", "must pass websockets through"]),
    ] {
        let authentik = authentik().await;
        furnish(&authentik, vec![grafana()]);
        authentik.refuse_websockets(true);
        if let Some(fault) = fault {
            authentik.fault(Endpoint::Websocket, fault);
        }
        let process = Process::beside(&authentik, &[]).await;
        process
            .wait_line("websocket to authentik is not connected")
            .await;
        told_once(&process, &parts, handshakes(&authentik)).await;
        let mut world = World {
            authentik,
            outpost: process,
        };
        assert_eq!(
            world.nginx("http://grafana.test/", "", &[]).await.status(),
            401
        );
        world.authentik.clear_faults();
        world.authentik.refuse_websockets(false);
        recovers(&mut world.outpost, &world.authentik).await;
    }
}

#[tokio::test]
async fn trouble_that_comes_back_is_news() {
    let authentik = authentik().await;
    let mut world = World::<Process>::running(authentik, vec![grafana()], &[]).await;
    for times in 1..=2 {
        let loaded = world.outpost.wait_lines("configuration loaded", times);
        let loaded = loaded.await.len();
        world
            .authentik
            .fault(Endpoint::Outposts, Fault::Status(503));
        world.outpost.signal(Signal::SIGUSR1);
        world
            .outpost
            .wait_lines("configuration not loaded", times)
            .await;
        attempts(&world.outpost, &world.authentik, "/outposts/instances/").await;
        assert_eq!(world.outpost.complaints().len(), times);
        // What was known is still served.
        assert_eq!(status(&world.outpost, "ready").await, 200);
        assert_eq!(
            world.nginx("http://grafana.test/", "", &[]).await.status(),
            401
        );
        world.authentik.clear_faults();
        world
            .outpost
            .wait_lines("configuration loaded", loaded + 1)
            .await;
    }
    world.outpost.stop().await;
}
