//! Our own TLS listener, and the PROXY protocol on it and on the plain one.

use std::net::SocketAddr;
use std::sync::Arc;

use authentik_proxy::web::client::trust::Trust;
use authentik_standin::{Provider, Standin};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::upstream::{Upstream, raw, status};
use crate::support::{World, within};

/// A client that accepts any certificate.
pub(crate) fn client(alpn: &[&str]) -> Arc<ClientConfig> {
    let mut config = Trust::load(None).expect("authorities").client(true);
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(crate) async fn connect(
    address: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    shake(stream, name, config).await
}

async fn shake<S>(stream: S, name: &str, config: &Arc<ClientConfig>) -> TlsStream<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connector = TlsConnector::from(Arc::clone(config));
    within(connector.connect(name, stream))
        .await
        .expect("a handshake")
}

/// The certificate that is shown to who asks for `name`.
async fn certificate(address: SocketAddr, name: &str) -> Vec<u8> {
    let stream = connect(address, name, &client(&[])).await;
    let shown = stream
        .get_ref()
        .1
        .peer_certificates()
        .expect("a certificate");
    shown[0].to_vec()
}

fn is_for(certificate: &[u8], name: &str) -> bool {
    certificate
        .windows(name.len())
        .any(|part| part == name.as_bytes())
}

/// An application at `https://<name>` behind us, open to everybody.
fn open(name: &str, upstream: &Upstream) -> Provider {
    Provider {
        skip_path_regex: "^/".into(),
        ..Provider::proxy(
            name,
            &format!("https://{name}"),
            &format!("http://{}", upstream.address),
        )
    }
}

async fn two_applications(more: &[(&str, &str)]) -> (World, Upstream, uuid::Uuid) {
    let upstream = Upstream::start().await;
    let authentik = Standin::builder().start().await.expect("started");
    let pair = authentik.add_keypair("a.test");
    let with = Provider {
        certificate: Some(pair),
        ..open("a.test", &upstream)
    };
    let other = Provider {
        certificate: Some(authentik.add_keypair("b.test")),
        ..open("b.test", &upstream)
    };
    let providers = vec![with, other, open("c.test", &upstream)];
    (
        World::beside(authentik, providers, more).await,
        upstream,
        pair,
    )
}

impl World {
    fn https(&self) -> SocketAddr {
        self.outpost.https_addresses()[0]
    }
}

#[tokio::test]
async fn the_certificate_is_that_of_the_host_and_changes_without_a_restart() {
    let (world, _upstream, pair) = two_applications(&[]).await;
    let https = world.https();
    let first = certificate(https, "a.test").await;
    assert!(is_for(&first, "a.test"));
    assert!(is_for(&certificate(https, "b.test").await, "b.test"));
    for fallback in ["c.test", "unknown.test", "127.0.0.1"] {
        let shown = certificate(https, fallback).await;
        assert!(is_for(&shown, "authentik-proxy.invalid"), "{fallback}");
    }
    let other = certificate(https, "b.test").await;
    let mut open = connect(https, "a.test", &client(&["http/1.1"])).await;

    world.authentik.clear_requests();
    world.authentik.renew_keypair(pair);
    let renewed = async {
        loop {
            let shown = certificate(https, "a.test").await;
            if shown != first {
                break shown;
            }
        }
    };
    assert!(is_for(&within(renewed).await, "a.test"));
    assert_eq!(certificate(https, "b.test").await, other);
    // Only what changed was fetched again, and connections that stand are served on.
    let fetched = world.authentik.requests();
    let keys = fetched
        .iter()
        .filter(|request| request.path.ends_with("/view_private_key/"));
    assert_eq!(keys.count(), 1);
    let request = "GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    open.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    within(open.read_to_end(&mut answer)).await.expect("read");
    assert_eq!(status(&answer), 200);
}

#[tokio::test]
async fn http_2_and_1_1_are_negotiated_and_https_is_passed_on() {
    let (world, mut upstream, _) = two_applications(&[]).await;
    let (stream, config) = (
        connect(world.https(), "a.test", &client(&["h2", "http/1.1"])).await,
        client(&["http/1.1"]),
    );
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("a handshake");
    tokio::spawn(connection);
    for (method, body) in [("GET", ""), ("POST", "hello")] {
        let request = Request::builder()
            .method(method)
            .uri("https://a.test/x?y")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Full::<Bytes>::from(body))
            .expect("a request");
        let answer = within(sender.send_request(request))
            .await
            .expect("an answer");
        assert_eq!(
            (answer.status().as_u16(), answer.version()),
            (200, http::Version::HTTP_2)
        );
        assert_eq!(answer.collect().await.expect("a body").to_bytes(), "ok");
        let recorded = upstream.next().await;
        assert_eq!(recorded.line, format!("{method} /x?y HTTP/1.1").as_bytes());
        assert_eq!(recorded.one("host"), "a.test");
        assert_eq!(recorded.one("cookie"), "a=1; b=2");
        assert_eq!(recorded.one("x-forwarded-proto"), "https");
        assert_eq!(recorded.body, body.as_bytes());
    }

    let mut stream = connect(world.https(), "a.test", &config).await;
    assert_eq!(
        stream.get_ref().1.alpn_protocol(),
        Some(b"http/1.1".as_slice())
    );
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.expect("read");
    assert_eq!(status(&answer), 200);
    assert_eq!(upstream.next().await.one("x-forwarded-proto"), "https");

    // The same session again is quicker.
    let stream = connect(world.https(), "a.test", &config).await;
    let kind = stream.get_ref().1.handshake_kind();
    assert_eq!(kind, Some(HandshakeKind::Resumed));
}

#[tokio::test]
async fn tls_1_1_and_silence_are_refused() {
    let (world, _upstream, _) =
        two_applications(&[("AUTHENTIK_PROXY_LISTEN__HEADER_TIMEOUT", "300ms")]).await;
    // A ClientHello that offers nothing newer than TLS 1.1 (RFC 4346 section 7.4.1.2).
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0]);
    let length = u8::try_from(hello.len()).expect("short");
    let message = [&[1, 0, 0, length], hello.as_slice()].concat();
    let record = [&[22, 3, 1, 0, length + 4], message.as_slice()].concat();
    let answer = raw(world.https(), &record).await;
    assert_eq!((answer[0], answer[5]), (21, 2), "a fatal alert: {answer:?}");
    assert_eq!(answer.len(), 7, "and the end: {answer:?}");

    assert_eq!(raw(world.https(), b"").await, b"", "closed after a while");
    assert_eq!(
        raw(world.https(), &record[..20]).await,
        b"",
        "closed after a while"
    );
    assert!(
        !raw(world.https(), b"GET / HTTP/1.1\r\n\r\n")
            .await
            .starts_with(b"HTTP")
    );
}

#[tokio::test]
async fn a_handshake_counts_as_a_connection() {
    let (world, mut upstream, _) =
        two_applications(&[("AUTHENTIK_PROXY_LISTEN__MAX_CONNECTIONS", "1")]).await;
    let begun = TcpStream::connect(world.https()).await;
    let mut begun = begun.expect("a connection");
    begun.write_all(&[22, 3]).await.expect("written");
    // As an idle one, which is closed when there is another.
    let tcp = TcpStream::connect(world.https()).await;
    let mut second = shake(tcp.expect("a connection"), "a.test", &client(&[])).await;
    let request = b"GET /second HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    second.write_all(request).await.expect("written");
    let mut answer = Vec::new();
    within(second.read_to_end(&mut answer)).await.expect("read");
    assert_eq!(status(&answer), 200);
    let line = upstream.next().await.line;
    assert_eq!(String::from_utf8_lossy(&line), "GET /second HTTP/1.1");
    // A reset is an end, too.
    let mut rest = Vec::new();
    let _ = within(begun.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn a_key_pair_that_cannot_be_used_leaves_the_application_in_service() {
    let upstream = Upstream::start().await;
    let authentik = Standin::builder().start().await.expect("started");
    let missing = Provider {
        certificate: Some(uuid::Uuid::new_v4()),
        ..open("a.test", &upstream)
    };
    let mut world = World::running(authentik, vec![missing], &[]).await;
    let line = world.outpost.wait_line("serving a self-signed one").await;
    let cause = line["error"].as_str().expect("text");
    assert!(cause.contains("404"), "{line}");
    let shown = certificate(world.outpost.https(), "a.test").await;
    assert!(is_for(&shown, "authentik-proxy.invalid"));
    world.outpost.stop().await;
}

/// Version 2, from 203.0.113.7.
const VERSION_2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x0a\0\0\x01\x16\x2e\x01\xbb";
const VERSION_1: &[u8] = b"PROXY TCP4 203.0.113.7 10.0.0.1 5678 443\r\n";
const GET: &[u8] =
    b"GET /x HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_trusted_load_balancer_names_the_client() {
    let (world, mut upstream, _) = two_applications(&[]).await;
    for (header, client) in [
        (VERSION_1, "203.0.113.7"),
        (VERSION_2, "203.0.113.7"),
        (b"PROXY UNKNOWN\r\n", "1.2.3.4, 127.0.0.1"),
        (b"", "1.2.3.4, 127.0.0.1"),
    ] {
        let answer = raw(world.address(), &[header, GET].concat()).await;
        assert_eq!(status(&answer), 200, "{header:?}");
        // A client that is not trusted itself cannot claim to be another.
        assert_eq!(
            upstream.next().await.one("x-forwarded-for"),
            client,
            "{header:?}"
        );
    }
    let scrape = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let metrics = world.outpost.metrics_addresses()[0];
    for header in [VERSION_1, b""] {
        let answer = raw(metrics, &[header, scrape].concat()).await;
        assert_eq!(status(&answer), 200, "{header:?}");
    }
    let malformed = [b"PROXY TCP4 x y 1 2\r\n".as_slice(), GET].concat();
    assert_eq!(raw(world.address(), &malformed).await, b"");

    // Before TLS begins.
    let mut stream = TcpStream::connect(world.https())
        .await
        .expect("a connection");
    stream.write_all(VERSION_2).await.expect("written");
    let mut stream = shake(stream, "a.test", &client(&[])).await;
    stream.write_all(GET).await.expect("written");
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.expect("read");
    assert_eq!(status(&answer), 200);
    let recorded = upstream.next().await;
    assert_eq!(
        (
            recorded.one("x-forwarded-for").as_str(),
            recorded.one("x-forwarded-proto").as_str()
        ),
        ("203.0.113.7", "https")
    );
}

#[tokio::test]
async fn an_untrusted_peer_names_no_client() {
    for off in [
        ("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", "10.0.0.0/8"),
        ("AUTHENTIK_PROXY_LISTEN__PROXY_PROTOCOL", "false"),
    ] {
        let (world, mut upstream, _) = two_applications(&[off]).await;
        for header in [VERSION_1, VERSION_2] {
            let answer = raw(world.address(), &[header, GET].concat()).await;
            assert!(
                answer.is_empty() || status(&answer) == 400,
                "{off:?} {answer:?}"
            );
        }
        assert!(upstream.arrived().is_none());
        assert_eq!(status(&raw(world.address(), GET).await), 200);
    }
}
