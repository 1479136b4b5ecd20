//! Requests to authentik that sign in no user, for `authentik-proxy doctor`.

use http::{Request, StatusCode};
use url::Url;

use super::Origin;
use super::client::{OidcError, RelyingParty, bare, malformed};

/// What authentik says of our client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// It would sign users in and redirect them back.
    Yes,
    /// It knows no such client, or not the redirect URI.
    No,
    /// It answers with something else.
    Unclear(StatusCode),
}

/// How many keys authentik publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// All of them.
    pub received: usize,
    /// Keys of supported types.
    pub understood: usize,
}

impl RelyingParty {
    /// The issuer that tokens will carry: what the discovery document of the application `slug`
    /// says when it is asked for in the name that the back channel uses. Where that document is,
    /// authentik decides: with one issuer for all providers it is not below the issuer, as
    /// `OpenID` Connect Discovery 1.0 section 4 wants it.
    pub async fn discovered_issuer(&self, slug: &str) -> Result<String, OidcError> {
        #[derive(serde::Deserialize)]
        struct Discovery {
            issuer: String,
        }
        // Both are below `/application/o/`.
        let path = format!("../{slug}/.well-known/openid-configuration");
        let token = &self.endpoints.token;
        let url = token.join(&path).map_err(|error| malformed(token, error))?;
        let request = Request::builder().uri(url.as_str()).body(Vec::new());
        let request = request.map_err(|error| malformed(&url, error))?;
        let found = self.send_expecting_ok(request).await?;
        let found: Result<Discovery, _> = serde_json::from_slice(found.body());
        found
            .map(|found| found.issuer)
            .map_err(|error| malformed(&url, error))
    }

    /// The keys that authentik publishes for this provider's tokens; `None` where they are signed
    /// with the client secret.
    pub async fn published_keys(&self) -> Result<Option<Published>, OidcError> {
        if self.verifier.published_keys().is_none() {
            return Ok(None);
        }
        let received = self.fetch_keys().await?;
        let understood = self.verifier.published_keys().unwrap_or_default();
        Ok(Some(Published {
            received,
            understood,
        }))
    }

    /// Whether authentik can be asked about a token, and answers then.
    pub async fn introspects(&self) -> Result<bool, OidcError> {
        if self.endpoints.introspection.is_none() {
            return Ok(false);
        }
        self.is_active(&"probe".into()).await.map(|_| true)
    }

    /// Whether authentik accepts our authorization request with its redirect URI.
    pub async fn accepted(&self) -> Result<Accepted, OidcError> {
        let text = |text: &str| text.to_owned();
        let url = self.authorize_url(text("probe"), text("probe"), "probe".repeat(10));
        let url = self.inside(url.as_str())?;
        let request = Request::builder().uri(url.as_str()).body(Vec::new());
        let found = self
            .send(request.map_err(|error| malformed(&url, error))?)
            .await?;
        Ok(match found.status() {
            status if status.is_redirection() || status == StatusCode::OK => Accepted::Yes,
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => Accepted::No,
            status => Accepted::Unclear(status),
        })
    }

    /// A URL for browsers, by the host for the outpost.
    fn inside(&self, url: &str) -> Result<Url, OidcError> {
        let refused = |error: url::ParseError| OidcError::Malformed {
            url: bare(url),
            reason: error.to_string(),
        };
        let url = Url::parse(url).map_err(refused)?;
        Ok(Origin::of(&self.endpoints.token).applied_to(&url))
    }
}
