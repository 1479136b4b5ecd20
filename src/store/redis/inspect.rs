//! What somebody who looks for trouble wants to know of Redis itself.

use redis::{FromRedisValue as _, Value};

use super::Redis;
use crate::store::Memory;

impl Redis {
    /// How much Redis may keep, and what it does when that is full.
    pub(in crate::store) async fn memory(&self) -> Memory {
        let mut command = redis::cmd("INFO");
        command.arg("memory");
        match self.connection.query::<Value>(&command).await {
            Ok(answer) => worst(texts(&answer).iter().map(|info| read(info))),
            Err(error) => Memory::Untold(error.to_string()),
        }
    }
}

/// The answers of all nodes, if there are several.
fn texts(answer: &Value) -> Vec<String> {
    match answer {
        Value::Map(nodes) => nodes.iter().flat_map(|(_, info)| texts(info)).collect(),
        Value::Array(answers) => answers.iter().flat_map(texts).collect(),
        answer => String::from_redis_value_ref(answer).into_iter().collect(),
    }
}

/// What is most likely to lose sessions.
fn worst(nodes: impl Iterator<Item = Memory>) -> Memory {
    nodes
        .max_by_key(|memory| match memory {
            Memory::Limited => 0,
            Memory::Untold(_) => 1,
            Memory::Unlimited => 2,
            Memory::Evicting(_) => 3,
        })
        .unwrap_or_else(|| read(""))
}

fn read(info: &str) -> Memory {
    let value = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name))?;
        line.strip_prefix(':')
    };
    match (value("maxmemory"), value("maxmemory_policy")) {
        (Some("0"), _) => Memory::Unlimited,
        (Some(_), Some("noeviction")) => Memory::Limited,
        (Some(_), Some(policy)) => Memory::Evicting(policy.to_owned()),
        _ => Memory::Untold("it does not name its limits".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_does_with_its_memory_is_read() {
        for (limit, policy, expected) in [
            ("0", "allkeys-lru", Memory::Unlimited),
            ("100", "noeviction", Memory::Limited),
            ("100", "allkeys-lru", Memory::Evicting("allkeys-lru".into())),
        ] {
            let info = format!(
                "# Memory\r\nmaxmemory:{limit}\r\nmaxmemory_human:x\r\nmaxmemory_policy:{policy}\r\n"
            );
            assert_eq!(read(&info), expected, "{info}");
        }
        assert!(matches!(read("# Memory\r\n"), Memory::Untold(_)));
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
        assert_eq!(found, Memory::Evicting("allkeys-lru".into()));
        assert!(matches!(worst(std::iter::empty()), Memory::Untold(_)));
    }
}
