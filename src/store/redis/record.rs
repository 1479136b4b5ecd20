//! A session as Redis holds it: a version and a sealed text.
//!
//! The key of the seal comes from the session's id, which only the browser's cookie has, and from
//! the application's secret. Whoever reads Redis learns neither who it is nor anything to be used.

use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use crate::model::{Claims, Refresh, Session, SessionId};
use crate::store::seal::Seal;

/// Stands where a session was that has ended, as long as it would have lived: nothing that still
/// has a copy can put it back.
pub(super) const ENDED: &[u8] = b"\0";

/// The form that is written; others are not read.
const VERSION: u8 = 1;

/// What a session consists of, before its headers are rendered.
#[derive(Deserialize)]
pub(super) struct Record {
    pub(super) client_id: String,
    pub(super) claims: Claims,
    token: String,
    pub(super) expires_at: i64,
    pub(super) checked_at: i64,
    #[serde(default)]
    refresh: Option<(String, i64)>,
}

#[derive(Serialize)]
struct Plain<'a> {
    client_id: &'a str,
    claims: &'a Claims,
    token: &'a str,
    expires_at: i64,
    checked_at: i64,
    refresh: Option<(&'a str, i64)>,
}

/// Why a record is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    /// Written by another version of this program.
    #[error("it has version {0}, and this program reads version {VERSION}")]
    Version(u8),
    /// Not as it was written, or not written for this session.
    #[error("it was changed, cut off or sealed with another secret")]
    Sealed,
    /// Opened, but of another form.
    #[error("its content is not understood")]
    Content,
}

/// The key of one session's record.
pub(super) fn seal(id: &SessionId, application: &[u8; 32]) -> Seal {
    Seal::derive(b"session record", &[id.secret(), application])
}

/// What is written under `name`.
pub(super) fn encode(seal: &Seal, name: &str, session: &Session) -> Vec<u8> {
    let plain = Plain {
        client_id: &session.client_id,
        claims: &session.claims,
        token: session.access_token.expose_secret(),
        expires_at: session.expires_at,
        checked_at: session.checked_at(),
        refresh: session
            .refresh
            .as_ref()
            .map(|refresh| (refresh.token.expose_secret(), refresh.began_at)),
    };
    let plain = serde_json::to_vec(&plain).expect("strings, numbers and JSON values serialise");
    let mut record = vec![VERSION];
    record.extend(seal.seal(&context(name), &plain));
    record
}

/// Reads what was written under `name`.
pub(super) fn decode(seal: &Seal, name: &str, record: &[u8]) -> Result<Record, RecordError> {
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
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// The session, with the headers that were rendered of it.
    pub(super) fn into_session(self, headers: http::HeaderMap) -> Session {
        let session = Session::new(
            &self.client_id,
            self.claims,
            self.token.into(),
            self.expires_at,
            headers,
        );
        session.checked(self.checked_at);
        session.refreshable(self.refresh.map(|(token, began_at)| Refresh {
            token: token.into(),
            began_at,
        }))
    }
}

/// Binds a record to its version and to its place.
fn context(name: &str) -> Vec<u8> {
    let mut context = vec![VERSION];
    context.extend_from_slice(name.as_bytes());
    context
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn session() -> Session {
        let claims: Claims = serde_json::from_str(
            r#"{"sub":"alice-sub","sid":"alice-sid","preferred_username":"alice",
                "email":"alice@home.test","ak_proxy":{"user_attributes":{"p":"hunter2"}}}"#,
        )
        .expect("claims");
        let session = Session::new("client", claims, "jwt".into(), 2_000, HeaderMap::new());
        session.checked(1_500);
        session.refreshable(Some(Refresh {
            token: "refresh".into(),
            began_at: 1_000,
        }))
    }

    #[test]
    fn a_record_is_read_back_as_it_was() {
        let seal = seal(&SessionId::random(), &[7; 32]);
        let record = decode(&seal, "a", &encode(&seal, "a", &session())).expect("read");
        assert_eq!((record.expires_at, record.checked_at), (2_000, 1_500));
        assert_eq!(
            (record.client_id.as_str(), record.token()),
            ("client", "jwt")
        );
        assert!(record.claims == session().claims);
    }

    #[test]
    fn a_record_shows_nothing_of_the_person() {
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
            read(&own, "a", ENDED),
            Some(RecordError::Version(0)),
            "ended"
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
        let mut strange = vec![VERSION];
        strange.extend(own.seal(&context("a"), b"[]"));
        assert_eq!(read(&own, "a", &strange), Some(RecordError::Content));
    }
}
