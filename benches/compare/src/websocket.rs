//! Clients with websockets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Failure;

/// Bytes of a message: a frame as clients send it.
const MESSAGE: usize = 64;

/// Open websockets.
pub(crate) struct Sockets(Vec<TcpStream>);

impl Sockets {
    pub(crate) async fn open(
        address: SocketAddr,
        host: &str,
        cookie: &str,
        connections: usize,
    ) -> Result<Self, Failure> {
        let mut streams = Vec::with_capacity(connections);
        for _ in 0..connections {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let request = format!(
                "GET /echo HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            if !head.starts_with(b"HTTP/1.1 101 ") {
                return Err(String::from_utf8_lossy(&head).into_owned().into());
            }
            streams.push(stream);
        }
        Ok(Self(streams))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Sends messages for a while, one after the other on each websocket; returns how many came back,
    /// and in which time.
    pub(crate) async fn echo(&mut self, time: Duration) -> Result<Value, Failure> {
        let started = Instant::now();
        let talks = self.0.drain(..).map(|mut stream| {
            tokio::spawn(async move {
                let (sent, mut back) = ([7; MESSAGE], [0; MESSAGE]);
                let mut messages = 0_u64;
                while started.elapsed() < time {
                    stream.write_all(&sent).await?;
                    stream.read_exact(&mut back).await?;
                    messages += 1;
                }
                Ok::<_, std::io::Error>((messages, stream))
            })
        });
        let (mut messages, mut streams) = (0, Vec::new());
        for talk in talks.collect::<Vec<_>>() {
            let (own, stream) = talk.await??;
            messages += own;
            streams.push(stream);
        }
        self.0 = streams;
        Ok(json!({"requests": messages, "seconds": started.elapsed().as_secs_f64()}))
    }
}
