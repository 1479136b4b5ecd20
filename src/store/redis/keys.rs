//! Names in Redis. Nothing in them tells who it is: session ids and authentik's session keys are
//! hashed, people are named by a keyed hash, because some deployments have guessable subjects.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::model::SessionKey;
use crate::store::seal::KeyedHash;

/// What all our names begin with; an access rule at Redis is `~authentik-proxy:*`.
const PREFIX: &str = "authentik-proxy:";

/// The channel on which replicas tell each other of ended sessions.
pub(super) const CHANNEL: &str = "authentik-proxy:ended";

/// A hash that an index is named by.
pub(super) type Hash = [u8; 32];

/// The record of a session.
pub(super) fn session(key: &SessionKey) -> String {
    format!("{PREFIX}session:{}", key.to_text())
}

/// When a session was last used.
pub(super) fn used(key: &SessionKey) -> String {
    format!("{PREFIX}used:{}", key.to_text())
}

/// The mark that somebody is just asking authentik about a session.
pub(super) fn check(key: &SessionKey) -> String {
    format!("{PREFIX}check:{}", key.to_text())
}

/// The mark that somebody is just refreshing a session.
pub(super) fn refresh(key: &SessionKey) -> String {
    format!("{PREFIX}refresh:{}", key.to_text())
}

/// The index of authentik's session. The braces keep it beside [`ended_sid`] in a cluster.
pub(super) fn sid(hash: &Hash) -> String {
    format!("{PREFIX}sid:{{{}}}", URL_SAFE_NO_PAD.encode(hash))
}

/// The mark that authentik's session has ended.
pub(super) fn ended_sid(hash: &Hash) -> String {
    format!("{PREFIX}ended:{{{}}}", URL_SAFE_NO_PAD.encode(hash))
}

/// The index of a person.
pub(super) fn subject(hash: &Hash) -> String {
    format!("{PREFIX}subject:{}", URL_SAFE_NO_PAD.encode(hash))
}

/// The mark that Redis has what it was given; gone with everything else that it forgets. The
/// braces keep it beside [`REFILLING`] in a cluster.
pub(super) const FILLED: &str = "authentik-proxy:{filled}";

/// The mark that replicas are giving Redis again what it has lost.
pub(super) const REFILLING: &str = "authentik-proxy:{filled}:again";

/// What is kept for other parts of the program.
pub(super) fn blob(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// The hash of authentik's `sid`, itself a hash of 32 random characters.
pub(super) fn sid_hash(sid: &str) -> Hash {
    let mut hash = [0; 32];
    let text = format!("authentik-proxy/sid/{sid}");
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
}

/// The keyed hash of a subject.
pub(super) fn subject_hash(people: &KeyedHash, sub: &str) -> Hash {
    people.of(format!("authentik-proxy/sub/{sub}").as_bytes())
}
