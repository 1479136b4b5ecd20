//! Protocols other than HTTP that begin as a request (RFC 9110 section 7.8), such as websockets.

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use super::error::UpstreamError;

/// A client's request to change the protocol.
pub(super) struct Upgrade {
    /// `Upgrade`, verbatim.
    protocol: HeaderValue,
    client: OnUpgrade,
}

impl Upgrade {
    /// Reads the request. An upgrade to HTTP itself is not one: after `h2c`, requests would pass that
    /// are never authorized.
    pub(super) fn requested(parts: &Parts) -> Option<Self> {
        let mut protocols = parts.headers.get_all(header::UPGRADE).into_iter();
        let protocol = protocols.next().filter(|_| protocols.next().is_none())?;
        if !lists(&parts.headers, "upgrade") || is_http(protocol) {
            return None;
        }
        Some(Self {
            protocol: protocol.clone(),
            client: parts.extensions.get::<OnUpgrade>()?.clone(),
        })
    }

    /// The requested protocols, as the client lists them.
    pub(super) fn protocol(&self) -> &HeaderValue {
        &self.protocol
    }

    /// Joins both sides, if the response changes to a protocol that was requested.
    pub(super) fn accept(self, response: &mut Response<Incoming>) -> Result<Tunnel, UpstreamError> {
        let granted = self.is_granted(response.headers());
        let application = response.extensions_mut().remove::<OnUpgrade>();
        let application = application.filter(|_| granted);
        Ok(Tunnel {
            client: self.client,
            application: application.ok_or(UpstreamError::Protocol)?,
        })
    }

    fn is_granted(&self, response: &HeaderMap) -> bool {
        let granted = response.get(header::UPGRADE);
        granted.is_some_and(|granted| {
            let granted = granted.as_bytes().trim_ascii();
            let mut requested = self.protocol.as_bytes().split(|b| *b == b',');
            requested.any(|requested| requested.trim_ascii().eq_ignore_ascii_case(granted))
        })
    }
}

/// Two connections that leave HTTP together.
pub(crate) struct Tunnel {
    client: OnUpgrade,
    application: OnUpgrade,
}

impl Tunnel {
    /// Passes bytes in both directions, once both sides have changed, until one side ends. Dropping
    /// the future closes both.
    pub(crate) async fn run(self) {
        let both = futures_util::future::try_join(self.client, self.application);
        // An error: one side has gone already.
        let Ok((client, application)) = both.await else {
            return;
        };
        let (mut client, mut application) = (TokioIo::new(client), TokioIo::new(application));
        // How it ends is between the two.
        let _ = copy_bidirectional(&mut client, &mut application).await;
    }
}

/// Whether `Connection` lists a token.
fn lists(headers: &HeaderMap, token: &str) -> bool {
    let lines = headers.get_all(header::CONNECTION).into_iter();
    let mut tokens = lines.flat_map(|line| line.as_bytes().split(|b| *b == b','));
    tokens.any(|listed| listed.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn is_http(protocols: &HeaderValue) -> bool {
    let starts = |protocol: &[u8], with: &str| {
        let start = protocol.get(..with.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
    };
    let mut protocols = protocols.as_bytes().split(|b| *b == b',');
    protocols.any(|protocol| {
        let protocol = protocol.trim_ascii();
        starts(protocol, "h2") || starts(protocol, "http") || starts(protocol, "tls")
    })
}
