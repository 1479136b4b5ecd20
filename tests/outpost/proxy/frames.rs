//! Websockets as bytes: what passes through a tunnel passes as it is, whatever the frame
//! (RFC 6455 section 5), and many of them at once.

use std::io::Write as _;
use std::net::SocketAddr;

use authentik_standin::nginx::{Nginx, free_address};
use authentik_standin::{Standin, User};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::upstream::{HOST, alice, provider, world};
use crate::support::{Browser, PASSWORD, World, within};

/// How many tunnels are open at once.
const MANY: usize = 1000;
/// How many times as much memory as at nginx a tunnel may take.
const SHARE: u64 = 2;

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.expect("a head"));
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// An application that agrees to every upgrade and sends every byte back.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let asked = head(&mut stream).await.to_lowercase();
                assert!(asked.contains("permessage-deflate; client_max_window_bits=15"));
                let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
                stream.write_all(answer.as_bytes()).await?;
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    address
}

/// A tunnel to it.
async fn open(address: SocketAddr, cookie: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=15\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("written");
    let answer = head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(
        answer.contains("sec-websocket-extensions: permessage-deflate\r\n")
            || answer.contains("Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        "{answer}"
    );
    stream
}

/// A frame: its first byte (FIN, RSV, opcode), masked or not, and a payload of this size.
fn frame(first: u8, masked: bool, size: usize) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut frame = vec![first];
    match size {
        0..126 => frame.push(mask | u8::try_from(size).expect("small")),
        126..65536 => {
            frame.push(mask | 0x7e);
            frame.extend(u16::try_from(size).expect("small").to_be_bytes());
        }
        _ => {
            frame.push(mask | 0x7f);
            frame.extend((size as u64).to_be_bytes());
        }
    }
    if masked {
        frame.extend([0xa5, 0, 0xff, 1]);
    }
    frame.extend((0..=250).cycle().take(size));
    frame
}

/// Sends bytes while it reads the same back.
async fn reflects(stream: &mut TcpStream, sent: &[u8]) {
    let (mut read, mut write) = stream.split();
    let mut back = vec![0; sent.len()];
    let (written, received) =
        within(async { tokio::join!(write.write_all(sent), read.read_exact(&mut back)) }).await;
    written.expect("written");
    received.expect("everything comes back");
    assert!(back == sent, "{} bytes, changed", sent.len());
}

#[tokio::test]
async fn every_frame_passes_verbatim() {
    const FIN: u8 = 0x80;
    let world = world(provider(echo().await), &[]).await;
    let mut stream = open(world.address(), &alice(&world).await).await;
    let mut all = Vec::new();
    for masked in [true, false] {
        // Text, binary; whole, begun, continued, ended.
        for first in [FIN | 1, FIN | 2, 1, 2, 0, FIN] {
            for size in [0, 1, 125, 126, 127, 65535, 65536, 1 << 20] {
                reflects(&mut stream, &frame(first, masked, size)).await;
            }
        }
        // Compressed (RSV1), the other reserved bits and opcodes, which are an extension's matter;
        // close, ping and pong.
        for first in (0xc0..=0xff).chain(0x83..=0x8f) {
            all.extend(frame(first, masked, 5));
        }
        for code in [1000_u16, 1001, 1003, 1006, 1011, 1012, 3000, 4999, 0, 65535] {
            let mut close = vec![FIN | 8, if masked { 0x85 } else { 5 }];
            close.extend(if masked { &[0; 4][..] } else { &[] });
            close.extend(code.to_be_bytes());
            close.extend(b"bye");
            all.extend(close);
        }
        all.extend(frame(FIN | 9, masked, 125));
        all.extend(frame(FIN | 0xa, masked, 0));
    }
    // Many in one piece, and one byte by byte.
    reflects(&mut stream, &all).await;
    for byte in frame(FIN | 2, true, 130) {
        reflects(&mut stream, &[byte]).await;
    }
    // Half closed: what was sent before still comes back.
    stream.write_all(&all).await.expect("written");
    stream.shutdown().await.expect("half closed");
    let mut back = Vec::new();
    within(stream.read_to_end(&mut back))
        .await
        .expect("the rest");
    assert!(back == all, "{} of {} bytes", back.len(), all.len());
}

/// Opens many tunnels, each of which reflects some messages.
async fn many(address: SocketAddr, cookie: &str) -> Vec<TcpStream> {
    let mut streams = Vec::with_capacity(MANY);
    for _ in 0..MANY {
        streams.push(open(address, cookie).await);
    }
    for size in [2, 200, 5000] {
        for stream in &mut streams {
            reflects(stream, &frame(0x81, true, size)).await;
        }
    }
    streams
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn a_thousand_websockets_take_little_memory_and_end_with_their_session() {
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_user(User::new("bob", PASSWORD));
    let application = echo().await;
    let mut world: World<crate::operations::process::Process> =
        World::running(authentik, vec![provider(application)], &[]).await;
    let cookie = Browser::default().log_in_as(&world, HOST, "alice").await;
    let others = Browser::default().log_in_as(&world, HOST, "bob").await;
    let mut stays = open(world.address(), &others).await;

    let before = world.outpost.memory();
    let streams = many(world.address(), &cookie).await;
    let each = world.outpost.memory().saturating_sub(before) / MANY as u64;

    let nginx = free_address().expect("a port");
    let nginx = Nginx::passing_lightly(nginx, application)
        .await
        .expect("nginx is installed: apt-get install nginx-light");
    let before = nginx.memory().expect("it runs");
    let compared = many(nginx.address(), "").await;
    let theirs = (nginx.memory().expect("it runs") - before) / MANY as u64;
    drop(compared);
    let _ = writeln!(
        std::io::stderr(),
        "memory for a websocket, in bytes: {each}; nginx: {theirs}"
    );
    assert!(each < SHARE * theirs, "{each} bytes; nginx: {theirs}");

    world
        .authentik
        .end_session(&world.authentik.sids_of("alice")[0]);
    for mut stream in streams {
        let mut rest = Vec::new();
        // A reset is a way of closing, too.
        let _ = within(stream.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "it is cut");
    }
    reflects(&mut stays, &frame(0x81, true, 5)).await;
    nginx.stop().await.expect("stopped");
    world.outpost.stop().await;
}
