//! What an operator can do about each failure of the data plane.

use super::auth::cookie_sessions::CookieError;
use super::error::{GatewayError, LoginFailure};
use crate::model::{Hint, HintText};

impl Hint for GatewayError {
    fn hint(&self) -> Option<HintText> {
        let hint = match self {
            Self::MalformedAuthRequest(error) => return error.hint(),
            Self::HostMismatch(error) => return error.hint(),
            Self::NotOffered(error) => return error.hint(),
            Self::Store(_, error) => return error.hint(),
            Self::Credentials { failure, .. } => return failure.hint(),
            Self::LimitExceeded(_, error) => return error.hint(),
            Self::Upstream(error) => return error.hint(),
            Self::Login { failure, .. } => return failure.hint(),
            Self::NotConfigured => "the log says why the configuration is not loaded",
            Self::TwoHosts => "the client, or a proxy that adds one, must send one host",
            Self::TwoApplications { .. } => {
                "the reverse proxy must set X-Forwarded-Host to the host that it routes by, or remove it"
            }
            Self::NoApplication(_) => {
                "assign its provider to this outpost, or fix the provider's external host"
            }
            Self::ProxyMode(_) => {
                "pass its requests on to the outpost, or set its provider to forward auth"
            }
            _ => return None,
        };
        Some(hint.into())
    }
}

impl Hint for LoginFailure {
    fn hint(&self) -> Option<HintText> {
        match self {
            Self::Loop { .. } => Some(
                "check that the reverse proxy forwards cookies and that external host and scheme are right"
                    .into(),
            ),
            Self::Misrouted => Some(
                "it must pass /outpost.goauthentik.io/start, /callback and /sign_out to the outpost without asking first"
                    .into(),
            ),
            Self::Cookie(CookieError::TooLarge(_)) => Some(
                "raise session.cookie_max_bytes as far as the servers in front and behind accept, have the provider's scope mappings send fewer groups and attributes, or set session.store to redis"
                    .into(),
            ),
            Self::Cookie(CookieError::Seal(_)) => {
                Some("set session.store to memory or redis".into())
            }
            Self::Oidc(error) => error.hint(),
            Self::Denied(_) | Self::Unmatched(_) | Self::TargetTooLong => None,
        }
    }
}
