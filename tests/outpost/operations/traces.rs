//! Traces: what a collector gets from the program, and what applications are told.

use std::net::SocketAddr;

use authentik_standin::Standin;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonic::{Request, Response, Status};

use crate::operations::process::Process;
use crate::support::upstream::{HOST, Upstream, provider};
use crate::support::{Browser, World, furnish, get, within};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// A collector that hands out what it gets.
struct Collector(UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let _ = self.0.send(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

struct Collected {
    address: SocketAddr,
    requests: UnboundedReceiver<ExportTraceServiceRequest>,
    spans: Vec<Span>,
}

impl Collected {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tell, requests) = unbounded_channel();
        tokio::spawn(async move {
            let service = TraceServiceServer::new(Collector(tell));
            while let Ok((stream, _)) = listener.accept().await {
                let service = hyper_util::service::TowerToHyperService::new(service.clone());
                let executor = hyper_util::rt::TokioExecutor::new();
                let connection = hyper::server::conn::http2::Builder::new(executor)
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Self {
            address,
            requests,
            spans: Vec::new(),
        }
    }

    /// Waits for a span of a request for this path.
    async fn span(&mut self, path: &str) -> Span {
        within(async {
            loop {
                if let Some(span) = self.spans.iter().find(|s| value(s, "url.path") == path) {
                    return span.clone();
                }
                let request = self.requests.recv().await.expect("it runs");
                let service = &request.resource_spans[0]
                    .resource
                    .as_ref()
                    .expect("one")
                    .attributes;
                assert!(
                    format!("{service:?}").contains("authentik-proxy"),
                    "{service:?}"
                );
                let scopes = request
                    .resource_spans
                    .into_iter()
                    .flat_map(|r| r.scope_spans);
                self.spans.extend(scopes.flat_map(|scope| scope.spans));
            }
        })
        .await
    }
}

/// An attribute of a span, as text.
fn value(span: &Span, key: &str) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

async fn world(collector: SocketAddr, upstream: &Upstream, trusted: &str) -> World<Process> {
    let authentik = Standin::builder().start().await.expect("it starts");
    furnish(&authentik, vec![provider(upstream.address)]);
    let endpoint = format!("http://{collector}");
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", trusted),
    ];
    let outpost = Process::beside(&authentik, &settings).await;
    outpost.wait_line("configuration loaded").await;
    World { authentik, outpost }
}

/// Signs in and asks for a page in a trace; returns the cookies and the answer.
async fn ask(world: &World<Process>, target: &str) -> (String, http::Response<bytes::Bytes>) {
    let mut browser = Browser::default();
    browser.log_in(world, HOST, "/").await;
    let cookie = browser.cookies(HOST);
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let headers = [
        ("cookie", cookie.as_str()),
        ("traceparent", parent.as_str()),
        ("x-request-id", "abc-123"),
    ];
    let answer = get(world.address(), target, HOST, &headers).await;
    (cookie, answer)
}

#[tokio::test]
async fn a_trusted_senders_trace_goes_on_to_the_application() {
    let mut collected = Collected::start().await;
    let mut upstream = Upstream::start().await;
    let world = world(collected.address, &upstream, "127.0.0.0/8").await;
    let (cookie, answer) = ask(&world, "/page?secret=1").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-request-id"], "abc-123");
    let span = collected.span("/page").await;
    assert_eq!(hex(&span.trace_id), TRACE);
    assert_eq!(hex(&span.parent_span_id), SPAN);
    assert_eq!(span.name, "GET");
    for (key, expected) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("server.address", HOST),
        ("authentik_proxy.application", "app"),
        ("authentik_proxy.request_id", "abc-123"),
    ] {
        assert_eq!(value(&span, key), expected, "{key}");
    }
    let text = format!("{span:?}");
    assert!(!text.contains("secret"), "the query is left out: {text}");
    assert!(
        cookie
            .split_once('=')
            .is_some_and(|(_, value)| !text.contains(value))
    );
    let recorded = upstream.next().await;
    let passed_on = format!("00-{TRACE}-{}-01", hex(&span.span_id));
    assert_eq!(recorded.one("traceparent"), passed_on);
    assert_eq!(recorded.one("x-request-id"), "abc-123");

    // A client that refuses tracing is not traced.
    let unsampled = format!("00-{TRACE}-{SPAN}-00");
    let headers = [
        ("cookie", cookie.as_str()),
        ("traceparent", unsampled.as_str()),
    ];
    get(world.address(), "/unsampled", HOST, &headers).await;
    let recorded = upstream.next().await;
    assert!(
        recorded
            .one("traceparent")
            .starts_with(&format!("00-{TRACE}-"))
    );
    assert!(recorded.one("traceparent").ends_with("-00"));
    get(
        world.address(),
        "/last",
        HOST,
        &[("cookie", cookie.as_str())],
    )
    .await;
    collected.span("/last").await;
    let paths = collected.spans.iter().map(|span| value(span, "url.path"));
    assert!(!paths.collect::<Vec<_>>().contains(&"/unsampled".to_owned()));
}

#[tokio::test]
async fn untrusted_clients_begin_no_trace_and_failures_say_why() {
    let mut collected = Collected::start().await;
    let upstream = Upstream::answering(|_| Vec::new()).await;
    let mut world = world(collected.address, &upstream, "none").await;
    let (_, answer) = ask(&world, "/broken").await;
    assert_eq!(answer.status(), 502);
    assert_ne!(answer.headers()["x-request-id"], "abc-123");
    let span = collected.span("/broken").await;
    assert_ne!(hex(&span.trace_id), TRACE);
    assert_eq!(hex(&span.parent_span_id), "");
    let status = span.status.expect("a failure");
    assert!(
        status.message.contains("ended without an answer"),
        "{status:?}"
    );
    // What was not sent yet is sent at the end.
    get(world.address(), "/late", HOST, &[]).await;
    world.outpost.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(world.outpost.wait_exit().await, Some(0));
    collected.span("/late").await;
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_named_in_the_log() {
    let upstream = Upstream::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = listener.local_addr().expect("an address");
    drop(listener);
    let world = world(silent, &upstream, "none").await;
    get(world.address(), "/", HOST, &[]).await;
    world.outpost.wait_line("traces are not exported").await;
}
