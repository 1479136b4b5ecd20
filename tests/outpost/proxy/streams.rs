//! Bodies pass through: at once, of any size, and no faster than the slower side takes them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use authentik_standin::{Provider, Standin};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::upstream::{HOST, provider, world};
use crate::support::{World, get, within};

const SIZE: u64 = 1 << 30;

/// Serves one connection after the other with `serve`, which gets the stream after the head of a
/// request.
pub(crate) async fn application<F>(
    serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
) -> Provider
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut provider = provider(listener.local_addr().expect("an address"));
    provider.skip_path_regex = "^/".into();
    let serve = Arc::new(serve);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let serve = Arc::clone(&serve);
            tokio::spawn(async move {
                head(&mut stream).await;
                // The test looks at what comes out at the other end.
                let _ = serve(stream).await;
            });
        }
    });
    provider
}

pub(crate) async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.expect("a head"));
    }
    String::from_utf8_lossy(&head).into_owned()
}

pub(crate) async fn ask(address: SocketAddr, lines: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("{lines}\r\nHost: {HOST}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    stream
}

#[tokio::test]
async fn server_sent_events_arrive_one_by_one() {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel::<&str>();
    let told = Arc::new(tokio::sync::Mutex::new(told));
    let provider = application(move |mut stream| {
        let told = Arc::clone(&told);
        async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            while let Some(event) = told.lock().await.recv().await {
                let chunk = format!("{:x}\r\n{event}\r\n", event.len());
                stream.write_all(chunk.as_bytes()).await?;
            }
            Ok(())
        }
    })
    .await;
    // The head of the request and that of the answer have to arrive within these.
    let patience = ("AUTHENTIK_PROXY_UPSTREAM__RESPONSE_TIMEOUT", "3s");
    let idle = ("AUTHENTIK_PROXY_LISTEN__IDLE_TIMEOUT", "3s");
    let world = world(provider, &[patience, idle]).await;
    let mut stream = ask(world.address(), "GET /events HTTP/1.1").await;
    let head = head(&mut stream).await;
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        // Nothing of the next event exists before this one was read.
        tell.send(event).expect("it runs");
        let expected = format!("{:X}\r\n{event}\r\n", event.len());
        let mut chunk = vec![0; expected.len()];
        within(stream.read_exact(&mut chunk))
            .await
            .expect("a chunk");
        assert_eq!(String::from_utf8_lossy(&chunk), expected);
        if event.contains('2') {
            // No limit applies to an answer that has begun.
            tokio::time::sleep(std::time::Duration::from_millis(3_500)).await;
        }
    }
}

#[tokio::test]
async fn a_conversation_in_one_post_flows_both_ways_at_once() {
    let provider = application(|mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await?;
        let mut byte = [0; 6];
        // Each chunk "1\r\nx\r\n" is sent back as it comes.
        while stream.read_exact(&mut byte).await.is_ok() {
            stream.write_all(&byte).await?;
        }
        Ok(())
    })
    .await;
    let world = world(provider, &[]).await;
    let mut stream = ask(
        world.address(),
        "POST /GetFlows HTTP/1.1\r\nTransfer-Encoding: chunked",
    )
    .await;
    head(&mut stream).await;
    for letter in ["a", "b", "c"] {
        let chunk = format!("1\r\n{letter}\r\n");
        stream.write_all(chunk.as_bytes()).await.expect("written");
        let mut answer = [0; 6];
        within(stream.read_exact(&mut answer))
            .await
            .expect("a chunk");
        assert_eq!(answer, chunk.as_bytes());
    }
}

/// The program in front of an application, and the memory that it takes.
async fn program(provider: Provider) -> World<crate::operations::process::Process> {
    let authentik = Standin::builder().start().await.expect("started");
    World::running(authentik, vec![provider], &[]).await
}

/// What the program may grow by while 1 GiB goes through it, in bytes.
const GROWTH: u64 = 24 << 20;

#[tokio::test]
async fn a_large_download_takes_no_memory() {
    let provider = application(|mut stream| async move {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let block = vec![7; 1 << 20];
        for _ in 0..SIZE >> 20 {
            stream.write_all(&block).await?;
        }
        Ok(())
    })
    .await;
    let mut world = program(provider).await;
    let before = world.outpost.memory();
    let mut stream = ask(world.address(), "GET /image HTTP/1.1").await;
    let head = head(&mut stream).await;
    assert!(head.contains(&format!("content-length: {SIZE}")), "{head}");
    let (mut block, mut read, mut most) = (vec![0; 1 << 20], 0, 0);
    let expected = vec![7; block.len()];
    while read < SIZE {
        let length = within(stream.read(&mut block)).await.expect("read");
        assert!(length > 0, "{read}");
        assert!(block[..length] == expected[..length]);
        // Looking at every piece would take longer than passing it on.
        if (read + length as u64) >> 20 > read >> 20 {
            most = most.max(world.outpost.memory());
        }
        read += length as u64;
    }
    assert!(most < before + GROWTH, "{before} -> {most}");
    world.outpost.stop().await;
}

#[tokio::test]
async fn a_slow_client_holds_its_application_back() {
    let sent = Arc::new(AtomicU64::new(0));
    let (tell, mut blocked) = tokio::sync::mpsc::unbounded_channel();
    let counted = Arc::clone(&sent);
    let provider = application(move |mut stream| {
        let (counted, tell) = (Arc::clone(&counted), tell.clone());
        async move {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            let block = vec![7; 1 << 20];
            let mut rest = SIZE;
            while rest > 0 {
                let length = usize::try_from(rest.min(1 << 20)).expect("small");
                let writing = stream.write(&block[..length]);
                tokio::pin!(writing);
                let patience = std::time::Duration::from_secs(1);
                let halted = tokio::time::timeout(patience, &mut writing).await;
                let written = if let Ok(written) = halted {
                    written?
                } else {
                    // The test may have heard it before.
                    let _ = tell.send(counted.load(Ordering::Relaxed));
                    writing.await?
                } as u64;
                counted.fetch_add(written, Ordering::Relaxed);
                rest -= written;
            }
            Ok(())
        }
    })
    .await;
    let mut world = program(provider).await;
    let before = world.outpost.memory();
    let mut stream = ask(world.address(), "GET /image HTTP/1.1").await;
    head(&mut stream).await;
    // Nothing is read: the application says when its bytes are no longer taken.
    let halted = within(blocked.recv()).await.expect("it runs");
    assert!(halted < 64 << 20, "{halted} bytes are somewhere");
    let most = world.outpost.memory();
    assert!(most < before + GROWTH, "{before} -> {most}");
    let (mut block, mut read) = (vec![0; 1 << 20], 0);
    let expected = vec![7; block.len()];
    while read < SIZE {
        let length = within(stream.read(&mut block)).await.expect("read");
        assert!(length > 0, "{read}");
        assert!(block[..length] == expected[..length]);
        read += length as u64;
    }
    assert_eq!(sent.load(Ordering::Relaxed), SIZE);
    world.outpost.stop().await;
}

#[tokio::test]
async fn a_large_upload_takes_no_memory_and_waits_for_a_slow_application() {
    let taken = Arc::new(AtomicU64::new(0));
    let (go, gate) = tokio::sync::watch::channel(false);
    let counted = Arc::clone(&taken);
    let provider = application(move |mut stream| {
        let (counted, mut gate) = (Arc::clone(&counted), gate.clone());
        async move {
            // Takes nothing before it is told to.
            let _ = gate.wait_for(|open| *open).await;
            let mut block = vec![0; 1 << 20];
            while counted.load(Ordering::Relaxed) < SIZE {
                let length = stream.read(&mut block).await?;
                counted.fetch_add(length as u64, Ordering::Relaxed);
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await
        }
    })
    .await;
    let mut world = program(provider).await;
    let before = world.outpost.memory();
    let upload = format!("PUT /image HTTP/1.1\r\nContent-Length: {SIZE}");
    let mut stream = ask(world.address(), &upload).await;
    let block = vec![7; 1 << 20];
    let mut sent = 0;
    // Sending comes to a halt when the buffers on the way are full.
    let halted = async {
        let patience = std::time::Duration::from_secs(1);
        while let Ok(written) = tokio::time::timeout(patience, stream.write(&block)).await {
            sent += written.expect("open") as u64;
        }
    };
    within(halted).await;
    assert!(sent < 64 << 20, "{sent} bytes are somewhere");
    assert!(
        world.outpost.memory() < before + GROWTH,
        "{before} -> {}",
        world.outpost.memory()
    );
    go.send(true).expect("it runs");
    let mut most = 0;
    while sent < SIZE {
        let rest = usize::try_from((SIZE - sent).min(1 << 20)).expect("small");
        let written = within(stream.write(&block[..rest])).await.expect("written");
        sent += written as u64;
        most = most.max(world.outpost.memory());
    }
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(taken.load(Ordering::Relaxed), SIZE);
    assert!(most < before + GROWTH, "{before} -> {most}");
    world.outpost.stop().await;
}

#[tokio::test]
async fn a_slow_upload_is_no_silence_of_the_application() {
    let provider = application(|mut stream| async move {
        let mut body = [0; 3];
        stream.read_exact(&mut body).await?;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await
    })
    .await;
    // The application has to answer within this once it has everything.
    let patience = ("AUTHENTIK_PROXY_UPSTREAM__RESPONSE_TIMEOUT", "3s");
    let world = world(provider, &[patience]).await;
    let mut stream = ask(world.address(), "PUT / HTTP/1.1\r\nContent-Length: 3").await;
    for letter in [b"a", b"b", b"c"] {
        stream.write_all(letter).await.expect("written");
        if letter != b"c" {
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        }
    }
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_client_that_leaves_is_no_longer_served() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (arrive, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let provider = application(move |mut stream| {
        let (tell, arrive) = (tell.clone(), arrive.clone());
        async move {
            arrive.send(()).map_err(std::io::Error::other)?;
            // The connection ends without an answer from here: the outpost gives it up.
            let end = stream.read_u8().await;
            tell.send(end.is_err()).map_err(std::io::Error::other)
        }
    })
    .await;
    let world = world(provider, &[]).await;
    let stream = ask(world.address(), "GET / HTTP/1.1").await;
    assert_eq!(within(arrived.recv()).await, Some(()));
    drop(stream);
    assert_eq!(within(told.recv()).await, Some(true));
    // Who only stops sending cannot be told from who has left, until there is something to say to
    // them; an event stream may have nothing to say for hours.
    let mut stream = ask(world.address(), "GET / HTTP/1.1").await;
    assert_eq!(within(arrived.recv()).await, Some(()));
    stream.shutdown().await.expect("half closed");
    assert_eq!(within(told.recv()).await, Some(true));
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn an_answer_that_ends_with_its_half_of_the_connection_is_passed_on_whole() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let provider = application(move |mut stream| {
        let tell = tell.clone();
        async move {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                .await?;
            for _ in 0..64 {
                stream.write_all(&[b'x'; 16 << 10]).await?;
            }
            stream.shutdown().await?;
            // Nothing more is asked on this connection.
            let mut more = Vec::new();
            stream.read_to_end(&mut more).await?;
            tell.send(more).map_err(std::io::Error::other)
        }
    })
    .await;
    let world = world(provider, &[]).await;
    // The length is not known: were it cut short, the last chunk would be missing.
    let answer = get(world.address(), "/", HOST, &[]).await;
    assert!(!answer.headers().contains_key("connection"));
    assert_eq!(answer.body().len(), 1 << 20);
    assert_eq!(within(told.recv()).await.expect("it runs"), b"");
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_seen_to_break_off() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (arrive, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let provider = application(move |mut stream| {
        let (tell, arrive) = (tell.clone(), arrive.clone());
        async move {
            let mut body = vec![0; 5];
            stream.read_exact(&mut body).await?;
            arrive.send(()).map_err(std::io::Error::other)?;
            // How it ends, a reset or not, is the system's matter.
            let _ = stream.read_to_end(&mut body).await;
            tell.send(body).map_err(std::io::Error::other)
        }
    })
    .await;
    let world = world(provider, &[]).await;
    for (framing, sent) in [
        ("Content-Length: 100", "hello"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
    ] {
        let lines = format!("PUT /image HTTP/1.1\r\n{framing}");
        let mut stream = ask(world.address(), &lines).await;
        stream.write_all(sent.as_bytes()).await.expect("written");
        assert_eq!(within(arrived.recv()).await, Some(()));
        drop(stream);
        let body = within(told.recv()).await.expect("it runs");
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(body.starts_with(&sent[..5]), "{framing}: {body}");
        assert!(!body.ends_with("0\r\n\r\n"), "{framing}: {body}");
    }
}
