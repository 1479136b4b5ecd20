//! Grafana and Hubble UI as docs/applications sets them up: faithful stand-ins of what cannot run
//! here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use authentik_standin::{Provider, Standin};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::broadcast;
use tokio::sync::mpsc::unbounded_channel;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::proxy::streams::{application, head};
use crate::support::upstream::{HOST, alice, provider, websocket, world};
use crate::support::{Browser, World, get, text, within};

/// A message as gRPC-Web frames it: no flags, its length, what it says.
fn message(said: &[u8]) -> Vec<u8> {
    let length = u32::try_from(said.len()).expect("short").to_be_bytes();
    [&[0], &length[..], said].concat()
}

#[tokio::test]
async fn hubble_streams_flows_to_several_views_until_they_are_closed() {
    const CHUNK: usize = "7\r\n".len() + 7 + "\r\n".len();
    let (flows, _) = broadcast::channel::<u8>(16);
    let (end, mut ended) = unbounded_channel();
    let all = flows.clone();
    let mut provider = application(move |mut stream| {
        let (mut flows, end) = (all.subscribe(), end.clone());
        async move {
            let mut asked = [0; 6];
            stream.read_exact(&mut asked).await?;
            let view = asked[5];
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web+proto\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            loop {
                tokio::select! {
                    flow = flows.recv() => {
                        let flow = message(&[view, flow.map_err(std::io::Error::other)?]);
                        let chunk = [b"7\r\n", &flow[..], b"\r\n"].concat();
                        stream.write_all(&chunk).await?;
                    }
                    // Nothing more is asked: it is the end.
                    _ = stream.read_u8() => return end.send(view).map_err(std::io::Error::other),
                }
            }
        }
    })
    .await;
    provider.skip_path_regex = String::new();
    let world = world(provider, &[]).await;
    let ask = |cookie: &str, view: u8| {
        let head = format!(
            "POST /api/ui.UI/GetEvents HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\nContent-Type: application/grpc-web+proto\r\nX-Grpc-Web: 1\r\nContent-Length: 6\r\n"
        );
        [head.as_bytes(), b"\r\n", &message(&[view])].concat()
    };
    let mut anonymous = TcpStream::connect(world.address())
        .await
        .expect("a connection");
    anonymous.write_all(&ask("", 9)).await.expect("written");
    let refused = head(&mut anonymous).await;
    assert!(!refused.contains("transfer-encoding"), "{refused}");

    let cookie = alice(&world).await;
    let mut views = Vec::new();
    for view in 1..=3 {
        let mut stream = TcpStream::connect(world.address())
            .await
            .expect("a connection");
        stream
            .write_all(&ask(&cookie, view))
            .await
            .expect("written");
        let head = head(&mut stream).await;
        assert!(
            head.contains("content-type: application/grpc-web+proto"),
            "{head}"
        );
        views.push((view, stream));
    }
    for flow in 1..=3 {
        // Nothing of the next flow exists before every view has this one.
        assert_eq!(flows.send(flow).expect("it runs"), views.len());
        for (view, stream) in &mut views {
            let mut chunk = [0; CHUNK];
            within(stream.read_exact(&mut chunk))
                .await
                .expect("a chunk");
            assert_eq!(chunk[3..CHUNK - 2], message(&[*view, flow])[..]);
        }
    }
    assert!(ended.try_recv().is_err(), "all are open");
    while let Some((view, stream)) = views.pop() {
        drop(stream);
        assert_eq!(within(ended.recv()).await, Some(view));
    }
}

/// Grafana with `auth.proxy` as the recipe has it: it believes names from one address only, and
/// compares a websocket's `Origin` with `Host`.
async fn grafana(whitelist: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            tokio::spawn(conversation(stream, peer.ip() == whitelist));
        }
    });
    address
}

async fn conversation(mut stream: TcpStream, is_listed: bool) -> Option<()> {
    loop {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await.ok()?);
        }
        let asked = String::from_utf8_lossy(&asked).into_owned();
        // The first of several values, as Go's `Header.Get`.
        let said = |name: &str| {
            let mut lines = asked.lines().filter_map(|line| line.split_once(": "));
            let found = lines.find(|(other, _)| other.eq_ignore_ascii_case(name));
            found.map_or("", |(_, value)| value)
        };
        let login = said("x-authentik-username");
        let answer = if !is_listed || login.is_empty() {
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_owned()
        } else if !asked.starts_with("GET /api/live/ws ") {
            let (name, email) = (said("x-authentik-name"), said("x-authentik-email"));
            let user = format!("{login}, {name}, {email}");
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{user}",
                user.len()
            )
        } else if said("origin").split_once("://").map(|(_, host)| host) == Some(said("host")) {
            let accept = derive_accept_key(said("sec-websocket-key").as_bytes());
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.ok()?;
            let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                socket.send(message).await.ok()?;
            }
            return None;
        } else {
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned()
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// Opens the websocket of live dashboards.
async fn live(
    world: &World,
    cookie: &str,
    origin: &str,
) -> Result<WebSocketStream<TcpStream>, Error> {
    let headers = [
        ("cookie", cookie),
        ("origin", origin),
        ("x-authentik-username", "admin"),
    ];
    Ok(websocket(world, "/api/live/ws", &headers).await?.0)
}

#[tokio::test]
async fn grafana_signs_in_users_whom_the_outpost_names_and_no_others() {
    let address = grafana(IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
    let strict = grafana(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))).await;
    let authentik = Standin::builder().start().await.expect("started");
    let strict = Provider::proxy("strict", "http://strict.test", &format!("http://{strict}"));
    let world = World::beside(authentik, vec![provider(address), strict], &[]).await;
    let cookie = alice(&world).await;
    let forged = [
        ("cookie", cookie.as_str()),
        ("x-authentik-username", "admin"),
        ("X-Authentik-Name", "Admin"),
        ("x-authentik-email", "admin@grafana.test"),
    ];
    let answer = get(world.address(), "/api/user", HOST, &forged).await;
    assert_eq!(text(&answer), "alice, alice Example, alice@example.test");
    let anonymous = get(world.address(), "/api/user", HOST, &forged[1..]).await;
    assert_eq!(anonymous.status(), 302);

    // Who comes by another address than the outpost's is not believed.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.3:0".parse().expect("an address"))
        .expect("bound");
    let mut stream = within(socket.connect(address)).await.expect("a connection");
    let lines = b"GET /api/user HTTP/1.1\r\nX-authentik-username: admin\r\n\r\n";
    stream.write_all(lines).await.expect("written");
    let refused = head(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    // Nor is the outpost where the whitelist does not have it.
    let mut browser = Browser::default();
    browser.log_in(&world, "strict.test", "/").await;
    let own = browser.cookies("strict.test");
    let answer = get(world.address(), "/", "strict.test", &[("cookie", &own)]).await;
    assert_eq!(answer.status(), 401);
    assert!(text(&answer).is_empty(), "Grafana's own");

    let mut socket = live(&world, &cookie, "http://app.test")
        .await
        .expect("a websocket");
    socket
        .send(Message::text("{\"id\":1}"))
        .await
        .expect("sent");
    let back = within(socket.next())
        .await
        .expect("open")
        .expect("a message");
    assert_eq!(back, Message::text("{\"id\":1}"));
    for (cookie, origin, expected) in [
        (cookie.as_str(), "http://other.test", 403),
        ("", "http://app.test", 401),
    ] {
        match live(&world, cookie, origin).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), expected, "{origin}"),
            other => panic!("{origin}: {other:?}"),
        }
    }
}
