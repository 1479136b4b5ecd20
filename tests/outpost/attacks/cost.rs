//! What anonymous clients cost (AP-2026-04): memory, places, and others' time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use authentik_standin::{Provider, Standin};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::listener::limits::{PING, ping};
use crate::operations::process::{Process, after};
use crate::support::upstream::{HOST, provider};
use crate::support::{Outpost as _, World, raw, settings, until_closed, within};

/// A connection from one of the addresses of the loopback network.
async fn connect_from(last: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// A ping on a connection of its own.
async fn is_answered(last: u8, to: SocketAddr) {
    let mut stream = within(connect_from(last, to)).await.expect("a connection");
    within(ping(&mut stream)).await.expect("an answer");
}

/// Lets this process have many sockets; how many.
fn many_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("as much as is allowed");
    maximum.unwrap_or(u64::MAX)
}

/// Memory of a process that is its own, in KiB: no code, which is shared with its file.
fn own_memory(process: &Process) -> u64 {
    let path = format!("/proc/{}/status", process.id());
    let status = std::fs::read_to_string(path).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let size = line.and_then(|line| line.split_whitespace().nth(1));
    size.and_then(|size| size.parse().ok()).expect("a size")
}

/// An application with a public page of two megabytes. Tells of each answer that has begun.
async fn large_application() -> (Provider, UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut provider = provider(listener.local_addr().expect("an address"));
    provider.skip_path_regex = "^/".into();
    let (tell, begun) = unbounded_channel();
    let body: Arc<[u8]> = vec![b'x'; 2_000_000].into();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (tell, body) = (tell.clone(), Arc::clone(&body));
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n";
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&body[..16 << 10]).await?;
                let _ = tell.send(());
                stream.write_all(&body[16 << 10..]).await
            });
        }
    });
    (provider, begun)
}

/// A running outpost in front of [`large_application`].
async fn world_of_large_answers() -> (World<Process>, UnboundedReceiver<()>) {
    let authentik = Standin::builder().start().await.expect("started");
    let (provider, begun) = large_application().await;
    let world = World::running(authentik, vec![provider], &[]).await;
    is_answered(1, world.outpost.address()).await;
    (world, begun)
}

/// The most memory while time passes, as others see it.
async fn most_memory(process: &Process) -> u64 {
    let mut most = 0;
    for _ in 0..2000 {
        is_answered(1, process.address()).await;
        most = most.max(own_memory(process));
    }
    most
}

/// An HTTP/2 frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}

/// The beginning of an HTTP/2 connection whose windows are as large as they can be.
fn preface() -> Vec<u8> {
    let window = [0, 4, 0x7f, 0xff, 0xff, 0xff];
    let connection = (0x7fff_ffff_u32 - 65_535).to_be_bytes();
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &window),
        frame(8, 0, 0, &connection),
    ]
    .concat()
}

/// `GET /` for [`HOST`], in the words of HPACK's static table.
fn request(stream: u32) -> Vec<u8> {
    let length = u8::try_from(HOST.len()).expect("short");
    let block = [&[0x82, 0x86, 0x84, 0x41, length], HOST.as_bytes()].concat();
    frame(1, 0x05, stream, &block)
}

#[tokio::test]
async fn ap_2026_04_an_http2_client_that_does_not_read_holds_two_mebibytes() {
    const CONNECTIONS: usize = 8;
    const STREAMS: usize = 100;
    for read_first in [0, 8 << 20] {
        let (mut world, mut begun) = world_of_large_answers().await;
        let address = world.outpost.address();
        let before = own_memory(&world.outpost);
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut client = connect_from(9, address).await.expect("a connection");
            client.write_all(&preface()).await.expect("written");
            for stream in 0..u32::try_from(STREAMS).expect("few") {
                let request = request(2 * stream + 1);
                client.write_all(&request).await.expect("written");
            }
            let mut some = vec![0; read_first];
            within(client.read_exact(&mut some)).await.expect("answers");
            clients.push(client);
        }
        // As many as are served at a time.
        for _ in 0..CONNECTIONS * 32 {
            within(begun.recv()).await.expect("an answer");
        }
        let each = (most_memory(&world.outpost).await - before) / CONNECTIONS as u64;
        assert!(each <= 2048, "{each} KiB a connection, after {read_first}");
        drop(clients);
        world.outpost.stop().await;
    }
}

#[tokio::test]
async fn ap_2026_04_an_http1_client_that_does_not_read_holds_a_quarter_of_a_mebibyte() {
    const CONNECTIONS: usize = 64;
    for read_first in [0, 1 << 20] {
        let (mut world, mut begun) = world_of_large_answers().await;
        let address = world.outpost.address();
        let before = own_memory(&world.outpost);
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut client = connect_from(9, address).await.expect("a connection");
            client.write_all(request.as_bytes()).await.expect("written");
            within(begun.recv()).await.expect("an answer");
            let mut some = vec![0; read_first];
            within(client.read_exact(&mut some)).await.expect("answers");
            clients.push(client);
        }
        let each = (most_memory(&world.outpost).await - before) / CONNECTIONS as u64;
        assert!(each <= 256, "{each} KiB a connection, after {read_first}");
        drop(clients);
        world.outpost.stop().await;
    }
}

#[tokio::test]
async fn ap_2026_04_ten_thousand_idle_sockets_lock_no_client_out() {
    assert!(many_files() > 11_000, "ulimit -Hn is too low for this test");
    for trusted in ["127.0.0.0/8", "none"] {
        let authentik = Standin::builder().start().await.expect("started");
        // No time-out ends them, once they have sent their first byte.
        let patient = [
            ("AUTHENTIK_PROXY_LISTEN__HEADER_TIMEOUT", "10m"),
            ("AUTHENTIK_PROXY_LISTEN__IDLE_TIMEOUT", "10m"),
            ("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", trusted),
        ];
        let mut process = Process::of(after("true").envs(settings(&authentik, &patient))).await;
        let address = process.address();
        let mut idle = Vec::new();
        for _ in 0..10_240 {
            let mut stream = connect_from(9, address).await.expect("a connection");
            stream.write_all(b"G").await.expect("written");
            idle.push(stream);
        }
        for from in [9, 10] {
            is_answered(from, address).await;
        }
        // The youngest are still there: it was not their end that let others in.
        let youngest = idle.last_mut().expect("a connection");
        let rest = PING.strip_prefix('G').expect("the rest");
        youngest.write_all(rest.as_bytes()).await.expect("written");
        let status = within(youngest.read_u64()).await.expect("an answer");
        assert_eq!(&status.to_be_bytes(), b"HTTP/1.1");
        process.stop().await;
    }
}

#[tokio::test]
async fn ap_2026_04_idle_sockets_keep_no_probe_from_the_metrics_listener() {
    let world = World::with_grafana().await;
    let address = world.outpost.metrics_addresses()[0];
    let mut idle = Vec::new();
    for _ in 0..256 {
        idle.push(connect_from(9, address).await.expect("a connection"));
    }
    for from in [9, 10] {
        is_answered(from, address).await;
    }
    let youngest = idle.last_mut().expect("a connection");
    within(ping(youngest)).await.expect("an answer");
}

#[tokio::test]
async fn ap_2026_04_without_file_descriptors_the_oldest_idle_connection_goes() {
    many_files();
    let authentik = Standin::builder().start().await.expect("started");
    let mut limit = after("ulimit -n 128");
    // No time-out ends them, once they have sent their first byte.
    let patient = [
        ("AUTHENTIK_PROXY_LISTEN__HEADER_TIMEOUT", "10m"),
        ("AUTHENTIK_PROXY_LISTEN__IDLE_TIMEOUT", "10m"),
    ];
    let mut process = Process::of(limit.envs(settings(&authentik, &patient))).await;
    let address = process.address();
    let mut idle = Vec::new();
    for _ in 0..400 {
        let mut stream = connect_from(9, address).await.expect("a connection");
        // It may be gone already.
        let _ = stream.write_all(b"G").await;
        idle.push(stream);
    }
    is_answered(10, address).await;
    assert_eq!(until_closed(&mut idle[0]).await, "");
    process.stop().await;
}

#[tokio::test]
async fn ap_2026_04_what_a_client_says_is_logged_up_to_a_length() {
    let authentik = Standin::builder().start().await.expect("started");
    let (provider, _) = large_application().await;
    let mut world = World::running(authentik, vec![provider], &[]).await;
    let long = "x".repeat(25_000);
    let head = format!(
        "GET /marker/{long} HTTP/1.1\r\nHost: unknown.test\r\nUser-Agent: {long}\r\n\
         Connection: close\r\n\r\n"
    );
    raw(world.outpost.address(), head.as_bytes()).await;
    let line = world.outpost.wait_line("/marker/").await;
    let length = line.to_string().len();
    assert!(length < 4096, "{length}");
    world.outpost.stop().await;
}
