//! The applications that labelled objects describe, before they are compared with authentik.

pub mod address;
pub mod labels;
pub mod ports;
pub mod slug;

use std::collections::{BTreeMap, HashMap};

use crate::discover::desired::labels::{
    Claim, DesiredApplication, Labelled, Problem, Rules, claim, desired_application, unknown,
};
use crate::discover::ownership_marker::{Source, list};

/// Everything that the labelled objects describe.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// By object: the application, or why it is invalid.
    pub asked: BTreeMap<Source, Result<DesiredApplication, String>>,
    /// By object: the slug and the address that it claims, valid or not.
    pub claims: BTreeMap<Source, Claim>,
    /// Oddities that stop nothing.
    pub warnings: Vec<String>,
}

impl Desired {
    /// Reads all labelled objects. Where several claim the same slug or address, none gets it.
    #[must_use]
    pub fn of(labelled: &[Labelled], rules: Rules<'_>) -> Self {
        let mut desired = Self::default();
        for object in labelled {
            let odd = unknown(object).into_iter();
            desired
                .warnings
                .extend(odd.map(|text| format!("{}: {text}", object.source)));
            let asked = match desired_application(object, rules) {
                Ok(None) => continue,
                Ok(Some(desired)) => Ok(desired),
                Err(problems) => {
                    let texts: Vec<_> = problems.iter().map(Problem::to_string).collect();
                    Err(texts.join("; "))
                }
            };
            let source = &object.source;
            desired.claims.insert(source.clone(), claim(object, rules));
            desired.asked.insert(source.clone(), asked);
        }
        desired.refuse_shared("slug", |desired| desired.slug.clone());
        desired.refuse_shared("address", |desired| desired.provider.address());
        desired
    }

    /// The slugs of all valid applications.
    pub fn slugs(&self) -> impl Iterator<Item = &str> {
        let desired = self.asked.values().filter_map(|asked| asked.as_ref().ok());
        desired.map(|desired| desired.slug.as_str())
    }

    fn refuse_shared(&mut self, what: &str, key: impl Fn(&DesiredApplication) -> String) {
        let mut claimants: HashMap<String, Vec<Source>> = HashMap::new();
        for (source, asked) in &self.asked {
            if let Ok(desired) = asked {
                let same = claimants.entry(key(desired)).or_default();
                same.push(source.clone());
            }
        }
        for (shared, sources) in claimants.into_iter().filter(|(_, s)| s.len() > 1) {
            for source in &sources {
                let others = list(sources.iter().filter(|other| *other != source));
                let text = format!("the {what} {shared:?} is asked for by {others} as well");
                self.asked.insert(source.clone(), Err(text));
            }
        }
    }
}
