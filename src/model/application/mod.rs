//! A protected application: the validated form of a provider at authentik.

pub(super) mod backend;
pub(super) mod cookie_domain;

use secrecy::SecretString;
use url::Url;

use crate::model::{Allowlist, Authority, Backend, CookieDomain, Hint, HintText, Policy, Scheme};

/// Path of the outpost's own pages.
const OUTPOST_PATH: &str = "outpost.goauthentik.io";
/// Query that marks the OAuth callback on any path.
const CALLBACK_QUERY: &str = "X-authentik-auth-callback=true";

/// One protected application.
#[derive(Debug)]
pub struct Application {
    /// Primary key of the provider at authentik.
    pub id: i64,
    /// Name of the provider.
    pub name: String,
    /// Slug of the application, empty if none is assigned.
    pub slug: String,
    /// Display name of the application; falls back to the provider's.
    pub title: String,
    /// How requests reach the outpost.
    pub mode: Mode,
    /// The external URL of the application.
    pub external: ExternalUrl,
    /// Its internal address; in [`Mode::Proxy`] only.
    pub backend: Option<Backend>,
    /// Whether its certificate there is not verified.
    pub backend_insecure: bool,
    /// The OAuth client at authentik.
    pub client: OAuthClient,
    /// Paths that need no session.
    pub allowlist: Allowlist,
    /// HTTP basic credentials to send to the application.
    pub basic_auth: Option<BasicAuth>,
    /// Whether credentials in `Authorization` are for the outpost; otherwise they are the application's.
    pub intercept_header_auth: bool,
    /// The operator's settings in the outpost's configuration file.
    pub policy: Policy,
}

#[cfg(test)]
impl Application {
    /// An application to test with.
    pub(crate) fn sample(external: &str, mode: Mode) -> Self {
        Self {
            id: 1,
            name: "n".into(),
            slug: "s".into(),
            title: "t".into(),
            mode,
            external: ExternalUrl::parse(external).expect(external),
            backend: None,
            backend_insecure: false,
            client: OAuthClient {
                id: "c".into(),
                secret: "s".into(),
                cookie_secret: "k".into(),
                scopes: vec![],
            },
            allowlist: Allowlist::default(),
            basic_auth: None,
            intercept_header_auth: true,
            policy: Policy::default(),
        }
    }
}

impl Application {
    /// The redirect URI that authentik has registered for this application and that is routed to
    /// us: compared there as a string, so this is built as a string.
    ///
    /// With a path and no trailing slash authentik loses the path; then proxy mode takes the
    /// second registered value, because only the application's path is surely routed to the outpost.
    #[must_use]
    pub fn redirect_uri(&self) -> String {
        let external = &self.external;
        if matches!(self.mode, Mode::Proxy) && external.loses_path_when_joined() {
            return format!("{}?{CALLBACK_QUERY}", external.raw);
        }
        let base = &external.raw_path[..external.raw_path.rfind('/').map_or(0, |slash| slash + 1)];
        let base = if base.is_empty() { "/" } else { base };
        format!(
            "{}{base}{OUTPOST_PATH}/callback?{CALLBACK_QUERY}",
            external.raw_origin
        )
    }

    /// The `Domain` attribute of the session cookie, if it has one.
    #[must_use]
    pub fn cookie_domain(&self) -> Option<&CookieDomain> {
        match &self.mode {
            Mode::ForwardDomain(domain) => Some(domain),
            Mode::Proxy | Mode::ForwardSingle => None,
        }
    }
}

/// How requests of an application reach the outpost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// All traffic passes through the outpost.
    Proxy,
    /// A reverse proxy sends authorization requests for one host.
    ForwardSingle,
    /// A reverse proxy sends authorization requests for every host below a domain.
    ForwardDomain(CookieDomain),
}

/// Our client at authentik (RFC 6749 section 2).
#[derive(Debug)]
pub struct OAuthClient {
    /// `client_id`.
    pub id: String,
    /// `client_secret`; also the HS256 key of the tokens.
    pub secret: SecretString,
    /// Secret from which the keys of cookies are derived.
    pub cookie_secret: SecretString,
    /// Scopes to ask for.
    pub scopes: Vec<String>,
}

/// Names of the user attributes that hold HTTP basic credentials for the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicAuth {
    /// Attribute with the user name; the e-mail address is used where it is absent.
    pub user_attribute: String,
    /// Attribute with the password; nothing is sent where it is absent.
    pub password_attribute: String,
}

/// The `external_host` of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalUrl {
    scheme: Scheme,
    host: String,
    port: Option<u16>,
    home: String,
    raw: String,
    raw_origin: String,
    raw_path: String,
}

/// Why an `external_host` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("invalid external host {text:?}: {reason}")]
pub struct ExternalUrlError {
    text: String,
    reason: String,
}

impl Hint for ExternalUrlError {
    fn hint(&self) -> Option<HintText> {
        Some("set the provider's external host to a URL such as https://app.example.com".into())
    }
}

impl ExternalUrl {
    /// Reads the URL; query and fragment are refused, because nothing could be joined to them.
    pub fn parse(text: &str) -> Result<Self, ExternalUrlError> {
        let refused = |reason: &str| ExternalUrlError {
            text: text.into(),
            reason: reason.into(),
        };
        let raw = text.trim();
        let url = Url::parse(raw).map_err(|error| refused(&error.to_string()))?;
        let scheme = Scheme::parse(url.scheme())
            .ok_or_else(|| refused("the scheme is neither http nor https"))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused("it has a query or a fragment"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it has a user name in it"));
        }
        let host = url.host_str().ok_or_else(|| refused("it has no host"))?;
        Authority::parse(host).map_err(|error| refused(&error.to_string()))?;
        let after_scheme = raw
            .find("://")
            .ok_or_else(|| refused("the scheme lacks ://"))?
            + 3;
        let path_start = raw[after_scheme..]
            .find('/')
            .map_or(raw.len(), |slash| after_scheme + slash);
        Ok(Self {
            scheme,
            host: host.trim_end_matches('.').to_ascii_lowercase(),
            port: url.port(),
            // What is not ASCII (an IDN) could not travel in a redirect.
            home: if raw.is_ascii() {
                raw.to_owned()
            } else {
                url.as_str().to_owned()
            },
            raw: raw.to_owned(),
            raw_origin: raw[..path_start].to_owned(),
            raw_path: raw[path_start..].to_owned(),
        })
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether browsers reach the application over TLS, so that cookies are `Secure`.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// Host, port and path, which requests are routed by: equal for two ways to write one address.
    #[must_use]
    pub fn routed(&self) -> String {
        let port = self
            .port
            .map_or_else(String::new, |port| format!(":{port}"));
        format!("{}{port}{}", self.host, self.path_prefix())
    }

    /// The host in lower case, without port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, unless it is the scheme's default.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// `scheme://host[:port]`, lower case, without a trailing slash.
    #[must_use]
    pub fn origin(&self) -> String {
        match self.port {
            Some(port) => format!("{}://{}:{port}", self.scheme.as_str(), self.host),
            None => format!("{}://{}", self.scheme.as_str(), self.host),
        }
    }

    /// The path without trailing slash: empty for a whole host.
    #[must_use]
    pub fn path_prefix(&self) -> &str {
        self.raw_path.trim_end_matches('/')
    }

    /// What follows the outpost's own path, `/outpost.goauthentik.io`, in a path that has it right
    /// below this URL, byte for byte: below the whole path, or where authentik registers the
    /// callback of a URL without trailing slash.
    #[must_use]
    pub fn own_path<'p>(&self, path: &'p str) -> Option<&'p str> {
        let joined = &self.raw_path[..self.raw_path.rfind('/').unwrap_or(0)];
        let own = |base| {
            let below = path.strip_prefix(base)?;
            below.strip_prefix('/')?.strip_prefix(OUTPOST_PATH)
        };
        own(self.path_prefix()).or_else(|| own(joined))
    }

    /// The whole URL in ASCII, otherwise as the administrator wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.home
    }

    fn loses_path_when_joined(&self) -> bool {
        !self.raw_path.is_empty() && !self.raw_path.ends_with('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_uri_is_one_that_two_real_servers_registered() {
        for recording in crate::recordings::both() {
            let registered = recording.api["redirect_uris"].as_object();
            for (external, uris) in registered.expect("redirect URIs") {
                let domain = CookieDomain::parse("site.test").expect("a domain");
                for mode in [
                    Mode::Proxy,
                    Mode::ForwardSingle,
                    Mode::ForwardDomain(domain),
                ] {
                    let uri = Application::sample(external, mode.clone()).redirect_uri();
                    let uris = uris.as_array().expect("URIs");
                    assert!(uris.contains(&uri.into()), "{external} {mode:?}: {uris:?}");
                }
            }
        }
    }

    /// Of the two that authentik registered (recorded), the one that is routed to the outpost.
    #[test]
    fn redirect_uri_is_one_that_authentik_registered() {
        let tail = "outpost.goauthentik.io/callback?X-authentik-auth-callback=true";
        for (external, mode, expected) in [
            (
                "https://a.test",
                Mode::ForwardSingle,
                format!("https://a.test/{tail}"),
            ),
            (
                "https://a.test/",
                Mode::Proxy,
                format!("https://a.test/{tail}"),
            ),
            (
                "https://a.test:8443",
                Mode::Proxy,
                format!("https://a.test:8443/{tail}"),
            ),
            (
                "http://a.test",
                Mode::Proxy,
                format!("http://a.test/{tail}"),
            ),
            (
                "https://a.test/sub/",
                Mode::Proxy,
                format!("https://a.test/sub/{tail}"),
            ),
            (
                "https://a.test/sub",
                Mode::ForwardSingle,
                format!("https://a.test/{tail}"),
            ),
            (
                "https://a.test/sub",
                Mode::Proxy,
                "https://a.test/sub?X-authentik-auth-callback=true".into(),
            ),
            (
                "https://A.test",
                Mode::ForwardSingle,
                format!("https://A.test/{tail}"),
            ),
        ] {
            assert_eq!(
                Application::sample(external, mode.clone()).redirect_uri(),
                expected,
                "{external} {mode:?}"
            );
        }
    }

    #[test]
    fn ap_2026_02_own_paths_are_right_below_the_external_host() {
        let own = "outpost.goauthentik.io/x";
        for (external, base, known) in [
            ("", "/", true),
            ("/", "/", true),
            ("", "/sub/", false),
            ("/sub/", "/sub/", true),
            ("/sub", "/sub/", true),
            // Where authentik registers the callback.
            ("/a/b", "/a/", true),
            ("/a/b", "/a/b/", true),
            ("/a/b/", "/a/", false),
            ("/sub", "/Sub/", false),
            ("/sub", "/%73ub/", false),
            ("/sub", "/sub//", false),
            ("/sub", "/sub/y/", false),
            ("/sub", "/subx/", false),
        ] {
            let url = ExternalUrl::parse(&format!("https://a.test{external}")).expect(external);
            let path = format!("{base}{own}");
            let expected = known.then_some("/x");
            assert_eq!(url.own_path(&path), expected, "{external} {path}");
            assert_eq!(
                url.own_path(&path.to_uppercase()),
                None,
                "{external} {path}"
            );
        }
    }

    #[test]
    fn reads_external_hosts() {
        let url = ExternalUrl::parse("https://App.Test:443/Sub/").expect("a URL");
        assert_eq!(
            (url.host(), url.port(), url.path_prefix()),
            ("app.test", None, "/Sub")
        );
        assert_eq!(url.origin(), "https://app.test");
        for (text, routed) in [
            ("http://App.test/Sub", "app.test/Sub"),
            ("https://app.test./", "app.test"),
            ("https://app.test:8443", "app.test:8443"),
            ("https://[::1]:443/a/", "[::1]/a"),
        ] {
            assert_eq!(ExternalUrl::parse(text).expect(text).routed(), routed);
        }
        let idn = ExternalUrl::parse("https://b\u{fc}cher.test/").expect("a URL");
        assert_eq!(idn.as_str(), "https://xn--bcher-kva.test/");
        for bad in [
            "",
            "app.test",
            "ftp://a",
            "https://",
            "https://a?x",
            "https://a#x",
            "https://u@a",
            "/x",
        ] {
            let error = ExternalUrl::parse(bad).expect_err(bad).with_hint();
            assert!(error.contains("https://app.example.com"), "{error}");
        }
    }
}
