//! Under which names the sessions of a user are indexed.

use std::sync::Arc;

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret as _, SecretString};

use super::RedisStore;
use super::connection::server::Server;
use super::format::keys::{self, Hash};
use crate::model::Session;
use crate::store::seal::KeyedHash;
use crate::store::session::Prepared;

/// Keys that are kept, each with an index entry per session.
const MAX_KEYS: usize = 4;

/// The keys by which subjects are hashed: derived from the outpost's token, which all replicas have.
/// They do not learn of another token at the same moment, so that each replica uses the previous
/// ones as well: whichever token another replica has, it finds the sessions.
pub(super) struct SubjectKeys(ArcSwap<Vec<Arc<KeyedHash>>>);

impl SubjectKeys {
    pub(super) fn new(secret: &SecretString) -> Self {
        Self(ArcSwap::from_pointee(vec![key(secret)]))
    }

    /// Adds a key, the oldest gives way.
    pub(super) fn add(&self, secret: &SecretString) {
        let mut keys = Vec::clone(&self.0.load());
        let key = key(secret);
        keys.retain(|known| known.of(b"") != key.of(b""));
        keys.push(key);
        let surplus = keys.len().saturating_sub(MAX_KEYS);
        keys.drain(..surplus);
        self.0.store(Arc::new(keys));
    }

    /// The names of a subject.
    pub(super) fn hashes(&self, sub: &str) -> Vec<Hash> {
        let keys = self.0.load();
        keys.iter()
            .map(|key| keys::subject_hash(key, sub))
            .collect()
    }
}

fn key(secret: &SecretString) -> Arc<KeyedHash> {
    Arc::new(KeyedHash::new(secret.expose_secret().as_bytes()))
}

impl<P: Prepared> RedisStore<P> {
    /// The names under which a session is indexed: that of authentik's session, and those of the
    /// user.
    pub(super) fn index_keys(&self, session: &Session) -> (Option<Hash>, Vec<Hash>) {
        let sid = session.claims.sid.as_deref().map(keys::sid_hash);
        (sid, self.subject_keys.hashes(&session.claims.sub))
    }

    /// Opens connections by `server` from now on.
    pub(in crate::store) fn replace_server(&self, server: Server) {
        self.connection.replace_server(server);
    }

    /// Waits until Redis refuses the credentials.
    pub(in crate::store) async fn refused(&self) {
        self.connection.refused().await;
    }

    /// Indexes users by another secret as well.
    pub(in crate::store) fn add_subject_index_key(&self, secret: &SecretString) {
        self.subject_keys.add(secret);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_the_name_of_each_of_the_last_tokens() {
        let keys = SubjectKeys::new(&"0".into());
        let old = keys.hashes("sub");
        keys.add(&"1".into());
        keys.add(&"1".into());
        let both = keys.hashes("sub");
        assert_eq!(both.len(), 2);
        assert_eq!(both[..1], old);
        let other = SubjectKeys::new(&"1".into());
        assert_eq!(other.hashes("sub"), both[1..]);
        for token in ["2", "3", "4"] {
            keys.add(&token.into());
        }
        let last = keys.hashes("sub");
        assert_eq!(last.len(), MAX_KEYS);
        assert!(!last.contains(&old[0]) && last.contains(&both[1]));
    }
}
