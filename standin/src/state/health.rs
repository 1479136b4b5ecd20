//! The hellos of instances of outposts.

use std::time::Instant;

use serde_json::Value;
use uuid::Uuid;

use super::State;

/// The last hello of one instance.
#[derive(Debug)]
pub(crate) struct HealthRecord {
    pub(crate) outpost: Uuid,
    pub(crate) instance: String,
    pub(crate) args: Value,
    pub(crate) seen: Instant,
}

impl State {
    /// Takes in a hello.
    pub(crate) fn record_health(&mut self, outpost: Uuid, instance: &str, args: &Value) {
        self.health.retain(|record| record.instance != instance);
        self.health.push(HealthRecord {
            outpost,
            instance: instance.to_owned(),
            args: args.clone(),
            seen: Instant::now(),
        });
    }
}
