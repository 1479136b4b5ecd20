//! Applications that speak HTTP/2, as gRPC does.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use authentik_standin::{Provider, Standin, User};
use axum::body::Body;
use bytes::Bytes;
#[cfg(feature = "ext-authz")]
use envoy_types::{
    ext_authz::v3::pb::CheckRequest,
    pb::envoy::service::auth::v3::authorization_client::AuthorizationClient,
};
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_rustls::TlsAcceptor;
#[cfg(feature = "ext-authz")]
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::authentik::tls::Authority;
use crate::listener::https::{client, connect};
use crate::support::upstream::{HOST, Upstream, alice};
use crate::support::{Browser, PASSWORD, World, get, text, within};

const FILE: &str = "applications: {app: {upstream_protocol: http2}}";

/// An application that sends back what it gets, frame by frame, and the heads of its requests.
pub(crate) async fn echo(
    tls: Option<Arc<ServerConfig>>,
) -> (SocketAddr, UnboundedReceiver<Request<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tell, heads) = unbounded_channel();
    let tls = tls.map(TlsAcceptor::from);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tell, tls) = (tell.clone(), tls.clone());
            tokio::spawn(async move {
                match tls {
                    Some(tls) => serve(tls.accept(stream).await.expect("TLS"), tell).await,
                    None => serve(stream, tell).await,
                }
            });
        }
    });
    (address, heads)
}

async fn serve<S>(stream: S, tell: UnboundedSender<Request<()>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        // The test may have ended.
        let _ = tell.send(Request::from_parts(head, ()));
        let body = body.map_frame(|frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                trailers.insert("grpc-status", "0".parse().expect("a value"));
                Frame::trailers(trailers)
            }
            Err(data) => data,
        });
        async move { Ok::<_, Infallible>(Response::new(Body::new(body))) }
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    // How connections end is not what is tested.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// What a client sends, as it is told to.
type Sent = StreamBody<futures_util::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

fn told() -> (UnboundedSender<Frame<Bytes>>, Sent) {
    let (tell, told) = unbounded_channel();
    let frames = futures_util::stream::unfold(told, |mut told: UnboundedReceiver<_>| async move {
        let frame = told.recv().await?;
        Some((Ok(frame), told))
    });
    (tell, StreamBody::new(Box::pin(frames)))
}

/// A client that comes to the TLS listener and chooses HTTP/2.
async fn over_tls(world: &World) -> SendRequest<Sent> {
    let address = world.outpost.https_addresses()[0];
    let stream = connect(address, HOST, &client(&["h2"])).await;
    let stream = TokioIo::new(stream);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (sender, connection) = within(handshake).await.expect("a handshake");
    tokio::spawn(connection);
    sender
}

async fn world(address: &str, more: &[(&str, &str)]) -> World {
    let authentik = Standin::builder().start().await.expect("started");
    let provider = Provider::proxy("app", &format!("http://{HOST}"), address);
    World::with_file(authentik, vec![provider], FILE, more).await
}

fn trailers(pairs: &[(&'static str, &str)]) -> Frame<Bytes> {
    let pairs = pairs.iter();
    let pairs = pairs.map(|(name, value)| {
        (
            (*name).parse().expect("a name"),
            value.parse().expect("a value"),
        )
    });
    Frame::trailers(pairs.collect::<HeaderMap>())
}

#[tokio::test]
async fn a_grpc_stream_passes_message_by_message_with_its_trailers() {
    let authority = Authority::new();
    let mut secure = (*authority.server()).clone();
    secure.alpn_protocols = vec![b"h2".to_vec()];
    for tls in [None, Some(Arc::new(secure))] {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (address, mut heads) = echo(tls).await;
        let file = authority.file();
        let trusted = ("AUTHENTIK_PROXY_TLS__CA_FILE", file.as_str());
        let world = world(&format!("{scheme}://{address}"), &[trusted]).await;
        let cookie = alice(&world).await;
        let mut sender = over_tls(&world).await;
        let (tell, body) = told();
        let request = Request::post(format!("https://{HOST}/flows.Flows/Watch"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("cookie", &cookie)
            .header("x-note", "n")
            .body(body)
            .expect("a request");
        let answer = within(sender.send_request(request))
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200, "{scheme}");
        let head = within(heads.recv()).await.expect("it runs");
        assert_eq!(head.version(), Version::HTTP_2);
        let authority = head.uri().authority().expect("one");
        assert_eq!(
            (authority.as_str(), head.uri().path()),
            (HOST, "/flows.Flows/Watch")
        );
        let said = |name: &str| {
            let mut all = head.headers().get_all(name).iter();
            let first = all.next().map(|value| value.to_str().expect("text"));
            assert!(all.next().is_none(), "{name}");
            first.unwrap_or_default()
        };
        for (name, value) in [
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("x-authentik-username", "alice"),
            ("x-forwarded-host", HOST),
            ("x-forwarded-proto", "https"),
            ("host", ""),
            ("transfer-encoding", ""),
            ("cookie", ""),
        ] {
            assert_eq!(said(name), value, "{name}");
        }
        let mut answer = answer.into_body();
        for message in ["one", "two"] {
            // Nothing of the next message exists before this one has come back.
            tell.send(Frame::data(message.into())).expect("it runs");
            let frame = within(answer.frame())
                .await
                .expect("a frame")
                .expect("open");
            assert_eq!(frame.into_data().expect("data"), message);
        }
        let said = [
            ("x-check", "5"),
            ("x-note", "changed"),
            ("x_note", "changed"),
            ("authorization", "forged"),
            ("x-authentik-username", "admin"),
            ("x_authentik_groups", "admins"),
            ("x-forwarded-for", "1.2.3.4"),
        ];
        tell.send(trailers(&said)).expect("it runs");
        drop(tell);
        let frame = within(answer.frame())
            .await
            .expect("a frame")
            .expect("open");
        let mut told = frame.into_trailers().expect("trailers");
        assert_eq!(told.remove("grpc-status").expect("a status"), "0");
        assert_eq!(told.remove("x-check").expect("a trailer"), "5");
        assert!(told.is_empty(), "{told:?}");
    }
}

#[tokio::test]
async fn ap_2026_06_trailers_over_http_2_set_no_cookie_of_the_outposts() {
    let (address, _heads) = echo(None).await;
    let world = world(&format!("http://{address}"), &[]).await;
    let cookie = alice(&world).await;
    let mut sender = over_tls(&world).await;
    let (tell, body) = told();
    let request = Request::post(format!("https://{HOST}/flows.Flows/Watch"))
        .header("content-type", "application/grpc")
        .header("cookie", &cookie)
        .body(body)
        .expect("a request");
    let answer = within(sender.send_request(request)).await;
    let mut answer = answer.expect("an answer").into_body();
    // The application sends them back.
    let mut cookies = HeaderMap::new();
    for cookie in [
        "a=1",
        "authentik_proxy_948fe603=x",
        "__Host-authentik_proxy_1=x",
        "b=2",
    ] {
        cookies.append("set-cookie", cookie.parse().expect("a value"));
    }
    tell.send(Frame::trailers(cookies)).expect("it runs");
    drop(tell);
    let frame = within(answer.frame()).await.expect("a frame");
    let told = frame.expect("open").into_trailers().expect("trailers");
    let set: Vec<_> = told.get_all("set-cookie").into_iter().collect();
    assert_eq!(set, ["a=1", "b=2"]);
}

#[tokio::test]
async fn a_grpc_call_may_say_nothing_until_it_is_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (answer, answered) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        // As grpc-go does, whose heads go out with the first message.
        let service = service_fn(move |request: Request<Incoming>| {
            let mut answered = answered.clone();
            async move {
                let _ = answered.wait_for(|answered| *answered).await;
                Ok::<_, Infallible>(Response::new(request.into_body()))
            }
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    });
    let impatient = ("AUTHENTIK_PROXY_LISTEN__BODY_TIMEOUT", "100ms");
    let world = world(&format!("http://{address}"), &[impatient]).await;
    let cookie = alice(&world).await;
    let mut sender = over_tls(&world).await;
    let (tell, body) = told();
    let request = Request::post(format!("https://{HOST}/flows.Flows/Watch"))
        .header("content-type", "application/grpc")
        .header("cookie", &cookie)
        .body(body)
        .expect("a request");
    tell.send(Frame::data("watch".into())).expect("it runs");
    let call = tokio::spawn(sender.send_request(request));
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    answer.send(true).expect("it runs");
    let answer = within(call).await.expect("no panic").expect("an answer");
    let status = answer.headers().get("grpc-status");
    assert_eq!((answer.status().as_u16(), status), (200, None));
    drop(tell);
}

#[tokio::test]
async fn a_grpc_call_without_a_login_reaches_nothing() {
    let (address, mut heads) = echo(None).await;
    let authentik = Standin::builder().start().await.expect("started");
    let app = Provider::proxy(
        "app",
        &format!("http://{HOST}"),
        &format!("http://{address}"),
    );
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    let world = World::with_file(authentik, vec![app, grafana], FILE, &[]).await;
    let mut sender = over_tls(&world).await;
    let (_tell, body) = told();
    let request = Request::post(format!("https://{HOST}/flows.Flows/Watch"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-authentik-username", "alice")
        .body(body)
        .expect("a request");
    let answer = within(sender.send_request(request))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 401);
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("grpc-status", "16"),
        (
            "grpc-message",
            "Sign in first: open the application in a browser.",
        ),
    ] {
        assert_eq!(answer.headers()[name], value);
    }
    let nothing = within(answer.into_body().frame()).await;
    assert!(nothing.is_none(), "{nothing:?}");
    assert!(heads.try_recv().is_err());

    // To who asks about a call, or by mistake as if they were one, 200 would be permission.
    for (host, target) in [
        (HOST, "/flows.Flows/Watch"),
        (HOST, "/outpost.goauthentik.io/auth/nginx"),
        (HOST, "/outpost.goauthentik.io/auth/traefik"),
        (HOST, "/outpost.goauthentik.io/auth/caddy"),
        (HOST, "/outpost.goauthentik.io/auth/envoy/x"),
        (HOST, "/outpost.goauthentik.io/x"),
        ("grafana.test", "/"),
        ("unknown.test", "/"),
    ] {
        let (_tell, body) = told();
        let request = Request::post(format!("https://{host}{target}"))
            .header("content-type", "application/grpc")
            .header("x-original-url", "http://app.test/")
            .header("x-forwarded-method", "POST")
            .body(body)
            .expect("a request");
        let answer = within(sender.send_request(request))
            .await
            .expect("an answer");
        assert!(!answer.status().is_success(), "{host} {target}");
    }
}

#[tokio::test]
async fn an_application_without_http_2_is_reported_to_administrators() {
    let upstream = Upstream::start().await;
    let world = world(&format!("http://{}", upstream.address), &[]).await;
    world.authentik.add_user(User {
        is_superuser: true,
        ..User::new("root", PASSWORD)
    });
    let cookies = Browser::default().log_in_as(&world, HOST, "root").await;
    let answer = get(world.address(), "/", HOST, &[("cookie", &cookies)]).await;
    assert_eq!(answer.status(), 502);
    let page = text(&answer);
    assert!(page.contains("upstream_protocol"), "{page}");
}

/// A client of the service of Envoy's questions, because a server and a client of it are here
/// already.
#[cfg(feature = "ext-authz")]
async fn client_of(world: &World, host: &str) -> AuthorizationClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", world.address())).expect("a URL");
    let origin = format!("http://{host}").parse().expect("a URL");
    let channel = endpoint.origin(origin).connect().await;
    AuthorizationClient::new(channel.expect("a connection"))
}

#[cfg(feature = "ext-authz")]
fn asked(cookie: &str) -> tonic::Request<CheckRequest> {
    let mut asked = tonic::Request::new(CheckRequest::default());
    let cookie = cookie.parse().expect("a value");
    asked.metadata_mut().insert("cookie", cookie);
    asked
}

#[cfg(feature = "ext-authz")]
#[tokio::test]
async fn a_real_grpc_server_answers_a_real_grpc_client() {
    let authentik = Standin::builder().start().await.expect("started");
    let listen = [("AUTHENTIK_PROXY_LISTEN__EXT_AUTHZ", "127.0.0.1:0")];
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    let service = World::beside(authentik, vec![grafana], &listen).await;
    let address = service.outpost.ext_authz_addresses()[0];
    let world = world(&format!("http://{address}"), &[]).await;
    let cookie = alice(&world).await;
    let mut client = client_of(&world, HOST).await;
    let answer = within(client.check(asked(&cookie)))
        .await
        .expect("an answer");
    assert!(answer.into_inner().status.is_some());
}

#[cfg(feature = "ext-authz")]
#[tokio::test]
async fn a_real_grpc_client_is_told_why_it_is_not_served() {
    let free = authentik_standin::nginx::free_address().expect("a port");
    let (address, mut heads) = echo(None).await;
    let providers = [("app", address), ("gone", free)].map(|(name, address)| {
        let external = format!("http://{name}.test");
        Provider::proxy(name, &external, &format!("http://{address}"))
    });
    let file = "applications: {app: {upstream_protocol: http2, rules: [{action: require, groups: [admins]}]}, gone: {upstream_protocol: http2, rules: [{action: allow}]}}";
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_user(User::new("bob", PASSWORD));
    let world = World::with_file(authentik, providers.to_vec(), file, &[]).await;
    let bob = Browser::default().log_in_as(&world, HOST, "bob").await;
    for (host, cookie, code, message) in [
        (
            HOST,
            "",
            Code::Unauthenticated,
            "Sign in first: open the application in a browser.",
        ),
        (
            HOST,
            &bob,
            Code::PermissionDenied,
            "You are not permitted to open this page. Ask its administrator for access.",
        ),
        (
            "gone.test",
            "",
            Code::Unavailable,
            "The application behind this address does not answer right now. Please try again in a moment.",
        ),
    ] {
        let mut client = client_of(&world, host).await;
        let told = within(client.check(asked(cookie)))
            .await
            .expect_err("a status");
        assert_eq!((told.code(), told.message()), (code, message));
        assert!(told.metadata().contains_key("x-request-id"), "{code:?}");
        assert!(heads.try_recv().is_err(), "{code:?}");
    }
}
