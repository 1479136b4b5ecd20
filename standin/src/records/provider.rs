//! The applications an outpost protects.

use uuid::Uuid;

use crate::random;

/// How a provider protects its application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The outpost forwards requests to the application.
    Proxy,
    /// Forward auth for one application.
    ForwardSingle,
    /// Forward auth for every host of a domain.
    ForwardDomain,
}

impl Mode {
    /// The name on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::ForwardSingle => "forward_single",
            Self::ForwardDomain => "forward_domain",
        }
    }
}

/// How a provider signs its tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Signing {
    /// With the client secret: the normal case of proxy providers.
    #[default]
    Hs256,
    /// With an RSA key published at `jwks_uri`.
    Rs256,
    /// With a P-256 key published at `jwks_uri`.
    Es256,
}

impl Signing {
    /// The `alg` on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

/// A proxy provider and its application.
///
/// Fields are public: start from [`Provider::forward_single`], [`Provider::proxy`] or
/// [`Provider::forward_domain`] and set what matters.
#[derive(Debug, Clone)]
pub struct Provider {
    /// The provider's name, also how the handle refers to it.
    pub name: String,
    /// The slug of its application, part of the issuer.
    pub slug: String,
    /// The display name of its application.
    pub application_name: String,
    /// How it protects the application.
    pub mode: Mode,
    /// The URL that users open.
    pub external_host: String,
    /// The URL of the application behind a [`Mode::Proxy`] provider, otherwise empty.
    pub internal_host: String,
    /// Whether the outpost checks the application's certificate.
    pub internal_host_ssl_validation: bool,
    /// The OAuth client id.
    pub client_id: String,
    /// The OAuth client secret.
    pub client_secret: String,
    /// The secret for the outpost's cookies.
    pub cookie_secret: String,
    /// The domain of a [`Mode::ForwardDomain`] provider, otherwise empty.
    pub cookie_domain: String,
    /// The key pair to serve TLS with, from `Standin::add_keypair`.
    pub certificate: Option<Uuid>,
    /// Paths that need no login, one regular expression a line.
    pub skip_path_regex: String,
    /// Whether the application is sent an HTTP Basic header.
    pub basic_auth_enabled: bool,
    /// The user attribute with the password for it.
    pub basic_auth_password_attribute: String,
    /// The user attribute with the user name for it.
    pub basic_auth_user_attribute: String,
    /// How long access tokens live, in seconds.
    pub access_token_validity: Option<f64>,
    /// Whether a failed `Authorization` header is answered with 401.
    pub intercept_header_auth: bool,
    /// The scopes that exist for this provider.
    pub scopes: Vec<String>,
    /// How tokens are signed.
    pub signing: Signing,
    /// Only members of these groups may use the application; `None` admits everyone.
    pub allowed_groups: Option<Vec<String>>,
}

impl Provider {
    /// Forward auth for one application.
    #[must_use]
    pub fn forward_single(name: &str, external_host: &str) -> Self {
        Self::new(name, Mode::ForwardSingle, external_host)
    }

    /// A proxied application.
    #[must_use]
    pub fn proxy(name: &str, external_host: &str, internal_host: &str) -> Self {
        Self {
            internal_host: internal_host.to_owned(),
            ..Self::new(name, Mode::Proxy, external_host)
        }
    }

    /// Forward auth for every host of `cookie_domain`, signing in at `external_host`.
    #[must_use]
    pub fn forward_domain(name: &str, external_host: &str, cookie_domain: &str) -> Self {
        Self {
            cookie_domain: cookie_domain.to_owned(),
            ..Self::new(name, Mode::ForwardDomain, external_host)
        }
    }

    fn new(name: &str, mode: Mode, external_host: &str) -> Self {
        Self {
            name: name.to_owned(),
            slug: name.to_lowercase().replace(' ', "-"),
            application_name: capitalised(name),
            mode,
            external_host: external_host.to_owned(),
            internal_host: String::new(),
            internal_host_ssl_validation: true,
            client_id: random::alphanumeric(40),
            client_secret: random::alphanumeric(128),
            cookie_secret: random::alphanumeric(32).to_uppercase(),
            cookie_domain: String::new(),
            certificate: None,
            skip_path_regex: String::new(),
            basic_auth_enabled: false,
            basic_auth_password_attribute: String::new(),
            basic_auth_user_attribute: String::new(),
            access_token_validity: Some(3600.0),
            intercept_header_auth: true,
            scopes: ["entitlements", "openid", "profile", "ak_proxy", "email"]
                .map(str::to_owned)
                .to_vec(),
            signing: Signing::default(),
            allowed_groups: None,
        }
    }
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
