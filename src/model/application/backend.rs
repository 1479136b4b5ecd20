//! The address of an application: the `internal_host` of a provider.

use http::Uri;
use http::uri::{Authority, Scheme};
use url::Url;

use crate::model::{Hint, HintText};

/// Scheme, host and port of an application.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Backend {
    scheme: Scheme,
    authority: Authority,
    uri: Uri,
    has_path: bool,
}

/// Why a text is not the address of an application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid internal host {text:?}: {reason}")]
pub struct BackendError {
    text: String,
    reason: String,
}

impl Hint for BackendError {
    fn hint(&self) -> Option<HintText> {
        Some(
            "set the provider's internal host to a URL such as http://grafana.monitoring:80".into(),
        )
    }
}

impl Backend {
    /// Reads a URL; as with the vendor's outpost, only scheme, host and port of it count.
    pub fn parse(text: &str) -> Result<Self, BackendError> {
        let refused = |reason: &str| BackendError {
            text: text.into(),
            reason: reason.into(),
        };
        let url = Url::parse(text.trim()).map_err(|error| refused(&error.to_string()))?;
        let scheme = match url.scheme() {
            "http" => Scheme::HTTP,
            "https" => Scheme::HTTPS,
            _ => return Err(refused("the scheme is neither http nor https")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it has a user name in it"));
        }
        let host = url.host_str().ok_or_else(|| refused("it has no host"))?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let authority: Authority = authority
            .parse()
            .map_err(|error: http::uri::InvalidUri| refused(&error.to_string()))?;
        let uri = Uri::builder().scheme(scheme.clone());
        let uri = uri.authority(authority.clone()).path_and_query("/").build();
        let uri = uri.map_err(|error| refused(&error.to_string()))?;
        let has_path = url.path() != "/" || url.query().is_some() || url.fragment().is_some();
        Ok(Self {
            scheme,
            authority,
            uri,
            has_path,
        })
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Host, and the port unless it is the scheme's default; IPv6 addresses in brackets.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The address, with the path `/`.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Whether the administrator wrote a path, which has no effect.
    #[must_use]
    pub fn has_path(&self) -> bool {
        self.has_path
    }
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::{Backend, Hint as _};

    #[test]
    fn reads_internal_hosts() {
        for (text, expected, has_path) in [
            (
                "http://grafana.monitoring:80",
                "http://grafana.monitoring",
                false,
            ),
            (
                " https://kong.dashboard:443/ ",
                "https://kong.dashboard",
                false,
            ),
            ("http://[fd00::1]:3000", "http://[fd00::1]:3000", false),
            ("http://10.0.0.1:8123/api?x", "http://10.0.0.1:8123", true),
            ("HTTP://A.b", "http://a.b", false),
            (
                "http://b\u{fc}cher.test",
                "http://xn--bcher-kva.test",
                false,
            ),
            ("http://under_score:80", "http://under_score", false),
        ] {
            let backend = Backend::parse(text).expect(text);
            assert_eq!(backend.to_string(), expected);
            assert_eq!(backend.has_path(), has_path, "{text}");
        }
        for bad in [
            "",
            "grafana",
            "grafana:3000",
            "ftp://x",
            "http://",
            "http://u:p@x",
            "//x",
        ] {
            let error = Backend::parse(bad).expect_err(bad).with_hint();
            assert!(error.contains("http://grafana.monitoring:80"), "{error}");
        }
    }
}
