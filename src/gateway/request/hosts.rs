//! Checks that a reverse proxy routed a request by the host of the URL that it sends.
//!
//! nginx routes by the host of the request line (RFC 9112 section 3.2.2) and may be configured to
//! send the one in `Host`: a client that sends two would reach one application with the permission
//! for another.

use std::sync::Arc;

use crate::gateway::request::dialect::{AuthRequest, MalformedAuthRequest, host_parameter};
use crate::model::{Authority, Dialect, Hint, HintText, Mode, RequestedUrl};
use crate::route::{HostRoutes, Site};

/// The host that the reverse proxy routed by, as far as the authorization request shows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RoutedHost<'a> {
    /// Whether that is certainly the URL's host.
    pub(in crate::gateway) verified: bool,
    /// Another host of the same application, which it may be.
    pub(in crate::gateway) elsewhere: Option<Authority<'a>>,
}

const VERIFIED: RoutedHost<'static> = RoutedHost {
    verified: true,
    elsewhere: None,
};

/// Two hosts in one authorization request that name different applications.
#[derive(Debug, thiserror::Error)]
#[error("the request is about {requested}, but {source_name} names {other}, another application")]
pub(crate) struct HostMismatch {
    requested: String,
    source_name: &'static str,
    other: String,
    hint: &'static str,
}

impl Hint for HostMismatch {
    fn hint(&self) -> Option<HintText> {
        Some(self.hint.into())
    }
}

/// The part of a request that has a host, and what to change if that is not the URL's.
#[derive(Clone, Copy)]
struct HostSource {
    name: &'static str,
    hint: &'static str,
}

const NGINX: HostSource = HostSource {
    name: "Host",
    hint: "nginx must ask about the host that it routes by: proxy_set_header X-Original-URL $scheme://$host$request_uri, with the application's port behind it if it has one",
};
const PARAMETER: HostSource = HostSource {
    name: "the host parameter of the auth URL",
    hint: "the client sent a Host that is not the request line's: if that happens to browsers, the parameter is not host=$host",
};
const FORWARDED: HostSource = HostSource {
    name: "X-Forwarded-Host",
    hint: "nginx must not pass on a client's own: proxy_set_header X-Forwarded-Host $host",
};
const EARLIER: HostSource = HostSource {
    name: "another element of X-Forwarded-Host",
    hint: "the reverse proxies in front must set X-Forwarded-Host to the host of the request, and must not pass on a client's own",
};
const CADDY: HostSource = HostSource {
    name: "Host",
    hint: "X-Forwarded-Host must not come from clients: remove trusted_proxies from forward_auth, and a header_up that changes Host",
};

/// Why the hosts of an authorization request are refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoutedHostError {
    /// They name different applications.
    #[error("{0}")]
    Mismatch(#[from] HostMismatch),
    /// The host parameter is not a host.
    #[error("{0}")]
    Malformed(#[from] MalformedAuthRequest),
}

/// An authorization request, its URL and the application of the URL.
pub(crate) struct Hosts<'a, 'r> {
    pub(in crate::gateway) request: &'r AuthRequest<'a>,
    pub(in crate::gateway) url: &'r RequestedUrl<'a>,
    pub(in crate::gateway) site: &'r Arc<Site>,
}

impl<'a> Hosts<'a, '_> {
    /// Compares the URL's host with the other hosts that the dialect sends of the user's request.
    pub(crate) fn routed(&self) -> Result<RoutedHost<'a>, RoutedHostError> {
        match self.request.dialect {
            Dialect::Nginx | Dialect::IngressNginx => self.nginx(),
            Dialect::Caddy => Ok(self.compare_earlier(self.compare_own(CADDY)?)?),
            Dialect::Traefik => Ok(self.compare_earlier(VERIFIED)?),
            // Its URL has the host that it routes by, and it sends no other one.
            Dialect::Envoy => Ok(VERIFIED),
        }
    }

    fn nginx(&self) -> Result<RoutedHost<'a>, RoutedHostError> {
        let is_plain = self.request.dialect == Dialect::Nginx;
        // Where the auth URL leads through another reverse proxy, that one sets it.
        if let Some(host) = self.request.forwarded_host.filter(|_| is_plain) {
            self.compare_with_sign_in(host, FORWARDED)?;
        }
        if let Some(host) = host_parameter(self.request.argument)? {
            let host = self.request.routes(host);
            let routed = self.compare(host, PARAMETER)?;
            // Unlike the others, it is never a Service's.
            let found = host.find(self.url.path());
            if !found.is_some_and(|found| Arc::ptr_eq(found, self.site)) {
                return Err(self.mismatch(host, PARAMETER).into());
            }
            return Ok(RoutedHost {
                verified: true,
                ..routed
            });
        }
        if is_plain {
            Ok(self.compare_own(NGINX)?)
        } else {
            Ok(RoutedHost::default())
        }
    }

    /// Compares the other elements of an `X-Forwarded-Host` that is a list. An element that is not a
    /// host names no application. The result has one host by which the request may have been routed
    /// elsewhere; two are refused, since a client could hide one behind another.
    fn compare_earlier(&self, known: RoutedHost<'a>) -> Result<RoutedHost<'a>, HostMismatch> {
        let mut routed = known;
        for host in self.request.inbound.earlier_hosts() {
            let Ok(host) = Authority::parse(host) else {
                continue;
            };
            let host = self.request.routes(host);
            let other = self.compare(host, EARLIER)?;
            match (routed.elsewhere, other.elsewhere) {
                (None, Some(_)) => routed = other,
                (Some(known), Some(another)) if !is_same(&known, &another) => {
                    return Err(self.mismatch(host, EARLIER));
                }
                _ => {}
            }
        }
        Ok(routed)
    }

    fn compare_own(&self, source: HostSource) -> Result<RoutedHost<'a>, HostMismatch> {
        match self.request.own_host {
            Ok(host) => self.compare_with_sign_in(host, source),
            Err(_) => Ok(RoutedHost::default()),
        }
    }

    /// Compares a host that may be that of a domain's own sign-in page. Auth URLs may lead through
    /// that, whatever the URL.
    fn compare_with_sign_in(
        &self,
        host: HostRoutes<'a>,
        source: HostSource,
    ) -> Result<RoutedHost<'a>, HostMismatch> {
        if !is_same(&host.authority(), &self.url.authority()) && is_sign_in_host(&host) {
            return Ok(RoutedHost::default());
        }
        self.compare(host, source)
    }

    fn compare(
        &self,
        host: HostRoutes<'a>,
        source: HostSource,
    ) -> Result<RoutedHost<'a>, HostMismatch> {
        if is_same(&host.authority(), &self.url.authority()) {
            return Ok(VERIFIED);
        }
        let path = self.url.path();
        if host.names_another(path, self.site) {
            return Err(self.mismatch(host, source));
        }
        Ok(RoutedHost {
            verified: false,
            // A host without an application is that of a Service, or an address.
            elsewhere: host.find_named(path).map(|_| host.authority()),
        })
    }

    fn mismatch(&self, host: HostRoutes<'_>, source: HostSource) -> HostMismatch {
        HostMismatch {
            requested: self.url.authority().to_string(),
            source_name: source.name,
            other: host.authority().to_string(),
            hint: source.hint,
        }
    }
}

/// Whether a host is that of a domain's own sign-in page.
fn is_sign_in_host(host: &HostRoutes<'_>) -> bool {
    host.find_named("/").is_some_and(|site| {
        let application = &site.application;
        matches!(application.mode, Mode::ForwardDomain(_))
            && host.authority().canonical_host() == application.external.host()
    })
}

/// Whether two authorities name one host. A port that only one of them has is ignored: nginx's
/// `$host` has none.
fn is_same(one: &Authority<'_>, other: &Authority<'_>) -> bool {
    let ports = one.port().zip(other.port());
    ports.is_none_or(|(one, other)| one == other) && one.canonical_host() == other.canonical_host()
}
