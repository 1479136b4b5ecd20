//! authentik's REST API, as far as an outpost needs it.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::{Settings, wire};
use crate::model::Outpost;
use crate::route::user_agent;
use crate::web::client::{BackChannel, FetchError};

/// Entries per page; what the vendor's outpost asks for.
const PAGE_SIZE: u32 = 100;
/// Pages after which a list is taken for endless.
const MAX_PAGES: u32 = 1000;
/// Why authentik's API could not be used. Each text names the cause and the fix.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("authentik cannot be reached at {url}: {source}; {}", source.advice())]
    Unreachable { url: String, source: FetchError },
    #[error(
        "authentik refuses the token ({status} from {url}); set AUTHENTIK_TOKEN to the token shown by \"View deployment info\" of the outpost"
    )]
    Token { url: String, status: StatusCode },
    #[error(
        "{url} answered with {status}; check that AUTHENTIK_HOST is authentik's address with its path prefix, and authentik's own log"
    )]
    Status { url: String, status: StatusCode },
    #[error(
        "{url} answered with {kind} instead of JSON; AUTHENTIK_HOST seems to lead to something other than authentik, such as an ingress or a login page"
    )]
    NotJson { url: String, kind: String },
    #[error(
        "the answer of {url} is not understood: {reason}; check that AUTHENTIK_HOST leads to authentik itself, and that its version is not newer than this program knows"
    )]
    Shape { url: String, reason: String },
    #[error(
        "the token belongs to no outpost; create one of type \"proxy\" in authentik under Applications, Outposts, and use its token"
    )]
    NoOutpost,
    #[error(
        "the token does not list outpost {wanted}; it lists {listed}; correct AUTHENTIK_OUTPOST_ID or AUTHENTIK_TOKEN"
    )]
    OtherOutpost { wanted: Uuid, listed: String },
}

impl ApiError {
    /// Whether authentik may be fine and is only not reached, or not up yet. When it refuses us,
    /// it means it.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NotJson { .. } | Self::Shape { .. } => true,
            Self::Status { status, .. } => status.is_server_error(),
            Self::Token { .. } | Self::NoOutpost | Self::OtherOutpost { .. } => false,
        }
    }
}

/// What authentik answered: undecoded, so that it can be kept as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Answers {
    /// The server's version.
    pub(super) version: String,
    /// The outposts that the token lists.
    pub(super) outposts: Vec<Value>,
    /// All providers of the outpost.
    pub(super) providers: Vec<Value>,
}

impl Answers {
    /// The outpost to serve.
    pub(super) fn outpost(&self, wanted: Option<Uuid>) -> Result<Outpost, ApiError> {
        let outposts = outposts(&self.outposts);
        let listed = || {
            let names: Vec<_> = outposts
                .iter()
                .map(|o| format!("{:?} ({})", o.name, o.pk))
                .collect();
            names.join(", ")
        };
        let found = match wanted {
            None => outposts.first(),
            Some(wanted) => outposts.iter().find(|outpost| outpost.pk == wanted),
        };
        let Some(found) = found else {
            return Err(match wanted {
                Some(wanted) if !outposts.is_empty() => ApiError::OtherOutpost {
                    wanted,
                    listed: listed(),
                },
                _ => ApiError::NoOutpost,
            });
        };
        if wanted.is_none() && outposts.len() > 1 {
            tracing::warn!(
                "the token lists several outposts: {}; serving the first; set AUTHENTIK_OUTPOST_ID to choose",
                listed(),
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
    back_channel: &'a BackChannel,
}

impl<'a> Api<'a> {
    pub(super) fn new(settings: &'a Settings, back_channel: &'a BackChannel) -> Self {
        Self {
            settings,
            back_channel,
        }
    }

    /// The server's version, which we report as ours.
    async fn version(&self) -> Result<String, ApiError> {
        match self.get::<wire::Version>("admin/version/").await {
            Ok(version) => Ok(version.version_current),
            // A server that does not tell its version can still be served.
            Err(ApiError::Status { .. } | ApiError::Shape { .. } | ApiError::Token { .. }) => {
                Ok(env!("CARGO_PKG_VERSION").into())
            }
            Err(error) => Err(error),
        }
    }

    /// Everything that a configuration is made of.
    pub(super) async fn answers(&self) -> Result<Answers, ApiError> {
        let mut answers = Answers {
            version: self.version().await?,
            outposts: self.outposts().await?,
            providers: Vec::new(),
        };
        // Without an outpost the list of providers says nothing.
        answers.outpost(self.settings.outpost_id)?;
        answers.providers = self.list("outposts/proxy/").await?;
        Ok(answers)
    }

    /// The outposts that the token may serve.
    pub(super) async fn listed(&self) -> Result<Vec<wire::Outpost>, ApiError> {
        Ok(outposts(&self.outposts().await?))
    }

    /// The same as authentik sent them.
    pub(super) async fn outposts(&self) -> Result<Vec<Value>, ApiError> {
        self.list("outposts/instances/").await
    }

    /// Fingerprint of a key pair's certificate.
    pub(super) async fn fingerprint(&self, id: Uuid) -> Result<String, ApiError> {
        let pair: wire::KeyPair = self
            .get(&format!("crypto/certificatekeypairs/{id}/"))
            .await?;
        Ok(pair.fingerprint_sha256)
    }

    /// The certificate of a key pair, PEM.
    pub(super) async fn certificate(&self, id: Uuid) -> Result<String, ApiError> {
        let path = format!("crypto/certificatekeypairs/{id}/view_certificate/");
        self.get(&path).await.map(|pem: wire::Pem| pem.data)
    }

    /// The private key of a key pair, PEM.
    pub(super) async fn private_key(&self, id: Uuid) -> Result<SecretString, ApiError> {
        let path = format!("crypto/certificatekeypairs/{id}/view_private_key/");
        self.get(&path).await.map(|pem: wire::Pem| pem.data.into())
    }

    async fn list(&self, path: &str) -> Result<Vec<Value>, ApiError> {
        let mut entries = Vec::new();
        for number in 1..=MAX_PAGES {
            let page: wire::Page = self
                .get(&format!("{path}?page={number}&page_size={PAGE_SIZE}"))
                .await?;
            entries.extend(page.results);
            if page.pagination.next <= f64::from(number) {
                break;
            }
        }
        Ok(entries)
    }

    /// Adds an entry to authentik's event log.
    pub(super) async fn create_event(&self, event: &Value) -> Result<(), ApiError> {
        let request = self
            .request(Method::POST, "events/events/")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(event.to_string()));
        self.exchange("events/events/", StatusCode::CREATED, request)
            .await
            .map(|_: Value| ())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let request = self.request(Method::GET, path).body(Full::default());
        self.exchange(path, StatusCode::OK, request).await
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}api/v3/{path}", self.settings.host))
            .header(header::AUTHORIZATION, bearer(self.settings))
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, user_agent(env!("CARGO_PKG_VERSION")))
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        path: &str,
        expected: StatusCode,
        request: http::Result<Request<Full<Bytes>>>,
    ) -> Result<T, ApiError> {
        let path = path.split('?').next().unwrap_or_default();
        let url = format!("{}api/v3/{path}", self.settings.host);
        let request = request.map_err(|error| ApiError::Shape {
            url: url.clone(),
            reason: error.to_string(),
        })?;
        match self.back_channel.fetch(request).await {
            Err(source) => Err(ApiError::Unreachable { url, source }),
            Ok(answer) => decode(url, expected, &answer),
        }
    }
}

/// The value of the `Authorization` header.
pub(super) fn bearer(settings: &Settings) -> String {
    format!("Bearer {}", settings.token.expose_secret())
}

fn decode<T: DeserializeOwned>(
    url: String,
    expected: StatusCode,
    answer: &Response<Bytes>,
) -> Result<T, ApiError> {
    let status = answer.status();
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(ApiError::Token { url, status });
    }
    if status != expected {
        return Err(ApiError::Status { url, status });
    }
    let kind = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(ApiError::NotJson {
            url,
            kind: kind.unwrap_or("no content type").to_owned(),
        });
    }
    serde_json::from_slice(answer.body()).map_err(|error| ApiError::Shape {
        url,
        reason: error.to_string(),
    })
}
