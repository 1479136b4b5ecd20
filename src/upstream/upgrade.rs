//! Protocols other than HTTP that begin as a request (RFC 9110 section 7.8), such as websockets:
//! bytes are passed on in both directions until one side, the session, or the program ends.

use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use crate::gateway::auth::session_watch::{Guard, over};
use crate::server::Hold;

/// What a client wants to change to.
pub(super) struct Upgrade {
    /// `Upgrade`, verbatim.
    pub(super) protocol: HeaderValue,
    client: OnUpgrade,
    hold: Hold,
}

impl Upgrade {
    /// Reads the wish of a request. HTTP itself is none: what follows an upgrade to `h2c` would be
    /// requests that nobody looks at.
    pub(super) fn wanted(parts: &Parts) -> Option<Self> {
        let mut protocols = parts.headers.get_all(header::UPGRADE).into_iter();
        let protocol = protocols.next().filter(|_| protocols.next().is_none())?;
        if !lists(&parts.headers, "upgrade") || is_http(protocol) {
            return None;
        }
        Some(Self {
            protocol: protocol.clone(),
            client: parts.extensions.get::<OnUpgrade>()?.clone(),
            hold: parts.extensions.get::<Hold>()?.clone(),
        })
    }

    /// Whether an answer changes to what was asked for.
    pub(super) fn is_granted(&self, answer: &HeaderMap) -> bool {
        let granted = answer.get(header::UPGRADE);
        granted.is_some_and(|granted| {
            let granted = granted.as_bytes().trim_ascii();
            let mut wanted = self.protocol.as_bytes().split(|b| *b == b',');
            wanted.any(|wanted| wanted.trim_ascii().eq_ignore_ascii_case(granted))
        })
    }

    /// Lets bytes pass, once both sides have changed.
    pub(super) fn tunnel(self, application: OnUpgrade, guard: Option<Guard>) {
        let Self { client, hold, .. } = self;
        hold.spawn(|stop| async move {
            let both = futures_util::future::try_join(client, application);
            let (client, application) = tokio::select! {
                both = both => match both {
                    Ok(both) => both,
                    // One side is gone already.
                    Err(_) => return,
                },
                () = stop.cancelled() => return,
            };
            let (mut client, mut application) = (TokioIo::new(client), TokioIo::new(application));
            tokio::select! {
                // How it ends is between the two.
                _ = copy_bidirectional(&mut client, &mut application) => {}
                () = over(guard) => {}
                () = stop.cancelled() => {}
            }
        });
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
