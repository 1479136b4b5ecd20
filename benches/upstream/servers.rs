//! What is compared: the application, and the least that a reverse proxy can be.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::BODIES;

/// Serves connections with `answer`, which gets the target's path.
async fn serve<F>(
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = Response<axum::body::Body>> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("TCP_NODELAY");
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            let connection = server.serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection.with_upgrades());
        }
    });
    address
}

/// An application with a body of each size, and a websocket that sends every byte back.
pub(crate) async fn application() -> SocketAddr {
    let bodies = BODIES.map(|(name, size, ..)| (format!("/{name}"), Bytes::from(vec![7; size])));
    serve(move |mut request| {
        if request.headers().contains_key(header::UPGRADE) {
            let client = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let stream = TokioIo::new(client.await.expect("an upgrade"));
                let (mut read, mut write) = tokio::io::split(stream);
                tokio::io::copy(&mut read, &mut write).await
            });
            return std::future::ready(switching());
        }
        let found = bodies.iter().find(|(path, _)| path == request.uri().path());
        let body = found.expect("a path").1.clone();
        std::future::ready(Response::new(axum::body::Body::new(Full::new(body))))
    })
    .await
}

fn switching() -> Response<axum::body::Body> {
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket");
    response.body(axum::body::Body::empty()).expect("an answer")
}

/// The least that a reverse proxy made of the same parts can do.
pub(crate) async fn bare(application: SocketAddr) -> SocketAddr {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let pool = Pool::builder(TokioExecutor::new()).build(connector);
    serve(move |mut request| {
        let target = format!("http://{application}{}", request.uri().path());
        *request.uri_mut() = target.parse::<Uri>().expect("a URL");
        let pool = pool.clone();
        let client = hyper::upgrade::on(&mut request);
        async move {
            let mut answer = pool.request(request).await.expect("an answer");
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                let application = hyper::upgrade::on(&mut answer);
                tokio::spawn(async move {
                    let both = tokio::try_join!(client, application).expect("an upgrade");
                    let (mut one, mut other) = (TokioIo::new(both.0), TokioIo::new(both.1));
                    tokio::io::copy_bidirectional(&mut one, &mut other).await
                });
            }
            answer.map(axum::body::Body::new)
        }
    })
    .await
}
