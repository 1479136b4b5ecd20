//! The domain of a `forward_domain` application: matched at label boundaries, never as a suffix.

use crate::model::{Authority, Hint, HintText};

/// A cookie domain (RFC 6265 section 5.1.3), lower case and without a leading dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CookieDomain(Box<str>);

/// A text that is not a domain.
#[derive(Debug, thiserror::Error)]
#[error("cookie domain {0:?} is not a domain name")]
pub struct CookieDomainError(String);

impl Hint for CookieDomainError {
    fn hint(&self) -> Option<HintText> {
        Some("set the provider's cookie domain to a domain such as example.com".into())
    }
}

impl CookieDomain {
    /// Reads a domain; one leading dot and upper case are tolerated.
    pub fn parse(text: &str) -> Result<Self, CookieDomainError> {
        let refused = || CookieDomainError(text.to_owned());
        let bare = text.trim().strip_prefix('.').unwrap_or(text.trim());
        let authority = Authority::parse(bare).map_err(|_| refused())?;
        if authority.port().is_some() || bare.starts_with(['.', '[']) || bare.contains("..") {
            return Err(refused());
        }
        Ok(Self(authority.canonical_host().into()))
    }

    /// The domain in lower case, without a leading dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `host` (lower case, no port) is the domain itself or a name below it.
    #[must_use]
    pub fn contains(&self, host: &str) -> bool {
        match host.strip_suffix(&*self.0) {
            Some(rest) => rest.is_empty() || rest.ends_with('.'),
            None => false,
        }
    }
}

impl CookieDomain {
    /// Why browsers refuse a cookie for this domain from `host` (lower case, no port), if they do
    /// (RFC 6265 section 5.3).
    #[must_use]
    pub fn refused_from(&self, host: &str) -> Option<String> {
        (!self.contains(host)).then(|| {
            format!("{host} is not below {}: browsers refuse the cookie, and every sign-in begins again", self.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::CookieDomain;

    #[test]
    fn cve_2024_52289_and_cve_2026_41569_match_at_label_boundaries() {
        let domain = CookieDomain::parse(".Example.com").expect("a domain");
        for (host, inside) in [
            ("example.com", true),
            ("app.example.com", true),
            ("a.b.example.com", true),
            ("evilexample.com", false),
            ("fooaexample.com", false),
            ("example.com.evil.tld", false),
            ("com", false),
            ("", false),
        ] {
            assert_eq!(domain.contains(host), inside, "{host}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_domain() {
        for text in ["", ".", "..a", "a b", "http://a", "a:80", "[::1]", "a..b"] {
            assert!(CookieDomain::parse(text).is_err(), "{text:?}");
        }
    }
}
