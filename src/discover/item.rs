//! What has to be done about one application.

use serde::Serialize;

use super::labels::DesiredApplication;
use super::ownership_marker::Source;

/// One application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What it is made from.
    pub source: Source,
    /// Its slug, as far as it is known.
    pub slug: String,
    /// What is to be done.
    #[serde(rename = "verdict")]
    pub action: Action,
    /// What it should be.
    #[serde(skip)]
    pub wanted: Option<DesiredApplication>,
    /// The provider that is ours, if there is one.
    #[serde(skip)]
    pub provider: Option<i64>,
}

/// What is to be done about an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// These changes; none if all is as it should be.
    Change(Vec<Change>),
    /// Nothing, for this reason: it cannot be had, or is not ours.
    Refused(String),
    /// It was made from something that is gone or no longer labelled.
    Orphan {
        /// The application that goes with the provider.
        application: Option<String>,
        /// Objects that ask for its slug or its address, or may; it stays while there are any.
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
