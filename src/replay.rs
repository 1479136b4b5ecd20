//! A server that gives recorded answers one after the other, and remembers what it was asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

#[derive(Default)]
struct Script {
    answers: VecDeque<Value>,
    asked: Vec<Request<String>>,
}

pub(crate) struct Replay {
    /// Its URL, without a slash at the end.
    pub(crate) base: String,
    script: Arc<Mutex<Script>>,
}

impl Replay {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = Arc::clone(&script);
        // Ends with the test's runtime.
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let script = Arc::clone(&shared);
                let service = service_fn(move |request| answer(Arc::clone(&script), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            base: format!("http://{address}"),
            script,
        }
    }

    /// Adds recorded answers.
    pub(crate) fn plays<'a>(&self, answers: impl IntoIterator<Item = &'a Value>) {
        let mut script = self.script.lock().expect("no test panics with it");
        script.answers.extend(answers.into_iter().cloned());
    }

    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<Request<String>> {
        std::mem::take(&mut self.script.lock().expect("no test panics with it").asked)
    }
}

async fn answer(
    script: Arc<Mutex<Script>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a whole request").to_bytes();
    let body = String::from_utf8(body.to_vec()).expect("a text");
    let mut script = script.lock().expect("no test panics with it");
    script.asked.push(Request::from_parts(parts, body));
    let recorded = script
        .answers
        .pop_front()
        .expect("an answer to every request");
    let body = match &recorded["body"] {
        Value::String(text) => text.clone(),
        json => json.to_string(),
    };
    let status = recorded["status"].as_u64().expect("a status");
    let response = Response::builder()
        .status(u16::try_from(status).expect("a status"))
        .header(
            header::CONTENT_TYPE,
            recorded["content_type"].as_str().unwrap_or_default(),
        )
        .body(Full::new(Bytes::from(body)));
    Ok(response.expect("a response"))
}
