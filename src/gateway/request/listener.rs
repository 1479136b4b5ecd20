//! The endpoints of each listener.

use crate::gateway::request::endpoint::Endpoint;
use crate::model::{Dialect, Dialects, Hint, HintText};

/// The purpose of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Everything but authorization requests; those too, unless another listener is for them.
    Public,
    /// Authorization requests over HTTP, ping and ready.
    ForwardAuth,
    /// Authorization requests over gRPC.
    ExtAuthz,
}

/// Where authorization requests are answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ForwardAuthSettings {
    /// The enabled dialects; over gRPC Envoy's always is.
    pub(crate) dialects: Dialects,
    /// Whether listeners of their own answer them, and no other one.
    pub(crate) has_listener: bool,
}

/// Why a listener does not answer a request.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(crate) enum NotOffered {
    /// The dialect is switched off.
    #[error("the dialect {0} is not enabled")]
    Dialect(Dialect),
    /// Another listener is for it.
    #[error("this listener does not answer such requests")]
    Listener(&'static str),
}

impl Hint for NotOffered {
    fn hint(&self) -> Option<HintText> {
        let hint = match self {
            Self::Dialect(_) => {
                "if a reverse proxy uses it, add it to AUTHENTIK_PROXY_FORWARD_AUTH__DIALECTS"
                    .into()
            }
            Self::Listener(setting) => format!("send them to an address in {setting}").into(),
        };
        Some(hint)
    }
}

impl Listener {
    /// Refuses requests for endpoints of other listeners, and dialects that are switched off.
    pub(crate) fn check(
        self,
        endpoint: Endpoint<'_>,
        settings: ForwardAuthSettings,
    ) -> Result<(), NotOffered> {
        let Endpoint::ForwardAuth(dialect, _) = endpoint else {
            return match self {
                Self::Public | Self::ExtAuthz => Ok(()),
                Self::ForwardAuth => Err(NotOffered::Listener("AUTHENTIK_LISTEN__HTTP")),
            };
        };
        match self {
            Self::Public if settings.has_listener => {
                Err(NotOffered::Listener("AUTHENTIK_PROXY_LISTEN__FORWARD_AUTH"))
            }
            Self::Public | Self::ForwardAuth if !settings.dialects.contains(dialect) => {
                Err(NotOffered::Dialect(dialect))
            }
            _ => Ok(()),
        }
    }
}
