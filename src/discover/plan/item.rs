//! The action for one application.

use serde::Serialize;

use crate::discover::desired::labels::DesiredApplication;
use crate::discover::ownership_marker::Source;

/// One application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The object that describes it.
    pub source: Source,
    /// Its slug, as far as it is known.
    pub slug: String,
    /// The action.
    #[serde(rename = "verdict")]
    pub action: Action,
    /// Its desired state.
    #[serde(skip)]
    pub desired: Option<DesiredApplication>,
    /// The provider with our ownership marker, if it exists.
    #[serde(skip)]
    pub provider: Option<i64>,
}

/// The action for an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// These changes; none if the application is up to date.
    Change(Vec<Change>),
    /// None, for this reason: it conflicts with another application, or belongs to another owner.
    Refused(String),
    /// The object that it was created from is gone or no longer labelled.
    Orphan {
        /// The application that goes with the provider.
        application: Option<String>,
        /// Objects that claim its slug or its address, or may; it stays while there are any.
        #[serde(rename = "wanted_by")]
        requested_by: Vec<Source>,
    },
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A provider that is not there yet.
    CreateProvider,
    /// A provider whose object is gone is taken over, with its application.
    Adopt {
        /// The object that is gone.
        from: Source,
        /// The fields of the provider that differ, its name with the marker first.
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
