//! authentik's REST API, as far as an outpost needs it.

use std::time::Duration;

use http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;
use url::Url;
use uuid::Uuid;

use super::{Settings, wire};
use crate::model::{Hint, HintText, Outpost};
use crate::route::user_agent;
use crate::telemetry::CHECKED;
use crate::web::client::BackChannel;
use crate::web::client::rest::{Rest, RestError};

/// How long the request for authentik's version may take.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);

/// Why authentik's API could not be used. The text says the cause, [`Hint`] what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(transparent)]
    Rest(RestError),
    #[error("authentik refuses the token ({status} from {url})")]
    Token { url: String, status: StatusCode },
    /// authentik refuses with 403 and JSON.
    #[error("something other than authentik refuses the request ({status} from {url})")]
    Foreign { url: String, status: StatusCode },
    #[error("the token belongs to no outpost")]
    NoOutpost,
    #[error("the token does not list outpost {configured}, but {listed}")]
    OtherOutpost { configured: Uuid, listed: String },
}

impl From<RestError> for ApiError {
    fn from(error: RestError) -> Self {
        match error {
            RestError::Status {
                url,
                status: status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
                detail,
            } => match status {
                StatusCode::FORBIDDEN if !detail.is_empty() => Self::Token { url, status },
                _ => Self::Foreign { url, status },
            },
            error => Self::Rest(error),
        }
    }
}

impl Hint for ApiError {
    fn hint(&self) -> Option<HintText> {
        let hint = match self {
            Self::Rest(error) => return error.hint(),
            Self::Token { .. } => {
                "in authentik: Applications > Outposts > View Deployment Info > copy the token, update the Secret that AUTHENTIK_TOKEN comes from; unless AUTHENTIK_TOKEN names a file (file://…), restart the pods"
            }
            Self::Foreign { .. } => {
                "AUTHENTIK_HOST leads to an application or to a reverse proxy that asks for credentials of its own; set it to authentik itself, inside a cluster to its Service, for example http://authentik-server.authentik.svc.cluster.local"
            }
            Self::NoOutpost => {
                "create an outpost of type \"proxy\" in authentik (Applications > Outposts), and use its token"
            }
            Self::OtherOutpost { .. } => "correct AUTHENTIK_OUTPOST_ID or AUTHENTIK_TOKEN",
        };
        Some(hint.into())
    }
}

impl ApiError {
    /// Whether authentik, or what stands before it, refuses the token.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Token { .. } | Self::Foreign { .. })
    }

    /// Whether authentik is unreachable or not up yet, as opposed to a refusal.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Rest(RestError::Status { status, .. }) => status.is_server_error(),
            Self::Rest(_) => true,
            // A refusal stays one where a reverse proxy changes authentik's response to it.
            Self::Token { .. }
            | Self::Foreign { .. }
            | Self::NoOutpost
            | Self::OtherOutpost { .. } => false,
        }
    }
}

/// What authentik answered: undecoded, so that it can be kept as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct FetchedConfig {
    /// The server's version, if it tells.
    pub(super) version: Option<String>,
    /// The outposts that the token lists.
    pub(super) outposts: Vec<Value>,
    /// All providers of the outpost.
    pub(super) providers: Vec<Value>,
}

impl FetchedConfig {
    /// The outpost to serve.
    pub(super) fn outpost(&self, configured: Option<Uuid>) -> Result<Outpost, ApiError> {
        let outposts = outposts(&self.outposts);
        let listed = || {
            let names: Vec<_> = outposts
                .iter()
                .map(|o| format!("{:?} ({})", o.name, o.pk))
                .collect();
            names.join(", ")
        };
        let found = match configured {
            None => outposts.first(),
            Some(configured) => outposts.iter().find(|outpost| outpost.pk == configured),
        };
        let Some(found) = found else {
            return Err(match configured {
                Some(configured) if !outposts.is_empty() => ApiError::OtherOutpost {
                    configured,
                    listed: listed(),
                },
                _ => ApiError::NoOutpost,
            });
        };
        if configured.is_none() && outposts.len() > 1 {
            tracing::warn!(
                name: CHECKED,
                outposts = listed(),
                hint = "set AUTHENTIK_OUTPOST_ID to choose",
                "the token lists several outposts, serving the first",
            );
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "`as` saturates; the interval is bounded later"
        )]
        let refresh_interval_s = found.refresh_interval_s as i64;
        Ok(Outpost {
            id: found.pk,
            name: found.name.clone(),
            embedded: found.is_embedded(),
            authentik_host: Url::parse(&found.config.authentik_host).ok(),
            log_level: Some(found.config.log_level.clone()).filter(|level| !level.is_empty()),
            refresh_interval_s,
            version: self.version.clone(),
        })
    }
}

fn outposts(entries: &[Value]) -> Vec<wire::Outpost> {
    let entries = entries.iter();
    entries
        .filter_map(|entry| wire::Outpost::deserialize(entry).ok())
        .collect()
}

/// A client of the API.
pub(super) struct Api<'a> {
    settings: &'a Settings,
    rest: Rest<'a>,
}

impl<'a> Api<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        token: &'a SecretString,
        back_channel: &'a BackChannel,
    ) -> Self {
        let user_agent = user_agent(env!("CARGO_PKG_VERSION"));
        let rest = Rest::new(&settings.host, token, user_agent, back_channel);
        Self { settings, rest }
    }

    /// The server's version, if it tells: nothing that is served depends on it, so nothing waits
    /// for it for long.
    async fn version(&self) -> Option<String> {
        let request = self.rest.get::<wire::Version>("admin/version/");
        match timeout(VERSION_TIMEOUT, request).await {
            Ok(Ok(version)) => Some(version.version_current),
            Ok(Err(error)) => {
                tracing::debug!(%error, "version of authentik is unknown");
                None
            }
            Err(_) => {
                tracing::debug!(
                    error = format!("no response within {VERSION_TIMEOUT:?}"),
                    "version of authentik is unknown"
                );
                None
            }
        }
    }

    /// Everything that a configuration is made of.
    pub(super) async fn fetch(&self) -> Result<FetchedConfig, ApiError> {
        let (version, outposts) = tokio::join!(self.version(), self.outposts());
        let mut answers = FetchedConfig {
            version,
            outposts: outposts?,
            providers: Vec::new(),
        };
        // Without an outpost the list of providers says nothing.
        answers.outpost(self.settings.outpost_id)?;
        answers.providers = self.rest.list("outposts/proxy/").await?;
        Ok(answers)
    }

    /// The outposts that the token may serve, as authentik sent them.
    pub(super) async fn outposts(&self) -> Result<Vec<Value>, ApiError> {
        Ok(self.rest.list("outposts/instances/").await?)
    }

    /// Fingerprint of a key pair's certificate.
    pub(super) async fn fingerprint(&self, id: Uuid) -> Result<String, ApiError> {
        let pair: wire::KeyPair = self
            .rest
            .get(&format!("crypto/certificatekeypairs/{id}/"))
            .await?;
        Ok(pair.fingerprint_sha256)
    }

    /// The certificate of a key pair, PEM.
    pub(super) async fn certificate(&self, id: Uuid) -> Result<String, ApiError> {
        let path = format!("crypto/certificatekeypairs/{id}/view_certificate/");
        let pem: wire::Pem = self.rest.get(&path).await?;
        Ok(pem.data)
    }

    /// The private key of a key pair, PEM.
    pub(super) async fn private_key(&self, id: Uuid) -> Result<SecretString, ApiError> {
        let path = format!("crypto/certificatekeypairs/{id}/view_private_key/");
        let pem: wire::Pem = self.rest.get(&path).await?;
        Ok(pem.data.into())
    }

    /// Adds an entry to authentik's event log.
    pub(super) async fn create_event(&self, event: &Value) -> Result<(), ApiError> {
        let _: Value = self.rest.post("events/events/", event).await?;
        Ok(())
    }
}
