//! Requests that are in flight when their session ends.

use std::sync::Arc;

use authentik_standin::Provider;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{Mutex, Notify};

use crate::proxy::streams::{application, ask, head};
use crate::support::upstream::{alice, world};
use crate::support::{World, until_closed, within};

/// An application that has got a request, or whose connection has ended.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Asked,
    Dropped,
}

/// An application that never answers and tells what happens to it. One has to sign in for it.
async fn silent() -> (Provider, UnboundedReceiver<Event>) {
    let (tell, told) = unbounded_channel();
    let provider = application(move |mut stream| {
        let tell = tell.clone();
        async move {
            tell.send(Event::Asked).map_err(std::io::Error::other)?;
            let mut sink = Vec::new();
            // A reset is an end, too.
            let _ = stream.read_to_end(&mut sink).await;
            tell.send(Event::Dropped).map_err(std::io::Error::other)
        }
    })
    .await;
    (protected(provider), told)
}

fn protected(provider: Provider) -> Provider {
    Provider {
        skip_path_regex: String::new(),
        ..provider
    }
}

/// Sends a request as alice, ends her session once the application has it, and returns the answer.
async fn interrupted(
    world: &World,
    told: &mut UnboundedReceiver<Event>,
    lines: &str,
    body: &[u8],
) -> String {
    let cookie = alice(world).await;
    let lines = format!("{lines}\r\nConnection: close\r\nCookie: {cookie}");
    let mut stream = ask(world.address(), &lines).await;
    stream.write_all(body).await.expect("written");
    assert_eq!(within(told.recv()).await, Some(Event::Asked));
    world.authentik.end_sessions_of("alice");
    let answer = until_closed(&mut stream).await;
    assert_eq!(within(told.recv()).await, Some(Event::Dropped));
    answer
}

#[tokio::test]
async fn a_request_without_a_response_is_answered_as_one_without_a_session() {
    let (provider, mut told) = silent().await;
    let world = world(provider, &[]).await;
    let mut answer = async |lines: &str| interrupted(&world, &mut told, lines, b"").await;
    let page = answer("GET /slow?x=1 HTTP/1.1").await;
    assert!(page.starts_with("HTTP/1.1 302 "), "{page}");
    let start = "\r\nlocation: http://app.test/outpost.goauthentik.io/start?rd=http%3A%2F%2Fapp.test%2Fslow%3Fx%3D1\r\n";
    assert!(page.contains(start), "{page}");
    let script = answer("GET /api HTTP/1.1\r\nSec-Fetch-Mode: cors").await;
    assert!(script.starts_with("HTTP/1.1 401 "), "{script}");
    assert!(script.contains("login_required"), "{script}");
    let socket = "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let socket = answer(socket).await;
    assert!(socket.starts_with("HTTP/1.1 401 "), "{socket}");
}

#[tokio::test]
async fn an_upload_ends_with_its_session() {
    let (provider, mut told) = silent().await;
    let world = world(provider, &[]).await;
    let upload = "POST /upload HTTP/1.1\r\nSec-Fetch-Mode: cors\r\nContent-Length: 1000";
    let answer = interrupted(&world, &mut told, upload, b"some of it").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let form = "POST /form HTTP/1.1\r\nSec-Fetch-Mode: navigate\r\nContent-Length: 3";
    let answer = interrupted(&world, &mut told, form, b"a=b").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("look whether it was processed"), "{answer}");
    let whole = "POST /upload HTTP/1.1\r\nSec-Fetch-Mode: cors\r\nContent-Length: 3";
    let answer = interrupted(&world, &mut told, whole, b"all").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

/// An application that sends `first` and, when told, `second`.
async fn in_two_parts(first: &'static str, second: &'static str) -> (Provider, Arc<Notify>) {
    let go_on = Arc::new(Notify::new());
    let told = Arc::clone(&go_on);
    let provider = application(move |stream| {
        let told = Arc::clone(&told);
        let stream = Arc::new(Mutex::new(stream));
        async move {
            let mut stream = stream.lock().await;
            stream.write_all(first.as_bytes()).await?;
            told.notified().await;
            stream.write_all(second.as_bytes()).await?;
            std::future::pending().await
        }
    })
    .await;
    (protected(provider), go_on)
}

/// Opens a page as alice, ends her session once the head of the response is there.
async fn headed(world: &World) -> TcpStream {
    let cookie = alice(world).await;
    let lines = format!("GET /report HTTP/1.1\r\nConnection: close\r\nCookie: {cookie}");
    let mut stream = ask(world.address(), &lines).await;
    let head = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    world.authentik.end_sessions_of("alice");
    world.until(|world| world.outpost.store().is_empty()).await;
    stream
}

#[tokio::test]
async fn a_finite_response_that_has_begun_is_completed() {
    for (first, second, rest) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", "b", "ab"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
            "1\r\nb\r\n0\r\n\r\n",
            "1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
        ),
    ] {
        let (provider, go_on) = in_two_parts(first, second).await;
        let world = world(provider, &[]).await;
        let mut stream = headed(&world).await;
        go_on.notify_one();
        assert_eq!(until_closed(&mut stream).await, rest);
    }
}

#[tokio::test]
async fn a_finite_response_that_takes_too_long_is_broken_off() {
    let begins = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\na";
    let (provider, _go_on) = in_two_parts(begins, "").await;
    let world = world(provider, &[]).await;
    let mut stream = headed(&world).await;
    assert_eq!(until_closed(&mut stream).await, "a");
}

#[tokio::test]
async fn what_passes_without_a_session_goes_on_without_it() {
    let go_on = Arc::new(Notify::new());
    let (tell, mut told) = unbounded_channel();
    let answer = Arc::clone(&go_on);
    let provider = application(move |mut stream| {
        let (answer, tell) = (Arc::clone(&answer), tell.clone());
        async move {
            tell.send(()).map_err(std::io::Error::other)?;
            answer.notified().await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await
        }
    })
    .await;
    let world = world(provider, &[]).await;
    let cookie = alice(&world).await;
    let lines = format!("GET /open HTTP/1.1\r\nConnection: close\r\nCookie: {cookie}");
    let mut stream = ask(world.address(), &lines).await;
    within(told.recv()).await.expect("asked");
    world.authentik.end_sessions_of("alice");
    world.until(|world| world.outpost.store().is_empty()).await;
    go_on.notify_one();
    let answer = until_closed(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
