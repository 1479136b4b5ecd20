//! What a connection may cost, and what is not taken for a request.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use authentik_standin::{Endpoint, Fault, Provider, Recorded, Standin};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::operations::process::{Process, after};
use crate::support::{Browser, World, get, raw, settings, until_closed, within};

const HOST: &str = "grafana.test";
const PAGE: &str = "http://grafana.test/";
pub(crate) const PING: &str = "GET /outpost.goauthentik.io/ping HTTP/1.1\r\nHost: x\r\n\r\n";

async fn world(more: &[(&str, &str)]) -> World {
    let authentik = Standin::builder().start().await.expect("started");
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    World::beside(authentik, vec![grafana], more).await
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a connection")
}

/// Sends a ping on a connection that stays open, and waits for its answer.
pub(crate) async fn ping(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(PING.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    assert!(answer.starts_with(b"HTTP/1.1 204 "));
    Ok(())
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let limit = ("AUTHENTIK_PROXY_LISTEN__MAX_HEADER_BYTES", "16KiB");
    let world = world(&[limit]).await;
    for (size, status) in [(12 << 10, 204), (20 << 10, 431)] {
        let mut stream = connect(world.address()).await;
        let large = "x".repeat(size);
        let head = PING.replace(
            "\r\n\r\n",
            &format!("\r\nX-Large: {large}\r\nConnection: close\r\n\r\n"),
        );
        stream.write_all(head.as_bytes()).await.expect("written");
        let answer = until_closed(&mut stream).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{size}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_head_of_too_many_lines_is_refused() {
    let world = world(&[]).await;
    for (lines, status) in [(90, 204), (120, 431)] {
        let mut stream = connect(world.address()).await;
        let many = "X: y\r\n".repeat(lines);
        let head = PING.replace("\r\n\r\n", &format!("\r\n{many}Connection: close\r\n\r\n"));
        stream.write_all(head.as_bytes()).await.expect("written");
        let answer = until_closed(&mut stream).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{lines}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let world = world(&[("AUTHENTIK_PROXY_LISTEN__HEADER_TIMEOUT", "300ms")]).await;
    let mut stream = connect(world.address()).await;
    let (mut reader, mut writer) = stream.split();
    // Every byte arrives soon after the one before, and still the head as a whole is late.
    let drip = async {
        for byte in PING
            .replace("\r\n\r\n", "\r\nX-A: ")
            .bytes()
            .chain(std::iter::repeat(b'a'))
        {
            if writer.write_u8(byte).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = drip => {}
        _ = within(reader.read_to_end(&mut answer)) => {}
    }
    assert!(!answer.starts_with(b"HTTP/1.1 2"), "{answer:?}");
}

/// What arrives on a connection that sends this and then nothing more, until it is closed.
async fn then_silence(sent: &[u8]) -> String {
    let short = [
        ("AUTHENTIK_PROXY_LISTEN__HEADER_TIMEOUT", "300ms"),
        ("AUTHENTIK_PROXY_LISTEN__IDLE_TIMEOUT", "300ms"),
    ];
    let world = world(&short).await;
    let mut stream = connect(world.address()).await;
    stream.write_all(sent).await.expect("written");
    until_closed(&mut stream).await
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    assert_eq!(then_silence(b"").await, "");
}

#[tokio::test]
async fn a_connection_that_begins_as_http2_and_stops_is_closed() {
    then_silence(b"PRI * HT").await;
}

#[tokio::test]
async fn an_http2_connection_whose_client_is_gone_is_closed() {
    // The preface and empty settings; pings are never answered.
    then_silence(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
}

#[tokio::test]
async fn a_kept_connection_that_is_not_used_is_closed() {
    let answer = then_silence(PING.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}

#[tokio::test]
async fn ap_2026_04_at_the_limit_the_oldest_idle_connection_is_closed() {
    for limit in [
        "AUTHENTIK_PROXY_LISTEN__MAX_CONNECTIONS",
        "AUTHENTIK_PROXY_LISTEN__MAX_CONNECTIONS_PER_PROXY",
    ] {
        let world = world(&[(limit, "2")]).await;
        let address = world.address();
        let (mut first, mut second) = (connect(address).await, connect(address).await);
        ping(&mut first).await.expect("answered");
        ping(&mut second).await.expect("answered");
        let mut third = connect(address).await;
        ping(&mut third).await.expect("answered");
        assert_eq!(until_closed(&mut first).await, "");
        ping(&mut second).await.expect("answered");
    }
}

#[tokio::test]
async fn ap_2026_04_while_all_connections_are_busy_probes_are_answered() {
    let world = world(&[("AUTHENTIK_PROXY_LISTEN__MAX_CONNECTIONS", "2")]).await;
    world.authentik.fault(Endpoint::Introspect, Fault::Hang);
    let mut busy = Vec::new();
    for token in ["a", "b"] {
        let mut stream = connect(world.address()).await;
        let request = format!(
            "GET /outpost.goauthentik.io/auth/nginx HTTP/1.1\r\nHost: x\r\n\
             X-Original-URL: {PAGE}\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("written");
        busy.push(stream);
    }
    let asked = |request: &Recorded| request.path.contains("/introspect/");
    within(world.authentik.wait_requests(2, asked)).await;
    ping(&mut connect(world.address()).await)
        .await
        .expect("answered");
    let answer = world.nginx(PAGE, "", &[]).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    world.authentik.clear_faults();
    for stream in &mut busy {
        let status = within(stream.read_u64()).await.expect("an answer");
        assert_eq!(&status.to_be_bytes(), b"HTTP/1.1");
    }
}

/// What is answered to this, until the connection is closed by the server.
async fn answer(world: &World, request: &str) -> String {
    raw(world.address(), request.as_bytes()).await
}

/// Sends what is not one request with one meaning: no 2xx, and nothing that follows is read.
async fn refused(world: &World, name: &str, request: &str) {
    let answer = answer(world, &format!("{request}{PING}")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer}");
}

/// A request for our ping with these lines in its head, and this body.
fn post(lines: &str, body: &str) -> String {
    format!("POST /outpost.goauthentik.io/ping HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n{body}")
}

#[tokio::test]
async fn request_smuggling_two_lengths_are_refused() {
    let world = world(&[]).await;
    for (name, lines, body) in [
        (
            "two lengths",
            "Content-Length: 3\r\nContent-Length: 4",
            "abcd",
        ),
        ("two lengths in a line", "Content-Length: 3, 4", "abcd"),
        ("a sign", "Content-Length: +3", "abc"),
        ("hexadecimal", "Content-Length: 0x3", "abc"),
        ("no number", "Content-Length: x", ""),
        ("negative", "Content-Length: -1", ""),
        ("too large", "Content-Length: 99999999999999999999", ""),
        (
            "chunked is not last",
            "Transfer-Encoding: chunked, identity",
            "0\r\n\r\n",
        ),
        (
            "chunked is not the last line",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "0\r\n\r\n",
        ),
        ("not chunked", "Transfer-Encoding: gzip", ""),
        ("obfuscated", "Transfer-Encoding: xchunked", "0\r\n\r\n"),
    ] {
        refused(&world, name, &post(lines, body)).await;
    }
}

#[tokio::test]
async fn request_smuggling_length_and_chunks_end_the_connection() {
    let world = world(&[]).await;
    let smuggled = format!("0\r\n\r\n{PING}");
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
    ] {
        // As RFC 9112 section 6.1 has it: chunks count, and whatever follows is never read.
        let answer = answer(&world, &post(lines, &smuggled)).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn request_smuggling_odd_lines_are_refused() {
    let world = world(&[]).await;
    for (name, lines) in [
        ("a folded line", "X-A: a\r\n b"),
        ("a folded length", "Content-Length:\r\n 3"),
        ("a space before the colon", "Content-Length : 3"),
        ("a tab before the colon", "Transfer-Encoding\t: chunked"),
        ("no colon", "X-A"),
        ("a lone CR", "X-A: a\rb"),
        ("NUL", "X-A: a\0b"),
    ] {
        refused(&world, name, &post(lines, "")).await;
    }
}

#[tokio::test]
async fn request_smuggling_a_bare_line_feed_hides_nothing() {
    let world = world(&[]).await;
    // RFC 9112 section 2.2 permits to take it for the end of a line, as nginx does …
    for lines in [
        "Content-Length: 3\nContent-Length: 4",
        "X-A: a\nTransfer-Encoding: xchunked",
        "X-A: a\n b",
    ] {
        refused(&world, lines, &post(lines, "abcd")).await;
    }
    let request = PING
        .replace("\r\n", "\n")
        .replace("x\n", "x\nConnection: close\n");
    let answer = answer(&world, &format!("{request}{PING}")).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    // … but not within the framing of a body.
    for chunks in [
        "3\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
    ] {
        let answer = self::answer(&world, &post("Transfer-Encoding: chunked", chunks)).await;
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{chunks:?}: {answer}"
        );
    }
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served() {
    let world = world(&[]).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let stream = TokioIo::new(connect(world.address()).await);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut sender, connection) = handshake.await.expect("a handshake");
    tokio::spawn(connection);
    for (cookie, status) in [(browser.cookies(HOST), 200), (String::new(), 401)] {
        let request = Request::builder()
            .uri("http://outpost:9000/outpost.goauthentik.io/auth/nginx")
            .header("x-original-url", PAGE)
            .header("cookie", cookie)
            .body(Full::<Bytes>::default())
            .expect("a request");
        let answer = within(sender.send_request(request))
            .await
            .expect("an answer");
        assert_eq!(answer.status(), status);
        assert_eq!(answer.version(), http::Version::HTTP_2);
    }
}

#[tokio::test]
async fn ipv6_and_ipv4_addresses_of_one_port_are_served() {
    let free = std::net::TcpListener::bind("[::]:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    for addresses in [
        format!("[::]:{port}"),
        format!("0.0.0.0:{port},[::]:{port}"),
        format!("[::]:{port},127.0.0.1:{port}"),
    ] {
        let settings = [
            ("AUTHENTIK_LISTEN__HTTP", addresses.as_str()),
            ("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", "127.0.0.1,::1"),
        ];
        let world = world(&settings).await;
        for host in ["127.0.0.1", "[::1]"] {
            let address = format!("{host}:{port}").parse().expect("an address");
            let answer = get(address, "/outpost.goauthentik.io/ready", "x", &[]).await;
            assert_eq!(answer.status(), 200, "{addresses}: {address}");
        }
        world.outpost.stop().await;
    }
}

#[tokio::test]
async fn several_addresses_are_served() {
    let mut addresses = "127.0.0.1:0,127.0.0.1:0".to_owned();
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        addresses.push_str(",[::1]:0");
    } else {
        let _ = writeln!(
            std::io::stderr(),
            "IPv6 is not tested: this machine has no [::1]"
        );
    }
    let world = world(&[
        ("AUTHENTIK_LISTEN__HTTP", &addresses),
        ("AUTHENTIK_LISTEN__METRICS", &addresses),
    ])
    .await;
    let (http, metrics) = (
        world.outpost.http_addresses(),
        world.outpost.metrics_addresses(),
    );
    let expected = addresses.split(',').count();
    assert_eq!((http.len(), metrics.len()), (expected, expected));
    for &address in http.iter().chain(metrics) {
        let answer = get(address, "/outpost.goauthentik.io/ready", "x", &[]).await;
        assert_eq!(answer.status(), 200, "{address}");
    }
}

#[tokio::test]
async fn as_many_files_may_be_open_as_the_hard_limit_says() {
    let authentik = Standin::builder().start().await.expect("started");
    for (limits, raised) in [
        ("ulimit -Sn 256 && ulimit -Hn 512", true),
        ("ulimit -n 512", false),
    ] {
        let mut process = Process::of(after(limits).envs(settings(&authentik, &[]))).await;
        let path = format!("/proc/{}/limits", process.id());
        let found = std::fs::read_to_string(path).expect("it runs");
        let files = found
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let files: Vec<_> = files.expect("a line").split_whitespace().collect();
        assert_eq!(files[3..], ["512", "512", "files"], "{limits}");
        // It listens already, and this is said before.
        let lines = process.lines();
        let said = lines.iter().find(|line| {
            let event = line["event"].as_str().unwrap_or_default();
            event.contains("limit of open files")
        });
        assert_eq!(said.is_some(), raised, "{limits}: {lines:?}");
        if let Some(said) = said {
            assert_eq!((&said["from"], &said["to"]), (&256.into(), &512.into()));
            assert_eq!(said["level"], "info");
        }
        process.stop().await;
    }
}
