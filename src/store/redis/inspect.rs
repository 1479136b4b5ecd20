//! What somebody who looks for trouble wants to know of Redis itself.

use super::Redis;
use crate::store::Memory;

impl Redis {
    /// How much Redis may keep, and what it does when that is full.
    pub(in crate::store) async fn memory(&self) -> Memory {
        let mut command = redis::cmd("INFO");
        command.arg("memory");
        match self.connection.query::<String>(&command).await {
            Ok(info) => read(&info),
            Err(_) => Memory::Untold,
        }
    }
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
        _ => Memory::Untold,
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
        assert_eq!(read("# Memory\r\n"), Memory::Untold);
    }
}
