//! The application, and a minimal reverse proxy to compare with.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::BODIES;

/// Serves connections with `answer`, which gets the path of the target.
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

/// Path at which the application lists the headers that the outpost adds, one per line.
pub(crate) const ADDED: &str = "/added";

fn added(headers: &HeaderMap) -> axum::body::Body {
    let lines = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-"));
    let lines = lines.map(|(name, value)| format!("{name}: {}\n", value.to_str().expect("text")));
    axum::body::Body::from(lines.collect::<String>())
}

/// An application with a body of each size, and a websocket that echoes every byte.
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
        if request.uri().path() == ADDED {
            return std::future::ready(Response::new(added(request.headers())));
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

/// The least that a reverse proxy made of the same parts can do, which adds headers to each request.
pub(crate) async fn bare(application: SocketAddr, added: &[(String, String)]) -> SocketAddr {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let pool = Pool::builder(TokioExecutor::new()).build(connector);
    let added: HeaderMap = added
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::try_from(name).expect("a name");
            (name, HeaderValue::try_from(value).expect("a value"))
        })
        .collect();
    let added = Arc::new(added);
    serve(move |mut request| {
        let target = format!("http://{application}{}", request.uri().path());
        *request.uri_mut() = target.parse::<Uri>().expect("a URL");
        request.headers_mut().extend((*added).clone());
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
