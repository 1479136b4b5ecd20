//! Applications to pass requests on to: one that records what arrives byte by byte, and what tests
//! need to talk to the outpost in front of it just as closely.

use std::net::SocketAddr;
use std::sync::Arc;

use authentik_standin::{Provider, Standin};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::support::{Browser, World, within};

pub(crate) const HOST: &str = "app.test";
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Method, target and version.
    pub(crate) line: Vec<u8>,
    /// Names in lower case, values as they came.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Without the framing of chunks.
    pub(crate) body: Vec<u8>,
    /// What followed the last chunk.
    pub(crate) trailers: String,
}

impl Recorded {
    /// All values of a header, as text.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let values = self.headers.iter().filter(|(other, _)| other == name);
        values
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    /// The only value of a header; empty without one.
    pub(crate) fn one(&self, name: &str) -> String {
        let mut all = self.all(name);
        assert!(all.len() <= 1, "{name}: {all:?}");
        all.pop().unwrap_or_default()
    }
}

/// An application that records requests.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: UnboundedReceiver<Recorded>,
}

impl Upstream {
    /// Answers everything with 200.
    pub(crate) async fn start() -> Self {
        Self::answering(|_| OK.into()).await
    }

    /// Answers with the bytes that `answer` gives; with none, it closes the connection.
    pub(crate) async fn answering(
        answer: impl Fn(&Recorded) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::on(listener, answer)
    }

    pub(crate) fn on(
        listener: TcpListener,
        answer: impl Fn(&Recorded) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let (tell, seen) = unbounded_channel();
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tell, answer) = (tell.clone(), Arc::clone(&answer));
                // A connection that breaks is what some tests are about.
                tokio::spawn(async move { converse(stream, &tell, &*answer).await });
            }
        });
        Self { address, seen }
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Recorded {
        within(self.seen.recv()).await.expect("it runs")
    }

    /// A request that has arrived already and was not looked at.
    pub(crate) fn arrived(&mut self) -> Option<Recorded> {
        self.seen.try_recv().ok()
    }
}

async fn converse(
    mut stream: TcpStream,
    tell: &UnboundedSender<Recorded>,
    answer: &(impl Fn(&Recorded) -> Vec<u8> + ?Sized),
) -> Option<()> {
    let mut buffer = BytesMut::new();
    loop {
        let recorded = read_request(&mut stream, &mut buffer).await?;
        let answer = answer(&recorded);
        // The test has ended.
        tell.send(recorded).ok()?;
        if answer.is_empty() {
            return None;
        }
        stream.write_all(&answer).await.ok()?;
    }
}

async fn line(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = buffer.windows(2).position(|pair| pair == b"\r\n") {
            let line = buffer.split_to(end).to_vec();
            buffer.advance(2);
            return Some(line);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

async fn exactly(stream: &mut TcpStream, buffer: &mut BytesMut, length: usize) -> Option<Vec<u8>> {
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(buffer.split_to(length).to_vec())
}

/// Reads one request as strictly as the most literal server.
async fn read_request(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<Recorded> {
    let mut recorded = Recorded {
        line: line(stream, buffer).await?,
        headers: Vec::new(),
        body: Vec::new(),
        trailers: String::new(),
    };
    loop {
        let line = line(stream, buffer).await?;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|b| *b == b':').expect("a colon");
        let name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
        recorded
            .headers
            .push((name, line[colon + 1..].trim_ascii().to_vec()));
    }
    if recorded.one("transfer-encoding") == "chunked" {
        loop {
            let size = line(stream, buffer).await?;
            let size = String::from_utf8(size).expect("a size");
            let size = usize::from_str_radix(&size, 16).expect("a size");
            if size == 0 {
                break;
            }
            let chunk = exactly(stream, buffer, size + 2).await?;
            recorded.body.extend(&chunk[..size]);
        }
        loop {
            let line = line(stream, buffer).await?;
            if line.is_empty() {
                break;
            }
            recorded.trailers += &String::from_utf8_lossy(&line);
        }
    } else if let Ok(length) = recorded.one("content-length").parse() {
        recorded.body = exactly(stream, buffer, length).await?;
    }
    Some(recorded)
}

/// A provider for an application at `address`, at `http://app.test`.
pub(crate) fn provider(address: SocketAddr) -> Provider {
    Provider::proxy(
        "app",
        &format!("http://{HOST}"),
        &format!("http://{address}"),
    )
}

/// A world with that application.
pub(crate) async fn world(provider: Provider, more: &[(&str, &str)]) -> World {
    let authentik = Standin::builder().start().await.expect("started");
    World::beside(authentik, vec![provider], more).await
}

/// Alice, signed in: her cookies.
pub(crate) async fn alice(world: &World) -> String {
    let mut browser = Browser::default();
    browser.log_in(world, HOST, "/").await;
    browser.cookies(HOST)
}

/// Sends bytes on a connection of their own, and returns what comes until it is closed. The
/// requests have to ask for that.
pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(request).await.expect("written");
    let mut answer = Vec::new();
    // A reset is a way of closing too.
    let _ = within(stream.read_to_end(&mut answer)).await;
    answer
}

/// The status of an answer.
pub(crate) fn status(answer: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(answer);
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("an answer: {text}"))
}
