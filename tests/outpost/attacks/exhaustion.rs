//! Many requests, connections and bytes.

use std::net::SocketAddr;
use std::time::Duration;

use authentik_standin::Standin;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::{HOST, modes};
use crate::forward_auth::dialects::ALL;
use crate::operations::process::Process;
use crate::support::{World, get, text, within};

/// What the program holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// Of memory, in KiB.
    resident: u64,
    files: usize,
}

impl Held {
    fn of(world: &World<Process>) -> Self {
        let id = world.outpost.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let files = std::fs::read_dir(format!("/proc/{id}/fd")).expect("it runs");
        Self {
            resident: number.and_then(|n| n.parse().ok()).expect("a number"),
            files: files.count(),
        }
    }
}

/// A connection that is kept.
async fn connection(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("a handshake");
    tokio::spawn(connection);
    sender
}

/// Asks `count` times over a few connections, on every surface and at `/start`, each time without
/// a cookie or with one that is made up.
async fn anonymous_requests(address: SocketAddr, count: usize) {
    let asking = (0..4).map(|part| async move {
        let mut sender = connection(address).await;
        for n in (part..count).step_by(4) {
            let question = match n % 5 {
                4 => Request::get(format!("/outpost.goauthentik.io/start?rd=/{n}"))
                    .header("host", HOST),
                surface => ALL[surface].request(Method::GET, HOST, &format!("/page/{n}")),
            };
            let question = question.header("cookie", format!("authentik_proxy_{n:08x}={n}"));
            let question = question.body(Full::default()).expect("a request");
            let answer = sender.send_request(question).await.expect("an answer");
            let status = answer.status().as_u16();
            assert!(matches!(status, 401 | 302), "{status}");
            answer.into_body().collect().await.expect("a body");
        }
    });
    futures_util::future::join_all(asking).await;
}

#[tokio::test]
async fn exhaustion_anonymous_clients_leave_nothing_behind() {
    let [single, _] = modes();
    // Lines of refused requests are for debugging.
    let authentik = Standin::builder().log_level("info");
    let authentik = authentik.start().await.expect("started");
    let mut world = World::<Process>::running(authentik, vec![single], &[]).await;
    // Until caches and buffers have the size that they will keep.
    anonymous_requests(world.address(), 4_000).await;
    let before = Held::of(&world);
    anonymous_requests(world.address(), 20_000).await;
    let after = Held::of(&world);
    let metrics = get(world.outpost.metrics(), "/metrics", "x", &[]).await;
    let sessions = "authentik_outpost_proxy_sessions 0\n";
    assert!(text(&metrics).contains(sessions), "{}", text(&metrics));
    // 50 bytes for each of them would be this much.
    assert!(
        after.resident < before.resident + 1_000,
        "{before:?} {after:?}"
    );
    assert!(after.files <= before.files + 4, "{before:?} {after:?}");
    world.outpost.stop().await;
}

#[tokio::test]
async fn exhaustion_a_thousand_idle_connections_are_closed_and_others_served_meanwhile() {
    let [single, _] = modes();
    let authentik = Standin::builder().start().await.expect("started");
    let more = [("AUTHENTIK_PROXY_LISTEN__HEADER_TIMEOUT", "1s")];
    let mut world = World::<Process>::running(authentik, vec![single], &more).await;
    let before = Held::of(&world);
    let mut idle = Vec::new();
    for _ in 0..1000 {
        let stream = TcpStream::connect(world.address()).await;
        idle.push(stream.expect("a connection"));
    }
    let answer = world.nginx("http://grafana.test/private", "", &[]).await;
    assert_eq!(answer.status(), 401, "others are served");
    for stream in &mut idle {
        let mut rest = Vec::new();
        within(stream.read_to_end(&mut rest)).await.expect("closed");
        assert_eq!(rest, b"");
    }
    drop(idle);
    let files = || Held::of(&world).files;
    let closed = async {
        while files() > before.files + 4 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(closed).await;
    world.outpost.stop().await;
}

#[tokio::test]
async fn exhaustion_a_head_of_100_kilobytes_is_refused_in_every_dialect() {
    let [single, _] = modes();
    let world = World::new(vec![single]).await;
    let large = "x".repeat(100 << 10);
    for surface in ALL {
        for lines in [
            format!("X-Large: {large}\r\n"),
            format!("Cookie: {large}\r\n"),
            "X-Many: 0123456789\r\n".repeat(5 << 10),
        ] {
            let answer = surface
                .ask_raw(&world, HOST, "/open", lines.as_bytes())
                .await;
            // The rest of the head may still be on its way when the connection ends.
            let refused = answer.starts_with("HTTP/1.1 431 ") || answer.is_empty();
            assert!(refused, "{surface:?}: {answer:.200}");
        }
    }
}
