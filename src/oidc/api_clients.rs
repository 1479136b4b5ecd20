//! Programs that bring credentials instead of signing in: tokens, and names with app passwords.

use http::{HeaderValue, Method, Request, StatusCode, header};
use openidconnect::{HttpRequest, HttpResponse};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::client::{OidcError, RelyingParty, Tokens, bare, malformed};
use super::token::read;
use crate::model::{AccessToken, Claims, Hint, HintText};

/// An answer of the introspection endpoint (RFC 7662 section 2.2).
#[derive(Deserialize)]
struct Introspection {
    active: bool,
    #[serde(default)]
    aud: Audience,
    #[serde(default)]
    client_id: Option<String>,
    #[serde(flatten)]
    claims: Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Audience {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn includes(&self, client_id: &str) -> bool {
        match self {
            Self::None => false,
            Self::One(one) => one == client_id,
            Self::Many(many) => many.iter().any(|one| one == client_id),
        }
    }
}

/// Why credentials of a program are refused. The text says the cause, [`Hint`] what to do; neither
/// holds anything of the credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `active` is false.
    #[error(
        "authentik reports the bearer token as inactive: it has expired, was revoked, or another provider issued it"
    )]
    Inactive,
    /// `active` is true, and `aud` or `client_id` are of another provider. authentik answers so for
    /// tokens of the providers that it federates (`jwt_federation_providers`).
    #[error("the bearer token is live, and another provider issued it, such as a federated one")]
    OtherProvider,
    /// `active` is true, and `exp` has passed or is absent.
    #[error("the bearer token has no time of expiry, or it has passed")]
    Expired,
    /// authentik publishes no introspection endpoint.
    #[error("the provider has no introspection endpoint, so bearer tokens cannot be checked")]
    NoIntrospection,
    /// The token endpoint refuses a user name with an app password.
    #[error("authentik does not accept the user name and app password")]
    Password,
}

impl Hint for Refusal {
    fn hint(&self) -> Option<HintText> {
        let hint = match self {
            Self::Inactive => {
                "request a new token with the client ID of this application's provider"
            }
            Self::OtherProvider => {
                "request the token with the client ID of this application's provider: tokens of federated providers are not accepted, or exchange them at authentik's token endpoint first"
            }
            Self::Expired => "request a new token, and check the clock of this host",
            Self::NoIntrospection => "check the version of authentik",
            Self::Password => "check both, and whether the user may use the application",
        };
        Some(hint.into())
    }
}

/// An answer of the token endpoint to client credentials.
#[derive(Deserialize)]
struct Issued {
    access_token: String,
    id_token: Option<String>,
}

impl RelyingParty {
    /// Whether authentik still stands by a token. Without an introspection endpoint there is
    /// no request that could deny it.
    pub async fn is_active(&self, access_token: &AccessToken) -> Result<bool, OidcError> {
        let found = self.ask(access_token).await?;
        Ok(found.is_none_or(|found| found.active))
    }

    /// Has authentik forget a token (RFC 7009 section 2.1), so that it is inactive from now on. Does
    /// nothing without a revocation endpoint.
    pub async fn revoke(&self, access_token: &AccessToken) -> Result<(), OidcError> {
        let Some(url) = &self.endpoints.revocation else {
            return Ok(());
        };
        let form = [
            ("client_id", self.client_id.as_str()),
            ("client_secret", self.secret.expose_secret()),
            ("token", access_token.expose_secret()),
        ];
        self.send_expecting_ok(post(url, &form)?).await.map(|_| ())
    }

    /// The claims of a token that a program brings; refused if authentik does not stand by it, or
    /// if it was issued for another application (CVE-2024-47077).
    pub async fn introspect(
        &self,
        token: &SecretString,
        now: i64,
    ) -> Result<Result<Claims, Refusal>, OidcError> {
        let Some(found) = self.ask(token).await? else {
            return Ok(Err(Refusal::NoIntrospection));
        };
        if !found.active {
            return Ok(Err(Refusal::Inactive));
        }
        let is_audience = found.aud.includes(&self.client_id)
            && found.client_id.is_none_or(|id| id == self.client_id);
        if !is_audience {
            return Ok(Err(Refusal::OtherProvider));
        }
        let claims = read(found.claims)?;
        let is_live = claims.exp.is_some_and(|exp| exp > now);
        Ok(is_live.then_some(claims).ok_or(Refusal::Expired))
    }

    /// Tokens for a user's name and app password (RFC 6749 section 4.4, with authentik's
    /// extension).
    pub async fn client_credentials(
        &self,
        username: &str,
        password: &SecretString,
        now: i64,
    ) -> Result<Result<Tokens, Refusal>, OidcError> {
        let scopes: Vec<&str> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        let url = &self.endpoints.token;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("username", username),
            ("password", password.expose_secret()),
            ("scope", &scopes.join(" ")),
        ];
        let found = self.send(post(url, &form)?).await?;
        match found.status() {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => {
                return Ok(Err(Refusal::Password));
            }
            status => {
                return Err(OidcError::Malformed {
                    url: bare(url.as_str()),
                    reason: format!("status {status}"),
                });
            }
        }
        // The error is not quoted: it may hold tokens.
        let issued: Issued = serde_json::from_slice(found.body())
            .map_err(|_| malformed(url, "it is no token response"))?;
        let token = issued.id_token.as_ref().unwrap_or(&issued.access_token);
        if self.verifier.lacks_key_of(token) {
            self.fetch_keys().await?;
        }
        let claims = self.verifier.verify(token, now)?;
        Ok(Ok(Tokens {
            claims,
            access_token: issued.access_token.into(),
            refresh_token: None,
        }))
    }

    /// `None` without an introspection endpoint.
    async fn ask(
        &self,
        token: &impl ExposeSecret<str>,
    ) -> Result<Option<Introspection>, OidcError> {
        let Some(url) = &self.endpoints.introspection else {
            return Ok(None);
        };
        let form = [
            ("client_id", self.client_id.as_str()),
            ("client_secret", self.secret.expose_secret()),
            ("token", token.expose_secret()),
        ];
        let found: HttpResponse = self.send_expecting_ok(post(url, &form)?).await?;
        let found = serde_json::from_slice(found.body());
        found.map(Some).map_err(|error| malformed(url, error))
    }
}

fn post(url: &Url, form: &[(&str, &str)]) -> Result<HttpRequest, OidcError> {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    Request::builder()
        .method(Method::POST)
        .uri(url.as_str())
        .header(header::CONTENT_TYPE, form)
        .body(body.into_bytes())
        .map_err(|error| malformed(url, error))
}
