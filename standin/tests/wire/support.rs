//! A small HTTP and websocket client over real sockets.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::recordings::{Recording, both};
use authentik_standin::{Dialect, Provider, Standin, User};

pub(crate) const CALLBACK: &str =
    "https://grafana.example.test/outpost.goauthentik.io/callback?X-authentik-auth-callback=true";

/// An answer as text.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("a text header"))
    }

    pub(crate) fn location(&self) -> &str {
        self.header(LOCATION.as_str())
    }

    pub(crate) fn cookie(&self) -> String {
        let cookie = self.header(SET_COOKIE.as_str());
        cookie.split(';').next().unwrap_or_default().to_owned()
    }
}

/// Each dialect with the recordings of the server that speaks it.
pub(crate) fn dialects() -> [(Dialect, Recording); 2] {
    let [older, newer] = both();
    [(Dialect::V2025_6, older), (Dialect::V2026_2, newer)]
}

/// A server with the provider "grafana" and alice, who may use an app password.
pub(crate) async fn server(dialect: Dialect) -> (Standin, Provider) {
    let standin = Standin::builder()
        .dialect(dialect)
        .start()
        .await
        .expect("a free port");
    let provider = Provider::forward_single("grafana", "https://grafana.example.test");
    standin.add_provider(provider.clone());
    standin.add_user(User {
        groups: vec!["admins".to_owned()],
        app_password: Some("alice-app-pass".to_owned()),
        ..User::new("alice", "alice-pass")
    });
    (standin, provider)
}

/// Sends a request; the error is a connection that ended without a whole answer.
pub(crate) async fn send(
    standin: &Standin,
    request: Request<String>,
) -> Result<Answer, hyper::Error> {
    let stream = TcpStream::connect(standin.addr())
        .await
        .expect("the server listens");
    send_over(stream, request).await
}

/// Sends a request over this connection.
pub(crate) async fn send_over<S>(
    stream: S,
    request: Request<String>,
) -> Result<Answer, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender
        .send_request(request.map(|body| Full::new(Bytes::from(body))))
        .await?;
    let (parts, body) = Response::into_parts(response);
    let body = body.collect().await?.to_bytes();
    let body = String::from_utf8(body.to_vec()).expect("a text body");
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    })
}

/// A request as the outpost makes it.
pub(crate) fn api(standin: &Standin, path: &str) -> Request<String> {
    Request::get(path)
        .header(HOST, standin.addr().to_string())
        .header(AUTHORIZATION, format!("Bearer {}", standin.token()))
        .body(String::new())
        .expect("a valid request")
}

pub(crate) async fn get_api(standin: &Standin, path: &str) -> Answer {
    send(standin, api(standin, path)).await.expect("an answer")
}

/// A request as a browser makes it.
pub(crate) async fn browse(standin: &Standin, path: &str, cookie: &str) -> Answer {
    let request = Request::get(path)
        .header(HOST, standin.addr().to_string())
        .header(COOKIE, cookie)
        .body(String::new())
        .expect("a valid request");
    send(standin, request).await.expect("an answer")
}

pub(crate) async fn post_form(standin: &Standin, path: &str, fields: &[(&str, &str)]) -> Answer {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, standin.addr().to_string())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body)
        .expect("a valid request");
    send(standin, request).await.expect("an answer")
}

/// Posts to the token endpoint as this provider's client.
pub(crate) async fn token(
    standin: &Standin,
    provider: &Provider,
    fields: &[(&str, &str)],
) -> Answer {
    let client = [
        ("client_id", &*provider.client_id),
        ("client_secret", &*provider.client_secret),
    ];
    let fields: Vec<_> = client.iter().chain(fields).copied().collect();
    post_form(standin, "/application/o/token/", &fields).await
}

pub(crate) async fn introspect(standin: &Standin, provider: &Provider, token: &str) -> Value {
    let fields = [
        ("client_id", &*provider.client_id),
        ("client_secret", &*provider.client_secret),
        ("token", token),
    ];
    post_form(standin, "/application/o/introspect/", &fields)
        .await
        .json()
}

/// The claims of a JWT; nothing is verified.
pub(crate) fn claims(jwt: &Value) -> Value {
    let payload = jwt
        .as_str()
        .and_then(|jwt| jwt.split('.').nth(1))
        .expect("a JWT");
    let json = BASE64_URL_SAFE_NO_PAD.decode(payload).expect("base64");
    serde_json::from_slice(&json).expect("JSON claims")
}

pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

/// A query of an authorize request with more fields.
pub(crate) fn authorize(provider: &Provider, more: &[(&str, &str)]) -> String {
    let fields = [
        ("client_id", &*provider.client_id),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("state", "st-1"),
    ];
    // Later fields replace earlier ones: a query that repeats one means its first value.
    let kept = fields
        .iter()
        .filter(|(name, _)| more.iter().all(|(other, _)| other != name));
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(kept.chain(more))
        .finish();
    format!("/application/o/authorize/?{query}")
}

/// Connects the outpost websocket.
pub(crate) async fn websocket(
    standin: &Standin,
    token: &str,
    outpost: &str,
) -> Result<WebSocketStream<TcpStream>, StatusCode> {
    let url = format!(
        "ws://{}/ws/outpost/{outpost}/?instance_uuid=instance-1",
        standin.addr()
    );
    let mut request = url.into_client_request().expect("a valid URL");
    let bearer = format!("Bearer {token}").parse().expect("a valid header");
    request.headers_mut().insert(AUTHORIZATION, bearer);
    let stream = TcpStream::connect(standin.addr())
        .await
        .expect("the server listens");
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status()),
        Err(error) => panic!("{error}"),
    }
}
