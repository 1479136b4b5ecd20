//! The target of a request for a page of the outpost or for an application.

use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::gateway::error::GatewayError;
use crate::route::{HostRoutes, Site};
use crate::web::request::inbound::Source;

/// The target of a request.
#[derive(Clone, Copy)]
pub(crate) struct RequestTarget<'a> {
    pub(in crate::gateway) host: HostRoutes<'a>,
    pub(in crate::gateway) path: &'a str,
    pub(in crate::gateway) method: &'a Method,
    pub(in crate::gateway) headers: &'a HeaderMap,
    /// The party that the request counts for where there are limits.
    pub(in crate::gateway) source: Source,
}

impl<'a> RequestTarget<'a> {
    /// The application that the target belongs to.
    pub(crate) fn site(&self) -> Result<&'a Arc<Site>, GatewayError> {
        let found = self.host.find(self.path);
        found.ok_or_else(|| GatewayError::NoApplication(self.host.authority().to_string()))
    }

    /// Refuses a request with another host, in the header `name`, that names another application than
    /// the `X-Forwarded-Host` of its trusted peer: the peer may have routed by the one, and let the
    /// client choose the other. A host that names no application, such as that of a Service,
    /// contradicts nothing.
    pub(crate) fn check_other_host(
        &self,
        name: &'static str,
        other: HostRoutes<'_>,
    ) -> Result<(), GatewayError> {
        match self.host.find_named(self.path) {
            Some(site) if other.names_another(self.path, site) => {
                Err(GatewayError::TwoApplications {
                    name,
                    other: other.authority().to_string(),
                    forwarded: self.host.authority().to_string(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a path that a server behind the outpost may take for one of another application of the
    /// host.
    pub(crate) fn check_path(&self, site: &Arc<Site>) -> Result<(), GatewayError> {
        if self.host.is_certain(self.path) {
            return Ok(());
        }
        Err(GatewayError::AmbiguousPath(Arc::clone(site)))
    }
}
