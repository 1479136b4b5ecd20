//! Clients that stop in the middle: of what they send, or of what they are sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use authentik_standin::Provider;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::support::upstream::{HOST, provider, world};
use crate::support::{until_closed, within};

const BODY_TIMEOUT: &str = "AUTHENTIK_PROXY_LISTEN__BODY_TIMEOUT";

/// An application that anybody may ask, and that tells of each connection that ends. After the head
/// of a request it does as `serve` says, then it waits for that end.
async fn application<F>(
    serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
) -> (Provider, UnboundedReceiver<()>)
where
    F: Future<Output = std::io::Result<TcpStream>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut provider = provider(listener.local_addr().expect("an address"));
    provider.skip_path_regex = "^/".into();
    let (tell, ended) = unbounded_channel();
    let serve = Arc::new(serve);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (serve, tell) = (Arc::clone(&serve), tell.clone());
            tokio::spawn(async move {
                head(&mut stream).await;
                if let Ok(mut stream) = serve(stream).await {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
                // The receiver is gone when the test has ended.
                let _ = tell.send(());
            });
        }
    });
    (provider, ended)
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.expect("a head"));
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Sends the head of a request, and the beginning of its body.
async fn begin(address: SocketAddr, lines: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("{lines}\r\nHost: {HOST}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.expect("written");
    stream
}

#[tokio::test]
async fn a_body_that_stops_is_given_up() {
    let (provider, mut ended) = application(|stream| async { Ok(stream) }).await;
    let world = world(provider, &[(BODY_TIMEOUT, "300ms")]).await;
    for (framing, body) in [
        ("Content-Length: 1000000", ""),
        ("Content-Length: 1000000", "hello"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
    ] {
        let lines = format!("POST /api/x HTTP/1.1\r\n{framing}");
        let mut stream = begin(world.address(), &lines, body).await;
        let answer = until_closed(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{lines}: {answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert_eq!(within(ended.recv()).await, Some(()), "{lines}");
    }
}

#[tokio::test]
async fn every_byte_gives_a_slow_body_more_time() {
    let (provider, _ended) = application(|mut stream| async {
        stream.read_exact(&mut [0; 5]).await?;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await?;
        Ok(stream)
    })
    .await;
    let limit = Duration::from_secs(1);
    let world = world(provider, &[(BODY_TIMEOUT, "1s")]).await;
    let lines = "POST / HTTP/1.1\r\nContent-Length: 5";
    within(async {
        loop {
            let begun = Instant::now();
            let mut stream = begin(world.address(), lines, "").await;
            let (mut last, mut longest) = (begun, Duration::ZERO);
            for byte in b"hello" {
                tokio::time::sleep(limit * 3 / 10).await;
                // A connection that was given up is seen below.
                let _ = stream.write_u8(*byte).await;
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            let head = head(&mut stream).await;
            longest = longest.max(last.elapsed());
            // On a machine that was too busy to send in time, this says nothing.
            if longest < limit / 2 {
                assert!(
                    begun.elapsed() > limit,
                    "the body took longer than one byte may"
                );
                return assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_has_begun_gives_a_body_all_the_time_it_wants() {
    let (provider, _ended) = application(|mut stream| async {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        stream.write_all(answer).await?;
        let mut body = [0; 5];
        stream.read_exact(&mut body).await?;
        stream.write_all(&body).await?;
        Ok(stream)
    })
    .await;
    // Both apply until the answer has begun.
    let more = [
        (BODY_TIMEOUT, "3s"),
        ("AUTHENTIK_PROXY_LISTEN__WRITE_TIMEOUT", "3s"),
    ];
    let world = world(provider, &more).await;
    let lines = "POST / HTTP/1.1\r\nContent-Length: 5";
    let mut stream = begin(world.address(), lines, "").await;
    head(&mut stream).await;
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    stream.write_all(b"hello").await.expect("written");
    let mut echo = [0; 5];
    within(stream.read_exact(&mut echo)).await.expect("an echo");
    assert_eq!(&echo, b"hello");
}

#[tokio::test]
async fn a_client_that_was_answered_and_does_not_end_its_request_is_left() {
    let (provider, mut ended) = application(|mut stream| async {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer).await?;
        Ok(stream)
    })
    .await;
    // The head has to arrive within this, too.
    let idle = ("AUTHENTIK_PROXY_LISTEN__IDLE_TIMEOUT", "3s");
    let world = world(provider, &[idle]).await;
    let lines = "POST / HTTP/1.1\r\nContent-Length: 1000000";
    let mut stream = begin(world.address(), lines, "hello").await;
    let answer = until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(within(ended.recv()).await, Some(()));
}

#[tokio::test]
async fn an_answer_may_pause_for_longer_than_an_idle_connection_lasts() {
    let (provider, _ended) = application(|mut stream| async {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab";
        stream.write_all(answer).await?;
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        stream.write_all(b"cd").await?;
        Ok(stream)
    })
    .await;
    // The head of the request has to arrive within this, too.
    let idle = ("AUTHENTIK_PROXY_LISTEN__IDLE_TIMEOUT", "3s");
    let world = world(provider, &[idle]).await;
    let mut stream = begin(world.address(), "GET / HTTP/1.1", "").await;
    let answer = until_closed(&mut stream).await;
    assert!(answer.ends_with("\r\n\r\nabcd"), "{answer}");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_left() {
    for (lines, answer) in [
        (
            "GET /image HTTP/1.1",
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        ),
        (
            "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
    ] {
        let (provider, mut ended) = application(move |mut stream| async move {
            stream.write_all(answer.as_bytes()).await?;
            loop {
                stream.write_all(&[0; 16 << 10]).await?;
            }
        })
        .await;
        let limit = ("AUTHENTIK_PROXY_LISTEN__WRITE_TIMEOUT", "300ms");
        let world = world(provider, &[limit]).await;
        let stream = begin(world.address(), lines, "").await;
        assert_eq!(within(ended.recv()).await, Some(()), "{lines}");
        drop(stream);
    }
}
