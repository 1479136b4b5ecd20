//! The ownership marker of created records: the name of the provider.
//!
//! Providers and applications have no field at authentik that is free for programs. A provider's
//! name is unique there, so that two runs at once cannot create two, and it is visible in the admin
//! interface. It names the object of Kubernetes, so that a renamed application is found again, and
//! the slug, so that an application counts as owned only while it has the slug that it was given.

use std::fmt;

use serde::Serialize;

/// Objects in one message, so that thousands with the same mistake do not name each other.
const MAX_LISTED: usize = 10;

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `v1/Service`.
    Service,
    /// `networking.k8s.io/v1/Ingress`.
    Ingress,
}

/// An object of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Source {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Service => "service",
            Kind::Ingress => "ingress",
        };
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

/// The objects, one after the other; of many, [`MAX_LISTED`] and the number of the others.
pub(in crate::discover) fn list<'a>(sources: impl IntoIterator<Item = &'a Source>) -> String {
    let mut sources = sources.into_iter();
    let listed = sources.by_ref().take(MAX_LISTED).map(Source::to_string);
    let listed = listed.collect::<Vec<_>>().join(", ");
    match sources.count() {
        0 => listed,
        others => format!("{listed} and {others} more"),
    }
}

/// A parsed ownership marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnershipMarker {
    /// The slug that the application was given.
    pub slug: String,
    /// The object that it was created from.
    pub source: Source,
}

impl OwnershipMarker {
    /// The name of a provider with this marker.
    #[must_use]
    pub fn name(slug: &str, owner: &str, source: &Source) -> String {
        format!("{slug} ({owner}: {source})")
    }

    /// The marker in a provider's name, if it is one of `owner`.
    #[must_use]
    pub fn read(name: &str, owner: &str) -> Option<Self> {
        let (slug, rest) = name.split_once(" (")?;
        let rest = rest.strip_suffix(')')?;
        let rest = rest.strip_prefix(owner)?.strip_prefix(": ")?;
        let (kind, rest) = rest.split_once(' ')?;
        let kind = match kind {
            "service" => Kind::Service,
            "ingress" => Kind::Ingress,
            _ => return None,
        };
        let (namespace, name) = rest.split_once('/')?;
        let source = Source {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        Some(Self {
            slug: slug.to_owned(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_by_its_owner_only() {
        let source = Source {
            kind: Kind::Service,
            namespace: "monitoring".into(),
            name: "grafana".into(),
        };
        let name = OwnershipMarker::name("graphs", "home", &source);
        assert_eq!(name, "graphs (home: service monitoring/grafana)");
        let slug = "graphs".to_owned();
        assert_eq!(
            OwnershipMarker::read(&name, "home"),
            Some(OwnershipMarker { slug, source })
        );
        for (name, owner) in [
            (name.as_str(), "hom"),
            (&name, "other"),
            ("graphs", "home"),
            ("graphs (home: service monitoring/grafana) 2", "home"),
            ("graphs (home: secret monitoring/grafana)", "home"),
            ("graphs (home: service grafana)", "home"),
            ("(home: service monitoring/grafana)", "home"),
        ] {
            assert_eq!(OwnershipMarker::read(name, owner), None, "{name} {owner}");
        }
    }
}
