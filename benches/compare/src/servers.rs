//! The application, and what the outpost is compared with: the least that a server and a reverse proxy
//! made of the same parts can do.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::Failure;

/// Bodies of the application, by path.
const BODIES: [(&str, usize); 3] = [("/256B", 256), ("/64KiB", 64 << 10), ("/16MiB", 16 << 20)];

/// Path at which the application lists the headers that a proxy adds, one per line.
const ADDED: &str = "/added";

type Body = Either<Full<Bytes>, Incoming>;

/// Reads headers from a file: a line each, `name: value`.
pub(crate) fn headers(file: &str) -> Result<HeaderMap, Failure> {
    let text = std::fs::read_to_string(file)?;
    let mut headers = HeaderMap::new();
    for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(headers)
}

/// A server that answers everything with 200 and these headers.
pub(crate) async fn bare(
    address: SocketAddr,
    headers: HeaderMap,
) -> Result<JoinHandle<()>, Failure> {
    serve(address, move |_| {
        let mut response = Response::new(Either::Left(Full::default()));
        response.headers_mut().clone_from(&headers);
        std::future::ready(response)
    })
    .await
}

/// An application with a body of each size, and a websocket that echoes every byte.
pub(crate) async fn application(address: SocketAddr) -> Result<JoinHandle<()>, Failure> {
    let bodies = BODIES.map(|(path, size)| (path, Bytes::from(vec![b'7'; size])));
    serve(address, move |mut request| {
        let response = if request.headers().contains_key(header::UPGRADE) {
            echo(&mut request)
        } else if request.uri().path() == ADDED {
            Response::new(Either::Left(Full::from(added(request.headers()))))
        } else {
            match bodies
                .iter()
                .find(|(path, _)| *path == request.uri().path())
            {
                Some((_, body)) => Response::new(Either::Left(Full::new(body.clone()))),
                None => status(StatusCode::NOT_FOUND),
            }
        };
        std::future::ready(response)
    })
    .await
}

/// A reverse proxy that adds headers to each request and checks nothing.
pub(crate) async fn bare_proxy(
    address: SocketAddr,
    application: SocketAddr,
    added: HeaderMap,
) -> Result<JoinHandle<()>, Failure> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let pool = Pool::builder(TokioExecutor::new()).build(connector);
    serve(address, move |mut request| {
        let target = format!("http://{application}{}", request.uri().path());
        *request.uri_mut() = target.parse::<Uri>().expect("a URL");
        request.headers_mut().extend(added.clone());
        let pool = pool.clone();
        let client = hyper::upgrade::on(&mut request);
        async move {
            let Ok(mut response) = pool.request(request).await else {
                return status(StatusCode::BAD_GATEWAY);
            };
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                let application = hyper::upgrade::on(&mut response);
                tokio::spawn(async move {
                    if let Ok((client, application)) = tokio::try_join!(client, application) {
                        let (mut one, mut other) =
                            (TokioIo::new(client), TokioIo::new(application));
                        // An error is an end that closed its connection.
                        let _ = tokio::io::copy_bidirectional(&mut one, &mut other).await;
                    }
                });
            }
            response.map(Either::Right)
        }
    })
    .await
}

/// Serves connections with `answer`.
async fn serve<F>(
    address: SocketAddr,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) -> Result<JoinHandle<()>, Failure>
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind(address).await?;
    Ok(tokio::spawn(async move {
        // An error here is about one connection that ended early.
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let _ = stream.set_nodelay(true);
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let server = hyper::server::conn::http1::Builder::new();
            let connection = server.serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection.with_upgrades());
        }
    }))
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = status;
    response
}

fn added(headers: &HeaderMap) -> String {
    let lines = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-"))
        .filter_map(|(name, value)| Some(format!("{name}: {}\n", value.to_str().ok()?)));
    lines.collect()
}

fn echo(request: &mut Request<Incoming>) -> Response<Body> {
    let client = hyper::upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(stream) = client.await {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(stream));
            // An error is a client that closed its connection.
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    });
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response
}
