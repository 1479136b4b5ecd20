//! What benches that ask an outpost have in common.

use std::net::SocketAddr;

use authentik_standin::Standin;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Signs a user in through the outpost; returns the session cookie.
pub(crate) async fn sign_in(
    authentik: &Standin,
    outpost: SocketAddr,
    host: &str,
    user: &str,
) -> String {
    let get = |target: &str, cookie: &str| {
        Request::builder()
            .uri(target)
            .header(header::HOST, host)
            .header(header::COOKIE, cookie)
            .body(Empty::new())
            .expect("a request")
    };
    let mut client = Client::connect(outpost).await;
    let (begun, _) = client.send(get("/outpost.goauthentik.io/start", "")).await;
    assert_eq!(begun.status(), StatusCode::FOUND, "a login begins");
    let authorize = begun.headers()[header::LOCATION]
        .to_str()
        .expect("a location");
    let target = authentik.authorize(authorize, user);
    let (done, _) = client.send(get(&target, &cookies_of(&begun))).await;
    assert_eq!(done.status(), StatusCode::FOUND, "the login is finished");
    cookies_of(&done)
}

/// The cookies that an answer sets, as a request has them; not those that it deletes.
pub(crate) fn cookies_of(response: &Response<()>) -> String {
    let set = response.headers().get_all(header::SET_COOKIE).iter();
    let pairs = set.filter_map(|line| line.to_str().ok()?.split(';').next());
    let has_value = |pair: &&str| {
        pair.split_once('=')
            .is_some_and(|(_, value)| !value.is_empty())
    };
    let kept: Vec<_> = pairs.filter(has_value).collect();
    kept.join("; ")
}

/// One kept connection.
pub(crate) struct Client(SendRequest<Empty<Bytes>>);

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        Self(sender)
    }

    /// Sends a request; returns the head of the answer, and the size of its body.
    pub(crate) async fn send(&mut self, request: Request<Empty<Bytes>>) -> (Response<()>, usize) {
        self.0.ready().await.expect("an open connection");
        let response = self.0.send_request(request).await.expect("an answer");
        let (head, mut body) = response.into_parts();
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            size += frame.expect("a body").data_ref().map_or(0, Bytes::len);
        }
        (Response::from_parts(head, ()), size)
    }
}
