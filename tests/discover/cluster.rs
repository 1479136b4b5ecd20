//! A stand-in for the Kubernetes API, as far as Services and Ingresses go: list and watch in the
//! form that a real server has, with resource versions, bookmarks, expiry and refusals.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) const TOKEN: &str = "kubernetes-token-0123456789";

type Body = BoxBody<Bytes, Infallible>;

/// What there is, and what happened.
#[derive(Debug, Default)]
struct State {
    /// Objects by their place in the API, such as `services`.
    objects: Vec<(&'static str, Value)>,
    /// What happened, each with its resource version.
    events: Vec<(u64, &'static str, &'static str, Value)>,
    version: u64,
    /// Watches from before this version are told that it is too old.
    oldest: u64,
    namespaces: BTreeSet<String>,
    denied: BTreeSet<&'static str>,
    refuse_everybody: bool,
    /// The next page of a list is told that its state is forgotten.
    expire_list: bool,
    watches: usize,
}

/// A running stand-in; it ends when it is dropped.
pub(crate) struct Cluster {
    state: Arc<watch::Sender<State>>,
    server: JoinHandle<()>,
    directory: TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(watch::Sender::new(State {
            version: 1000,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request| {
                    let shared = Arc::clone(&shared);
                    async move { Ok::<_, Infallible>(answer(&shared, &request)) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        let directory = tempfile::tempdir().expect("a directory");
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "standin", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "somebody", "user": {"token": TOKEN}}],
            "contexts": [{"name": "standin", "context": {"cluster": "standin", "user": "somebody"}}],
            "current-context": "standin",
        });
        std::fs::write(directory.path().join("config"), kubeconfig.to_string()).expect("written");
        Self {
            state,
            server,
            directory,
        }
    }

    /// The file that leads here.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    /// Adds or changes an object.
    pub(crate) fn put(&self, object: Value) {
        self.state.send_modify(|state| {
            let resource = match object["kind"].as_str() {
                Some("Ingress") => "ingresses",
                _ => "services",
            };
            let namespace = object["metadata"]["namespace"].as_str();
            state.namespaces.extend(namespace.map(str::to_owned));
            state.version += 1;
            let version = state.version;
            let mut object = object;
            object["metadata"]["resourceVersion"] = version.to_string().into();
            let known = state
                .objects
                .iter_mut()
                .find(|(_, other)| same(other, &object));
            let kind = if let Some((_, known)) = known {
                *known = object.clone();
                "MODIFIED"
            } else {
                state.objects.push((resource, object.clone()));
                "ADDED"
            };
            state.events.push((version, kind, resource, object));
        });
    }

    /// Removes a Service. To a watch by label, one that loses its label is deleted, too.
    pub(crate) fn remove(&self, name: &str) {
        self.state.send_modify(|state| {
            let at = state
                .objects
                .iter()
                .position(|(_, o)| o["metadata"]["name"] == name);
            let (resource, mut object) = state.objects.remove(at.expect("it is there"));
            state.version += 1;
            object["metadata"]["resourceVersion"] = state.version.to_string().into();
            state
                .events
                .push((state.version, "DELETED", resource, object));
        });
    }

    /// Answers 403 for `services`, `ingresses`, `namespaces`, or to every `watch`.
    pub(crate) fn deny(&self, resource: &'static str) {
        self.state
            .send_modify(|state| state.denied.extend([resource]));
    }

    /// Answers 401.
    pub(crate) fn refuse_everybody(&self) {
        self.state
            .send_modify(|state| state.refuse_everybody = true);
    }

    /// Forgets what happened so far, as a server does after some minutes; watches end with 410.
    pub(crate) fn expire(&self) {
        self.state.send_modify(|state| {
            state.version += 1;
            state.oldest = state.version;
            state.events.clear();
        });
    }

    /// Forgets the state of the list that is being read, once.
    pub(crate) fn expire_list(&self) {
        self.state.send_modify(|state| state.expire_list = true);
    }

    /// Waits until `count` watches have been asked for.
    pub(crate) async fn wait_watches(&self, count: usize) {
        let mut state = self.state.subscribe();
        let enough = state.wait_for(|state| state.watches >= count).await;
        drop(enough.expect("the sender lives"));
    }
}

fn same(one: &Value, other: &Value) -> bool {
    let id = |o: &Value| {
        (
            o["kind"].clone(),
            o["metadata"]["namespace"].clone(),
            o["metadata"]["name"].clone(),
        )
    };
    id(one) == id(other)
}

fn answer(state: &Arc<watch::Sender<State>>, request: &Request<Incoming>) -> Response<Body> {
    let sent = request.headers().get(header::AUTHORIZATION);
    let expected = format!("Bearer {TOKEN}");
    if state.borrow().refuse_everybody || sent.is_none_or(|sent| *sent != expected) {
        return status(401, "Unauthorized", "Unauthorized");
    }
    let agent = request.headers().get(header::USER_AGENT);
    let agent = agent.and_then(|agent| agent.to_str().ok());
    assert!(
        agent.is_some_and(|agent| agent.starts_with("authentik-proxy/")),
        "{agent:?}"
    );
    if let ["", "api", "v1", "namespaces", name] =
        request.uri().path().split('/').collect::<Vec<_>>()[..]
    {
        return namespace(&state.borrow(), name);
    }
    let Some((resource, namespace)) = place(request.uri()) else {
        return status(
            404,
            "NotFound",
            "the server could not find the requested resource",
        );
    };
    if state.borrow().denied.contains(resource) {
        let message = format!(
            "{resource} is forbidden: User \"system:serviceaccount:authentik-proxy:discover\" cannot list resource \"{resource}\" in API group \"\" at the cluster scope"
        );
        return status(403, "Forbidden", &message);
    }
    let parameter = |name: &str| {
        let query = request.uri().query().unwrap_or_default();
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    let wish = Wish {
        resource,
        namespace,
        label: parameter("labelSelector").expect("only labelled objects are asked for"),
        metadata_only: is_metadata_only(request.headers()),
    };
    if parameter("watch").is_none() {
        let number = |name: &str| parameter(name).and_then(|text| text.parse().ok());
        let (from, limit) = (number("continue").unwrap_or(0), number("limit"));
        let expires = |state: &mut State| from > 0 && std::mem::take(&mut state.expire_list);
        if state.send_if_modified(expires) {
            let message = "The provided continue parameter is too old";
            return status(410, "Expired", message);
        }
        return list(&state.borrow(), &wish, from, limit);
    }
    assert_eq!(parameter("allowWatchBookmarks").as_deref(), Some("true"));
    let since = parameter("resourceVersion").and_then(|version| version.parse().ok());
    state.send_modify(|state| state.watches += 1);
    if state.borrow().denied.contains("watch") {
        let message = format!("{resource} is forbidden: cannot watch resource \"{resource}\"");
        return status(403, "Forbidden", &message);
    }
    stream_events(state, wish, since.expect("a version"))
}

#[derive(Debug, Clone)]
struct Wish {
    resource: &'static str,
    namespace: Option<String>,
    label: String,
    metadata_only: bool,
}

impl Wish {
    fn wants(&self, resource: &str, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let namespace = self.namespace.as_ref();
        resource == self.resource
            && namespace.is_none_or(|name| metadata["namespace"] == **name)
            && !metadata["labels"][&self.label].is_null()
    }

    fn show(&self, object: &Value) -> Value {
        if self.metadata_only {
            json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"],
            })
        } else {
            object.clone()
        }
    }
}

fn is_metadata_only(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("as=PartialObjectMetadata"))
}

/// A namespace exists if there was an object in it.
fn namespace(state: &State, name: &str) -> Response<Body> {
    if state.denied.contains("namespaces") {
        return status(403, "Forbidden", "namespaces is forbidden");
    }
    if state.namespaces.contains(name) {
        let body = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}});
        return json_answer(StatusCode::OK, &body);
    }
    let message = format!("namespaces \"{name}\" not found");
    status(404, "NotFound", &message)
}

fn place(uri: &Uri) -> Option<(&'static str, Option<String>)> {
    let segments: Vec<_> = uri.path().trim_matches('/').split('/').collect();
    let (rest, resource) = match segments.as_slice() {
        ["api", "v1", rest @ .., "services"] => (rest, "services"),
        ["apis", "networking.k8s.io", "v1", rest @ .., "ingresses"] => (rest, "ingresses"),
        _ => return None,
    };
    match rest {
        [] => Some((resource, None)),
        ["namespaces", name] => Some((resource, Some((*name).to_owned()))),
        _ => None,
    }
}

/// At most `limit` objects from number `from` on; the token of the next page is its number.
fn list(state: &State, wish: &Wish, from: usize, limit: Option<usize>) -> Response<Body> {
    let found = state
        .objects
        .iter()
        .filter(|(resource, object)| wish.wants(resource, object));
    let mut rest = found.skip(from).map(|(_, object)| wish.show(object));
    let items: Vec<_> = rest.by_ref().take(limit.unwrap_or(usize::MAX)).collect();
    let more = rest.next().map(|_| (from + items.len()).to_string());
    let (kind, version) = match (wish.metadata_only, wish.resource) {
        (true, _) => ("PartialObjectMetadataList", "meta.k8s.io/v1"),
        (false, "services") => ("ServiceList", "v1"),
        (false, _) => ("IngressList", "networking.k8s.io/v1"),
    };
    let body = json!({
        "kind": kind,
        "apiVersion": version,
        "metadata": {
            "resourceVersion": state.version.to_string(),
            "continue": more.unwrap_or_default(),
        },
        "items": items,
    });
    json_answer(StatusCode::OK, &body)
}

/// What happens from `since` on, one line each, for as long as the client listens.
fn stream_events(state: &Arc<watch::Sender<State>>, wish: Wish, since: u64) -> Response<Body> {
    let mut receiver = state.subscribe();
    receiver.mark_changed();
    let lines = stream::unfold(
        (receiver, since, wish, false),
        async |(mut receiver, since, wish, ended)| {
            if ended {
                return None;
            }
            receiver.changed().await.ok()?;
            let (text, now, ended) = {
                let state = receiver.borrow_and_update();
                news(&state, &wish, since)
            };
            Some((text, (receiver, now, wish, ended)))
        },
    );
    let frames = lines.map(|text| Ok(Frame::data(Bytes::from(text))));
    let mut answer = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    answer
}

/// Events after `since`, closed by a bookmark; or the word that they are forgotten.
fn news(state: &State, wish: &Wish, since: u64) -> (String, u64, bool) {
    if since < state.oldest {
        let message = format!("too old resource version: {since} ({})", state.oldest);
        let object = failure(410, "Expired", &message);
        let event = json!({"type": "ERROR", "object": object});
        return (line(&event), since, true);
    }
    let mut text = String::new();
    for (version, kind, resource, object) in &state.events {
        if *version > since && wish.wants(resource, object) {
            let event = json!({"type": kind, "object": wish.show(object)});
            text += &line(&event);
        }
    }
    let (kind, version) = match (wish.metadata_only, wish.resource) {
        (true, _) => ("PartialObjectMetadata", "meta.k8s.io/v1"),
        (false, "services") => ("Service", "v1"),
        (false, _) => ("Ingress", "networking.k8s.io/v1"),
    };
    let bookmark = json!({"type": "BOOKMARK", "object": {
        "kind": kind,
        "apiVersion": version,
        "metadata": {"resourceVersion": state.version.to_string(), "creationTimestamp": null},
    }});
    text += &line(&bookmark);
    (text, state.version, false)
}

fn line(event: &Value) -> String {
    format!("{event}\n")
}

fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    })
}

fn status(code: u16, reason: &str, message: &str) -> Response<Body> {
    let status = StatusCode::from_u16(code).expect("a status");
    json_answer(status, &failure(code, reason, message))
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Body> {
    let mut answer = Response::new(Full::from(body.to_string()).boxed());
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    answer
}
