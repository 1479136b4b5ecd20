//! How reverse proxies ask whether a request may pass: four dialects of one question.

use http::request::Parts;
use http::{HeaderMap, Method};

use crate::model::{Authority, Dialect, Policy, RequestedUrl, RequestedUrlError, Scheme};
use crate::route::Table;
use crate::web::request::inbound::{Inbound, OnceError, once, own_host};

/// A dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface<'a> {
    /// `auth_request`, and ingress-nginx's `auth-url`: the whole URL in `X-Original-URL`. With the
    /// query of the auth URL.
    Nginx(&'a str),
    /// `forwardAuth`: `X-Forwarded-Proto`, `-Host` and `-Uri`.
    Traefik,
    /// `forward_auth`: the same.
    Caddy,
    /// HTTP `ext_authz`: the request itself, with its path (given) behind our prefix.
    Envoy(&'a str),
}

/// A reverse proxy that does not say what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{header} {reason}; {advice}")]
pub(crate) struct MalformedAuthRequest {
    header: &'static str,
    reason: MalformedReason,
    advice: &'static str,
}

#[derive(Debug, thiserror::Error)]
enum MalformedReason {
    #[error("{0}")]
    Once(#[from] OnceError),
    #[error("is not usable: {0}")]
    Unusable(#[from] RequestedUrlError),
    #[error("is not believed, because its sender is not a trusted proxy")]
    Untrusted,
}

/// What ingress-nginx says of itself in `X-Sent-From`.
const INGRESS_NGINX: &str = "nginx-ingress-controller";

const NGINX: &str =
    "nginx must set it: proxy_set_header X-Original-URL $scheme://$host$request_uri";
const PARAMETER: &str = "the auth URL must end with ?host=$host, and nothing else may add to it";
const FORWARDED: &str = "Traefik and Caddy set it by themselves in forwardAuth and forward_auth";
const TRUST: &str = "add the reverse proxy's network to AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS";
const ENVOY: &str = "Envoy must pass the request's own Host and path on";

impl<'a> Surface<'a> {
    /// The URL that the person asked for.
    ///
    /// The application is the one whose URL it is: nginx sets `X-Original-URL` on every
    /// subrequest, while `X-Forwarded-Host` would come through from the client there.
    pub(crate) fn url(
        self,
        parts: &'a Parts,
        inbound: &Inbound<'a>,
        table: &Table,
    ) -> Result<RequestedUrl<'a>, MalformedAuthRequest> {
        let headers = &parts.headers;
        match self {
            Self::Nginx(_) => {
                let refused = |reason| refused("X-Original-URL", reason, NGINX);
                let text = once(headers, "x-original-url").map_err(|e| refused(e.into()))?;
                RequestedUrl::parse(text).map_err(|e| refused(e.into()))
            }
            Self::Traefik | Self::Caddy => {
                let header = |name, key| {
                    if !inbound.trusted {
                        return Err(refused(name, MalformedReason::Untrusted, TRUST));
                    }
                    once(headers, key).map_err(|e| refused(name, e.into(), FORWARDED))
                };
                let scheme = header("X-Forwarded-Proto", "x-forwarded-proto")?;
                let scheme = Scheme::parse(scheme).ok_or(RequestedUrlError::Scheme);
                let scheme =
                    scheme.map_err(|e| refused("X-Forwarded-Proto", e.into(), FORWARDED))?;
                let host = header("X-Forwarded-Host", "x-forwarded-host")?;
                let authority = Authority::parse(host).map_err(RequestedUrlError::from);
                let authority =
                    authority.map_err(|e| refused("X-Forwarded-Host", e.into(), FORWARDED))?;
                let target = header("X-Forwarded-Uri", "x-forwarded-uri")?;
                RequestedUrl::of_parts(scheme, authority, target)
                    .map_err(|e| refused("X-Forwarded-Uri", e.into(), FORWARDED))
            }
            Self::Envoy(target) => {
                let refused = |error: RequestedUrlError| refused("Host", error.into(), ENVOY);
                // Envoy sets no X-Forwarded-Host: one that comes through is the client's.
                let authority = Authority::parse(own_host(parts)).map_err(|e| refused(e.into()))?;
                let path = target.split('?').next().unwrap_or_default();
                // Envoy passes X-Forwarded-Proto on only where it is configured to.
                let scheme = inbound.forwarded_scheme.unwrap_or_else(|| {
                    let site = table.find(&authority, path);
                    site.map_or(Scheme::Http, |site| site.application.external.scheme())
                });
                RequestedUrl::of_parts(scheme, authority, target).map_err(refused)
            }
        }
    }

    /// The method of the person's request, if the reverse proxy tells. nginx passes the client's
    /// own `X-Original-Method` on where it is not configured to set it.
    pub(crate) fn method(
        self,
        parts: &Parts,
        inbound: &Inbound<'_>,
        policy: &Policy,
    ) -> Option<Method> {
        let told = |name| {
            let text = once(&parts.headers, name).ok()?;
            Method::from_bytes(text.as_bytes()).ok()
        };
        match self {
            Self::Nginx(_) if policy.original_method => told("x-original-method"),
            Self::Traefik | Self::Caddy if inbound.trusted => told("x-forwarded-method"),
            Self::Nginx(_) | Self::Traefik | Self::Caddy => None,
            Self::Envoy(_) => Some(parts.method.clone()),
        }
    }

    /// Whether browsers are shown our answer when the request does not pass. nginx makes its own
    /// of anything but 401 and 403.
    pub(crate) fn shows_response(self) -> bool {
        !matches!(self, Self::Nginx(_))
    }

    /// The dialect. ingress-nginx asks where nginx does; while that dialect is switched off, what
    /// it says of itself is not believed.
    pub(crate) fn dialect(self, headers: &HeaderMap, ingress_nginx: bool) -> Dialect {
        match self {
            Self::Nginx(_) if ingress_nginx && is_from_ingress(headers) => Dialect::IngressNginx,
            Self::Nginx(_) => Dialect::Nginx,
            Self::Traefik => Dialect::Traefik,
            Self::Caddy => Dialect::Caddy,
            Self::Envoy(_) => Dialect::Envoy,
        }
    }
}

fn is_from_ingress(headers: &HeaderMap) -> bool {
    once(headers, "x-sent-from").is_ok_and(|sender| sender == INGRESS_NGINX)
}

/// The host that nginx routed by, where the auth URL has it as parameter: `?host=$host`.
pub(crate) fn host_parameter(query: &str) -> Result<Option<Authority<'_>>, MalformedAuthRequest> {
    let refused = |reason| refused("the host parameter of the auth URL", reason, PARAMETER);
    let mut hosts = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("host="));
    let Some(host) = hosts.next() else {
        return Ok(None);
    };
    if hosts.next().is_some() {
        return Err(refused(OnceError::Repeated.into()));
    }
    let host = Authority::parse(host).map_err(RequestedUrlError::from);
    host.map(Some).map_err(|error| refused(error.into()))
}

fn refused(
    header: &'static str,
    reason: MalformedReason,
    advice: &'static str,
) -> MalformedAuthRequest {
    MalformedAuthRequest {
        header,
        reason,
        advice,
    }
}
