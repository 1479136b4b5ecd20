//! Answers that break off: clients must never take them for whole.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::proxy::streams::application;
use crate::support::upstream::{HOST, world};
use crate::support::{get, within};

/// Whether an answer ends as if it were whole; says when some of its body has `arrived`.
async fn ends_well(address: SocketAddr, is_http2: bool, arrived: &Notify) -> bool {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let stream = TokioIo::new(stream);
    let request = Request::get(format!("http://{HOST}/")).header("host", HOST);
    let request = request.body(Body::empty()).expect("a request");
    let answer = if is_http2 {
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
        let (mut sender, connection) = within(handshake).await.expect("a handshake");
        tokio::spawn(connection);
        within(sender.send_request(request)).await
    } else {
        let handshake = hyper::client::conn::http1::handshake(stream);
        let (mut sender, connection) = within(handshake).await.expect("a handshake");
        tokio::spawn(connection);
        within(sender.send_request(request)).await
    };
    let answer = answer.expect("a head");
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    let first = within(body.frame()).await.expect("a body");
    assert!(first.is_ok(), "{first:?}");
    arrived.notify_one();
    while let Some(frame) = within(body.frame()).await {
        if frame.is_err() {
            return false;
        }
    }
    true
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_seen_to_break_off() {
    let chunked = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let last = format!("{chunked}0\r\n\r\n");
    for (answer, is_reset, expected) in [
        (last.as_str(), false, true),
        ("Content-Length: 5\r\n\r\nhello", false, true),
        (chunked, false, false),
        (chunked, true, false),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhel", true, false),
        ("Content-Length: 100\r\n\r\nhello", false, false),
        ("Content-Length: 100\r\n\r\nhello", true, false),
        ("Connection: close\r\n\r\nhello", true, false),
    ] {
        let arrived = Arc::new(Notify::new());
        let awaited = Arc::clone(&arrived);
        let head = format!("HTTP/1.1 200 OK\r\n{answer}");
        let provider = application(move |mut stream| {
            let (awaited, head) = (Arc::clone(&awaited), head.clone());
            async move {
                stream.write_all(head.as_bytes()).await?;
                // A reset takes away what was not read yet.
                awaited.notified().await;
                if is_reset {
                    stream.set_zero_linger()?;
                }
                Ok(())
            }
        })
        .await;
        let world = world(provider, &[]).await;
        let address = world.address();
        for is_http2 in [false, true] {
            let is_whole = ends_well(address, is_http2, &arrived).await;
            assert_eq!(is_whole, expected, "{answer:?} {is_reset} {is_http2}");
        }
        let ping = "/outpost.goauthentik.io/ping";
        assert_eq!(get(address, ping, HOST, &[]).await.status(), 204);
    }
}
