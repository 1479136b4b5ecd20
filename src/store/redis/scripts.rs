//! What has to happen at Redis in one step. Each script touches one key, or two that a cluster
//! keeps together.

use redis::Cmd;

use super::keys::{self, Hash};
use super::record::ENDED;
use crate::model::SessionKey;

/// How long the end of authentik's session is remembered, in seconds: long enough for any login
/// that is just being finished.
const ENDED_SID_SECONDS: u32 = 600;

/// Enters a session into an index, unless the index is marked as ended: then `nil`. Members that
/// have expired leave; the index lives as long as its last member. Returns the members that had
/// to make room because there were more than allowed.
const ENTER: &str = "
if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then return false end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
local out = {}
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[4])
if over > 0 then
  for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, over)) do
    if member ~= ARGV[1] and #out < over then
      redis.call('ZREM', KEYS[1], member)
      out[#out + 1] = member
    end
  end
end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('EXPIRE', KEYS[1], math.floor(last[2] - ARGV[3]) + 60)
return out";

/// Marks an index as ended, if there is a name for that, and lists it. The members leave once
/// their records are marked.
const END: &str = "
if KEYS[2] then redis.call('SET', KEYS[2], '1', 'EX', ARGV[1]) end
return redis.call('ZRANGE', KEYS[1], 0, -1)";

/// Replaces a record that was read before and is still the same; its time to live stays.
const REPLACE: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
return 1";

/// Writes a record with a new time to live, unless the mark of the end stands there.
const RENEW: &str = "
if redis.call('STRLEN', KEYS[1]) == 1 then return false end
return redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])";

/// Names what Redis holds as of now, if it holds nothing that was named: then it begins anew.
/// Returns the name, and whether it began so short ago that it may not have everything back.
const FILLING: &str = "
local name = redis.call('GET', KEYS[1])
if not name then
  name = ARGV[1]
  redis.call('SET', KEYS[1], name)
  redis.call('SET', KEYS[2], '1', 'EX', ARGV[2])
end
return {name, redis.call('EXISTS', KEYS[2])}";

/// A person's or authentik's session's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    Sid(Hash),
    Subject(Hash),
}

impl Index {
    fn command(&self, script: &str) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(script);
        match self {
            Self::Sid(hash) => command
                .arg(2)
                .arg(keys::sid(hash))
                .arg(keys::ended_sid(hash)),
            Self::Subject(hash) => command.arg(1).arg(keys::subject(hash)),
        };
        command
    }

    /// [`ENTER`]; `None` if the index has ended.
    pub(super) fn enter(&self, member: &Member, expires: i64, now: i64, most: usize) -> Cmd {
        let mut command = self.command(ENTER);
        command.arg(member.to_bytes()).arg(expires);
        command.arg(now).arg(most);
        command
    }

    /// [`END`].
    pub(super) fn end(&self) -> Cmd {
        let mut command = self.command(END);
        command.arg(ENDED_SID_SECONDS);
        command
    }

    /// Takes one session out.
    pub(super) fn leave(&self, member: &Member) -> Cmd {
        let name = match self {
            Self::Sid(hash) => keys::sid(hash),
            Self::Subject(hash) => keys::subject(hash),
        };
        let mut command = redis::cmd("ZREM");
        command.arg(name).arg(member.to_bytes());
        command
    }
}

/// A session in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) key: SessionKey,
    /// When the person signed in, Unix seconds.
    pub(super) began_at: i64,
}

impl Member {
    fn to_bytes(self) -> Vec<u8> {
        [&self.key.as_bytes()[..], &self.began_at.to_be_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (key, began_at) = bytes.split_at_checked(32)?;
        Some(Self {
            key: SessionKey::from_bytes(key)?,
            began_at: i64::from_be_bytes(began_at.try_into().ok()?),
        })
    }

    /// Those that an index lists. Others can only be a stranger's.
    pub(super) fn list(members: &[Vec<u8>]) -> Vec<Self> {
        let members = members.iter();
        members
            .filter_map(|member| Self::from_bytes(member))
            .collect()
    }
}

/// Reads a record.
pub(super) fn read(key: &SessionKey) -> Cmd {
    let mut command = redis::cmd("GET");
    command.arg(keys::session(key));
    command
}

/// Why a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// The session begins: whatever was there is over.
    New,
    /// The session was lost: whatever is there knows better.
    Back,
    /// The session goes on, unless it has ended.
    Again,
}

/// Writes a record; `nil` if it is there already and stays.
pub(super) fn write(key: &SessionKey, record: &[u8], seconds: i64, put: Put) -> Cmd {
    if put == Put::Again {
        let mut command = redis::cmd("EVAL");
        command.arg(RENEW).arg(1).arg(keys::session(key));
        command.arg(record).arg(seconds);
        return command;
    }
    let mut command = redis::cmd("SET");
    command.arg(keys::session(key)).arg(record);
    command.arg("EX").arg(seconds);
    if put == Put::Back {
        command.arg("NX");
    }
    command
}

/// [`REPLACE`].
pub(super) fn replace(key: &SessionKey, record: &[u8], before: &[u8]) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command
        .arg(REPLACE)
        .arg(1)
        .arg(keys::session(key))
        .arg(record)
        .arg(before);
    command
}

/// Puts the mark of the end in place of a record, for as long as the record would have lived.
pub(super) fn end(key: &SessionKey) -> Cmd {
    let mut command = redis::cmd("SET");
    command
        .arg(keys::session(key))
        .arg(ENDED)
        .arg("XX")
        .arg("KEEPTTL");
    command
}

/// [`FILLING`]; `name` is a new one, in case that it is needed.
pub(super) fn filling(name: &[u8], seconds: u64) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command
        .arg(FILLING)
        .arg(2)
        .arg(keys::FILLED)
        .arg(keys::REFILLING)
        .arg(name)
        .arg(seconds);
    command
}

/// Says that Redis will not have everything back for so long.
pub(super) fn still_filling(seconds: u64) -> Cmd {
    let mut command = redis::cmd("SET");
    command.arg(keys::REFILLING).arg(1).arg("EX").arg(seconds);
    command
}

/// Claims the question to authentik about a session; `nil` if somebody else has it.
pub(super) fn claim(name: String, seconds: u64) -> Cmd {
    let mut command = redis::cmd("SET");
    command
        .arg(name)
        .arg(1)
        .arg("EX")
        .arg(seconds.max(1))
        .arg("NX");
    command
}
