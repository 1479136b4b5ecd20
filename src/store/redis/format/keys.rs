//! Redis keys. They reveal no user: session ids and authentik's `sid` are hashed, and subjects are
//! hashed with a key, because some deployments have guessable ones.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::model::SessionKey;
use crate::store::seal::KeyedHash;

/// Prefix of all keys; the ACL rule at Redis is `~authentik-proxy:*`.
const PREFIX: &str = "authentik-proxy:";

/// The channel of invalidation messages.
pub(in crate::store::redis) const CHANNEL: &str = "authentik-proxy:ended";

/// The hash of a `sid` or a subject.
pub(in crate::store::redis) type Hash = [u8; 32];

/// The record of a session.
pub(in crate::store::redis) fn session(key: &SessionKey) -> String {
    format!("{PREFIX}session:{}", key.to_text())
}

/// When a session was last used.
pub(in crate::store::redis) fn used(key: &SessionKey) -> String {
    format!("{PREFIX}used:{}", key.to_text())
}

/// The claim of a replica to introspect a session.
pub(in crate::store::redis) fn check(key: &SessionKey) -> String {
    format!("{PREFIX}check:{}", key.to_text())
}

/// The claim of a replica to refresh a session.
pub(in crate::store::redis) fn refresh(key: &SessionKey) -> String {
    format!("{PREFIX}refresh:{}", key.to_text())
}

/// The index of an authentik session. The braces put it into the hash slot of [`ended_sid`].
pub(in crate::store::redis) fn sid(hash: &Hash) -> String {
    format!("{PREFIX}sid:{{{}}}", URL_SAFE_NO_PAD.encode(hash))
}

/// Marks an authentik session as ended.
pub(in crate::store::redis) fn ended_sid(hash: &Hash) -> String {
    format!("{PREFIX}ended:{{{}}}", URL_SAFE_NO_PAD.encode(hash))
}

/// The index of a user.
pub(in crate::store::redis) fn subject(hash: &Hash) -> String {
    format!("{PREFIX}subject:{}", URL_SAFE_NO_PAD.encode(hash))
}

/// The generation of the data set, lost together with it. The braces put it into the hash slot of
/// [`REFILLING`].
pub(in crate::store::redis) const GENERATION_KEY: &str = "authentik-proxy:{filled}";

/// Marks that replicas restore sessions that Redis lost.
pub(in crate::store::redis) const REFILLING: &str = "authentik-proxy:{filled}:again";

/// A blob of another part of the program.
pub(in crate::store::redis) fn blob(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// The hash of authentik's `sid`, itself a hash of 32 random characters.
pub(in crate::store::redis) fn sid_hash(sid: &str) -> Hash {
    let mut hash = [0; 32];
    let text = format!("authentik-proxy/sid/{sid}");
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
}

/// The keyed hash of a subject.
pub(in crate::store::redis) fn subject_hash(subject_index_key: &KeyedHash, sub: &str) -> Hash {
    subject_index_key.of(format!("authentik-proxy/sub/{sub}").as_bytes())
}
