//! A real Chromium signs in through proxy mode over our own TLS, and opens a page with a websocket
//! and an event stream.

use authentik_standin::nginx::free_address;
use authentik_standin::{Provider, Standin};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::login::browser::{Chromium, keep};
use crate::support::World;

const PAGE: &str =
    "<!doctype html><title>live</title><h1>live</h1><p id=who>WHO<p id=socket><p id=event></p><script>
const show = (id, text) => document.getElementById(id).textContent += text;
const socket = new WebSocket(`wss://${location.host}/api/live/ws`, ['echo.test']);
socket.onopen = () => socket.send('ping');
socket.onmessage = m => show('socket', `${m.data} by ${socket.protocol}`);
const events = new EventSource('/events');
events.onmessage = m => show('event', `${m.data};`);
</script>";

/// An application with a page, a websocket and events.
async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mut head = [0; 16 << 10];
        let length = stream.peek(&mut head).await?;
        let text = String::from_utf8_lossy(&head[..length]).to_lowercase();
        let Some(end) = text.find("\r\n\r\n") else {
            if length == 0 {
                return Ok(());
            }
            tokio::task::yield_now().await;
            continue;
        };
        if text.starts_with("get /api/live/ws ") {
            return echo(stream).await.map_err(std::io::Error::other);
        }
        stream.read_exact(&mut head[..end + 4]).await?;
        if text.starts_with("get /events ") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            for event in ["data: one\n\n", "data: two\n\n"] {
                let chunk = format!("{:x}\r\n{event}\r\n", event.len());
                stream.write_all(chunk.as_bytes()).await?;
            }
            return std::future::pending().await;
        }
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("x-authentik-username: "));
        let page = PAGE.replace("WHO", line.unwrap_or("nobody"));
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n",
            page.len()
        );
        stream.write_all((head + &page).as_bytes()).await?;
    }
}

async fn echo(stream: TcpStream) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let choose = |_: &Request, mut response: Response| {
        let protocol = "echo.test".parse().expect("a value");
        response
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, choose).await?;
    while let Some(message) = socket.next().await {
        socket.send(message?).await?;
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn a_user_signs_in_over_tls_and_the_page_is_alive() {
    let application = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let internal = format!("http://{}", application.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = application.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    let address = free_address().expect("a port");
    let host = format!("live.localhost:{}", address.port());
    let authentik = Standin::builder().start().await.expect("started");
    let provider = Provider {
        certificate: Some(authentik.add_keypair("live.localhost")),
        ..Provider::proxy("live", &format!("https://{host}"), &internal)
    };
    let https = address.to_string();
    let listen = ("AUTHENTIK_LISTEN__HTTPS", https.as_str());
    let world = World::beside(authentik, vec![provider], &[listen]).await;

    let chromium = Chromium::start().await;
    let page = format!("https://{host}/dashboard?tab=1&x=%20y");
    chromium.client.goto(&page).await.expect("a page");
    chromium.sign_in().await;
    assert_eq!(
        chromium.element("#who").await.text().await.expect("text"),
        "alice"
    );
    assert_eq!(
        chromium.client.current_url().await.expect("a URL").as_str(),
        page
    );
    for (id, expected) in [("#socket", "ping by echo.test"), ("#event", "one;two;")] {
        let shown = async {
            loop {
                let text = chromium.element(id).await.text().await.expect("text");
                if text == expected {
                    break;
                }
            }
        };
        crate::support::within(shown).await;
    }
    keep(
        "proxied.png",
        &chromium.client.screenshot().await.expect("a screenshot"),
    );
    chromium.stop().await;
    assert_eq!(world.outpost.store().len(), 1);
}
