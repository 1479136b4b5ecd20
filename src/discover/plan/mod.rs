//! The changes at authentik: the difference between the desired and the actual state.

mod conflict;
pub mod item;
pub(super) mod orphans;

use serde::Serialize;

use crate::discover::actual::{Actual, ActualProvider, Application, Outpost};
use crate::discover::desired::Desired;
use crate::discover::desired::labels::{DesiredApplication, Provider};
use crate::discover::ownership_marker::{OwnershipMarker, Source};
use crate::discover::plan::conflict::{Comparison, ProviderIndex};
use crate::discover::plan::item::{Action, Change, Field, Item};
use crate::discover::plan::orphans::{Found, Orphans, Owned};

/// The actions for every labelled object, and for applications whose object is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// In the order of the objects of Kubernetes.
    pub items: Vec<Item>,
    /// Oddities that stop nothing.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Compares. Only ownership markers of `owner` count; `in_scope` says whether objects of a
    /// namespace were listed at all.
    #[must_use]
    pub fn of(
        desired: Desired,
        actual: &Actual,
        owner: &str,
        in_scope: impl Fn(&str) -> bool,
    ) -> Self {
        let by_source: Owned<'_> = actual
            .providers
            .iter()
            .filter_map(|provider| {
                let marker = OwnershipMarker::read(&provider.name, owner)?;
                Some((marker.source.clone(), (provider, marker)))
            })
            .collect();
        let orphans = Orphans::of(&by_source, &desired, &in_scope);
        let comparison = Comparison {
            desired: &desired,
            actual,
            providers: ProviderIndex::new(&actual.providers),
            owner,
            owned: &by_source,
            in_scope: &in_scope,
        };
        let mut items: Vec<_> = desired
            .asked
            .iter()
            .map(|(source, asked)| comparison.item(source, asked, &orphans))
            .collect();
        let changed = items
            .iter()
            .filter(|item| matches!(item.action, Action::Change(_)));
        let taken = changed.filter_map(|item| item.provider).collect();
        items.extend(orphans.items(&taken));
        items.sort_by(|one, other| one.source.cmp(&other.source));
        Self {
            items,
            warnings: desired.warnings,
        }
    }

    /// The number of refused applications.
    #[must_use]
    pub fn refusals(&self) -> usize {
        let actions = self.items.iter().map(|item| &item.action);
        actions
            .filter(|action| matches!(action, Action::Refused(_)))
            .count()
    }
}

impl Comparison<'_> {
    fn item(
        &self,
        source: &Source,
        asked: &Result<DesiredApplication, String>,
        orphans: &Orphans<'_>,
    ) -> Item {
        let own = self.owned.get(source);
        let own = own.map(|(provider, mark)| Found { provider, mark });
        let found = match (asked, own) {
            (Ok(desired), None) => orphans.orphan_for(desired),
            (_, own) => Ok(own),
        };
        let action = match (asked, &found) {
            (Err(reason), _) | (_, Err(reason)) => Action::Refused(reason.clone()),
            (Ok(desired), Ok(found)) => self.conflict(desired, *found).map_or_else(
                || Action::Change(self.changes(desired, *found)),
                Action::Refused,
            ),
        };
        let found = found.ok().flatten();
        let known = found.map_or("", |found| &found.mark.slug);
        Item {
            source: source.clone(),
            slug: asked
                .as_ref()
                .map_or(known, |desired| &desired.slug)
                .to_owned(),
            action,
            desired: asked.as_ref().ok().cloned(),
            provider: found.map(|found| found.provider.pk),
        }
    }

    fn changes(&self, desired: &DesiredApplication, found: Option<Found<'_>>) -> Vec<Change> {
        let actual = self.actual;
        let mut changes = Vec::new();
        match found {
            None => changes.push(Change::CreateProvider),
            Some(Found { provider, mark }) => {
                let name = OwnershipMarker::name(&desired.slug, self.owner, &desired.source);
                let fields = provider_fields(provider, &name, &desired.provider);
                if mark.source != desired.source {
                    let from = mark.source.clone();
                    changes.push(Change::Adopt { from, fields });
                } else if !fields.is_empty() {
                    changes.push(Change::UpdateProvider(fields));
                }
            }
        }
        let provider = found.map(|found| found.provider);
        let application = provider.and_then(|provider| {
            let slug = provider.application.as_ref()?;
            Some((slug, actual.applications.get(slug)?))
        });
        match application {
            None => changes.push(Change::CreateApplication),
            Some((slug, found)) => {
                let fields = application_fields(slug, found, desired);
                if !fields.is_empty() {
                    changes.push(Change::UpdateApplication(slug.clone(), fields));
                }
            }
        }
        let serves =
            |outpost: &Outpost| provider.is_some_and(|p| outpost.providers.contains(&p.pk));
        if !serves(&actual.outpost) {
            changes.push(Change::Assign(actual.outpost.name.clone()));
        }
        if actual.embedded.as_ref().is_some_and(serves) {
            changes.push(Change::Unassign);
        }
        changes
    }
}

fn provider_fields(found: &ActualProvider, name: &str, desired: &Provider) -> Vec<Field> {
    let settings = &found.settings;
    differing([
        ("name", found.name.clone(), name.to_owned()),
        (
            "external_host",
            settings.external_host.clone(),
            desired.external_host.clone(),
        ),
        (
            "internal_host",
            settings.internal_host.clone(),
            desired.internal_host.clone(),
        ),
        ("mode", settings.mode.clone(), desired.mode.clone()),
        (
            "internal_host_ssl_validation",
            settings.internal_host_ssl_validation.to_string(),
            desired.internal_host_ssl_validation.to_string(),
        ),
        (
            "skip_path_regex",
            settings.skip_path_regex.clone(),
            desired.skip_path_regex.clone(),
        ),
        (
            "intercept_header_auth",
            settings.intercept_header_auth.to_string(),
            desired.intercept_header_auth.to_string(),
        ),
    ])
}

fn application_fields(slug: &str, found: &Application, desired: &DesiredApplication) -> Vec<Field> {
    differing([
        ("slug", slug.to_owned(), desired.slug.clone()),
        ("name", found.name.clone(), desired.name.clone()),
        (
            "meta_description",
            found.description.clone(),
            desired.description.clone(),
        ),
        (
            "meta_publisher",
            found.publisher.clone(),
            desired.publisher.clone(),
        ),
    ])
}

fn differing<const N: usize>(fields: [(&'static str, String, String); N]) -> Vec<Field> {
    fields
        .into_iter()
        .filter(|(_, from, to)| from != to)
        .map(|(name, from, to)| Field { name, from, to })
        .collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
