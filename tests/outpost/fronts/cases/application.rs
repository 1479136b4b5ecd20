//! An application that shows requests, counts uploads and echoes messages of websockets.

use std::fmt::Write as _;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::fronts::serve;

/// The first line of a page of the application at `host`.
pub(super) fn mark(host: &str) -> String {
    format!("application: {host}\n")
}

pub(super) async fn start(host: &'static str) -> SocketAddr {
    serve(Router::new().fallback(move |request: Request<Body>| page(host, request))).await
}

/// The method, the target, the length of the body and the headers of the request, a line each.
async fn page(host: &str, mut request: Request<Body>) -> Response<Body> {
    if let Some(key) = request.headers().get("sec-websocket-key") {
        let accept = derive_accept_key(key.as_bytes());
        let user = request.headers().get("x-authentik-username").cloned();
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let Ok(stream) = upgrade.await else { return };
            let stream = TokioIo::new(stream);
            let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() && socket.send(message).await.is_err() {
                    return;
                }
            }
        });
        let mut response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::UPGRADE, "websocket")
            .header(header::CONNECTION, "upgrade")
            .header("sec-websocket-accept", accept);
        if let Some(user) = user {
            response = response.header("x-user", user);
        }
        return response.body(Body::empty()).expect("a response");
    }
    let (parts, body) = request.into_parts();
    let length = match body.collect().await {
        Ok(body) => body.to_bytes().len(),
        Err(error) => return Response::new(Body::from(format!("no body: {error}"))),
    };
    let mut text = mark(host);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{} {}\nbody: {length}", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        let _ = writeln!(
            text,
            "{name}: {}",
            String::from_utf8_lossy(value.as_bytes())
        );
    }
    Response::new(Body::from(text))
}
