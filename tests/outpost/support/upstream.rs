//! Applications to pass requests on to: one that records what arrives byte by byte, and what tests
//! need to talk to the outpost in front of it just as closely.

use std::net::SocketAddr;
use std::sync::Arc;

use authentik_standin::{Provider, Standin};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{Browser, Outpost, World, within};

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

/// What came on a connection and is no whole request.
#[derive(Debug)]
pub(crate) struct Malformed {
    #[expect(dead_code, reason = "shown where a test fails")]
    pub(crate) why: &'static str,
    /// Everything that came on the connection.
    #[expect(dead_code, reason = "shown where a test fails")]
    pub(crate) raw: String,
}

/// Why a body that is not there entirely is none.
const CUT_SHORT: &str = "it ends early";

pub(crate) type Seen = Result<Recorded, Malformed>;

/// An application that records requests.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    seen: UnboundedReceiver<Seen>,
    accepting: AbortHandle,
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
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tell, answer) = (tell.clone(), Arc::clone(&answer));
                tokio::spawn(async move { converse(stream, &tell, &*answer).await });
            }
        });
        let accepting = accepting.abort_handle();
        Self {
            address,
            seen,
            accepting,
        }
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Recorded {
        let seen = within(self.seen.recv()).await.expect("it runs");
        seen.expect("a request")
    }

    /// A request that has arrived already and was not looked at.
    pub(crate) fn arrived(&mut self) -> Option<Recorded> {
        let seen = self.seen.try_recv().ok()?;
        Some(seen.expect("a request"))
    }

    /// Everything that was not looked at, up to the last byte: waits until all connections have
    /// ended, so whoever holds them has to be stopped before.
    pub(crate) async fn finish(mut self) -> Vec<Seen> {
        self.accepting.abort();
        let mut all = Vec::new();
        while let Some(seen) = within(self.seen.recv()).await {
            all.push(seen);
        }
        all
    }
}

async fn converse(
    stream: TcpStream,
    tell: &UnboundedSender<Seen>,
    answer: &(impl Fn(&Recorded) -> Vec<u8> + ?Sized),
) -> Option<()> {
    let mut wire = Wire {
        stream,
        buffer: BytesMut::new(),
        raw: Vec::new(),
    };
    while wire.has_more().await {
        let read = read_request(&mut wire).await;
        let seen = read.map_err(|why| Malformed {
            why,
            raw: String::from_utf8_lossy(&wire.raw).into_owned(),
        });
        let answer = seen.as_ref().map(answer).unwrap_or_default();
        // The test may have ended.
        tell.send(seen).ok()?;
        if answer.is_empty() {
            return None;
        }
        wire.stream.write_all(&answer).await.ok()?;
    }
    Some(())
}

/// A connection, and everything that has come on it.
struct Wire {
    stream: TcpStream,
    /// What was not looked at.
    buffer: BytesMut,
    raw: Vec<u8>,
}

impl Wire {
    /// Waits for more bytes; false if there are none.
    async fn read(&mut self) -> bool {
        let known = self.buffer.len();
        // A reset is a way of closing, too.
        let read = self.stream.read_buf(&mut self.buffer).await.unwrap_or(0);
        self.raw.extend(&self.buffer[known..]);
        read > 0
    }

    /// Whether anything follows.
    async fn has_more(&mut self) -> bool {
        !self.buffer.is_empty() || self.read().await
    }

    async fn line(&mut self) -> Result<Vec<u8>, &'static str> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.split_to(end).to_vec();
                self.buffer.advance(2);
                let is_bare = line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
                return if is_bare {
                    Err("a bare CR, LF or NUL")
                } else {
                    Ok(line)
                };
            }
            if !self.read().await {
                return Err(CUT_SHORT);
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, &'static str> {
        while self.buffer.len() < length {
            if !self.read().await {
                return Err(CUT_SHORT);
            }
        }
        Ok(self.buffer.split_to(length).to_vec())
    }

    /// Chunks up to the last one, and its end.
    async fn chunks(&mut self) -> Result<Vec<u8>, &'static str> {
        let mut body = Vec::new();
        loop {
            let size = String::from_utf8(self.line().await?).unwrap_or_default();
            if size.is_empty() || !size.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err("no size of a chunk");
            }
            let size = usize::from_str_radix(&size, 16).map_err(|_| "a chunk too large")?;
            if size == 0 {
                return Ok(body);
            }
            body.extend(self.exactly(size).await?);
            if self.exactly(2).await? != b"\r\n" {
                return Err("a chunk without an end");
            }
        }
    }
}

/// Reads one request as strictly as the most literal server (RFC 9112); says why it is none.
async fn read_request(wire: &mut Wire) -> Result<Recorded, &'static str> {
    let mut recorded = Recorded {
        line: wire.line().await?,
        headers: Vec::new(),
        body: Vec::new(),
        trailers: String::new(),
    };
    if !recorded.line.ends_with(b" HTTP/1.1") {
        return Err("no line of a request");
    }
    loop {
        let line = wire.line().await?;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let colon = colon.ok_or("a header without a colon")?;
        let name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("no name of a header");
        }
        let value = line[colon + 1..].trim_ascii().to_vec();
        recorded.headers.push((name, value));
    }
    match (
        recorded.all("transfer-encoding").as_slice(),
        recorded.all("content-length").as_slice(),
    ) {
        ([], []) => {}
        ([], [length]) => {
            if !length.bytes().all(|digit| digit.is_ascii_digit()) {
                return Err("no length");
            }
            let length = length.parse().map_err(|_| "no length")?;
            recorded.body = wire.exactly(length).await?;
        }
        ([coding], []) if coding == "chunked" => {
            recorded.body = wire.chunks().await?;
            loop {
                let line = wire.line().await?;
                if line.is_empty() {
                    break;
                }
                recorded.trailers += &String::from_utf8_lossy(&line);
            }
        }
        _ => return Err("more than one framing"),
    }
    Ok(recorded)
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

/// Opens a websocket of that application with these headers.
pub(crate) async fn websocket<O: Outpost>(
    world: &World<O>,
    target: &str,
    headers: &[(&'static str, &str)],
) -> Result<(WebSocketStream<TcpStream>, Response), Error> {
    let mut request = format!("ws://{HOST}{target}").into_client_request()?;
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse()?);
    }
    let stream = TcpStream::connect(world.address()).await?;
    within(client_async(request, stream)).await
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
