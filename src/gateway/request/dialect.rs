//! The authorization requests of reverse proxies, in each dialect of forward auth.

use http::request::Parts;
use http::{HeaderMap, Method, header};

use crate::model::{
    Authority, AuthorityError, Dialect, Dialects, Hint, HintText, Policy, RequestedUrl,
    RequestedUrlError, Scheme,
};
use crate::route::{HostRoutes, Table};
use crate::web::header::names;
use crate::web::request::inbound::{Inbound, OnceError, nearest, nearest_host, once, own_host};

/// An authorization request that does not describe the user's request.
#[derive(Debug, thiserror::Error)]
#[error("{header} {reason}")]
pub(crate) struct MalformedAuthRequest {
    header: &'static str,
    reason: MalformedReason,
    hint: &'static str,
}

impl Hint for MalformedAuthRequest {
    fn hint(&self) -> Option<HintText> {
        if self.is_from_client() {
            return None;
        }
        Some(self.hint.into())
    }
}

impl MalformedAuthRequest {
    /// Whether the user's own request is at fault: reverse proxies pass on bytes that are not allowed
    /// in a URL (RFC 3986 section 2), and its length, as the client sent them.
    pub(crate) fn is_from_client(&self) -> bool {
        self.header != PROTO
            && matches!(
                self.reason,
                MalformedReason::Once(OnceError::NotAscii)
                    | MalformedReason::Unusable(
                        RequestedUrlError::Character | RequestedUrlError::TooLong
                    )
            )
    }
}

#[derive(Debug, thiserror::Error)]
enum MalformedReason {
    #[error("{0}")]
    Once(#[from] OnceError),
    #[error("is not usable: {0}")]
    Unusable(#[from] RequestedUrlError),
    #[error("ignored: the peer is not a trusted proxy")]
    Untrusted,
}

/// The header that no client's bytes reach: reverse proxies write one of a few words.
const PROTO: &str = "X-Forwarded-Proto";

/// The value of `X-Sent-From` of ingress-nginx.
const INGRESS_NGINX: &str = "nginx-ingress-controller";

const NGINX: &str =
    "nginx must set it: proxy_set_header X-Original-URL $scheme://$host$request_uri";
const PARAMETER: &str = "the auth URL must end with ?host=$host, and nothing else may add to it";
const FORWARDED: &str = "Traefik and Caddy set it by themselves in forwardAuth and forward_auth";
const TRUST: &str = "add the reverse proxy's network to AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS";
const ENVOY: &str = "Envoy must pass the request's own Host and path on";

/// An authorization request.
#[derive(Clone, Copy)]
pub(crate) struct AuthRequest<'a> {
    pub(in crate::gateway) dialect: Dialect,
    /// What follows the path of the endpoint; see [`Endpoint`](crate::gateway::request::endpoint::Endpoint).
    pub(in crate::gateway) argument: &'a str,
    pub(in crate::gateway) parts: &'a Parts,
    pub(in crate::gateway) inbound: &'a Inbound<'a>,
    table: &'a Table,
    /// The routes of its own host.
    pub(in crate::gateway) own_host: Result<HostRoutes<'a>, AuthorityError>,
    /// The routes of `X-Forwarded-Host`, if that is trusted and another host.
    pub(in crate::gateway) forwarded_host: Option<HostRoutes<'a>>,
}

impl<'a> AuthRequest<'a> {
    pub(crate) fn new(
        dialect: Dialect,
        argument: &'a str,
        parts: &'a Parts,
        inbound: &'a Inbound<'a>,
        table: &'a Table,
    ) -> Self {
        let routes = |host| Authority::parse(host).map(|host| table.host(host));
        let own = own_host(parts);
        Self {
            dialect,
            argument,
            parts,
            inbound,
            table,
            own_host: routes(own),
            forwarded_host: if inbound.host == own {
                None
            } else {
                routes(inbound.host).ok()
            },
        }
    }

    /// The routes of a host, without another search of the table for the request's own one.
    pub(crate) fn routes(&self, host: Authority<'a>) -> HostRoutes<'a> {
        match self.own_host {
            Ok(own) if own.authority() == host => own,
            _ => self.table.host(host),
        }
    }

    /// The URL that the user requested.
    ///
    /// It names the application: nginx sets `X-Original-URL` on every subrequest, while
    /// `X-Forwarded-Host` would come through from the client there.
    pub(crate) fn url(&self) -> Result<RequestedUrl<'a>, MalformedAuthRequest> {
        let headers = &self.parts.headers;
        match self.dialect {
            Dialect::Nginx | Dialect::IngressNginx => {
                let malformed = |reason| malformed("X-Original-URL", reason, NGINX);
                let text =
                    once(headers, &names::X_ORIGINAL_URL).map_err(|e| malformed(e.into()))?;
                RequestedUrl::parse(text).map_err(|e| malformed(e.into()))
            }
            Dialect::Traefik | Dialect::Caddy => {
                let header = |name, key| {
                    if !self.inbound.trusted {
                        return Err(malformed(name, MalformedReason::Untrusted, TRUST));
                    }
                    once(headers, key).map_err(|e| malformed(name, e.into(), FORWARDED))
                };
                let scheme = header(PROTO, &names::X_FORWARDED_PROTO)?;
                let scheme =
                    Scheme::parse_forwarded(nearest(scheme)).ok_or(RequestedUrlError::Scheme);
                let scheme = scheme.map_err(|e| malformed(PROTO, e.into(), FORWARDED))?;
                let host = header("X-Forwarded-Host", &names::X_FORWARDED_HOST)?;
                let authority =
                    Authority::parse(nearest_host(host)).map_err(RequestedUrlError::from);
                let authority =
                    authority.map_err(|e| malformed("X-Forwarded-Host", e.into(), FORWARDED))?;
                let target = header("X-Forwarded-Uri", &names::X_FORWARDED_URI)?;
                RequestedUrl::of_parts(scheme, authority, target)
                    .map_err(|e| malformed("X-Forwarded-Uri", e.into(), FORWARDED))
            }
            Dialect::Envoy => {
                // Envoy sets no X-Forwarded-Host: one that comes through is the client's.
                let own = self.own_host.map_err(|error| {
                    let reason = match once(headers, &header::HOST) {
                        Err(error @ OnceError::NotAscii) => error.into(),
                        _ => RequestedUrlError::from(error).into(),
                    };
                    malformed("Host", reason, ENVOY)
                })?;
                let malformed =
                    |error: RequestedUrlError| malformed("the path", error.into(), ENVOY);
                let target = self.argument;
                let path = target.split('?').next().unwrap_or_default();
                // Envoy passes X-Forwarded-Proto on only where it is configured to.
                let scheme = self.inbound.forwarded_scheme.unwrap_or_else(|| {
                    let site = own.find(path);
                    site.map_or(Scheme::Http, |site| site.application.external.scheme())
                });
                RequestedUrl::of_parts(scheme, own.authority(), target).map_err(malformed)
            }
        }
    }

    /// The method of the user's request, if the reverse proxy sends it reliably. nginx passes on the
    /// client's own `X-Original-Method` unless it is configured to set it.
    pub(crate) fn method(&self, policy: &Policy) -> Option<Method> {
        let method = |name| {
            let text = once(&self.parts.headers, name).ok()?;
            Method::from_bytes(text.as_bytes()).ok()
        };
        match self.dialect {
            Dialect::Nginx | Dialect::IngressNginx if policy.original_method => {
                method(&names::X_ORIGINAL_METHOD)
            }
            Dialect::Traefik | Dialect::Caddy if self.inbound.trusted => {
                method(&names::X_FORWARDED_METHOD)
            }
            Dialect::Envoy => Some(self.parts.method.clone()),
            _ => None,
        }
    }

    /// Whether browsers get the outpost's response if the request is not allowed.
    pub(crate) fn shows_response(&self) -> bool {
        !self.dialect.is_nginx()
    }
}

/// Tells ingress-nginx from nginx, which has the same endpoint. While that dialect is switched off,
/// `X-Sent-From` is ignored.
pub(crate) fn refine(dialect: Dialect, headers: &HeaderMap, enabled: Dialects) -> Dialect {
    let sender = || once(headers, &names::X_SENT_FROM);
    if dialect == Dialect::Nginx
        && enabled.contains(Dialect::IngressNginx)
        && sender().is_ok_and(|sender| sender == INGRESS_NGINX)
    {
        Dialect::IngressNginx
    } else {
        dialect
    }
}

/// The host that nginx routed by, where the auth URL has it as parameter: `?host=$host`.
pub(crate) fn host_parameter(query: &str) -> Result<Option<Authority<'_>>, MalformedAuthRequest> {
    let malformed = |reason| malformed("the host parameter of the auth URL", reason, PARAMETER);
    let mut hosts = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("host="));
    let Some(host) = hosts.next() else {
        return Ok(None);
    };
    if hosts.next().is_some() {
        return Err(malformed(OnceError::Repeated.into()));
    }
    let host = Authority::parse(host).map_err(RequestedUrlError::from);
    host.map(Some).map_err(|error| malformed(error.into()))
}

fn malformed(
    header: &'static str,
    reason: MalformedReason,
    hint: &'static str,
) -> MalformedAuthRequest {
    MalformedAuthRequest {
        header,
        reason,
        hint,
    }
}
