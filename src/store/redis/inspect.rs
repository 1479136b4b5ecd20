//! What somebody who looks for trouble wants to know of Redis itself.

use super::Redis;

impl Redis {
    /// Under which policy Redis gives up records when it is full (`maxmemory-policy`); `None` if
    /// it has no limit, or does not tell.
    pub(in crate::store) async fn eviction(&self) -> Option<String> {
        let mut command = redis::cmd("INFO");
        command.arg("memory");
        let info: String = self.connection.query(&command).await.ok()?;
        let value = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_prefix(':')
        };
        let limited = value("maxmemory").is_some_and(|limit| limit != "0");
        value("maxmemory_policy")
            .filter(|_| limited)
            .map(str::to_owned)
    }
}
