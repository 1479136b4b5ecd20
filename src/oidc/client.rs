//! The OAuth client of one application: authorization URLs, codes, introspection.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use openidconnect::core::{CoreClient, CoreErrorResponseType, CoreResponseType};
use openidconnect::{
    AuthType, AuthUrl, AuthenticationFlow, AuthorizationCode, ClientId, ClientSecret, CsrfToken,
    EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, IssuerUrl, JsonWebKeySet, Nonce,
    OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, Scope, StandardErrorResponse, TokenUrl,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::Url;

use super::{Endpoints, Origin, TokenError, Verifier};
use crate::model::{Application, Claims, Hint, HintText};
use crate::web::client::{BackChannel, FetchError};

type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
    EndpointNotSet,
>;

/// One application's relationship with authentik.
pub struct RelyingParty {
    client: Client,
    pub(super) scopes: Vec<Scope>,
    pub(super) client_id: String,
    pub(super) secret: SecretString,
    pub(super) endpoints: Endpoints,
    pub(super) verifier: Verifier,
    back_channel: BackChannel,
}

/// A verified answer of the token endpoint.
#[derive(Clone)]
pub struct Tokens {
    /// The access token's claims.
    pub claims: Claims,
    /// The access token as received.
    pub access_token: SecretString,
    /// What new tokens are got with later, where the application asked for `offline_access`.
    pub refresh_token: Option<SecretString>,
}

/// Why a response of authentik cannot be used. The text says the cause, [`Hint`] what to do.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// No answer.
    #[error("authentik cannot be reached at {url}: {source}")]
    Unreachable {
        /// What was asked, without query.
        url: String,
        /// The cause.
        source: FetchError,
    },
    /// The code is unknown, used, expired or was issued for another request (RFC 6749 section 5.2).
    #[error("authentik no longer accepts the authorization code")]
    CodeRefused,
    /// The token endpoint rejects the client.
    #[error("authentik refuses the code exchange with {code:?}")]
    Refused {
        /// The `error` of the answer.
        code: String,
    },
    /// Not an OAuth answer.
    #[error("the response of {url} cannot be decoded: {reason}")]
    Malformed {
        /// What was asked, without query.
        url: String,
        /// What was found.
        reason: String,
    },
    /// The token does not verify.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token belongs to another login.
    #[error("the token does not carry this login's nonce")]
    Nonce,
}

impl Hint for OidcError {
    fn hint(&self) -> Option<HintText> {
        match self {
            Self::Unreachable { source, .. } => Some(source.hint_for_authentik().into()),
            Self::Refused { .. } => {
                Some("check the provider's client secret and redirect URIs".into())
            }
            Self::Malformed { .. } => {
                Some("check authentik's own log, and the proxies in front of authentik".into())
            }
            Self::Token(error) => error.hint(),
            Self::CodeRefused | Self::Nonce => None,
        }
    }
}

/// A provider that no client can be made of.
#[derive(Debug, thiserror::Error)]
#[error("the provider's URLs cannot be used: {0}")]
pub struct ClientError(#[from] url::ParseError);

impl RelyingParty {
    /// The client of `application`.
    pub fn new(
        application: &Application,
        endpoints: Endpoints,
        algorithms: &[String],
        back_channel: BackChannel,
    ) -> Result<Self, ClientError> {
        let id = &application.client.id;
        let secret = application.client.secret.clone();
        let verifier = Verifier::new(
            endpoints.issuers.clone(),
            id,
            secret.expose_secret(),
            algorithms,
        );
        let issuer = endpoints.issuers.first().cloned().unwrap_or_default();
        let client = CoreClient::new(
            ClientId::new(id.clone()),
            IssuerUrl::new(issuer)?,
            JsonWebKeySet::default(),
        )
        .set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
        .set_auth_type(AuthType::RequestBody)
        .disable_openid_scope()
        .set_auth_uri(AuthUrl::from_url(endpoints.authorization.clone()))
        .set_token_uri(TokenUrl::from_url(endpoints.token.clone()))
        .set_redirect_uri(RedirectUrl::new(application.redirect_uri())?);
        let scopes = application
            .client
            .scopes
            .iter()
            .cloned()
            .map(Scope::new)
            .collect();
        Ok(Self {
            client,
            scopes,
            client_id: id.clone(),
            secret,
            endpoints,
            verifier,
            back_channel,
        })
    }

    /// The URLs in use.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Where to send the browser to sign in (RFC 6749 section 4.1.1, with PKCE S256).
    #[must_use]
    pub fn authorize_url(&self, state: String, nonce: String, verifier: String) -> Url {
        let verifier = PkceCodeVerifier::new(verifier);
        let (url, _, _) = self
            .client
            .authorize_url(
                AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
                move || CsrfToken::new(state),
                move || Nonce::new(nonce),
            )
            .add_scopes(self.scopes.iter().cloned())
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .url();
        url
    }

    /// Where to send the browser to sign out (`OpenID` Connect RP-Initiated Logout section 2). No
    /// `id_token_hint`: authentik knows the application by the URL and the user by its own cookie,
    /// and a token in a URL ends in logs and histories (RFC 9700 section 4.3.2).
    #[must_use]
    pub fn end_session_url(&self) -> Option<&Url> {
        self.endpoints.end_session.as_ref()
    }

    /// Exchanges a code for tokens and verifies them (RFC 6749 section 4.1.3, `OpenID` Connect Core
    /// section 3.1.3.7).
    pub async fn redeem(
        &self,
        code: &str,
        verifier: String,
        nonce: &str,
        now: i64,
    ) -> Result<Tokens, OidcError> {
        let id_token = Arc::new(OnceLock::new());
        let send = self.token_request(&id_token);
        let answer = self
            .client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier))
            .request_async(&send)
            .await
            .map_err(|error| self.refused(error))?;
        let access_token = answer.access_token().secret().clone();
        if self.verifier.lacks_key_of(&access_token) {
            self.fetch_keys().await?;
        }
        let claims = self.verifier.verify(&access_token, now)?;
        let id_nonce = match id_token.get() {
            Some(token) => self.verifier.verify(token, now)?.nonce,
            None => None,
        };
        let nonces = [claims.nonce.as_deref(), id_nonce.as_deref()];
        let missing = id_token.get().is_some() && nonces == [None, None];
        if missing || nonces.into_iter().flatten().any(|found| found != nonce) {
            return Err(OidcError::Nonce);
        }
        Ok(Tokens {
            claims,
            access_token: access_token.into(),
            refresh_token: answer
                .refresh_token()
                .map(|token| token.secret().clone().into()),
        })
    }

    /// New tokens for a refresh token (RFC 6749 section 6); `None` if authentik refuses it.
    pub async fn refresh(
        &self,
        refresh_token: &SecretString,
        now: i64,
    ) -> Result<Option<Tokens>, OidcError> {
        let send = self.token_request(&Arc::default());
        let token = RefreshToken::new(refresh_token.expose_secret().to_owned());
        let answer = self.client.exchange_refresh_token(&token);
        let answer = match answer.request_async(&send).await {
            Ok(answer) => answer,
            Err(error) => {
                return match self.refused(error) {
                    OidcError::CodeRefused => Ok(None),
                    error => Err(error),
                };
            }
        };
        let access_token = answer.access_token().secret().clone();
        if self.verifier.lacks_key_of(&access_token) {
            self.fetch_keys().await?;
        }
        let claims = self.verifier.verify(&access_token, now)?;
        let next = answer
            .refresh_token()
            .map(|token| token.secret().clone().into());
        Ok(Some(Tokens {
            claims,
            access_token: access_token.into(),
            // The old one stays good where no other is issued.
            refresh_token: Some(next.unwrap_or_else(|| refresh_token.clone())),
        }))
    }

    /// Sends a request to the token endpoint. The ID token is taken out of the answer: verified
    /// with the access token's rules, it decides by its nonce alone, while `openidconnect` would
    /// refuse it for any claim about the user that has an unusual type.
    fn token_request(
        &self,
        id_token: &Arc<OnceLock<String>>,
    ) -> impl Fn(HttpRequest) -> BoxFuture<'static, Result<HttpResponse, OidcError>> + use<> {
        let (back_channel, host) = (self.back_channel.clone(), self.endpoints.host.clone());
        let id_token = Arc::clone(id_token);
        move |request| {
            let (back_channel, host) = (back_channel.clone(), host.clone());
            let id_token = Arc::clone(&id_token);
            Box::pin(async move {
                let answer = send(back_channel, host, request).await?;
                Ok(answer.map(|body| without_id_token(body, &id_token)))
            })
        }
    }

    /// Fetches the keys that tokens are verified with; how many there are, understood or not.
    pub(super) async fn fetch_keys(&self) -> Result<usize, OidcError> {
        /// Decoded one by one, so that a key of a new kind does not invalidate the others.
        #[derive(serde::Deserialize)]
        struct Keys {
            keys: Vec<serde_json::Value>,
        }
        let Some(url) = &self.endpoints.jwks else {
            return Ok(0);
        };
        let request = Request::builder().uri(url.as_str()).body(Vec::new());
        let answer = self
            .send_expecting_ok(request.map_err(|error| malformed(url, error))?)
            .await?;
        let keys: Keys =
            serde_json::from_slice(answer.body()).map_err(|error| malformed(url, error))?;
        let received = keys.keys.len();
        let keys = keys.keys.into_iter();
        let keys = keys.filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys = keys.filter(|key| DecodingKey::from_jwk(key).is_ok());
        self.verifier.replace_keys(JwkSet {
            keys: keys.collect(),
        });
        Ok(received)
    }

    pub(super) async fn send(&self, request: HttpRequest) -> Result<HttpResponse, OidcError> {
        let (back_channel, host) = (self.back_channel.clone(), self.endpoints.host.clone());
        send(back_channel, host, request).await
    }

    pub(super) async fn send_expecting_ok(
        &self,
        request: HttpRequest,
    ) -> Result<HttpResponse, OidcError> {
        let url = bare(&request.uri().to_string());
        let answer = self.send(request).await?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        Err(OidcError::Malformed {
            url,
            reason: format!("status {}", answer.status()),
        })
    }

    fn refused(
        &self,
        error: RequestTokenError<OidcError, StandardErrorResponse<CoreErrorResponseType>>,
    ) -> OidcError {
        match error {
            RequestTokenError::Request(error) => error,
            RequestTokenError::ServerResponse(refusal) => match refusal.error().as_ref() {
                "invalid_grant" => OidcError::CodeRefused,
                code => OidcError::Refused {
                    code: code.to_owned(),
                },
            },
            // The body is not quoted: it may hold tokens.
            RequestTokenError::Parse(error, _) => malformed(&self.endpoints.token, error.inner()),
            RequestTokenError::Other(reason) => OidcError::Malformed {
                url: bare(self.endpoints.token.as_str()),
                reason,
            },
        }
    }
}

/// A token response without its ID token, which is kept. What is no token response stays as it is.
fn without_id_token(body: Vec<u8>, id_token: &OnceLock<String>) -> Vec<u8> {
    let Ok(Value::Object(mut response)) = serde_json::from_slice(&body) else {
        return body;
    };
    if let Some(Value::String(token)) = response.remove("id_token") {
        // The only answer to the only request.
        let _ = id_token.set(token);
    }
    serde_json::to_vec(&response).unwrap_or(body)
}

/// Sends a back-channel request in the name that browsers know authentik by.
async fn send(
    back_channel: BackChannel,
    host: Option<Origin>,
    request: HttpRequest,
) -> Result<HttpResponse, OidcError> {
    let (mut parts, body) = request.into_parts();
    if let Some(origin) = host {
        if let Ok(host) = HeaderValue::from_str(&origin.authority) {
            parts.headers.insert(header::HOST, host);
        }
        if let Ok(scheme) = HeaderValue::from_str(&origin.scheme) {
            parts.headers.insert("x-forwarded-proto", scheme);
        }
    }
    let url = bare(&parts.uri.to_string());
    let request = Request::from_parts(parts, Full::new(Bytes::from(body)));
    let answer = back_channel.fetch(request).await;
    let answer = answer.map_err(|source| OidcError::Unreachable { url, source })?;
    Ok(answer.map(|body| body.to_vec()))
}

pub(super) fn malformed(url: &Url, error: impl std::fmt::Display) -> OidcError {
    OidcError::Malformed {
        url: bare(url.as_str()),
        reason: error.to_string(),
    }
}

/// A URL without query, which may hold secrets.
pub(super) fn bare(url: &str) -> String {
    url.split('?').next().unwrap_or_default().to_owned()
}
