//! A request for [`Upstream::proxy`](super::Upstream::proxy).

use std::borrow::Cow;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::{Backend, UpstreamProtocol};
use crate::web::header::identity::Identity;
use crate::web::request::inbound::Inbound;

/// Where a request goes, and over which kind of connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination<'a> {
    /// Scheme, host and port.
    pub(crate) backend: &'a Backend,
    /// The version of HTTP.
    pub(crate) protocol: UpstreamProtocol,
    /// Whether the application's certificate is not verified.
    pub(crate) insecure: bool,
}

/// A client's request, and how it is changed on its way to the application.
#[derive(Clone)]
pub(crate) struct ProxyRequest<'a> {
    /// The application.
    pub(crate) destination: Destination<'a>,
    /// Method, target and headers that the client sent.
    pub(crate) parts: &'a Parts,
    /// The facts of the request: peer, client, scheme, host.
    pub(crate) inbound: &'a Inbound<'a>,
    /// `Host` for the application, where it is not the requested host.
    pub(crate) host_header: Option<HeaderValue>,
    /// The headers that the outpost sets.
    pub(crate) set: SetHeaders<'a>,
    /// Whether `Authorization` held credentials for the outpost, which the application must not see.
    pub(crate) credentials_consumed: bool,
    /// How long the client may send nothing of its body while the application waits for it.
    pub(crate) body_timeout: Duration,
}

/// The headers that the outpost sets in a request, in this order. A client's header of the same name,
/// or of one that applications may take for it, is removed.
#[derive(Clone)]
pub(crate) struct SetHeaders<'a> {
    /// About the user.
    pub(crate) user: Cow<'a, Identity>,
    /// About the application.
    pub(crate) application: &'a HeaderMap,
    /// By configuration.
    pub(crate) additional: Vec<(HeaderName, HeaderValue)>,
    /// Further names under which the application looks for a user: removed, never set.
    pub(crate) reserved: &'a [HeaderName],
}
