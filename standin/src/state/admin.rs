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
        let mut applications = self.applications.values();
        let application = applications.find(|application| application["provider"] == pk);
        self.with_names(pk, application)
    }

    /// Providers as they are listed: their applications are looked up once for all of them.
    pub(crate) fn list_providers(&self, pks: impl IntoIterator<Item = i64>) -> Vec<Value> {
        let applications = self.applications.values();
        let applications: BTreeMap<_, _> = applications
            .filter_map(|application| Some((application["provider"].as_i64()?, application)))
            .collect();
        let pks = pks.into_iter();
        pks.map(|pk| self.with_names(pk, applications.get(&pk).copied()))
            .collect()
    }

    fn with_names(&self, pk: i64, application: Option<&Value>) -> Value {
        let mut record = self.providers[&pk].clone();
        for (name, field) in [
            ("assigned_application_slug", "slug"),
            ("assigned_application_name", "name"),
        ] {
            record[name] =
                application.map_or(Value::Null, |application| application[field].clone());
        }
        record
    }
}
