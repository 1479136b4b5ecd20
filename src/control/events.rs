//! The websocket to authentik: sends heartbeats, receives changes of the configuration and ended
//! sessions.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::back_off::BackOff;
use super::wire::{Event, Frame};
use super::{Context, Signals};
use crate::model::{Hint, HintText, Outpost};
use crate::route::user_agent;
use crate::telemetry::Throttle;
use crate::web::client::{FetchError, Stream};

/// Time-out of the handshake, and of sending a frame.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<TokioIo<Stream>>;

/// Why the websocket does not work. The text says the cause, [`Hint`] what to do.
#[derive(Debug, thiserror::Error)]
pub enum WebsocketError {
    /// There is no connection.
    #[error("{0}")]
    Unreachable(FetchError),
    /// authentik does not accept the token for this outpost.
    #[error("authentik refuses it with {0}")]
    Refused(StatusCode),
    /// Something else answered than a websocket.
    #[error("the handshake failed: {0}")]
    Handshake(String),
    /// The connection ended before the hello was acknowledged.
    #[error("authentik closed it without an acknowledgement of the hello")]
    Closed,
    /// The hello was not acknowledged in time.
    #[error("authentik did not acknowledge the hello within {EXCHANGE_TIMEOUT:?}")]
    Silent,
}

impl Hint for WebsocketError {
    fn hint(&self) -> Option<HintText> {
        let hint = match self {
            Self::Unreachable(error) => error.hint_for_authentik(),
            Self::Refused(_) => {
                "the token is not (or no longer) that of this outpost: check AUTHENTIK_TOKEN"
            }
            Self::Handshake(_) => {
                "a proxy in front of authentik must pass websockets through (Upgrade, Connection): correct it, or set AUTHENTIK_HOST to the address inside the cluster"
            }
            Self::Closed | Self::Silent => {
                "check authentik's own log, and its Redis or database; a proxy in front of authentik must not close or buffer websockets"
            }
        };
        Some(hint.into())
    }
}

/// Keeps the websocket connected until `stop`.
pub(super) async fn run(control: &Context, signals: &Signals, stop: CancellationToken) {
    let instance = Uuid::new_v4();
    let mut back_off = BackOff::quick(control.settings.reconnect_backoff_max);
    let throttle = Throttle::default();
    let mut outposts = signals.outpost.subscribe();
    let mut attempt = 0_u32;
    loop {
        let outpost = tokio::select! {
            () = stop.cancelled() => return,
            known = outposts.wait_for(Option::is_some) => match known {
                Ok(known) => known.clone(),
                Err(_) => return,
            },
        };
        let Some(outpost) = outpost else { continue };
        outposts.mark_unchanged();
        let mut disconnected = false;
        control.set_connected(&outpost, false);
        let connected = tokio::select! {
            () = stop.cancelled() => return,
            connected = connect(control, &outpost, instance, attempt) => connected,
        };
        match connected {
            Ok(socket) => {
                if attempt > 0 {
                    // What happened in between is never sent again.
                    signals.gap.notify_one();
                    signals.update.notify_one();
                }
                let mut connection = Connection {
                    control,
                    signals,
                    outpost,
                    instance,
                };
                let received = connection.run(socket, &mut outposts, &stop).await;
                control.set_connected(&connection.outpost, false);
                if stop.is_cancelled() {
                    return;
                }
                if received {
                    back_off.reset();
                    throttle.reset();
                }
                disconnected = true;
            }
            Err(error) => {
                if throttle.should_log(&error.to_string()) {
                    tracing::error!(
                        %error,
                        hint = error.hint().as_deref(),
                        "websocket to authentik is not connected"
                    );
                }
            }
        }
        attempt = attempt.saturating_add(1);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(back_off.next()) => {}
        }
        // Not before: at shutdown it does not reconnect.
        let event = "websocket to authentik disconnected, reconnecting";
        if disconnected && throttle.should_log(event) {
            tracing::warn!("{event}");
        }
    }
}

async fn connect(
    control: &Context,
    outpost: &Outpost,
    instance: Uuid,
    attempt: u32,
) -> Result<Socket, WebsocketError> {
    let handshake = |error: &dyn std::fmt::Display| WebsocketError::Handshake(error.to_string());
    let path = format!(
        "ws/outpost/{}/?instance_uuid={instance}&attempt={attempt}",
        outpost.id
    );
    let url = format!("{}{path}", control.settings.host);
    let uri: Uri = url.parse().map_err(|error| handshake(&error))?;
    let stream = control
        .back_channel
        .connect(uri)
        .await
        .map_err(WebsocketError::Unreachable)?;
    let websocket = url
        .replacen("http", "ws", 1)
        .parse()
        .map_err(|error| handshake(&error))?;
    let mut request = ClientRequestBuilder::new(websocket)
        .into_client_request()
        .map_err(|error| handshake(&error))?;
    let token = format!("Bearer {}", control.settings.token.expose_secret());
    let mut token = HeaderValue::from_str(&token).map_err(|error| handshake(&error))?;
    token.set_sensitive(true);
    request.headers_mut().insert(header::AUTHORIZATION, token);
    if let Ok(agent) = HeaderValue::from_str(&user_agent(outpost.reported_version())) {
        request.headers_mut().insert(header::USER_AGENT, agent);
    }
    match timeout(
        EXCHANGE_TIMEOUT,
        client_async(request, TokioIo::new(stream)),
    )
    .await
    {
        Err(_) => Err(WebsocketError::Unreachable(FetchError::Timeout)),
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(WsError::Http(answer))) if matches!(answer.status().as_u16(), 401 | 403) => {
            Err(WebsocketError::Refused(answer.status()))
        }
        Ok(Err(error)) => Err(handshake(&error)),
    }
}

/// Connects, says hello, waits until it is acknowledged, and leaves.
pub(super) async fn greet(control: &Context, outpost: &Outpost) -> Result<(), WebsocketError> {
    let instance = Uuid::new_v4();
    let mut socket = connect(control, outpost, instance, 0).await?;
    let hello = Message::text(hello(outpost.reported_version(), instance));
    let exchange = async {
        socket.send(hello).await?;
        while let Some(message) = socket.next().await {
            if let Message::Text(text) = message?
                && let Ok(frame) = serde_json::from_str::<Frame>(text.as_str())
                && frame.event() == Event::Acknowledged
            {
                return Ok(true);
            }
        }
        Ok::<_, WsError>(false)
    };
    let acknowledged = timeout(EXCHANGE_TIMEOUT, exchange).await;
    // Best effort: authentik notices a lost connection by itself.
    let _ = timeout(EXCHANGE_TIMEOUT, socket.close(None)).await;
    match acknowledged {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false) | Err(_)) => Err(WebsocketError::Closed),
        Err(_) => Err(WebsocketError::Silent),
    }
}

struct Connection<'a> {
    control: &'a Context,
    signals: &'a Signals,
    outpost: Outpost,
    instance: Uuid,
}

impl Connection<'_> {
    /// Runs until the connection ends. Returns whether authentik sent a frame.
    async fn run(
        &mut self,
        mut socket: Socket,
        outposts: &mut tokio::sync::watch::Receiver<Option<Outpost>>,
        stop: &CancellationToken,
    ) -> bool {
        let mut ticks = interval(self.control.settings.heartbeat_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // authentik acknowledges every hello; after two missing responses the connection is dead.
        let silence = self.control.settings.heartbeat_interval * 5 / 2;
        let mut deadline = Instant::now() + silence;
        let mut received = false;
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => break,
                Ok(()) = outposts.changed() => match outposts.borrow_and_update().clone() {
                    Some(outpost) if outpost.id == self.outpost.id => {
                        // Another version or name: the next hello tells.
                        self.control.set_connected(&outpost, received);
                        self.outpost = outpost;
                        continue;
                    }
                    _ => break,
                },
                () = tokio::time::sleep_until(deadline) => {
                    tracing::warn!("no websocket frame from authentik for {silence:?}");
                    return received;
                }
                _ = ticks.tick() => {
                    let hello = hello(self.outpost.reported_version(), self.instance);
                    let hello = socket.send(Message::text(hello));
                    match timeout(EXCHANGE_TIMEOUT, hello).await {
                        Ok(Ok(())) => continue,
                        Ok(Err(_)) | Err(_) => return received,
                    }
                }
                message = socket.next() => message,
            };
            deadline = Instant::now() + silence;
            match message {
                Some(Ok(Message::Text(text))) => {
                    if !received {
                        received = true;
                        // A handshake alone proves nothing: some proxies pass no frames on.
                        self.control.set_connected(&self.outpost, true);
                        tracing::info!("websocket to authentik is connected");
                    }
                    self.handle_frame(text.as_str()).await;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return received,
                Some(Ok(_)) => {}
            }
        }
        let goodbye = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        // Best effort: authentik notices a lost connection by itself.
        let _ = timeout(Duration::from_secs(1), socket.close(Some(goodbye))).await;
        received
    }

    async fn handle_frame(&self, text: &str) {
        let Ok(frame) = serde_json::from_str::<Frame>(text) else {
            tracing::warn!("websocket frame from authentik cannot be decoded, ignored");
            return;
        };
        match frame.event() {
            Event::Acknowledged => {}
            Event::Update => {
                tracing::info!("authentik announced a change of the configuration");
                self.signals.update.notify_one();
            }
            Event::SessionEnd(sid) => {
                let ended = self.control.store.revoke_by_sid(&sid).await;
                tracing::info!(ended, "authentik ended a session");
            }
            Event::Unknown(instruction) => {
                tracing::debug!(instruction, "unknown instruction from authentik, ignored");
            }
        }
    }
}

fn hello(version: &str, instance: Uuid) -> String {
    let hostname = hostname::get().unwrap_or_default();
    json!({"instruction": 1, "args": {
        "version": version,
        "buildHash": "",
        "uuid": instance,
        "hostname": hostname.to_string_lossy(),
        "golangVersion": "",
        "opensslEnabled": false,
        "opensslVersion": "",
        "fipsEnabled": false,
    }})
    .to_string()
}
