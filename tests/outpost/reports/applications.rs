//! Applications behind TLS.

use std::sync::Arc;

use authentik_standin::{Provider, Standin};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use crate::authentik::tls::Authority;
use crate::support::upstream::{HOST, alice, websocket};
use crate::support::{World, within};

/// pomerium/pomerium#2388, #5431: an application that prefers HTTP/2, which has no `Upgrade`, closes or
/// refuses websockets.
#[tokio::test]
async fn websockets_of_an_application_that_prefers_http2_pass() {
    let authority = Authority::new();
    let mut config = (*authority.server()).clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let internal = format!("https://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.expect("TLS");
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    // What follows would be frames.
                    return;
                }
                let mut socket = accept_async(stream).await.expect("HTTP/1.1");
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() {
                        socket.send(message).await.expect("sent");
                    }
                }
            });
        }
    });
    let authentik = Standin::builder().start().await.expect("started");
    let provider = Provider::proxy("app", &format!("http://{HOST}"), &internal);
    let file = authority.file();
    let trusted = ("AUTHENTIK_PROXY_TLS__CA_FILE", file.as_str());
    let world = World::beside(authentik, vec![provider], &[trusted]).await;
    let cookies = alice(&world).await;
    let opened = websocket(&world, "/socket", &[("cookie", &cookies)]).await;
    let (mut socket, _) = opened.expect("a websocket");
    socket.send(Message::text("hello")).await.expect("sent");
    let echoed = within(socket.next()).await.expect("open");
    assert_eq!(echoed.expect("a message"), Message::text("hello"));
}
