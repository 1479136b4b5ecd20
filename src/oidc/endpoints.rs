//! Endpoints of authentik, by its host for browsers and its host for the outpost ("hybrid URLs").

use serde::Deserialize;
use url::Url;

/// The URLs of a provider as authentik gives them; built there from the `Host` of our request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ProviderUrls {
    /// `issuer`.
    pub issuer: String,
    /// `authorization_endpoint`.
    pub authorization_endpoint: String,
    /// `token_endpoint`.
    pub token_endpoint: String,
    /// `introspection_endpoint`.
    pub introspection_endpoint: Option<String>,
    /// `revocation_endpoint`.
    pub revocation_endpoint: Option<String>,
    /// `end_session_endpoint`.
    pub end_session_endpoint: Option<String>,
    /// `jwks_uri`.
    pub jwks_uri: Option<String>,
    /// `id_token_signing_alg_values_supported`.
    pub id_token_signing_alg_values_supported: Option<Vec<String>>,
}

/// Scheme and host of authentik as tokens and browsers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: String,
    /// `host[:port]`.
    pub authority: String,
}

impl Origin {
    /// The origin of a URL.
    #[must_use]
    pub fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Self {
            scheme: url.scheme().to_owned(),
            authority,
        }
    }

    /// `url` with this scheme and host; path and query stay.
    pub(super) fn applied_to(&self, url: &Url) -> Url {
        let rest = &url[url::Position::BeforePath..];
        Url::parse(&format!("{}://{}{rest}", self.scheme, self.authority))
            .unwrap_or_else(|_| url.clone())
    }
}

/// The URLs of one application, by their user: browser or back channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Front channel: where browsers are sent to sign in.
    pub authorization: Url,
    /// Front channel: where browsers are sent to sign out.
    pub end_session: Option<Url>,
    /// Back channel: code exchange.
    pub token: Url,
    /// Back channel: is a token still good?
    pub introspection: Option<Url>,
    /// Back channel: revocation of tokens.
    pub revocation: Option<Url>,
    /// Back channel: public keys.
    pub jwks: Option<Url>,
    /// Accepted values of `iss`.
    pub issuers: Vec<String>,
    /// What the back channel puts into `Host` and `X-Forwarded-Proto`, so that authentik issues
    /// tokens in the name that browsers know.
    pub host: Option<Origin>,
}

/// A provider whose URLs cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("authentik's {name} {value:?} is not a URL")]
pub struct EndpointsError {
    name: &'static str,
    value: String,
}

impl Endpoints {
    /// Applies the rules for internal and external URLs.
    ///
    /// - `browser` (`AUTHENTIK_HOST_BROWSER`): front channel and issuer take its origin.
    /// - `configured` (the outpost's `authentik_host`): the back channel names it as `Host`. If
    ///   `is_local`, browsers are also sent there: an embedded outpost, or one over a Unix socket,
    ///   reaches authentik by a name that has a meaning on this host only.
    pub fn new(
        urls: &ProviderUrls,
        browser: Option<&Url>,
        configured: Option<&Url>,
        is_local: bool,
    ) -> Result<Self, EndpointsError> {
        let required = |name, text: &str| {
            Url::parse(text).map_err(|_| EndpointsError {
                name,
                value: text.to_owned(),
            })
        };
        let optional = |name, text: &Option<String>| match text.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => required(name, text).map(Some),
        };
        let issuer = required("issuer", &urls.issuer)?;
        let front = browser
            .or(if is_local { configured } else { None })
            .map(Origin::of);
        let host = browser.or(configured).map(Origin::of);
        let move_front = |url: Url| {
            front
                .as_ref()
                .map_or(url.clone(), |origin| origin.applied_to(&url))
        };
        let issuers = match (&front, &host) {
            (Some(front), _) => vec![front.applied_to(&issuer).into()],
            (None, Some(host)) => {
                let mut accepted = vec![
                    String::from(issuer.clone()),
                    host.applied_to(&issuer).into(),
                ];
                accepted.dedup();
                accepted
            }
            (None, None) => vec![issuer.into()],
        };
        Ok(Self {
            authorization: move_front(required(
                "authorization_endpoint",
                &urls.authorization_endpoint,
            )?),
            end_session: optional("end_session_endpoint", &urls.end_session_endpoint)?
                .map(move_front),
            token: required("token_endpoint", &urls.token_endpoint)?,
            introspection: optional("introspection_endpoint", &urls.introspection_endpoint)?,
            revocation: optional("revocation_endpoint", &urls.revocation_endpoint)?,
            jwks: optional("jwks_uri", &urls.jwks_uri)?,
            issuers,
            host,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(base: &str) -> ProviderUrls {
        ProviderUrls {
            issuer: format!("{base}application/o/grafana/"),
            authorization_endpoint: format!("{base}application/o/authorize/"),
            token_endpoint: format!("{base}application/o/token/"),
            introspection_endpoint: Some(format!("{base}application/o/introspect/")),
            revocation_endpoint: Some(format!("{base}application/o/revoke/")),
            end_session_endpoint: Some(format!("{base}application/o/grafana/end-session/")),
            jwks_uri: Some(format!("{base}application/o/grafana/jwks/")),
            id_token_signing_alg_values_supported: None,
        }
    }

    fn endpoints(base: &str, browser: &str, configured: &str, embedded: bool) -> Endpoints {
        let url = |text: &str| Url::parse(text).ok();
        Endpoints::new(
            &urls(base),
            url(browser).as_ref(),
            url(configured).as_ref(),
            embedded,
        )
        .expect("endpoints")
    }

    const INTERNAL: &str = "http://authentik.svc:80/";

    #[test]
    fn browser_host_moves_the_front_channel_only() {
        let e = endpoints(
            INTERNAL,
            "https://sso.test:8443",
            "http://authentik.svc/",
            false,
        );
        assert_eq!(
            e.authorization.as_str(),
            "https://sso.test:8443/application/o/authorize/"
        );
        assert_eq!(e.end_session.expect("set").host_str(), Some("sso.test"));
        assert_eq!(e.issuers, ["https://sso.test:8443/application/o/grafana/"]);
        assert_eq!(
            e.token.as_str(),
            "http://authentik.svc/application/o/token/"
        );
        let host = e.host.expect("an override");
        assert_eq!(
            (host.scheme.as_str(), host.authority.as_str()),
            ("https", "sso.test:8443")
        );
    }

    #[test]
    fn without_browser_host_urls_stay_and_both_names_of_the_issuer_count() {
        let e = endpoints("http://authentik.svc/auth/", "", "https://sso.test/", false);
        assert_eq!(
            e.authorization.as_str(),
            "http://authentik.svc/auth/application/o/authorize/"
        );
        assert_eq!(
            e.issuers,
            [
                "http://authentik.svc/auth/application/o/grafana/",
                "https://sso.test/auth/application/o/grafana/"
            ]
        );
        assert_eq!(e.host.expect("an override").authority, "sso.test");
        assert_eq!(
            endpoints(INTERNAL, "", "http://authentik.svc/", false)
                .issuers
                .len(),
            1
        );
    }

    #[test]
    fn the_embedded_outpost_sends_browsers_to_the_configured_host() {
        let e = endpoints("http://localhost:9000/", "", "https://sso.test/", true);
        assert_eq!(
            e.authorization.as_str(),
            "https://sso.test/application/o/authorize/"
        );
        assert_eq!(e.issuers, ["https://sso.test/application/o/grafana/"]);
        assert_eq!(
            e.token.as_str(),
            "http://localhost:9000/application/o/token/"
        );
    }

    #[test]
    fn names_the_url_that_is_missing() {
        let error = Endpoints::new(&ProviderUrls::default(), None, None, false).expect_err("empty");
        assert!(error.to_string().contains("issuer"), "{error}");
    }
}
