//! The Kubernetes API: labelled Services and Ingresses, and their changes.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Service, ServicePort};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, ListParams};
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use super::kubernetes_client::{self, ClientError, one_line};
use super::ownership_marker::{Kind, Source};
use crate::config::Discovery;
use crate::discover::desired::address::Host;
use crate::discover::desired::labels::{LABEL, Labelled, Spec};
use crate::discover::desired::ports::{Port, Ports, Target};
use crate::web::client::classify;

/// Objects in one response of the API server, as with `kubectl get`.
const PAGE_OBJECTS: u32 = 500;
/// Responses to one list, so that a server that always names another page ends the run.
const MAX_PAGES: usize = 1000;
/// How often a list is begun anew because the server has forgotten its state in between.
const MAX_LIST_ATTEMPTS: usize = 3;

/// Why Kubernetes could not be asked. Each text names the cause and the fix.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There was no answer.
    #[error("the Kubernetes API cannot be reached: {0}")]
    Unreachable(String),
    /// The credentials are not accepted.
    #[error(
        "the Kubernetes API rejects the credentials (401 {0}); renew the credentials in KUBECONFIG, or the token of the pod's ServiceAccount"
    )]
    Unauthorized(String),
    /// The permission is missing.
    #[error(
        "the Kubernetes API does not permit to {verb} {resource} {place}; add a rule to the {role}: apiGroups [{group:?}], resources [{resource}], verbs [list, watch] (deploy/kustomize/components/discover/rbac.yaml has it)"
    )]
    Forbidden {
        /// What was tried.
        verb: &'static str,
        /// On what.
        resource: &'static str,
        /// The group of the API that it belongs to.
        group: &'static str,
        /// Where.
        place: String,
        /// What has to have the rule.
        role: &'static str,
    },
    /// A namespace that was asked for does not exist.
    #[error("there is no namespace {0:?}; correct --namespace, or create the namespace first")]
    NoNamespace(String),
    /// Anything else.
    #[error("the Kubernetes API answered: {0}")]
    Answer(String),
}

/// A cluster, or some namespaces of it.
pub struct Cluster {
    client: Client,
    /// All of them, if there is none.
    namespaces: Vec<String>,
    timeout: Duration,
}

impl Cluster {
    /// Finds the way, by `KUBECONFIG`, `~/.kube/config` or the pod's `ServiceAccount`; connects to
    /// nothing yet. `context` is one of the file.
    pub async fn find(
        context: Option<&str>,
        namespaces: Vec<String>,
        settings: &Discovery,
    ) -> Result<Self, ClusterError> {
        Ok(Self {
            client: kubernetes_client::find(context, settings).await?,
            namespaces,
            timeout: settings.request_timeout,
        })
    }

    /// Whether objects of that namespace are looked for.
    #[must_use]
    pub fn covers(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|name| name == namespace)
    }

    /// All labelled objects.
    pub async fn labelled(&self) -> Result<Vec<Labelled>, ClusterError> {
        let mut found = self.list(service).await?;
        found.extend(self.list(ingress).await?);
        for name in &self.namespaces {
            if found.iter().all(|object| object.source.namespace != *name) {
                self.check_namespace(name).await?;
            }
        }
        Ok(found)
    }

    async fn list<K>(&self, read: fn(K) -> Option<Labelled>) -> Result<Vec<Labelled>, ClusterError>
    where
        K: Watched,
    {
        let mut found = Vec::new();
        for (api, namespace) in self.apis::<K>() {
            let objects = self.pages(&api, namespace).await?;
            found.extend(objects.into_iter().filter_map(read));
        }
        Ok(found)
    }

    /// A list of one kind, page by page.
    async fn pages<K: Watched>(
        &self,
        api: &Api<K>,
        namespace: Option<&str>,
    ) -> Result<Vec<K>, ClusterError> {
        let first = ListParams::default().labels(LABEL).limit(PAGE_OBJECTS);
        let (mut parameters, mut objects, mut attempts) = (first.clone(), Vec::new(), 1);
        for _ in 0..MAX_PAGES {
            match self.within_timeout(api.list(&parameters)).await? {
                // The state that the next page would have been of is compacted.
                Err(kube::Error::Api(status))
                    if status.code == 410 && attempts < MAX_LIST_ATTEMPTS =>
                {
                    (parameters, attempts) = (first.clone(), attempts + 1);
                    objects.clear();
                }
                Err(error) => return Err(explain::<K>(&error, "list", namespace)),
                Ok(page) => {
                    objects.extend(page.items);
                    match page.metadata.continue_.filter(|token| !token.is_empty()) {
                        None => return Ok(objects),
                        Some(token) => parameters.continue_token = Some(token),
                    }
                }
            }
        }
        let text = format!("more than {MAX_PAGES} pages of {}", K::RESOURCE);
        Err(ClusterError::Answer(text))
    }

    /// An empty list is what a server answers for a namespace that does not exist, too. A token
    /// that may not read namespaces leaves that open.
    async fn check_namespace(&self, name: &str) -> Result<(), ClusterError> {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        match self.within_timeout(namespaces.get_opt(name)).await? {
            Ok(None) => Err(ClusterError::NoNamespace(name.to_owned())),
            Ok(Some(_)) | Err(_) => Ok(()),
        }
    }

    async fn within_timeout<T>(&self, answer: impl Future<Output = T>) -> Result<T, ClusterError> {
        let answer = tokio::time::timeout(self.timeout, answer).await;
        answer.map_err(|_| ClusterError::Unreachable("no answer in time".to_owned()))
    }

    /// An item for every change of a labelled object. A connection that ends is made anew, after
    /// growing pauses; of the errors on the way, each is an item, too.
    pub fn changes(&self) -> SelectAll<BoxStream<'static, Result<(), ClusterError>>> {
        let mut all = SelectAll::new();
        self.watch::<Service>(&mut all);
        self.watch::<Ingress>(&mut all);
        all
    }

    fn watch<K>(&self, all: &mut SelectAll<BoxStream<'static, Result<(), ClusterError>>>)
    where
        K: Watched,
    {
        for (api, namespace) in self.apis::<PartialObjectMeta<K>>() {
            let namespace = namespace.map(str::to_owned);
            let events = watcher(api, watcher::Config::default().labels(LABEL));
            let events = events
                .default_backoff()
                .try_filter_map(async |event| Ok(is_news(&event).then_some(())))
                .map_err(move |error| explain_watch::<K>(&error, namespace.as_deref()));
            all.push(events.boxed());
        }
    }

    fn apis<K>(&self) -> Vec<(Api<K>, Option<&str>)>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        if self.namespaces.is_empty() {
            return vec![(Api::all(self.client.clone()), None)];
        }
        let names = self.namespaces.iter().map(String::as_str);
        names
            .map(|name| (Api::namespaced(self.client.clone(), name), Some(name)))
            .collect()
    }
}

/// A kind of object that is looked for.
trait Watched:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + 'static
{
    /// What rules call it.
    const RESOURCE: &'static str;
    /// The group of the API that it belongs to.
    const GROUP: &'static str;
}

impl Watched for Service {
    const RESOURCE: &'static str = "services";
    const GROUP: &'static str = "";
}

impl Watched for Ingress {
    const RESOURCE: &'static str = "ingresses";
    const GROUP: &'static str = "networking.k8s.io";
}

/// Whether to look again. After a gap everything may have changed.
fn is_news<K>(event: &watcher::Event<K>) -> bool {
    match event {
        watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone => true,
        watcher::Event::Init | watcher::Event::InitApply(_) => false,
    }
}

fn service(service: Service) -> Option<Labelled> {
    let spec = service.spec.unwrap_or_default();
    let ports = Ports {
        headless: spec.cluster_ip.as_deref() == Some("None"),
        all: spec.ports.into_iter().flatten().filter_map(port).collect(),
    };
    labelled(Kind::Service, service.metadata, Spec::Service(ports))
}

fn port(port: ServicePort) -> Option<Port> {
    let number = u16::try_from(port.port).ok()?;
    let target = match port.target_port {
        Some(IntOrString::String(name)) => Target::Name(name),
        Some(IntOrString::Int(target)) => Target::Number(u16::try_from(target).ok()?),
        None => Target::Number(number),
    };
    Some(Port {
        number,
        name: port.name,
        protocol: port.protocol.unwrap_or_else(|| "TCP".to_owned()),
        target,
    })
}

fn ingress(ingress: Ingress) -> Option<Labelled> {
    let spec = ingress.spec.unwrap_or_default();
    let secured: Vec<String> = spec
        .tls
        .into_iter()
        .flatten()
        .flat_map(|tls| tls.hosts.unwrap_or_default())
        .collect();
    let mut names: Vec<String> = spec
        .rules
        .into_iter()
        .flatten()
        .filter_map(|rule| rule.host)
        .collect();
    names.sort();
    names.dedup();
    let hosts = names.into_iter().map(|name| Host {
        tls: secured.contains(&name),
        name,
    });
    let spec = Spec::Ingress(hosts.collect());
    labelled(Kind::Ingress, ingress.metadata, spec)
}

fn labelled(kind: Kind, metadata: ObjectMeta, spec: Spec) -> Option<Labelled> {
    let source = Source {
        kind,
        namespace: metadata.namespace?,
        name: metadata.name?,
    };
    let label = metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(LABEL))
        .cloned();
    let annotations = metadata.annotations.unwrap_or_default();
    Some(Labelled {
        source,
        label: label?,
        annotations: annotations.into_iter().collect::<BTreeMap<_, _>>(),
        spec,
    })
}

fn explain<K: Watched>(
    error: &kube::Error,
    verb: &'static str,
    namespace: Option<&str>,
) -> ClusterError {
    let kube::Error::Api(status) = error else {
        return ClusterError::Unreachable(classify(error).to_string());
    };
    match status.code {
        401 => ClusterError::Unauthorized(status.message.clone()),
        403 => ClusterError::Forbidden {
            verb,
            resource: K::RESOURCE,
            group: K::GROUP,
            place: namespace.map_or_else(
                || "in all namespaces".to_owned(),
                |name| format!("in namespace {name}"),
            ),
            role: if namespace.is_some() {
                "Role"
            } else {
                "ClusterRole"
            },
        },
        code => ClusterError::Answer(format!("{code} {}", status.message)),
    }
}

fn explain_watch<K: Watched>(error: &watcher::Error, namespace: Option<&str>) -> ClusterError {
    match error {
        watcher::Error::InitialListFailed(error) => explain::<K>(error, "list", namespace),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
            explain::<K>(error, "watch", namespace)
        }
        other => ClusterError::Answer(one_line(other)),
    }
}
