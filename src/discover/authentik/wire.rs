//! authentik's records, as far as they matter here. Unknown fields are ignored.

use serde::Deserialize;
use uuid::Uuid;

use crate::discover::actual::{ActualProvider, Application, Outpost};
use crate::discover::desired::labels::Provider;

#[derive(Deserialize)]
pub(super) struct OutpostRecord {
    pub(super) pk: Uuid,
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) providers: Vec<i64>,
    pub(super) managed: Option<String>,
}

impl From<OutpostRecord> for Outpost {
    fn from(record: OutpostRecord) -> Self {
        Self {
            id: record.pk,
            name: record.name,
            providers: record.providers.into_iter().collect(),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct ProviderRecord {
    pub(super) pk: i64,
    pub(super) name: String,
    pub(super) assigned_application_slug: Option<String>,
    #[serde(flatten)]
    pub(super) settings: Provider,
}

impl From<ProviderRecord> for ActualProvider {
    fn from(record: ProviderRecord) -> Self {
        Self {
            pk: record.pk,
            name: record.name,
            application: record
                .assigned_application_slug
                .filter(|slug| !slug.is_empty()),
            settings: record.settings,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct ApplicationRecord {
    pub(super) name: String,
    #[serde(default)]
    pub(super) meta_description: String,
    #[serde(default)]
    pub(super) meta_publisher: String,
    pub(super) provider: Option<i64>,
}

impl From<ApplicationRecord> for Application {
    fn from(record: ApplicationRecord) -> Self {
        Self {
            name: record.name,
            description: record.meta_description,
            publisher: record.meta_publisher,
            provider: record.provider,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Created {
    pub(super) pk: i64,
}

#[derive(Deserialize)]
pub(super) struct Flow {
    pub(super) pk: Uuid,
}

/// `core/users/me/`.
#[derive(Deserialize)]
pub(super) struct Me {
    pub(super) user: User,
}

#[derive(Deserialize)]
pub(super) struct User {
    #[serde(default)]
    pub(super) is_superuser: bool,
}

/// `admin/version/`.
#[derive(Deserialize)]
pub(super) struct Version {
    pub(super) version_current: String,
}
