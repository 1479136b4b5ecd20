//! Conflicts: a desired application that would change records of another owner or object.

use std::collections::HashMap;

use crate::discover::actual::{Actual, ActualProvider};
use crate::discover::desired::Desired;
use crate::discover::desired::labels::DesiredApplication;
use crate::discover::ownership_marker::{OwnershipMarker, Source};
use crate::discover::plan::orphans::{Found, Owned, is_whole};

/// Proxy providers by what they are searched for: a plan searches once for every object.
pub(in crate::discover) struct ProviderIndex<'a> {
    by_pk: HashMap<i64, &'a ActualProvider>,
    by_address: HashMap<String, Vec<&'a ActualProvider>>,
}

impl<'a> ProviderIndex<'a> {
    pub(in crate::discover) fn new(providers: &'a [ActualProvider]) -> Self {
        let mut by_address: HashMap<_, Vec<_>> = HashMap::new();
        for provider in providers {
            let same = by_address.entry(provider.settings.address()).or_default();
            same.push(provider);
        }
        Self {
            by_pk: providers.iter().map(|it| (it.pk, it)).collect(),
            by_address,
        }
    }

    fn at(&self, address: &str) -> &[&'a ActualProvider] {
        self.by_address.get(address).map_or(&[], Vec::as_slice)
    }
}

/// The desired and the actual state, side by side.
pub(in crate::discover) struct Comparison<'a> {
    pub(in crate::discover) desired: &'a Desired,
    pub(in crate::discover) actual: &'a Actual,
    pub(in crate::discover) providers: ProviderIndex<'a>,
    pub(in crate::discover) owner: &'a str,
    pub(in crate::discover) owned: &'a Owned<'a>,
    pub(in crate::discover) in_scope: &'a dyn Fn(&str) -> bool,
}

impl Comparison<'_> {
    /// The reason, if there is one. `found` is what the object has or is about to take over.
    pub(in crate::discover) fn conflict(
        &self,
        desired: &DesiredApplication,
        found: Option<Found<'_>>,
    ) -> Option<String> {
        let pk = found.map(|found| found.provider.pk);
        let application = self.actual.applications.get(&desired.slug);
        if let Some(application) = application.filter(|it| pk.is_none() || it.provider != pk) {
            let other = application
                .provider
                .and_then(|pk| self.providers.by_pk.get(&pk));
            let resolution = other.map(|other| self.resolution(desired, found, other));
            return Some(format!(
                "the application {:?} was not created from this object{}",
                desired.slug,
                resolution.unwrap_or_default()
            ));
        }
        if let Some(Found { provider, mark }) = found
            && let Some(slug) = &provider.application
            && *slug != mark.slug
            && *slug != desired.slug
        {
            return Some(format!(
                "its provider is used by the application {slug:?}, which was not created here"
            ));
        }
        let address = desired.provider.address();
        let mut same_address = self.providers.at(&address).iter();
        let other = same_address.find(|other| Some(other.pk) != pk)?;
        Some(format!(
            "{} is the address of the provider {:?} already{}",
            desired.provider.external_host,
            other.name,
            self.resolution(desired, found, other)
        ))
    }

    /// What to do about a provider that is in the way.
    fn resolution(
        &self,
        desired: &DesiredApplication,
        found: Option<Found<'_>>,
        other: &ActualProvider,
    ) -> String {
        let Some(OwnershipMarker { slug, source }) = OwnershipMarker::read(&other.name, self.owner)
        else {
            let name = OwnershipMarker::name(&desired.slug, self.owner, &desired.source);
            return format!(
                "; to hand it over, rename its provider at authentik from {:?} to {name:?}",
                other.name
            );
        };
        let Source { namespace, .. } = &source;
        if source == desired.source {
            let hint = "; that is marked as made from this object as well: delete one of the two at authentik";
            return hint.to_owned();
        }
        if let Some(asked) = self.desired.asked.get(&source) {
            // Of what is asked for by two, neither gets it; so it is leaving.
            let hint = if asked.is_ok() {
                ", which asks for something else now: look again when it has that"
            } else {
                ""
            };
            return format!("; it is that of {source}{hint}");
        }
        if !(self.in_scope)(namespace) {
            return format!(
                "; it was made from {source}, in a namespace that was not looked at: add --namespace {namespace}"
            );
        }
        let delete = "delete it and its application at authentik if they are not needed";
        if found.is_none() && slug != desired.slug && is_whole(other, &slug) {
            return format!(
                "; it was made from {source}, which is gone: with the annotation authentik.io/slug: {slug} this object takes it over with its policies and bindings, and can get another slug afterwards; or {delete}"
            );
        }
        format!("; it was made from {source}, which is gone: {delete}")
    }
}
