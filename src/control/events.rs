//! The websocket to authentik: sends heartbeats, receives changes of the configuration and ended
//! sessions.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::sync::watch;
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
use super::{Context, Reloadable, Signals};
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
    let mut reloads = control.reloadable.subscribe();
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
        reloads.mark_unchanged();
        let mut disconnected = false;
        control.set_connected(&outpost, false);
        let connected = tokio::select! {
            () = stop.cancelled() => return,
            connected = connect(control, &outpost, instance, attempt) => connected,
        };
        match connected {
            Ok(socket) => {
                control.store.listen_anew();
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
                    attempt,
                };
                let (outposts, reloads) = (&mut outposts, &mut reloads);
                let received = connection.run(socket, outposts, reloads, &stop).await;
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
                report(
                    control,
                    &throttle,
                    &error,
                    "websocket to authentik is not connected",
                );
            }
        }
        attempt = attempt.saturating_add(1);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(back_off.next()) => {}
            Ok(()) = reloads.changed() => {}
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
    let reloadable = control.reloadable();
    let token = format!("Bearer {}", reloadable.token.expose_secret());
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
    attempt: u32,
}

impl Connection<'_> {
    /// Runs until the connection ends. Returns whether authentik sent a frame.
    ///
    /// With a new token, another connection is opened; this one is closed when authentik has
    /// acknowledged the hello on the other, and from then on sends every event there.
    async fn run(
        &mut self,
        mut socket: Socket,
        outposts: &mut watch::Receiver<Option<Outpost>>,
        reloads: &mut watch::Receiver<Arc<Reloadable>>,
        stop: &CancellationToken,
    ) -> bool {
        let control = self.control;
        let mut used = control.reloadable();
        let mut successor: Option<BoxFuture<'_, Socket>> = None;
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
                Ok(()) = reloads.changed() => {
                    let current = Arc::clone(&reloads.borrow_and_update());
                    if !current.has_token_of(&used) {
                        let next = succeed(
                            control,
                            self.signals,
                            self.outpost.clone(),
                            self.instance,
                            self.attempt,
                        );
                        successor = Some(next.boxed());
                    }
                    used = current;
                    continue;
                }
                Some(next) = next_of(&mut successor) => {
                    successor = None;
                    leave(&mut std::mem::replace(&mut socket, next)).await;
                    tracing::info!("websocket to authentik is connected with the new token");
                    deadline = Instant::now() + silence;
                    received = true;
                    continue;
                }
                () = tokio::time::sleep_until(deadline) => {
                    tracing::warn!("no websocket frame from authentik for {silence:?}");
                    return received;
                }
                _ = ticks.tick() => {
                    if send_hello(&mut socket, &self.outpost, self.instance).await {
                        continue;
                    }
                    return received;
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
                    handle_frame(self.control, self.signals, text.as_str()).await;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return received,
                Some(Ok(_)) => {}
            }
        }
        leave(&mut socket).await;
        received
    }
}

/// Logs why there is no connection. If authentik refused the token, the token is read again.
fn report(control: &Context, throttle: &Throttle, error: &WebsocketError, event: &str) {
    if matches!(error, WebsocketError::Refused(_)) {
        control.secret_refused.notify_one();
    }
    if throttle.should_log(&error.to_string()) {
        tracing::error!(%error, hint = error.hint().as_deref(), "{event}");
    }
}

/// The first connection with the token as of now on which authentik acknowledges the hello.
async fn succeed(
    control: &Context,
    signals: &Signals,
    outpost: Outpost,
    instance: Uuid,
    attempt: u32,
) -> Socket {
    let mut back_off = BackOff::quick(control.settings.reconnect_backoff_max);
    let throttle = Throttle::default();
    loop {
        let greeted = async {
            let mut socket = connect(control, &outpost, instance, attempt).await?;
            let sent = send_hello(&mut socket, &outpost, instance).await;
            if !sent || !acknowledged(control, signals, &mut socket).await {
                return Err(WebsocketError::Closed);
            }
            Ok(socket)
        };
        let greeted = timeout(3 * EXCHANGE_TIMEOUT, greeted).await;
        let error = match greeted.unwrap_or(Err(WebsocketError::Silent)) {
            Ok(socket) => return socket,
            Err(error) => error,
        };
        let event =
            "websocket to authentik is not connected with the new token, the previous one goes on";
        report(control, &throttle, &error, event);
        tokio::time::sleep(back_off.next()).await;
    }
}

/// Receives frames until authentik acknowledges the hello; `false` if the connection ends first.
async fn acknowledged(control: &Context, signals: &Signals, socket: &mut Socket) -> bool {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message
            && handle_frame(control, signals, text.as_str()).await == Some(Event::Acknowledged)
        {
            return true;
        }
    }
    false
}

async fn next_of(successor: &mut Option<BoxFuture<'_, Socket>>) -> Option<Socket> {
    match successor {
        Some(successor) => Some(successor.await),
        None => None,
    }
}

/// Returns whether the hello was sent.
async fn send_hello(socket: &mut Socket, outpost: &Outpost, instance: Uuid) -> bool {
    let hello = hello(outpost.reported_version(), instance);
    let sent = timeout(EXCHANGE_TIMEOUT, socket.send(Message::text(hello))).await;
    matches!(sent, Ok(Ok(())))
}

/// Closes a connection, as far as possible: authentik notices a lost connection by itself.
async fn leave(socket: &mut Socket) {
    let goodbye = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    let _ = timeout(Duration::from_secs(1), socket.close(Some(goodbye))).await;
}

/// Does what a frame asks for, and returns it if it can be decoded.
async fn handle_frame(control: &Context, signals: &Signals, text: &str) -> Option<Event> {
    let Ok(frame) = serde_json::from_str::<Frame>(text) else {
        tracing::warn!("websocket frame from authentik cannot be decoded, ignored");
        return None;
    };
    let event = frame.event();
    match &event {
        Event::Acknowledged => {}
        Event::Update => {
            tracing::info!("authentik announced a change of the configuration");
            signals.update.notify_one();
        }
        Event::SessionEnd(sid) => {
            let ended = control.store.revoke_by_sid(sid).await;
            tracing::info!(ended, "authentik ended a session");
        }
        Event::Unknown(instruction) => {
            tracing::debug!(instruction, "unknown instruction from authentik, ignored");
        }
    }
    Some(event)
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
