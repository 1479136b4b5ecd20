//! A session record at Redis: a version byte and encrypted JSON.
//!
//! The encryption key is derived from the session id, which only the browser's cookie has, and the
//! application's secret. Read access to Redis reveals neither the user nor a usable token.

use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use crate::model::{AccessToken, Claims, Refresh, Session, SessionId};
use crate::store::seal::Seal;
use crate::store::session::{LiveSession, SessionContext};

/// Replaces the record of a revoked session until the record would have expired, so that no
/// replica restores the session from its cache.
pub(in crate::store::redis) const TOMBSTONE: &[u8] = b"\0";

/// Version of the format. Records of other versions are not read.
const VERSION: u8 = 1;

/// A decoded record. Names of fields are part of the format.
#[derive(Deserialize)]
pub(in crate::store::redis) struct Record {
    pub(in crate::store::redis) client_id: String,
    pub(in crate::store::redis) claims: Claims,
    token: String,
    pub(in crate::store::redis) expires_at: i64,
    #[serde(rename = "checked_at")]
    pub(in crate::store::redis) introspected_at: i64,
    #[serde(default)]
    refresh: Option<(String, i64)>,
}

#[derive(Serialize)]
struct Plain<'a> {
    client_id: &'a str,
    claims: &'a Claims,
    token: &'a str,
    expires_at: i64,
    #[serde(rename = "checked_at")]
    introspected_at: i64,
    refresh: Option<(&'a str, i64)>,
}

/// A record that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::store::redis) enum RecordError {
    /// Written in another version of the format.
    #[error("it has version {0}, and this program reads version {VERSION}")]
    Version(u8),
    /// Changed, or written for another session or with another secret.
    #[error("it was changed, cut off or sealed with another secret")]
    Sealed,
    /// Decrypted, but not valid JSON of this form.
    #[error("its content is not understood")]
    Content,
}

/// The encryption key of one session's record.
pub(in crate::store::redis) fn seal(id: &SessionId, application: &[u8; 32]) -> Seal {
    Seal::derive(b"session record", &[id.secret(), application])
}

/// Encodes the record for the Redis key `name`.
pub(in crate::store::redis) fn encode<P>(
    seal: &Seal,
    name: &str,
    session: &LiveSession<P>,
) -> Vec<u8> {
    let plain = Plain {
        client_id: &session.client_id,
        claims: &session.claims,
        token: session.access_token.expose_secret(),
        expires_at: session.expires_at,
        introspected_at: session.introspected_at(),
        refresh: session
            .refresh
            .as_ref()
            .map(|refresh| (refresh.token.expose_secret(), refresh.started_at)),
    };
    let plain = serde_json::to_vec(&plain).expect("strings, numbers and JSON values serialise");
    let mut record = vec![VERSION];
    record.extend(seal.seal(&context(name), &plain));
    record
}

/// Decodes the record of the Redis key `name`.
pub(in crate::store::redis) fn decode(
    seal: &Seal,
    name: &str,
    record: &[u8],
) -> Result<Record, RecordError> {
    let (version, sealed) = record.split_first().ok_or(RecordError::Sealed)?;
    if *version != VERSION {
        return Err(RecordError::Version(*version));
    }
    let plain = seal.open(&context(name), sealed);
    let plain = plain.ok_or(RecordError::Sealed)?;
    serde_json::from_slice(&plain).map_err(|_| RecordError::Content)
}

impl Record {
    /// The access token.
    pub(in crate::store::redis) fn token(&self) -> &str {
        &self.token
    }

    /// The session, with what its application prepares from it.
    pub(in crate::store::redis) fn into_session<P>(
        self,
        context: &(impl SessionContext<Prepared = P> + ?Sized),
    ) -> LiveSession<P> {
        let refresh = self.refresh.map(|(token, started_at)| Refresh {
            token: token.into(),
            started_at,
        });
        let token = AccessToken::from(self.token);
        let session = Session::new(&self.client_id, self.claims, token, self.expires_at);
        let session = LiveSession::new(session.refreshable(refresh), context);
        session.set_introspected_at(self.introspected_at);
        session
    }
}

/// Additional authenticated data: binds a record to its version and its Redis key.
fn context(name: &str) -> Vec<u8> {
    let mut context = vec![VERSION];
    context.extend_from_slice(name.as_bytes());
    context
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::session::NoContext;

    fn session() -> LiveSession<()> {
        let claims: Claims = serde_json::from_str(
            r#"{"sub":"alice-sub","sid":"alice-sid","preferred_username":"alice",
                "email":"alice@home.test","ak_proxy":{"user_attributes":{"p":"hunter2"}}}"#,
        )
        .expect("claims");
        let session = Session::new("client", claims, "jwt".into(), 2_000);
        let session = session.refreshable(Some(Refresh {
            token: "refresh".into(),
            started_at: 1_000,
        }));
        let session = LiveSession::new(session, &NoContext);
        session.set_introspected_at(1_500);
        session
    }

    #[test]
    fn a_record_is_read_back_as_it_was() {
        let seal = seal(&SessionId::random(), &[7; 32]);
        let record = decode(&seal, "a", &encode(&seal, "a", &session())).expect("read");
        assert_eq!((record.expires_at, record.introspected_at), (2_000, 1_500));
        assert_eq!(
            (record.client_id.as_str(), record.token()),
            ("client", "jwt")
        );
        assert!(record.claims == session().claims);
    }

    #[test]
    fn the_names_in_a_record_are_those_of_earlier_releases() {
        let own = seal(&SessionId::random(), &[7; 32]);
        let written = encode(&own, "a", &session());
        let plain = own.open(&context("a"), &written[1..]).expect("opens");
        let plain: serde_json::Value = serde_json::from_slice(&plain).expect("JSON");
        let mut names: Vec<_> = plain.as_object().expect("an object").keys().collect();
        names.sort();
        let expected = [
            "checked_at",
            "claims",
            "client_id",
            "expires_at",
            "refresh",
            "token",
        ];
        assert_eq!(names, expected);
        assert_eq!(plain["refresh"], serde_json::json!(["refresh", 1_000]));
        let mut earlier = vec![VERSION];
        let text = br#"{"client_id":"c","claims":{},"token":"t","expires_at":2,"checked_at":1}"#;
        earlier.extend(own.seal(&context("a"), text));
        let record = decode(&own, "a", &earlier).expect("read");
        assert_eq!((record.expires_at, record.introspected_at), (2, 1));
    }

    #[test]
    fn a_record_shows_nothing_of_the_user() {
        let id = SessionId::random();
        let record = encode(&seal(&id, &[7; 32]), "a", &session());
        let text = String::from_utf8_lossy(&record).into_owned();
        for secret in ["alice", "hunter2", "jwt", "client", &id.to_text()] {
            assert!(!text.contains(secret), "{secret}");
        }
    }

    #[test]
    fn only_an_untouched_record_in_its_place_is_read() {
        let id = SessionId::random();
        let own = seal(&id, &[7; 32]);
        let record = encode(&own, "a", &session());
        let read = |seal: &Seal, name, bytes: &[u8]| decode(seal, name, bytes).err();
        let sealed = Some(RecordError::Sealed);
        let changed = |at: usize| {
            let mut bytes = record.clone();
            bytes[at] ^= 1;
            bytes
        };
        assert_eq!(read(&own, "b", &record), sealed, "another place");
        assert_eq!(
            read(&seal(&id, &[8; 32]), "a", &record),
            sealed,
            "another application"
        );
        let other = seal(&SessionId::random(), &[7; 32]);
        assert_eq!(read(&other, "a", &record), sealed, "another session");
        assert_eq!(read(&own, "a", &changed(0)), Some(RecordError::Version(0)));
        assert_eq!(read(&own, "a", b"\x02later"), Some(RecordError::Version(2)));
        assert_eq!(
            read(&own, "a", TOMBSTONE),
            Some(RecordError::Version(0)),
            "a tombstone"
        );
        for length in 0..record.len() {
            assert_eq!(
                read(&own, "a", &record[..length]),
                sealed,
                "cut at {length}"
            );
        }
        for at in 1..record.len() {
            assert_eq!(read(&own, "a", &changed(at)), sealed, "changed at {at}");
        }
        let mut malformed = vec![VERSION];
        malformed.extend(own.seal(&context("a"), b"[]"));
        assert_eq!(read(&own, "a", &malformed), Some(RecordError::Content));
    }
}
