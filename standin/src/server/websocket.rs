//! The outpost websocket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::message::{Answer, Incoming};
use crate::state::Shared;
use crate::state::peers::{Command, Peer};

const ACK: &str = r#"{"instruction": 0, "args": {}}"#;
/// How long a client has to answer the close frame.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// Who a websocket belongs to.
#[derive(Debug)]
pub(crate) struct Identity {
    outpost: Uuid,
    /// The connecting process, as health records name it.
    instance: String,
}

/// Answers a handshake; with an identity if it is accepted.
pub(crate) fn handshake(shared: &Shared, request: &Incoming) -> (Answer, Option<Identity>) {
    let state = shared.lock();
    let authorized =
        request.header(AUTHORIZATION.as_str()) == Some(&format!("Bearer {}", state.token));
    let outpost = request
        .path
        .strip_prefix("ws/outpost/")
        .and_then(|rest| rest.strip_suffix('/'))
        .and_then(|id| Uuid::parse_str(id).ok())
        .filter(|id| state.outposts.iter().any(|outpost| outpost.id == *id));
    let key = request.headers.get(SEC_WEBSOCKET_KEY);
    let mut answer = Response::new(Bytes::new());
    let (Some(outpost), Some(key), true, false) =
        (outpost, key, authorized, state.refuse_websockets)
    else {
        *answer.status_mut() = StatusCode::FORBIDDEN;
        return (answer, None);
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("base64 is text");
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer
        .headers_mut()
        .insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    let instance = request.query.get("instance_uuid").map_or_else(
        || format!("asgi.specific.{}", Uuid::new_v4().simple()),
        str::to_owned,
    );
    (answer, Some(Identity { outpost, instance }))
}

/// Serves one websocket until either side ends it or the server stops.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    upgrade: OnUpgrade,
    identity: Identity,
    stopping: CancellationToken,
) {
    let Ok(upgraded) = upgrade.await else { return };
    let stream = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let (commands, orders) = mpsc::unbounded_channel();
    let id = register(&shared, commands);
    let mut connection = Connection {
        shared: &shared,
        id,
        identity,
        stream,
    };
    let code = connection.talk(orders, stopping).await;
    shared.lock().peers.retain(|peer| peer.id != id);
    shared.announce_change();
    if let Some(code) = code {
        connection.close(code).await;
    }
}

fn register(shared: &Shared, commands: mpsc::UnboundedSender<Command>) -> u64 {
    let mut state = shared.lock();
    state.last_peer += 1;
    let id = state.last_peer;
    state.peers.push(Peer {
        id,
        said_hello: false,
        commands,
    });
    drop(state);
    shared.announce_change();
    id
}

struct Connection<'a> {
    shared: &'a Shared,
    id: u64,
    identity: Identity,
    stream: WebSocketStream<TokioIo<Upgraded>>,
}

impl Connection<'_> {
    /// Exchanges frames. Returns the code to close with, `None` when the connection is gone.
    async fn talk(
        &mut self,
        mut orders: mpsc::UnboundedReceiver<Command>,
        stopping: CancellationToken,
    ) -> Option<CloseCode> {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return Some(CloseCode::Restart),
                order = orders.recv() => match order {
                    Some(Command::Send(frame)) => self.send(&frame).await?,
                    Some(Command::Drop) | None => return None,
                },
                message = self.stream.next() => match message?.ok()? {
                    Message::Text(text) => match self.receive(&text) {
                        Reply::Ack => self.send(ACK).await?,
                        Reply::Nothing => {}
                        Reply::Close => return Some(CloseCode::Normal),
                    },
                    Message::Binary(_) => return Some(CloseCode::Normal),
                    // After it the stream ends.
                    Message::Close(frame) => {
                        let code = frame.map(|frame| frame.code.into());
                        self.shared.lock().closes.push(code);
                        self.shared.announce_change();
                    }
                    // Pings are answered by the library.
                    _ => {}
                },
            }
        }
    }

    async fn send(&mut self, frame: &str) -> Option<()> {
        self.stream.send(Message::text(frame)).await.ok()
    }

    /// Takes a text frame in and decides how to react.
    fn receive(&self, text: &str) -> Reply {
        let Ok(frame) = serde_json::from_str::<Value>(text) else {
            return Reply::Close;
        };
        match frame["instruction"].as_i64() {
            None => Reply::Close,
            Some(0) => Reply::Nothing,
            Some(1) => {
                self.hello(&frame["args"]);
                if self.shared.lock().ignore_hellos {
                    Reply::Nothing
                } else {
                    Reply::Ack
                }
            }
            // Instructions that mean nothing here are acknowledged all the same.
            Some(_) => Reply::Ack,
        }
    }

    fn hello(&self, args: &Value) {
        let mut state = self.shared.lock();
        state.hellos.push(args.clone());
        state.record_health(self.identity.outpost, &self.identity.instance, args);
        if let Some(peer) = state.peers.iter_mut().find(|peer| peer.id == self.id) {
            peer.said_hello = true;
        }
        drop(state);
        self.shared.announce_change();
    }

    /// Sends a close frame and waits a moment for the client's.
    async fn close(&mut self, code: CloseCode) {
        let frame = CloseFrame {
            code,
            reason: "".into(),
        };
        if self.stream.close(Some(frame)).await.is_ok() {
            let drained = async { while let Some(Ok(_)) = self.stream.next().await {} };
            let _ = tokio::time::timeout(CLOSE_PATIENCE, drained).await;
        }
    }
}

enum Reply {
    Ack,
    Nothing,
    Close,
}
