//! What has to change at authentik: the difference between what is wanted and what is there.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use uuid::Uuid;

use super::conflict::Sides;
use super::desired::Desired;
use super::labels::{Provider, Wanted};
use super::orphans::{Found, Orphans, Ours};
use super::ownership_marker::{Mark, Source};

/// What is at authentik, as far as it matters here.
#[derive(Debug, Clone, Default)]
pub struct Actual {
    /// All proxy providers that the token may see.
    pub providers: Vec<ActualProvider>,
    /// Applications by slug: those that are wanted, and those of providers that are ours.
    pub applications: BTreeMap<String, Application>,
    /// The outpost that applications are assigned to.
    pub outpost: Outpost,
    /// authentik's embedded one.
    pub embedded: Option<Outpost>,
}

/// A proxy provider.
#[derive(Debug, Clone)]
pub struct ActualProvider {
    /// Its primary key.
    pub pk: i64,
    /// Its name, which may have our mark.
    pub name: String,
    /// The slug of its application.
    pub application: Option<String>,
    /// What annotations decide about.
    pub settings: Provider,
}

/// An application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Its name.
    pub name: String,
    /// What people read about it.
    pub description: String,
    /// What people read about where it comes from.
    pub publisher: String,
    /// The primary key of its provider.
    pub provider: Option<i64>,
}

/// An outpost and what it serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outpost {
    /// Its primary key.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The providers that are assigned to it.
    pub providers: BTreeSet<i64>,
}

/// What is to be done, for every object that is labelled and everything that once was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// In the order of the objects of Kubernetes.
    pub items: Vec<Item>,
    /// What is odd and stops nothing.
    pub warnings: Vec<String>,
}

/// One application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What it is made from.
    pub source: Source,
    /// Its slug, as far as it is known.
    pub slug: String,
    /// What is to be done.
    pub verdict: Verdict,
    /// What it should be.
    #[serde(skip)]
    pub wanted: Option<Wanted>,
    /// The provider that is ours, if there is one.
    #[serde(skip)]
    pub provider: Option<i64>,
}

/// What is to be done about an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// These changes; none if all is as it should be.
    Change(Vec<Change>),
    /// Nothing, for this reason: it cannot be had, or is not ours.
    Refused(String),
    /// It was made from something that is gone or no longer labelled.
    Orphan {
        /// The application that goes with the provider.
        application: Option<String>,
        /// Objects that ask for its slug or its address, or may; it stays while there are any.
        wanted_by: Vec<Source>,
    },
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A provider that is not there yet.
    CreateProvider,
    /// A provider that was made from an object that is gone, and its application with it.
    Adopt {
        /// The object that is gone.
        from: Source,
        /// What of the provider differs, its name with the mark first.
        fields: Vec<Field>,
    },
    /// A provider that differs.
    UpdateProvider(Vec<Field>),
    /// An application that is not there yet.
    CreateApplication,
    /// An application that differs, by the slug that it has now.
    UpdateApplication(String, Vec<Field>),
    /// The outpost of this name gets the provider.
    Assign(String),
    /// The embedded outpost no longer has it.
    Unassign,
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Its name at authentik.
    pub name: &'static str,
    /// What it is.
    pub from: String,
    /// What it should be.
    pub to: String,
}

impl Plan {
    /// Compares. `owner` is whose marks count, `in_scope` whether objects of a namespace were
    /// looked for at all.
    #[must_use]
    pub fn of(
        desired: Desired,
        actual: &Actual,
        owner: &str,
        in_scope: impl Fn(&str) -> bool,
    ) -> Self {
        let ours: Ours<'_> = actual
            .providers
            .iter()
            .filter_map(|provider| {
                let mark = Mark::read(&provider.name, owner)?;
                Some((mark.source.clone(), (provider, mark)))
            })
            .collect();
        let orphans = Orphans::of(&ours, &desired, &in_scope);
        let sides = Sides {
            desired: &desired,
            actual,
            owner,
            ours: &ours,
            in_scope: &in_scope,
        };
        let mut items: Vec<_> = desired
            .asked
            .iter()
            .map(|(source, asked)| sides.item(source, asked, &orphans))
            .collect();
        let changed = items
            .iter()
            .filter(|item| matches!(item.verdict, Verdict::Change(_)));
        let taken = changed.filter_map(|item| item.provider).collect();
        items.extend(orphans.items(&taken));
        items.sort_by(|one, other| one.source.cmp(&other.source));
        Self {
            items,
            warnings: desired.warnings,
        }
    }

    /// How many applications were asked for that will not be had.
    #[must_use]
    pub fn refusals(&self) -> usize {
        let verdicts = self.items.iter().map(|item| &item.verdict);
        verdicts
            .filter(|verdict| matches!(verdict, Verdict::Refused(_)))
            .count()
    }
}

impl Sides<'_> {
    fn item(&self, source: &Source, asked: &Result<Wanted, String>, orphans: &Orphans<'_>) -> Item {
        let own = self.ours.get(source);
        let own = own.map(|(provider, mark)| Found { provider, mark });
        let found = match (asked, own) {
            (Ok(wanted), None) => orphans.left_to(wanted),
            (_, own) => Ok(own),
        };
        let verdict = match (asked, &found) {
            (Err(reason), _) | (_, Err(reason)) => Verdict::Refused(reason.clone()),
            (Ok(wanted), Ok(found)) => self.conflict(wanted, *found).map_or_else(
                || Verdict::Change(self.changes(wanted, *found)),
                Verdict::Refused,
            ),
        };
        let found = found.ok().flatten();
        let known = found.map_or("", |found| &found.mark.slug);
        Item {
            source: source.clone(),
            slug: asked
                .as_ref()
                .map_or(known, |wanted| &wanted.slug)
                .to_owned(),
            verdict,
            wanted: asked.as_ref().ok().cloned(),
            provider: found.map(|found| found.provider.pk),
        }
    }

    fn changes(&self, wanted: &Wanted, found: Option<Found<'_>>) -> Vec<Change> {
        let actual = self.actual;
        let mut changes = Vec::new();
        match found {
            None => changes.push(Change::CreateProvider),
            Some(Found { provider, mark }) => {
                let name = Mark::name(&wanted.slug, self.owner, &wanted.source);
                let fields = provider_fields(provider, &name, &wanted.provider);
                if mark.source != wanted.source {
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
                let fields = application_fields(slug, found, wanted);
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

fn provider_fields(found: &ActualProvider, name: &str, wanted: &Provider) -> Vec<Field> {
    let settings = &found.settings;
    differing([
        ("name", found.name.clone(), name.to_owned()),
        (
            "external_host",
            settings.external_host.clone(),
            wanted.external_host.clone(),
        ),
        (
            "internal_host",
            settings.internal_host.clone(),
            wanted.internal_host.clone(),
        ),
        ("mode", settings.mode.clone(), wanted.mode.clone()),
        (
            "internal_host_ssl_validation",
            settings.internal_host_ssl_validation.to_string(),
            wanted.internal_host_ssl_validation.to_string(),
        ),
        (
            "skip_path_regex",
            settings.skip_path_regex.clone(),
            wanted.skip_path_regex.clone(),
        ),
        (
            "intercept_header_auth",
            settings.intercept_header_auth.to_string(),
            wanted.intercept_header_auth.to_string(),
        ),
    ])
}

fn application_fields(slug: &str, found: &Application, wanted: &Wanted) -> Vec<Field> {
    differing([
        ("slug", slug.to_owned(), wanted.slug.clone()),
        ("name", found.name.clone(), wanted.name.clone()),
        (
            "meta_description",
            found.description.clone(),
            wanted.description.clone(),
        ),
        (
            "meta_publisher",
            found.publisher.clone(),
            wanted.publisher.clone(),
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
