//! Makes the changes of a plan. What fails for one application stops no other.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::actual::{Actual, Outpost};
use super::authentik::{Authentik, AuthentikError, Flows};
use crate::discover::desired::labels::DesiredApplication;
use crate::discover::ownership_marker::Source;
use crate::discover::plan::Plan;
use crate::discover::plan::item::{Action, Change, Item};

/// How long an application is not created again after authentik refused it, unless its object
/// changes: each attempt creates a provider and deletes it again.
const REFUSED_PAUSE: Duration = Duration::from_hours(1);

/// Applications that authentik refused to create, by object.
#[derive(Debug, Default)]
pub struct Refused(HashMap<Source, Refusal>);

#[derive(Debug)]
struct Refusal {
    desired: DesiredApplication,
    reason: String,
    at: Instant,
}

impl Refused {
    /// Why `item` is not tried at `now`.
    fn reason(&self, item: &Item, now: Instant) -> Option<&str> {
        let refusal = self.0.get(&item.source)?;
        let holds = item.desired.as_ref() == Some(&refusal.desired)
            && now.duration_since(refusal.at) < REFUSED_PAUSE;
        holds.then_some(&refusal.reason)
    }

    fn note(&mut self, desired: &DesiredApplication, error: &AuthentikError) {
        let refusal = Refusal {
            desired: desired.clone(),
            reason: error.to_string(),
            at: Instant::now(),
        };
        self.0.insert(desired.source.clone(), refusal);
    }

    /// Forgets objects that are gone.
    fn retain(&mut self, plan: &Plan) {
        let known: BTreeSet<_> = plan.items.iter().map(|item| &item.source).collect();
        self.0.retain(|source, _| known.contains(source));
    }
}

/// What became of a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Steps that were made.
    pub done: usize,
    /// What failed: one sentence each, with the object that it is about.
    pub failures: Vec<String>,
}

/// Makes the changes. What authentik has `refused` before is not tried again for a while. Between two
/// applications it looks whether to `stop`.
pub async fn apply(
    authentik: &Authentik<'_>,
    plan: &Plan,
    actual: &Actual,
    prune: bool,
    refused: &mut Refused,
    stop: &CancellationToken,
) -> Outcome {
    refused.retain(plan);
    let mut run = Run {
        authentik,
        flows: None,
        outcome: Outcome::default(),
        refused,
        assign: BTreeSet::new(),
        unassign: BTreeSet::new(),
    };
    for item in &plan.items {
        if stop.is_cancelled() {
            break;
        }
        if let Some(reason) = run.refused.reason(item, Instant::now()) {
            let failure = format!(
                "{}: {reason}; it is tried again when the object changes, or after {} minutes",
                item.source,
                REFUSED_PAUSE.as_secs() / 60
            );
            run.outcome.failures.push(failure);
            continue;
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
    refused: &'a mut Refused,
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
        if !matches!(error, AuthentikError::Invalid { .. }) {
            return error;
        }
        self.refused.note(desired, &error);
        if let Some(pk) = created {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::desired::labels::Provider;
    use crate::discover::ownership_marker::Kind;

    fn item(slug: &str) -> Item {
        let source = Source {
            kind: Kind::Service,
            namespace: "apps".into(),
            name: "wiki".into(),
        };
        let desired = DesiredApplication {
            source: source.clone(),
            slug: slug.into(),
            name: "wiki".into(),
            description: String::new(),
            publisher: String::new(),
            provider: Provider {
                external_host: "https://wiki.test".into(),
                internal_host: String::new(),
                mode: "forward_single".into(),
                internal_host_ssl_validation: true,
                skip_path_regex: String::new(),
                intercept_header_auth: true,
            },
        };
        Item {
            source,
            slug: slug.into(),
            action: Action::Change(Vec::new()),
            desired: Some(desired),
            provider: None,
        }
    }

    #[test]
    fn a_refusal_holds_for_the_same_object_and_not_for_ever() {
        let (wiki, changed) = (item("wiki"), item("other"));
        let mut refused = Refused::default();
        assert_eq!(refused.reason(&wiki, Instant::now()), None);
        let error = AuthentikError::Invalid {
            action: "create applications",
            detail: "slug: no".into(),
        };
        refused.note(wiki.desired.as_ref().expect("desired"), &error);
        let mut plan = Plan {
            items: vec![wiki.clone()],
            warnings: Vec::new(),
        };
        refused.retain(&plan);
        let at = refused.0[&wiki.source].at;
        let later = at + REFUSED_PAUSE / 2;
        for now in [at, later] {
            assert!(refused.reason(&wiki, now).is_some());
            assert_eq!(refused.reason(&changed, now), None);
        }
        assert_eq!(refused.reason(&wiki, at + REFUSED_PAUSE), None);
        plan.items.clear();
        refused.retain(&plan);
        assert!(refused.0.is_empty());
    }
}
