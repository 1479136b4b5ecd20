//! Redis commands and Lua scripts. A script runs atomically and uses one key, or two in the same
//! hash slot.

use redis::Cmd;

use crate::model::SessionKey;
use crate::store::redis::format::keys::{self, Hash};
use crate::store::redis::format::record::TOMBSTONE;

/// How long an ended authentik session stays marked, in seconds: longer than any login in
/// progress.
const ENDED_SID_TTL_SECONDS: u32 = 600;

/// Adds a session to an index; `nil` if the index is closed. Removes expired entries, and sets the
/// time to live of the index to that of its last entry. Returns the entries that were evicted
/// because the index was full.
const ADD_TO_INDEX: &str = "
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

/// Closes an index, if it has a key for that, and lists it. Entries are removed after their
/// tombstones are written.
const CLOSE_INDEX: &str = "
if KEYS[2] then redis.call('SET', KEYS[2], '1', 'EX', ARGV[1]) end
return redis.call('ZRANGE', KEYS[1], 0, -1)";

/// Replaces a record if it is unchanged since it was read; keeps its time to live.
const COMPARE_AND_SET: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
return 1";

/// Writes a record with a new time to live, unless its tombstone is there.
const UPDATE: &str = "
if redis.call('STRLEN', KEYS[1]) == 1 then return false end
return redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])";

/// Removes a claim if it still has this value.
const RELEASE: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";

/// Returns the generation of the data set, and whether replicas may still restore sessions in it.
/// If there is no generation, the candidate becomes it.
const GENERATION: &str = "
local generation = redis.call('GET', KEYS[1])
if not generation then
  generation = ARGV[1]
  redis.call('SET', KEYS[1], generation)
  redis.call('SET', KEYS[2], '1', 'EX', ARGV[2])
end
return {generation, redis.call('EXISTS', KEYS[2])}";

/// The sessions of a user, or of an authentik session: a sorted set by time of expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::redis) enum Index {
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

    /// [`ADD_TO_INDEX`].
    pub(in crate::store::redis) fn add(
        &self,
        member: &IndexEntry,
        expires: i64,
        now: i64,
        max_members: usize,
    ) -> Cmd {
        let mut command = self.command(ADD_TO_INDEX);
        command.arg(member.to_bytes()).arg(expires);
        command.arg(now).arg(max_members);
        command
    }

    /// [`CLOSE_INDEX`].
    pub(in crate::store::redis) fn close(&self) -> Cmd {
        let mut command = self.command(CLOSE_INDEX);
        command.arg(ENDED_SID_TTL_SECONDS);
        command
    }

    /// Removes one session.
    pub(in crate::store::redis) fn remove(&self, member: &IndexEntry) -> Cmd {
        let name = match self {
            Self::Sid(hash) => keys::sid(hash),
            Self::Subject(hash) => keys::subject(hash),
        };
        let mut command = redis::cmd("ZREM");
        command.arg(name).arg(member.to_bytes());
        command
    }
}

/// A session in an index: its key and when it started, 40 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::redis) struct IndexEntry {
    pub(in crate::store::redis) key: SessionKey,
    /// When the user signed in, Unix seconds.
    pub(in crate::store::redis) started_at: i64,
}

impl IndexEntry {
    fn to_bytes(self) -> Vec<u8> {
        [&self.key.as_bytes()[..], &self.started_at.to_be_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (key, started_at) = bytes.split_at_checked(32)?;
        Some(Self {
            key: SessionKey::from_bytes(key)?,
            started_at: i64::from_be_bytes(started_at.try_into().ok()?),
        })
    }

    /// The entries of an index. Entries of another form are not from this program.
    pub(in crate::store::redis) fn list(members: &[Vec<u8>]) -> Vec<Self> {
        let members = members.iter();
        members
            .filter_map(|member| Self::from_bytes(member))
            .collect()
    }
}

/// Reads a record.
pub(in crate::store::redis) fn read(key: &SessionKey) -> Cmd {
    let mut command = redis::cmd("GET");
    command.arg(keys::session(key));
    command
}

/// How a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::redis) enum Write {
    /// A new session: replaces what is there.
    Create,
    /// A session that Redis lost: what is there is newer and stays.
    Restore,
    /// A refreshed session: replaces what is there, except a tombstone.
    Update,
}

/// Writes a record; `nil` if what is there stays.
pub(in crate::store::redis) fn write(
    key: &SessionKey,
    record: &[u8],
    seconds: i64,
    mode: Write,
) -> Cmd {
    if mode == Write::Update {
        let mut command = redis::cmd("EVAL");
        command.arg(UPDATE).arg(1).arg(keys::session(key));
        command.arg(record).arg(seconds);
        return command;
    }
    let mut command = redis::cmd("SET");
    command.arg(keys::session(key)).arg(record);
    command.arg("EX").arg(seconds);
    if mode == Write::Restore {
        command.arg("NX");
    }
    command
}

/// [`COMPARE_AND_SET`].
pub(in crate::store::redis) fn replace(key: &SessionKey, record: &[u8], before: &[u8]) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command
        .arg(COMPARE_AND_SET)
        .arg(1)
        .arg(keys::session(key))
        .arg(record)
        .arg(before);
    command
}

/// Replaces a record by a tombstone with the record's time to live; `nil` if there is no record.
pub(in crate::store::redis) fn write_tombstone(key: &SessionKey) -> Cmd {
    let mut command = redis::cmd("SET");
    command
        .arg(keys::session(key))
        .arg(TOMBSTONE)
        .arg("XX")
        .arg("KEEPTTL");
    command
}

/// [`GENERATION`]; `candidate` is a new one.
pub(in crate::store::redis) fn generation(candidate: &[u8], seconds: u64) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command
        .arg(GENERATION)
        .arg(2)
        .arg(keys::GENERATION_KEY)
        .arg(keys::REFILLING)
        .arg(candidate)
        .arg(seconds);
    command
}

/// Marks the data set as incomplete for this time.
pub(in crate::store::redis) fn extend_refill(seconds: u64) -> Cmd {
    let mut command = redis::cmd("SET");
    command.arg(keys::REFILLING).arg(1).arg("EX").arg(seconds);
    command
}

/// Takes a claim for this time; `nil` if another replica has it.
pub(in crate::store::redis) fn claim(key: String, value: &[u8], seconds: u64) -> Cmd {
    let mut command = redis::cmd("SET");
    command
        .arg(key)
        .arg(value)
        .arg("EX")
        .arg(seconds.max(1))
        .arg("NX");
    command
}

/// [`RELEASE`].
pub(in crate::store::redis) fn release(key: String, value: &[u8]) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(RELEASE).arg(1).arg(key).arg(value);
    command
}
