//! Orphans: providers whose object is gone, and the objects that claim them now.
//!
//! An object that is renamed, moved or exchanged for one of another kind is a new object. It takes
//! over what was made from the old one: policies and bindings hang on that, and an application that
//! is deleted and created anew has no policies.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::discover::actual::ActualProvider;
use crate::discover::desired::Desired;
use crate::discover::desired::labels::{Claim, DesiredApplication};
use crate::discover::ownership_marker::{OwnershipMarker, Source, list};
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
pub(in crate::discover) struct Orphans<'a> {
    all: Vec<Orphan<'a>>,
    /// Indexes into `all` by the slug of the marker.
    by_slug: HashMap<&'a str, Vec<usize>>,
}

struct Orphan<'a> {
    found: Found<'a>,
    /// Objects that claim its slug or its address.
    claimants: BTreeSet<&'a Source>,
    /// Objects without a provider whose slug or address is invalid.
    unclear: Vec<&'a Source>,
}

/// What the labelled objects claim, by slug and by address.
struct Claims<'a> {
    by_slug: HashMap<&'a str, Vec<&'a Source>>,
    by_address: HashMap<&'a str, Vec<&'a Source>>,
    /// Objects without a provider whose slug or address is invalid.
    unclear: Vec<&'a Source>,
}

impl<'a> Claims<'a> {
    fn new(desired: &'a Desired, owned: &Owned<'a>) -> Self {
        let mut claims = Self {
            by_slug: HashMap::new(),
            by_address: HashMap::new(),
            unclear: Vec::new(),
        };
        for (source, Claim { slug, address }) in &desired.claims {
            if (slug.is_none() || address.is_none()) && !owned.contains_key(source) {
                claims.unclear.push(source);
            }
            if let Some(slug) = slug {
                claims.by_slug.entry(slug).or_default().push(source);
            }
            if let Some(address) = address {
                claims.by_address.entry(address).or_default().push(source);
            }
        }
        claims
    }

    /// The objects that `found` blocks, and those of which it is not known.
    fn orphan(&self, found: Found<'a>, owned: &Owned<'a>) -> Orphan<'a> {
        let Found { provider, mark } = found;
        let same_slug = self.by_slug.get(mark.slug.as_str()).into_iter().flatten();
        let same_slug = same_slug
            .filter(|source| provider.application.is_some() || !owned.contains_key(**source));
        let address = provider.settings.address();
        let same_address = self.by_address.get(address.as_str()).into_iter().flatten();
        let claimants: BTreeSet<_> = same_slug.chain(same_address).copied().collect();
        let unclear = self.unclear.iter().copied();
        Orphan {
            found,
            unclear: unclear.filter(|it| !claimants.contains(it)).collect(),
            claimants,
        }
    }
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
        let claims = Claims::new(desired, owned);
        let all: Vec<_> = gone
            .map(|(_, (provider, mark))| claims.orphan(Found { provider, mark }, owned))
            .collect();
        let mut by_slug: HashMap<_, Vec<_>> = HashMap::new();
        for (index, orphan) in all.iter().enumerate() {
            let same = by_slug.entry(orphan.found.mark.slug.as_str()).or_default();
            same.push(index);
        }
        Self { all, by_slug }
    }

    /// The orphan that an object without a provider takes over: the one with its slug. Where
    /// several objects or several orphans qualify, the operator has to decide.
    pub(in crate::discover) fn orphan_for(
        &self,
        desired: &DesiredApplication,
    ) -> Result<Option<Found<'a>>, String> {
        let same_slug = self.by_slug.get(desired.slug.as_str());
        let same_slug = same_slug
            .into_iter()
            .flatten()
            .map(|index| &self.all[*index]);
        let same_slug =
            same_slug.filter(|Orphan { found, .. }| is_whole(found.provider, &found.mark.slug));
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
        let left = self.all.into_iter();
        left.filter(|orphan| !taken.contains(&orphan.found.provider.pk))
            .map(Orphan::item)
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
