//! Applications as docs/applications sets them up, where they ask for more than others: faithful
//! stand-ins of what cannot run here.

use std::time::Duration;

use authentik_standin::{Provider, Standin, User};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use crate::authentik::tls::Authority;
use crate::support::upstream::{HOST, Upstream, alice, provider, raw, status, websocket};
use crate::support::{Browser, PASSWORD, World, get, within};

/// Speaks TLS with a certificate of an unknown authority, in front of an application without.
async fn self_signed(upstream: &Upstream) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let acceptor = TlsAcceptor::from(Authority::new().server());
    let inside = upstream.address;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut outer = acceptor.accept(stream).await?;
                let mut inner = TcpStream::connect(inside).await?;
                tokio::io::copy_bidirectional(&mut outer, &mut inner).await
            });
        }
    });
    format!("https://{address}")
}

#[tokio::test]
async fn the_dashboard_gets_a_token_that_rotates_over_self_signed_tls() {
    let mut upstream = Upstream::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "first\n").expect("written");
    let file = format!(
        "applications: {{app: {{headers: {{Authorization: {{file: {}, prefix: 'Bearer '}}}}, rules: [{{action: require, groups: [admins]}}]}}}}",
        token.display()
    );
    let provider = Provider {
        internal_host_ssl_validation: false,
        ..Provider::proxy(
            "app",
            &format!("http://{HOST}"),
            &self_signed(&upstream).await,
        )
    };
    let authentik = Standin::builder().start().await.expect("started");
    let world = World::with_file(authentik, vec![provider], &file, &[]).await;
    let cookie = alice(&world).await;
    let lines = format!(
        "GET /api/v1/namespace HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\nAuthorization: Bearer forged\r\nConnection: close\r\n\r\n"
    );
    let ask = || raw(world.address(), lines.as_bytes());
    assert_eq!(status(&ask().await), 200);
    assert_eq!(upstream.next().await.one("authorization"), "Bearer first");
    // As Kubernetes does it: another file takes the name.
    let next = directory.path().join("next");
    std::fs::write(&next, "second\n").expect("written");
    std::fs::rename(&next, &token).expect("renamed");
    let rotated = async {
        loop {
            ask().await;
            match upstream.next().await.one("authorization").as_str() {
                "Bearer first" => tokio::time::sleep(Duration::from_millis(20)).await,
                other => break other.to_owned(),
            }
        }
    };
    assert_eq!(within(rotated).await, "Bearer second");
    let anonymous = get(world.address(), "/api/v1/namespace", HOST, &[]).await;
    assert_eq!(anonymous.status(), 302);
    assert!(upstream.arrived().is_none());
}

/// Says that a client has to authenticate, takes one token, and answers one command.
async fn home_assistant_socket(mut socket: WebSocketStream<TcpStream>) -> Option<()> {
    let say = |value: Value| Message::text(value.to_string());
    socket
        .send(say(json!({"type": "auth_required"})))
        .await
        .ok()?;
    let auth: Value = serde_json::from_str(socket.next().await?.ok()?.to_text().ok()?).ok()?;
    let is_good = auth["access_token"] == "long-lived";
    let verdict = if is_good { "auth_ok" } else { "auth_invalid" };
    socket.send(say(json!({"type": verdict}))).await.ok()?;
    let command: Value = serde_json::from_str(socket.next().await?.ok()?.to_text().ok()?).ok()?;
    let answer = json!({"id": command["id"], "type": "result", "success": is_good});
    socket.send(say(answer)).await.ok()
}

#[tokio::test]
async fn home_assistant_keeps_its_own_tokens_and_its_pages_need_a_login() {
    let mut upstream = Upstream::start().await;
    let recipe = |mut provider: Provider| {
        provider.skip_path_regex = "^/api/.*\n^/auth/.*".into();
        provider.intercept_header_auth = false;
        provider
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let sockets = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                #[expect(clippy::result_large_err, reason = "the library's own type")]
                let look = |request: &Request, response: Response| {
                    assert_eq!(request.uri().path(), "/api/websocket");
                    assert_eq!(request.headers()["host"], "live.test");
                    assert_eq!(request.headers()["x-forwarded-for"], "127.0.0.1");
                    Ok(response)
                };
                home_assistant_socket(accept_hdr_async(stream, look).await.ok()?).await
            });
        }
    });
    let live = Provider::proxy("live", "http://live.test", &format!("http://{sockets}"));
    let providers = vec![recipe(provider(upstream.address)), recipe(live)];
    let authentik = Standin::builder().start().await.expect("started");
    let world = World::beside(authentik, providers, &[]).await;

    let token = [("authorization", "Bearer long-lived")];
    for target in ["/api/states", "/api/services/light/turn_on", "/auth/token"] {
        let answer = get(world.address(), target, HOST, &token).await;
        assert_eq!(answer.status(), 200, "{target}");
        let recorded = upstream.next().await;
        assert_eq!(recorded.one("authorization"), "Bearer long-lived");
        assert_eq!(recorded.one("x-authentik-username"), "");
        assert_eq!(recorded.one("x-forwarded-for"), "127.0.0.1");
    }
    for target in [
        "/",
        "/lovelace",
        "/api",
        "/api/../config",
        "/api/%2e%2e/config",
    ] {
        let answer = get(world.address(), target, HOST, &token).await;
        let status = answer.status().as_u16();
        assert!([302, 401].contains(&status), "{target}: {status}");
        assert!(upstream.arrived().is_none(), "{target}");
    }
    // Who is signed in keeps the application's token, too.
    let cookie = alice(&world).await;
    let both = [token[0], ("cookie", cookie.as_str())];
    assert_eq!(
        get(world.address(), "/lovelace", HOST, &both)
            .await
            .status(),
        200
    );
    let recorded = upstream.next().await;
    assert_eq!(recorded.one("authorization"), "Bearer long-lived");
    assert_eq!(recorded.one("x-authentik-username"), "alice");

    for (token, verdict) in [("long-lived", "auth_ok"), ("wrong", "auth_invalid")] {
        let request = "ws://live.test/api/websocket".into_client_request();
        let stream = TcpStream::connect(world.address())
            .await
            .expect("a connection");
        let opened = client_async(request.expect("a request"), stream);
        let (mut socket, _) = within(opened).await.expect("a websocket");
        let mut said = Vec::new();
        for message in [
            None,
            Some(json!({"type": "auth", "access_token": token})),
            Some(json!({"id": 7, "type": "subscribe_events"})),
        ] {
            if let Some(message) = message {
                let message = Message::text(message.to_string());
                socket.send(message).await.expect("sent");
            }
            let answer = within(socket.next())
                .await
                .expect("open")
                .expect("a message");
            let answer = answer.into_text().expect("text");
            said.push(serde_json::from_str::<Value>(&answer).expect("JSON"));
        }
        assert_eq!(said[0]["type"], "auth_required");
        assert_eq!(said[1]["type"], verdict);
        assert_eq!(said[2]["id"], 7);
    }
}

/// Longhorn's manager: to `/v1/ws/<period>/<resource>` it sends the collection, at once and whenever
/// it has changed.
struct Longhorn {
    address: std::net::SocketAddr,
    heads: UnboundedReceiver<Request>,
    /// Names of what there is, in every collection.
    names: watch::Sender<Vec<&'static str>>,
    /// Resources whose websocket is over.
    ended: UnboundedReceiver<String>,
}

impl Longhorn {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (told, heads) = unbounded_channel();
        let (end, ended) = unbounded_channel();
        let names = watch::Sender::new(vec!["pvc-1"]);
        let all = names.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (told, end, names) = (told.clone(), end.clone(), all.subscribe());
                tokio::spawn(async move {
                    let resource = Self::push(stream, &told, names).await;
                    // The test may have ended.
                    let _ = end.send(resource);
                });
            }
        });
        Self {
            address,
            heads,
            names,
            ended,
        }
    }

    /// Serves one websocket until it is over; returns what it was about.
    async fn push(
        stream: TcpStream,
        told: &UnboundedSender<Request>,
        mut names: watch::Receiver<Vec<&'static str>>,
    ) -> String {
        let mut resource = String::new();
        #[expect(clippy::result_large_err, reason = "the library's own type")]
        let look = |request: &Request, response: Response| {
            let plural = request.uri().path().rsplit('/').next().unwrap_or_default();
            plural.trim_end_matches('s').clone_into(&mut resource);
            let _ = told.send(request.clone());
            Ok(response)
        };
        let Ok(mut socket) = accept_hdr_async(stream, look).await else {
            return resource;
        };
        loop {
            let data: Vec<_> = names
                .borrow_and_update()
                .iter()
                .map(|name| json!({"type": resource, "name": name}))
                .collect();
            let collection = json!({"type": "collection", "resourceType": resource, "data": data});
            let sent = socket.send(Message::text(collection.to_string())).await;
            let changed = tokio::select! {
                changed = names.changed() => changed.is_ok(),
                _ = socket.next() => false,
            };
            if sent.is_err() || !changed {
                return resource;
            }
        }
    }
}

/// Opens one of the websockets of Longhorn's pages.
async fn longhorn_page(
    world: &World,
    target: &str,
    cookie: &str,
) -> Result<WebSocketStream<TcpStream>, Error> {
    let headers = [
        ("origin", "http://app.test"),
        ("cookie", cookie),
        ("x-authentik-username", "forged"),
        ("x_authentik_groups", "forged"),
    ];
    Ok(websocket(world, target, &headers).await?.0)
}

#[tokio::test]
async fn longhorn_pushes_what_changes_for_as_long_as_the_session_lasts() {
    let mut longhorn = Longhorn::start().await;
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_user(User::new("bob", PASSWORD));
    let file = "applications: {app: {rules: [{action: require, groups: [admins]}]}}";
    let world = World::with_file(authentik, vec![provider(longhorn.address)], file, &[]).await;
    let bob = Browser::default().log_in_as(&world, HOST, "bob").await;
    for (cookie, expected) in [("", 401), (bob.as_str(), 403)] {
        match longhorn_page(&world, "/v1/ws/1s/volumes", cookie).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), expected),
            other => panic!("{expected}: {other:?}"),
        }
        assert!(longhorn.heads.try_recv().is_err(), "{expected}");
    }

    let cookies = format!("theme=dark; {}", alice(&world).await);
    let mut pages = Vec::new();
    for (target, resource) in [
        ("/v1/ws/1s/volumes", "volume"),
        ("/v1/ws/1s/nodes", "node"),
        ("/v1/ws/5s/events", "event"),
        ("/v1/ws/settings", "setting"),
    ] {
        let page = longhorn_page(&world, target, &cookies).await;
        pages.push((resource, page.expect("a websocket")));
        let head = within(longhorn.heads.recv()).await.expect("it runs");
        assert_eq!(head.uri().path(), target);
        for (name, value) in [
            ("host", HOST),
            ("origin", "http://app.test"),
            ("cookie", "theme=dark"),
            ("x-authentik-username", "alice"),
            ("x-authentik-groups", "admins|users"),
            ("x-forwarded-host", HOST),
            ("x-forwarded-proto", "http"),
        ] {
            let said: Vec<_> = head.headers().get_all(name).iter().collect();
            assert_eq!(said, [value], "{target} {name}");
        }
        assert!(!head.headers().contains_key("x_authentik_groups"));
    }
    for names in [vec!["pvc-1"], vec!["pvc-1", "pvc-2"], vec![]] {
        longhorn.names.send_if_modified(|known| {
            let is_new = *known != names;
            known.clone_from(&names);
            is_new
        });
        for (resource, page) in &mut pages {
            let frame = within(page.next()).await.expect("open").expect("a frame");
            let frame = frame.into_text().expect("text");
            let frame: Value = serde_json::from_str(&frame).expect("JSON");
            assert_eq!(frame["resourceType"], *resource);
            let data = frame["data"].as_array().expect("a list").iter();
            let pushed: Vec<_> = data.map(|item| item["name"].as_str()).collect();
            let expected: Vec<_> = names.iter().copied().map(Some).collect();
            assert_eq!(pushed, expected, "{resource}");
        }
    }
    assert!(longhorn.ended.try_recv().is_err(), "all are open");

    for sid in world.authentik.sids_of("alice") {
        world.authentik.end_session(&sid);
    }
    for (resource, mut page) in pages {
        let end = within(page.next()).await;
        assert!(!matches!(end, Some(Ok(_))), "{resource} is cut: {end:?}");
    }
    let mut ended = Vec::new();
    while ended.len() < 4 {
        ended.push(within(longhorn.ended.recv()).await.expect("it runs"));
    }
    ended.sort_unstable();
    assert_eq!(ended, ["event", "node", "setting", "volume"]);
}
