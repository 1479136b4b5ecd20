//! The dialects of forward auth: how reverse proxies word an authorization request.

use std::fmt;

/// How a reverse proxy words an authorization request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// nginx's `auth_request`: the URL in `X-Original-URL`.
    Nginx,
    /// ingress-nginx's `auth-url`: the same with `X-Sent-From: nginx-ingress-controller`. Its
    /// `Host` is that of the auth URL, so it says nothing about the user's request.
    IngressNginx,
    /// Traefik's `forwardAuth`: the URL in `X-Forwarded-Proto`, `-Host` and `-Uri`.
    Traefik,
    /// Caddy's `forward_auth`: as Traefik, with the `Host` of the user's request.
    Caddy,
    /// Envoy's `ext_authz` over HTTP: the user's own method, `Host` and path.
    Envoy,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Nginx,
        Self::IngressNginx,
        Self::Traefik,
        Self::Caddy,
        Self::Envoy,
    ];

    /// Their names, in the order of [`Dialect::ALL`].
    pub const NAMES: &'static [&'static str] =
        &["nginx", "ingress-nginx", "traefik", "caddy", "envoy"];

    /// The name in settings and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// Whether the reverse proxy is nginx. It makes its own response of any status but 401 and 403.
    #[must_use]
    pub fn is_nginx(self) -> bool {
        matches!(self, Self::Nginx | Self::IngressNginx)
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|dialect| dialect.as_str().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of dialects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Dialects(u8);

impl Dialects {
    /// Every dialect.
    #[must_use]
    pub fn all() -> Self {
        Dialect::ALL.into_iter().collect()
    }

    /// Whether `dialect` is in the set.
    #[must_use]
    pub fn contains(self, dialect: Dialect) -> bool {
        self.0 & (1 << dialect as u8) != 0
    }

    /// The dialects of the set, in the order of [`Dialect::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Dialect> {
        Dialect::ALL
            .into_iter()
            .filter(move |dialect| self.contains(*dialect))
    }
}

impl FromIterator<Dialect> for Dialects {
    fn from_iter<I: IntoIterator<Item = Dialect>>(dialects: I) -> Self {
        let bit = |set, dialect| set | (1 << dialect as u8);
        Self(dialects.into_iter().fold(0, bit))
    }
}

impl fmt::Debug for Dialects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set: Dialects = [Dialect::Envoy, Dialect::Nginx].into_iter().collect();
        let names: Vec<_> = set.iter().map(Dialect::as_str).collect();
        assert_eq!(names, ["nginx", "envoy"]);
        assert!(!set.contains(Dialect::Caddy));
        assert_eq!(Dialects::all().iter().count(), Dialect::ALL.len());
        for dialect in Dialect::ALL {
            assert_eq!(Dialect::parse(dialect.as_str()), Some(dialect));
        }
        assert_eq!(Dialect::parse("haproxy"), None);
    }
}
