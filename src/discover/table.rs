//! A plan as a table.

use std::fmt;

use crate::discover::ownership_marker::list;
use crate::discover::plan::Plan;
use crate::discover::plan::item::{Action, Change, Field, Item};

/// Shows a plan as a table: a line for every step.
#[derive(Debug)]
pub struct Table<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Whether orphans are going to be deleted.
    pub prune: bool,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items = &self.plan.items;
        // Two widths, and std pads to them: a helper for tables would be longer.
        let width = |text: fn(&Item) -> usize| items.iter().map(text).max().unwrap_or(0);
        let slugs = width(|item| item.slug.chars().count());
        let sources = width(|item| item.source.to_string().chars().count());
        for item in items {
            let source = item.source.to_string();
            for (action, text) in lines(&item.action, item, self.prune) {
                writeln!(
                    f,
                    "{action:7}  {:slugs$}  {source:sources$}  {text}",
                    item.slug
                )?;
            }
        }
        for warning in &self.plan.warnings {
            writeln!(f, "warning  {warning}")?;
        }
        let count = |is: fn(&Action) -> bool| items.iter().filter(|i| is(&i.action)).count();
        writeln!(
            f,
            "{} applications: {} to change, {} up to date, {} refused, {} orphaned",
            items.len(),
            count(|action| matches!(action, Action::Change(steps) if !steps.is_empty())),
            count(|action| matches!(action, Action::Change(steps) if steps.is_empty())),
            count(|action| matches!(action, Action::Refused(_))),
            count(|action| matches!(action, Action::Orphan { .. })),
        )
    }
}

/// The steps for an application, each with a one-word label.
pub(super) fn lines(action: &Action, item: &Item, prune: bool) -> Vec<(&'static str, String)> {
    match action {
        Action::Change(changes) if changes.is_empty() => vec![("ok", "up to date".to_owned())],
        Action::Change(changes) => changes.iter().map(|change| line(change, item)).collect(),
        Action::Refused(reason) => vec![("REFUSED", reason.clone())],
        Action::Orphan {
            application,
            requested_by,
        } => {
            let what = match application {
                Some(_) => "application and provider",
                None => "provider",
            };
            let gone = "the object is gone or no longer labelled";
            vec![if !requested_by.is_empty() {
                let others = list(requested_by);
                let text =
                    format!("{what} stay, even with --prune: {gone}, but {others} may want them");
                ("orphan", text)
            } else if prune {
                ("delete", format!("{what}: {gone}"))
            } else {
                ("orphan", format!("{what} stay: {gone}; --prune deletes"))
            }]
        }
    }
}

fn line(change: &Change, item: &Item) -> (&'static str, String) {
    let desired = item.desired.as_ref();
    match change {
        Change::CreateProvider => {
            let text = desired.map_or_else(String::new, |desired| {
                let settings = &desired.provider;
                match settings.internal_host.as_str() {
                    "" => format!("{}, forward auth", settings.external_host),
                    internal => format!("{} -> {internal}", settings.external_host),
                }
            });
            ("create", format!("provider: {text}"))
        }
        Change::CreateApplication => {
            let name = desired.map_or("", |desired| desired.name.as_str());
            ("create", format!("application: {name:?}"))
        }
        Change::Adopt { from, fields } => (
            "adopt",
            format!(
                "what {from} had, which is gone: provider: {}",
                differences(fields)
            ),
        ),
        Change::UpdateProvider(fields) => ("update", format!("provider: {}", differences(fields))),
        Change::UpdateApplication(_, fields) => {
            ("update", format!("application: {}", differences(fields)))
        }
        Change::Assign(outpost) => ("assign", format!("to the outpost {outpost:?}")),
        Change::Unassign => ("remove", "from the embedded outpost".to_owned()),
    }
}

fn differences(fields: &[Field]) -> String {
    let shown = fields
        .iter()
        .map(|Field { name, from, to }| format!("{name} {from:?} -> {to:?}"));
    shown.collect::<Vec<_>>().join(", ")
}
