//! Websockets, and other protocols that begin as a request.

use std::time::Duration;

use authentik_standin::Standin;
use futures_util::{SinkExt as _, StreamExt as _};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::support::upstream::{HOST, Upstream, alice, provider, raw, status, websocket, world};
use crate::support::{Browser, Outpost, World, within};

/// An application whose websocket sends everything back, and speaks `v2.test` if asked.
async fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                #[expect(clippy::result_large_err, reason = "the library's own type")]
                let negotiate = |request: &Request, mut response: Response| {
                    assert_eq!(request.headers()["x-authentik-username"], "alice");
                    assert_eq!(request.headers()["origin"], "http://app.test");
                    if request.headers().contains_key("sec-websocket-protocol") {
                        let chosen = "v2.test".parse().expect("a value");
                        response
                            .headers_mut()
                            .insert("sec-websocket-protocol", chosen);
                    }
                    Ok(response)
                };
                let Ok(mut socket) = accept_hdr_async(stream, negotiate).await else {
                    return;
                };
                while let Some(Ok(message)) = socket.next().await {
                    if matches!(message, Message::Text(_) | Message::Binary(_)) {
                        let _ = socket.send(message).await;
                    }
                }
            });
        }
    });
    address
}

async fn connect<O: Outpost>(
    world: &World<O>,
    cookie: &str,
    protocols: &str,
) -> Result<(WebSocketStream<TcpStream>, Response), Error> {
    let mut headers = vec![("cookie", cookie), ("origin", "http://app.test")];
    if !protocols.is_empty() {
        headers.push(("sec-websocket-protocol", protocols));
    }
    let (socket, response) = websocket(world, "/api/live/ws?x=%20", &headers).await?;
    Ok((socket, response.map(|_| ())))
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Option<Result<Message, Error>> {
    within(socket.next()).await
}

#[tokio::test]
async fn issue_25361_a_websocket_works_as_without_the_outpost() {
    let world = world(provider(echo().await), &[]).await;
    let cookie = alice(&world).await;
    let (mut socket, response) = connect(&world, &cookie, "v1.test, v2.test")
        .await
        .expect("a websocket");
    assert_eq!(response.headers()["sec-websocket-protocol"], "v2.test");
    let large = vec![0xa5; 1 << 20];
    for message in [
        Message::text("hello"),
        Message::text("caf\u{e9}".repeat(1000)),
        Message::text(""),
        Message::binary(vec![0, 255, 10, 13]),
        Message::binary(large),
    ] {
        socket.send(message.clone()).await.expect("sent");
        assert_eq!(
            next(&mut socket).await.expect("open").expect("a message"),
            message
        );
    }
    // In pieces.
    for (part, code, last) in [
        ("in ", Data::Text, false),
        ("three ", Data::Continue, false),
        ("pieces", Data::Continue, true),
    ] {
        let frame = Frame::message(part, OpCode::Data(code), last);
        socket.send(Message::Frame(frame)).await.expect("sent");
    }
    assert_eq!(
        next(&mut socket).await.expect("open").expect("a message"),
        Message::text("in three pieces")
    );
    socket
        .send(Message::Ping("now".into()))
        .await
        .expect("sent");
    assert_eq!(
        next(&mut socket).await.expect("open").expect("a message"),
        Message::Pong("now".into())
    );
    let goodbye = CloseFrame {
        code: CloseCode::Library(4001),
        reason: "bye".into(),
    };
    socket
        .send(Message::Close(Some(goodbye.clone())))
        .await
        .expect("sent");
    assert_eq!(
        next(&mut socket).await.expect("open").expect("a message"),
        Message::Close(Some(goodbye))
    );
    assert!(next(&mut socket).await.is_none());
}

#[tokio::test]
async fn a_websocket_of_an_application_that_speaks_http_2_begins_in_http_1_1() {
    let authentik = Standin::builder().start().await.expect("started");
    let file = "applications: {app: {upstream_protocol: http2}}";
    let world = World::with_file(authentik, vec![provider(echo().await)], file, &[]).await;
    let cookie = alice(&world).await;
    let (mut socket, _) = connect(&world, &cookie, "").await.expect("a websocket");
    socket.send(Message::text("hello")).await.expect("sent");
    assert_eq!(
        next(&mut socket).await.expect("open").expect("a message"),
        Message::text("hello")
    );
}

#[tokio::test]
async fn a_websocket_needs_a_login_and_is_told_so_without_a_redirect() {
    let world = world(provider(echo().await), &[]).await;
    match connect(&world, "", "").await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 401),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_tunnel_ends_with_its_session_and_with_no_other() {
    let world = world(provider(echo().await), &[]).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let (mut ended, _) = connect(&world, &browser.cookies(HOST), "")
        .await
        .expect("a websocket");
    let first = world.authentik.sids_of("alice");
    let other = alice(&world).await;
    let (mut stays, _) = connect(&world, &other, "").await.expect("a websocket");
    world.authentik.end_session(&first[0]);
    assert!(!matches!(next(&mut ended).await, Some(Ok(_))), "it is cut");
    stays.send(Message::text("still here")).await.expect("sent");
    assert_eq!(
        next(&mut stays).await.expect("open").expect("a message"),
        Message::text("still here")
    );
    // Signing out ends the others, too.
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    browser.sign_out(&world, HOST).await;
    assert!(!matches!(next(&mut stays).await, Some(Ok(_))), "it is cut");
}

#[tokio::test]
async fn a_tunnel_ends_when_its_token_does() {
    let provider = authentik_standin::Provider {
        access_token_validity: Some(2.0),
        ..provider(echo().await)
    };
    let world = world(provider, &[]).await;
    let cookie = alice(&world).await;
    let (mut socket, _) = connect(&world, &cookie, "").await.expect("a websocket");
    assert!(!matches!(next(&mut socket).await, Some(Ok(_))), "it is cut");
}

#[tokio::test]
async fn tunnels_end_when_the_program_stops() {
    let authentik = Standin::builder().start().await.expect("started");
    // Far longer than anything is waited for here: who waited for time-outs would not end.
    let patient = [("AUTHENTIK_PROXY_SHUTDOWN__DRAIN_TIMEOUT", "1h")];
    let mut world = World::running(authentik, vec![provider(echo().await)], &patient).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let (mut socket, _) = connect(&world, &browser.cookies(HOST), "")
        .await
        .expect("a websocket");
    world.outpost.signal(Signal::SIGTERM);
    assert!(!matches!(next(&mut socket).await, Some(Ok(_))), "it is cut");
    assert_eq!(world.outpost.wait_exit().await, Some(0));
    assert_eq!(world.outpost.complaints(), [""; 0]);
}

#[tokio::test]
async fn a_tunnel_counts_as_a_connection() {
    let limit = ("AUTHENTIK_PROXY_LISTEN__MAX_CONNECTIONS", "1");
    let world = world(provider(echo().await), &[limit]).await;
    let cookie = alice(&world).await;
    let (mut socket, _) = connect(&world, &cookie, "").await.expect("a websocket");
    let address = world.address();
    let get = async |target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        status(&within(raw(address, request.as_bytes())).await)
    };
    // Beyond the limit, probes alone are served.
    assert_eq!(get("/outpost.goauthentik.io/ping").await, 204);
    assert_eq!(get("/api/x").await, 503);
    let message = Message::text("still open");
    socket.send(message.clone()).await.expect("sent");
    let echo = next(&mut socket).await.expect("open");
    assert_eq!(echo.expect("a message"), message);
    drop(socket);
    // Nothing announces that the tunnel's place is free.
    let answer = async {
        loop {
            match get("/api/x").await {
                503 => tokio::time::sleep(Duration::from_millis(10)).await,
                status => return status,
            }
        }
    };
    assert!([302, 401].contains(&within(answer).await));
}

#[tokio::test]
async fn other_protocols_pass_verbatim_and_http_itself_does_not() {
    let mut upstream = Upstream::answering(|recorded| {
        let wanted = recorded.one("upgrade");
        let granted = match wanted.as_str() {
            "" => return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
            "SPDY/3.1, SPDY/4" => "spdy/4",
            "refused" => return "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope".into(),
            "other" => "another",
            _ => &wanted,
        };
        format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {granted}\r\nX-Stream: 1\r\n\r\nfrom the application").into_bytes()
    })
    .await;
    let world = world(provider(upstream.address), &[]).await;
    let cookie = alice(&world).await;
    let head = |upgrade: &str| {
        format!(
            "GET /exec HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\nConnection: keep-alive, uPgRaDe\r\nUpgrade: {upgrade}\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
        )
    };
    for (upgrade, granted) in [
        ("WebSocket", "WebSocket"),
        ("SPDY/3.1, SPDY/4", "spdy/4"),
        ("foo", "foo"),
    ] {
        let mut stream = TcpStream::connect(world.address())
            .await
            .expect("a connection");
        stream
            .write_all(head(upgrade).as_bytes())
            .await
            .expect("written");
        let mut answer = Vec::new();
        while !answer.ends_with(b"from the application") {
            answer.push(within(stream.read_u8()).await.expect("a byte"));
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        for line in [
            format!("upgrade: {granted}\r\n"),
            "connection: upgrade\r\n".into(),
            "x-stream: 1\r\n".into(),
        ] {
            assert!(answer.contains(&line), "{line} in {answer}");
        }
        let recorded = upstream.next().await;
        assert_eq!(
            (
                recorded.one("upgrade").as_str(),
                recorded.one("connection").as_str()
            ),
            (upgrade, "upgrade")
        );
        assert_eq!(
            recorded.one("sec-websocket-extensions"),
            "permessage-deflate; client_max_window_bits"
        );
    }
    for (upgrade, expected) in [
        ("refused", 403),
        ("other", 502),
        ("h2c", 200),
        ("foo, h2c", 200),
        ("HTTP/2.0", 200),
        ("TLS/1.0", 200),
    ] {
        let close = head(upgrade).replace("keep-alive", "close");
        let answer = raw(world.address(), close.as_bytes()).await;
        assert_eq!(status(&answer), expected, "{upgrade}");
        let passed = upstream.next().await.one("upgrade");
        assert_eq!(passed, if expected == 200 { "" } else { upgrade });
    }
}
