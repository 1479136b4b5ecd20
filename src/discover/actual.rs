//! What is at authentik.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::discover::desired::labels::Provider;

/// The records at authentik that matter for the comparison.
#[derive(Debug, Clone, Default)]
pub struct Actual {
    /// All proxy providers that the token may see.
    pub providers: Vec<ActualProvider>,
    /// Applications by slug: the desired ones, and those of providers with the ownership
    /// marker of this `discover.owner`.
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
    /// Its name, which may hold an ownership marker.
    pub name: String,
    /// The slug of its application.
    pub application: Option<String>,
    /// The settings that annotations control.
    pub settings: Provider,
}

/// An application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its publisher.
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
