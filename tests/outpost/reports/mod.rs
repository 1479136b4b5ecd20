//! What users of forward auth servers and authenticating proxies reported of these, tried on the
//! outpost. Each case names its report.

mod applications;
mod auth_requests;
mod browser;
mod challenges;
mod clients;
mod cookies;
mod targets;

use authentik_standin::Provider;
use bytes::Bytes;
use http::request::Builder;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::Full;

use crate::forward_auth::dialects::Surface;
use crate::support::upstream::{HOST, Upstream, provider};
use crate::support::{World, send};

/// By what way a request reaches the outpost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A reverse proxy asks about it.
    Asked(Surface),
    /// It comes to the outpost, which is the proxy.
    Proxied,
}

const WAYS: [Way; 5] = [
    Way::Asked(Surface::Nginx),
    Way::Asked(Surface::Traefik),
    Way::Asked(Surface::Caddy),
    Way::Asked(Surface::Envoy),
    Way::Proxied,
];

impl Way {
    /// A request of a client, with its headers, and the response.
    async fn send(
        self,
        world: &World,
        method: &Method,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Response<Bytes> {
        let mut request = match self {
            Self::Asked(surface) => surface.request(method.clone(), HOST, target),
            Self::Proxied => Request::builder()
                .method(method.clone())
                .uri(target)
                .header(header::HOST, HOST),
        };
        for (name, value) in headers {
            request = with(request, name, value);
        }
        let request = request.body(Full::default()).expect("a request");
        send(world.address(), request).await
    }

    /// The response to a navigation without a session.
    fn login(self) -> u16 {
        match self {
            Self::Asked(surface) => surface.login(),
            Self::Proxied => 302,
        }
    }

    /// A world whose only application is reached by this way, and the application.
    async fn world(self) -> (World, Upstream) {
        let upstream = Upstream::start().await;
        let provider = match self {
            Self::Asked(_) => Provider::forward_single("app", &format!("http://{HOST}")),
            Self::Proxied => provider(upstream.address),
        };
        (World::new(vec![provider]).await, upstream)
    }
}

fn with(request: Builder, name: &str, value: &str) -> Builder {
    request.header(
        name,
        HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
    )
}
