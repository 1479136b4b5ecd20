//! Redis's memory policy, for diagnosis.

use redis::{FromRedisValue as _, Value};

use super::RedisStore;
use crate::store::session::Prepared;

/// Redis's `maxmemory` and `maxmemory-policy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryPolicy {
    /// No limit.
    Unlimited,
    /// A limit, beyond which writes fail (`noeviction`).
    Limited,
    /// A limit, beyond which records are evicted by this policy.
    Evicting(String),
    /// Unknown, for this reason.
    Unknown(String),
}

impl<P: Prepared> RedisStore<P> {
    /// `maxmemory` and `maxmemory-policy`.
    pub(crate) async fn memory_policy(&self) -> MemoryPolicy {
        let mut command = redis::cmd("INFO");
        command.arg("memory");
        match self.connection.query::<Value>(&command).await {
            Ok(answer) => worst(texts(&answer).iter().map(|info| read(info))),
            Err(error) => MemoryPolicy::Unknown(error.to_string()),
        }
    }
}

/// The replies of all nodes of a cluster.
fn texts(answer: &Value) -> Vec<String> {
    match answer {
        Value::Map(nodes) => nodes.iter().flat_map(|(_, info)| texts(info)).collect(),
        Value::Array(answers) => answers.iter().flat_map(texts).collect(),
        answer => String::from_redis_value_ref(answer).into_iter().collect(),
    }
}

/// The policy that is most likely to lose sessions.
fn worst(nodes: impl Iterator<Item = MemoryPolicy>) -> MemoryPolicy {
    nodes
        .max_by_key(|memory| match memory {
            MemoryPolicy::Limited => 0,
            MemoryPolicy::Unknown(_) => 1,
            MemoryPolicy::Unlimited => 2,
            MemoryPolicy::Evicting(_) => 3,
        })
        .unwrap_or_else(|| read(""))
}

fn read(info: &str) -> MemoryPolicy {
    let value = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name))?;
        line.strip_prefix(':')
    };
    match (value("maxmemory"), value("maxmemory_policy")) {
        (Some("0"), _) => MemoryPolicy::Unlimited,
        (Some(_), Some("noeviction")) => MemoryPolicy::Limited,
        (Some(_), Some(policy)) => MemoryPolicy::Evicting(policy.to_owned()),
        _ => MemoryPolicy::Unknown("it does not name its limits".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_does_with_its_memory_is_read() {
        for (limit, policy, expected) in [
            ("0", "allkeys-lru", MemoryPolicy::Unlimited),
            ("100", "noeviction", MemoryPolicy::Limited),
            (
                "100",
                "allkeys-lru",
                MemoryPolicy::Evicting("allkeys-lru".into()),
            ),
        ] {
            let info = format!(
                "# Memory\r\nmaxmemory:{limit}\r\nmaxmemory_human:x\r\nmaxmemory_policy:{policy}\r\n"
            );
            assert_eq!(read(&info), expected, "{info}");
        }
        assert!(matches!(read("# Memory\r\n"), MemoryPolicy::Unknown(_)));
    }

    #[test]
    fn of_several_nodes_the_worst_counts() {
        let info = |limit: &str, policy: &str| {
            let info = format!("maxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n");
            Value::BulkString(info.into())
        };
        let node = |name: &str| Value::BulkString(name.into());
        let nodes = Value::Map(vec![
            (node("a"), info("100", "noeviction")),
            (node("b"), info("100", "allkeys-lru")),
            (node("c"), info("0", "noeviction")),
        ]);
        let found = worst(texts(&nodes).iter().map(|info| read(info)));
        assert_eq!(found, MemoryPolicy::Evicting("allkeys-lru".into()));
        assert!(matches!(
            worst(std::iter::empty()),
            MemoryPolicy::Unknown(_)
        ));
    }
}
