//! Orphans: providers whose object is gone, and the objects that claim them now.
//!
//! An object that is renamed, moved or exchanged for one of another kind is a new object. It takes
//! over what was made from the old one: policies and bindings hang on that, and an application that
//! is deleted and created anew has no policies.

use std::collections::{BTreeMap, BTreeSet};

use crate::discover::actual::ActualProvider;
use crate::discover::desired::Desired;
use crate::discover::desired::labels::{Claim, DesiredApplication};
use crate::discover::ownership_marker::{OwnershipMarker, Source};
use crate::discover::plan::item::{Action, Item};

/// Providers with our ownership marker, by the object that they were created from.
pub(in crate::discover) type Owned<'a> = BTreeMap<Source, (&'a ActualProvider, OwnershipMarker)>;

/// A provider with our ownership marker.
#[derive(Debug, Clone, Copy)]
pub(in crate::discover) struct Found<'a> {
    pub(in crate::discover) provider: &'a ActualProvider,
    pub(in crate::discover) mark: &'a OwnershipMarker,
}

/// Providers with our ownership marker whose object is gone or no longer labelled.
pub(in crate::discover) struct Orphans<'a>(Vec<Orphan<'a>>);

struct Orphan<'a> {
    found: Found<'a>,
    /// Objects that claim its slug or its address.
    claimants: Vec<&'a Source>,
    /// Objects without a provider whose slug or address is invalid.
    unclear: Vec<&'a Source>,
}

impl<'a> Orphans<'a> {
    pub(in crate::discover) fn of(
        owned: &'a Owned<'a>,
        desired: &'a Desired,
        in_scope: impl Fn(&str) -> bool,
    ) -> Self {
        let gone = owned.iter().filter(|(source, _)| {
            !desired.asked.contains_key(source) && in_scope(&source.namespace)
        });
        let orphan = |(provider, mark): &'a (&'a ActualProvider, OwnershipMarker)| {
            let found = Found { provider, mark };
            let mut orphan = Orphan {
                found,
                claimants: Vec::new(),
                unclear: Vec::new(),
            };
            for (source, claim) in &desired.claims {
                let has_own = owned.contains_key(source);
                if found.is_asked_for(claim, has_own) {
                    orphan.claimants.push(source);
                } else if !has_own && (claim.slug.is_none() || claim.address.is_none()) {
                    orphan.unclear.push(source);
                }
            }
            orphan
        };
        Self(gone.map(|(_, owned)| orphan(owned)).collect())
    }

    /// The orphan that an object without a provider takes over: the one with its slug. Where
    /// several objects or several orphans qualify, the operator has to decide.
    pub(in crate::discover) fn orphan_for(
        &self,
        desired: &DesiredApplication,
    ) -> Result<Option<Found<'a>>, String> {
        let same_slug = self.0.iter().filter(|Orphan { found, .. }| {
            found.mark.slug == desired.slug && is_whole(found.provider, &found.mark.slug)
        });
        let (complete, bare): (Vec<_>, Vec<_>) =
            same_slug.partition(|orphan| orphan.found.provider.application.is_some());
        let candidates = if complete.is_empty() { bare } else { complete };
        let Some(first) = candidates.first() else {
            return Ok(None);
        };
        if candidates.len() > 1 {
            let names = candidates
                .iter()
                .map(|orphan| format!("{:?}", orphan.found.provider.name));
            return Err(format!(
                "there is more than one provider for the slug {:?} whose object is gone: {}; delete all but one at authentik",
                desired.slug,
                names.collect::<Vec<_>>().join(", ")
            ));
        }
        let others = first.claimants.iter().filter(|s| ***s != desired.source);
        let others = list(others.copied());
        if !others.is_empty() {
            return Err(format!(
                "the provider {:?}, whose object is gone, could be taken over, but its slug or its address is asked for by {others} as well; let one of them ask for others",
                first.found.provider.name
            ));
        }
        Ok(Some(first.found))
    }

    /// Orphans that no object has taken over.
    pub(in crate::discover) fn items(self, taken: &BTreeSet<i64>) -> impl Iterator<Item = Item> {
        let left = self.0.into_iter();
        left.filter(|orphan| !taken.contains(&orphan.found.provider.pk))
            .map(Orphan::item)
    }
}

impl Found<'_> {
    /// Whether this provider blocks an object with this claim.
    fn is_asked_for(&self, claim: &Claim, has_own: bool) -> bool {
        let Self { provider, mark } = self;
        let slug = claim.slug.as_ref() == Some(&mark.slug);
        let address = provider.settings.address();
        claim.address == Some(address) || slug && (provider.application.is_some() || !has_own)
    }
}

impl Orphan<'_> {
    fn item(self) -> Item {
        let Found { provider, mark } = self.found;
        let action = match &provider.application {
            Some(slug) if *slug != mark.slug => Action::Refused(format!(
                "the object is gone, but its provider is used by the application {slug:?}, which was not created here; it stays"
            )),
            application => Action::Orphan {
                application: application.clone(),
                requested_by: self
                    .claimants
                    .into_iter()
                    .chain(self.unclear)
                    .cloned()
                    .collect(),
            },
        };
        Item {
            source: mark.source.clone(),
            slug: mark.slug.clone(),
            action,
            desired: None,
            provider: Some(provider.pk),
        }
    }
}

/// Whether the provider still belongs to the application that it was created for.
pub(in crate::discover) fn is_whole(provider: &ActualProvider, slug: &str) -> bool {
    let application = provider.application.as_deref();
    application.is_none_or(|application| application == slug)
}

/// Objects, one after the other.
pub(in crate::discover) fn list<'a>(sources: impl IntoIterator<Item = &'a Source>) -> String {
    let texts = sources.into_iter().map(Source::to_string);
    texts.collect::<Vec<_>>().join(", ")
}
