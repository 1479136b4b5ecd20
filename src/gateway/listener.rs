//! What each listener is for, and where our own pages are.

use http::HeaderMap;
use http::request::Parts;

use super::Parted;
use super::dialect::Surface;
use super::endpoint::Endpoint;
use super::error::GatewayError;
use crate::model::{Authority, Dialect, Dialects};
use crate::route::Snapshot;
use crate::web::request::inbound::{Inbound, Peer, own_host};

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Everything but authorization requests, or that too, where no other listener is for them.
    Public,
    /// Authorization requests over HTTP, ping and ready.
    ForwardAuth,
    /// Authorization requests over gRPC.
    ExtAuthz,
}

/// Which authorization requests are answered.
#[derive(Debug, Clone, Copy)]
pub struct ForwardAuth {
    /// In these dialects; over gRPC always.
    pub dialects: Dialects,
    /// Only on listeners of their own.
    pub apart: bool,
}

/// Why something is not answered by settings.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(crate) enum NotOffered {
    /// The dialect is switched off.
    #[error(
        "the dialect {0} is not answered; if a reverse proxy uses it, add it to AUTHENTIK_PROXY_FORWARD_AUTH__DIALECTS"
    )]
    Dialect(Dialect),
    /// Another listener is for it.
    #[error("this listener does not answer such requests; send them to an address in {0}")]
    Apart(&'static str),
}

impl Parted {
    /// What follows our own path in a path that has it below an application of the request's host.
    pub(crate) fn own_path<'a>(
        &self,
        path: &'a str,
        parts: &Parts,
        peer: Peer,
        snapshot: &Snapshot,
    ) -> Option<&'a str> {
        let below = |host| snapshot.table.own_path(&Authority::parse(host).ok()?, path);
        let own = below(Inbound::read(parts, peer, &self.trusted).host)?;
        // A client may have chosen X-Forwarded-Host where its own path is asked about.
        (!own.starts_with("/auth/") || below(own_host(parts)).is_some()).then_some(own)
    }

    /// Refuses what a listener is not for, and dialects that are switched off.
    pub(crate) fn offers(
        &self,
        endpoint: Endpoint<'_>,
        listener: Listener,
        headers: &HeaderMap,
    ) -> Result<(), GatewayError> {
        let Endpoint::Forward(surface) = endpoint else {
            return match listener {
                Listener::Public | Listener::ExtAuthz => Ok(()),
                Listener::ForwardAuth => Err(GatewayError::NotOffered(NotOffered::Apart(
                    "AUTHENTIK_LISTEN__HTTP",
                ))),
            };
        };
        let dialect = self.dialect(surface, headers);
        let refused = match listener {
            Listener::Public if self.forward_auth.apart => {
                NotOffered::Apart("AUTHENTIK_PROXY_LISTEN__FORWARD_AUTH")
            }
            Listener::Public | Listener::ForwardAuth
                if !self.forward_auth.dialects.contains(dialect) =>
            {
                NotOffered::Dialect(dialect)
            }
            _ => return Ok(()),
        };
        Err(GatewayError::NotOffered(refused))
    }

    /// The dialect of an authorization request.
    pub(crate) fn dialect(&self, surface: Surface<'_>, headers: &HeaderMap) -> Dialect {
        let dialects = self.forward_auth.dialects;
        surface.dialect(headers, dialects.contains(Dialect::IngressNginx))
    }
}
