//! The host that a reverse proxy routed a request by, and the one that it asks about.
//!
//! nginx routes by the host of the request line (RFC 9112 section 3.2.2) and may be configured to
//! ask about the one in `Host`: a client that sends two would reach one application with the right
//! to another.

use std::sync::Arc;

use http::request::Parts;

use super::dialect::{Surface, host_parameter};
use super::error::GatewayError;
use crate::model::{Authority, Dialect, Mode, RequestedUrl};
use crate::route::{Site, Table};
use crate::web::request::inbound::{Inbound, once, own_host};

/// What an authorization request tells of the host that the reverse proxy routed by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RoutedHost<'a> {
    /// Whether it shows that this is the URL's host.
    pub(super) verified: bool,
    /// Another host of the same application, which may be the one.
    pub(super) elsewhere: Option<Authority<'a>>,
}

const VERIFIED: RoutedHost<'static> = RoutedHost {
    verified: true,
    elsewhere: None,
};

/// Two hosts in one authorization request that name different applications.
#[derive(Debug, thiserror::Error)]
#[error(
    "the request is about {asked}, but {source_name} names {other}, another application; {advice}"
)]
pub(crate) struct HostMismatch {
    asked: String,
    source_name: &'static str,
    other: String,
    advice: &'static str,
}

/// Where a host stands, and what to change where it contradicts the URL's.
#[derive(Clone, Copy)]
struct Source(&'static str, &'static str);

const NGINX: Source = Source(
    "Host",
    "nginx must ask about the host that it routes by: proxy_set_header X-Original-URL $scheme://$host$request_uri, with the application's port behind it if it has one",
);
const PARAMETER: Source = Source(
    "the host parameter of the auth URL",
    "the client sent a Host that is not the request line's; if that happens to browsers, the parameter is not host=$host",
);
const FORWARDED: Source = Source(
    "X-Forwarded-Host",
    "nginx must not pass on a client's own: proxy_set_header X-Forwarded-Host $host",
);
const CADDY: Source = Source(
    "Host",
    "X-Forwarded-Host must not come from clients: remove trusted_proxies from forward_auth, and a header_up that changes Host",
);

/// An authorization request, as far as its hosts are concerned.
pub(crate) struct Hosts<'a, 'r> {
    pub(super) surface: Surface<'a>,
    pub(super) dialect: Dialect,
    pub(super) parts: &'a Parts,
    pub(super) inbound: &'r Inbound<'a>,
    pub(super) table: &'r Table,
    /// What is asked about, and whose it is.
    pub(super) url: &'r RequestedUrl<'a>,
    pub(super) site: &'r Arc<Site>,
}

impl<'a> Hosts<'a, '_> {
    /// Compares with the URL what the dialect says about the user's request, and nothing else.
    pub(crate) fn routed(&self) -> Result<RoutedHost<'a>, GatewayError> {
        match self.surface {
            Surface::Nginx(query) => self.nginx(query),
            Surface::Caddy => self.compare(own_host(self.parts), CADDY),
            // They ask about the host that they route by, and say no other one.
            Surface::Traefik | Surface::Envoy(_) => Ok(VERIFIED),
        }
    }

    fn nginx(&self, query: &'a str) -> Result<RoutedHost<'a>, GatewayError> {
        let own = own_host(self.parts);
        let is_plain = self.dialect == Dialect::Nginx;
        let forwarded = once(&self.parts.headers, "x-forwarded-host").ok();
        // Where the auth URL leads through another reverse proxy, that one sets it.
        if let Some(host) =
            forwarded.filter(|host| is_plain && self.inbound.trusted && *host != own)
        {
            self.compare(host, FORWARDED)?;
        }
        if let Some(host) = host_parameter(query)? {
            let routed = self.compare_authority(host, PARAMETER)?;
            // Unlike the others, it is never a Service's.
            let found = self.table.find(&host, self.url.path());
            if !found.is_some_and(|found| Arc::ptr_eq(found, self.site)) {
                return Err(self.contradiction(host, PARAMETER));
            }
            return Ok(RoutedHost {
                verified: true,
                ..routed
            });
        }
        if is_plain {
            self.compare(own, NGINX)
        } else {
            Ok(RoutedHost::default())
        }
    }

    fn compare(&self, host: &'a str, source: Source) -> Result<RoutedHost<'a>, GatewayError> {
        match Authority::parse(host.trim()) {
            Ok(host) if !self.is_sign_in_host(&host) => self.compare_authority(host, source),
            _ => Ok(RoutedHost::default()),
        }
    }

    fn compare_authority(
        &self,
        host: Authority<'a>,
        source: Source,
    ) -> Result<RoutedHost<'a>, GatewayError> {
        if is_same(&host, &self.url.authority()) {
            return Ok(VERIFIED);
        }
        match self.table.find_named(&host, self.url.path()) {
            // As that of a Service, or an address.
            None => Ok(RoutedHost::default()),
            Some(other) if Arc::ptr_eq(other, self.site) => Ok(RoutedHost {
                verified: false,
                elsewhere: Some(host),
            }),
            Some(_) => Err(self.contradiction(host, source)),
        }
    }

    /// Whether it is the host of a domain's own sign-in page. Auth URLs may lead through that,
    /// whatever the request is about.
    fn is_sign_in_host(&self, host: &Authority<'_>) -> bool {
        let named = self.table.find_named(host, "/");
        named.is_some_and(|site| {
            let application = &site.application;
            matches!(application.mode, Mode::ForwardDomain(_))
                && host.canonical_host() == application.external.host()
        }) && !is_same(host, &self.url.authority())
    }

    fn contradiction(&self, host: Authority<'_>, source: Source) -> GatewayError {
        GatewayError::HostMismatch(HostMismatch {
            asked: self.url.authority().to_string(),
            source_name: source.0,
            other: host.to_string(),
            advice: source.1,
        })
    }
}

/// Whether two texts name one host. A port that only one of them has says nothing: nginx's `$host`
/// has none.
fn is_same(one: &Authority<'_>, other: &Authority<'_>) -> bool {
    let ports = one.port().zip(other.port());
    ports.is_none_or(|(one, other)| one == other) && one.canonical_host() == other.canonical_host()
}
