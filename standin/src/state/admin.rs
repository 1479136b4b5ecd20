//! The records that an administrator reads and writes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use uuid::Uuid;

const FLOWS: [&str; 2] = [
    "default-provider-authorization-implicit-consent",
    "default-provider-invalidation-flow",
];

/// The records.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) token: String,
    pub(crate) providers: BTreeMap<i64, Value>,
    /// By slug.
    pub(crate) applications: BTreeMap<String, Value>,
    /// Providers of the outpost, and of the embedded one.
    pub(crate) assigned: [Vec<i64>; 2],
    pub(crate) embedded: Uuid,
    pub(crate) flows: BTreeMap<&'static str, Uuid>,
    pub(crate) denied: BTreeSet<String>,
    pub(crate) is_superuser: bool,
    pub(crate) last_pk: i64,
}

impl Admin {
    pub(crate) fn new(token: &str) -> Self {
        Self {
            token: token.to_owned(),
            providers: BTreeMap::new(),
            applications: BTreeMap::new(),
            assigned: [Vec::new(), Vec::new()],
            embedded: Uuid::new_v4(),
            flows: FLOWS.map(|slug| (slug, Uuid::new_v4())).into(),
            denied: BTreeSet::new(),
            is_superuser: false,
            last_pk: 0,
        }
    }

    /// A provider as it is answered, with the names that authentik adds.
    pub(crate) fn provider(&self, pk: i64) -> Value {
        let mut record = self.providers[&pk].clone();
        let mut applications = self.applications.values();
        let application = applications.find(|application| application["provider"] == pk);
        record["assigned_application_slug"] =
            application.map_or(Value::Null, |a| a["slug"].clone());
        record["assigned_application_name"] =
            application.map_or(Value::Null, |a| a["name"].clone());
        record
    }
}
