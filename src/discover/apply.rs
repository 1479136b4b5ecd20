//! Makes the changes of a plan. What fails for one application stops no other.

use std::collections::BTreeSet;

use tokio_util::sync::CancellationToken;

use super::actual::{Actual, Outpost};
use super::authentik::{Authentik, AuthentikError, Flows};
use crate::discover::desired::labels::DesiredApplication;
use crate::discover::plan::Plan;
use crate::discover::plan::item::{Action, Change, Item};

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Steps that were made.
    pub done: usize,
    /// What failed: one sentence each, with the object that it is about.
    pub failures: Vec<String>,
}

/// Makes the changes. Between two applications it looks whether to `stop`.
pub async fn apply(
    authentik: &Authentik<'_>,
    plan: &Plan,
    actual: &Actual,
    prune: bool,
    stop: &CancellationToken,
) -> Outcome {
    let mut run = Run {
        authentik,
        flows: None,
        outcome: Outcome::default(),
        assign: BTreeSet::new(),
        unassign: BTreeSet::new(),
    };
    for item in &plan.items {
        if stop.is_cancelled() {
            break;
        }
        let done = match &item.action {
            Action::Change(changes) => run.change(item, changes).await,
            Action::Orphan {
                application,
                requested_by,
            } if prune && requested_by.is_empty() => run.delete(item, application.as_deref()).await,
            Action::Orphan { .. } | Action::Refused(_) => Ok(()),
        };
        if let Err(error) = done {
            let failure = format!("{}: {error}", item.source);
            run.outcome.failures.push(failure);
        }
    }
    run.reassign(actual).await;
    run.outcome
}

struct Run<'a> {
    authentik: &'a Authentik<'a>,
    flows: Option<Flows>,
    outcome: Outcome,
    /// Providers that our outpost is to get.
    assign: BTreeSet<i64>,
    /// Providers that the embedded outpost is to lose.
    unassign: BTreeSet<i64>,
}

impl Run<'_> {
    /// The provider comes first, since the application names it; when both are there, the
    /// application does, since the provider's name says which slug it has.
    async fn change(&mut self, item: &Item, changes: &[Change]) -> Result<(), AuthentikError> {
        let Some(desired) = &item.desired else {
            return Ok(());
        };
        let authentik = self.authentik;
        let mut created = None;
        let pk = if let Some(pk) = item.provider {
            pk
        } else {
            let flows = self.flows().await?;
            let pk = authentik.create_provider(desired, flows).await?;
            self.outcome.done += 1;
            *created.insert(pk)
        };
        for change in changes {
            match change {
                Change::CreateApplication => {
                    if let Err(error) = authentik.create_application(desired, pk).await {
                        return Err(self.take_back(desired, created, error).await);
                    }
                }
                Change::UpdateApplication(slug, _) => {
                    authentik.update_application(slug, desired).await?;
                }
                _ => continue,
            }
            self.outcome.done += 1;
        }
        for change in changes {
            match change {
                Change::UpdateProvider(_) | Change::Adopt { .. } => {
                    authentik.update_provider(pk, desired).await?;
                    self.outcome.done += 1;
                }
                Change::Assign(_) => self.assign.extend([pk]),
                Change::Unassign => self.unassign.extend([pk]),
                _ => {}
            }
        }
        Ok(())
    }

    /// Deletes the provider that was just created for an application that authentik does not
    /// accept: nothing would ever use it. After other failures it stays, and the next run goes on.
    async fn take_back(
        &mut self,
        desired: &DesiredApplication,
        created: Option<i64>,
        error: AuthentikError,
    ) -> AuthentikError {
        if let (Some(pk), AuthentikError::Invalid { .. }) = (created, &error) {
            // Should this fail, too, the next run finds the provider by its name.
            let deleted = self.authentik.delete_unused_provider(pk, &desired.source);
            if deleted.await.is_ok_and(|deleted| deleted) {
                self.outcome.done -= 1;
            }
        }
        error
    }

    async fn delete(&mut self, item: &Item, slug: Option<&str>) -> Result<(), AuthentikError> {
        let Some(pk) = item.provider else {
            return Ok(());
        };
        // Another run may have given it to another object meanwhile.
        if !self.authentik.is_made_from(pk, &item.source).await? {
            return Ok(());
        }
        if let Some(slug) = slug {
            self.authentik.delete_application(slug, pk).await?;
            self.outcome.done += 1;
        }
        self.authentik.delete_provider(pk, &item.source).await?;
        self.outcome.done += 1;
        Ok(())
    }

    async fn flows(&mut self) -> Result<Flows, AuthentikError> {
        match self.flows {
            Some(flows) => Ok(flows),
            None => Ok(*self.flows.insert(self.authentik.flows().await?)),
        }
    }

    /// One write for each outpost, since each write makes it fetch its configuration. The own outpost's comes
    /// first, so that there is never an application that no outpost serves.
    async fn reassign(&mut self, actual: &Actual) {
        let (assign, unassign) = (&self.assign, &self.unassign);
        if !assign.is_empty() {
            let add = |outpost: &mut Outpost| outpost.providers.extend(assign);
            if let Err(error) = self.authentik.reassign(actual.outpost.id, add).await {
                let name = &actual.outpost.name;
                self.outcome
                    .failures
                    .push(format!("outpost {name:?}: {error}"));
                return;
            }
            self.outcome.done += assign.len();
        }
        if let Some(embedded) = actual.embedded.as_ref().filter(|_| !unassign.is_empty()) {
            let remove =
                |outpost: &mut Outpost| outpost.providers.retain(|pk| !unassign.contains(pk));
            match self.authentik.reassign(embedded.id, remove).await {
                Ok(()) => self.outcome.done += unassign.len(),
                Err(error) => self
                    .outcome
                    .failures
                    .push(format!("embedded outpost: {error}")),
            }
        }
    }
}
