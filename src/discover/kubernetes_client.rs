//! How requests reach the Kubernetes API: directly, or through a forward proxy as with `kubectl`.
//!
//! Its proxies are not kube's, which takes `HTTPS_PROXY` for `http://` too, compares `NO_PROXY` with the
//! proxy instead of the API server, and has the proxy's password in its errors.

use http::HeaderValue;
use http::header::USER_AGENT;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use crate::config::{Discovery, Egress, NextHop};
use crate::web::client::rest::PRODUCT;
use crate::web::client::trust::{TlsError, Trust};
use crate::web::client::{AuthentikConnector, tunnels};

/// Why there is no client. Each text names the cause and the fix.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no telling where the API is.
    #[error(
        "there is no way to the Kubernetes API: {0}; set KUBECONFIG, or run in a pod whose ServiceAccount has a token (automountServiceAccountToken)"
    )]
    Config(String),
    /// The proxy of the kubeconfig.
    #[error(
        "proxy-url in the kubeconfig is not the URL of an HTTP proxy; expected http://host:port or https://host:port, SOCKS is not supported"
    )]
    Proxy,
    /// The TLS settings are invalid.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Finds the API by `KUBECONFIG`, `~/.kube/config` or the pod's `ServiceAccount`; connects to nothing
/// yet. `context` is one of the file.
pub(super) async fn find(
    context: Option<&str>,
    settings: &Discovery,
) -> Result<Client, ClientError> {
    let unknown = |error: &dyn std::error::Error| ClientError::Config(one_line(error));
    let file = Kubeconfig::read();
    let egress = match &file {
        Ok(file) => match proxy_url(file, context) {
            Some(url) => Egress::through("proxy-url", url).ok_or(ClientError::Proxy)?,
            None => settings.egress.clone(),
        },
        // The API of the pod's own cluster has an address of its network.
        Err(_) => Egress::default(),
    };
    let mut config = match context {
        None => Config::infer().await.map_err(|error| unknown(&error))?,
        Some(context) => {
            let file = file.map_err(|error| unknown(&error))?;
            let options = KubeConfigOptions {
                context: Some(context.to_owned()),
                ..KubeConfigOptions::default()
            };
            let config = Config::from_custom_kubeconfig(file, &options).await;
            config.map_err(|error| unknown(&error))?
        }
    };
    config.proxy_url = None;
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(PRODUCT)));
    let client = match egress.next_hop(&config.cluster_url) {
        NextHop::Proxy(_) => {
            let trust = Trust::load(settings.tls.ca_file.as_deref())?;
            proxied(config, tunnels(&trust, settings.request_timeout, &egress))
        }
        NextHop::Direct | NextHop::Socket(_) => Client::try_from(config),
    };
    client.map_err(|error| unknown(&error))
}

/// The `proxy-url` of the cluster of a context, or of the current one.
fn proxy_url<'a>(file: &'a Kubeconfig, context: Option<&str>) -> Option<&'a str> {
    let name = context.or(file.current_context.as_deref())?;
    let context = file.contexts.iter().find(|context| context.name == name)?;
    let name = &context.context.as_ref()?.cluster;
    let cluster = file.clusters.iter().find(|cluster| cluster.name == *name)?;
    let url = cluster.cluster.as_ref()?.proxy_url.as_deref();
    url.filter(|url| !url.is_empty())
}

fn proxied(config: Config, connector: AuthentikConnector) -> Result<Client, kube::Error> {
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let client = legacy::Client::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(Client::new(service, config.default_namespace))
}

pub(super) fn one_line(error: &dyn std::error::Error) -> String {
    error.to_string().replace('\n', " ")
}
