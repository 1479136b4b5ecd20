//! Users' sessions at authentik, and the codes and tokens that were granted in them.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use uuid::Uuid;

use super::{Shared, State};
use crate::dialect::Dialect;
use crate::random;

/// How long an authorization code is good for.
const CODE_LIFETIME: Duration = Duration::from_mins(1);

/// Seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is past 1970");
    i64::try_from(since.as_secs()).expect("the year is not that far")
}

/// A browser signed in at authentik.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) username: String,
    /// Seconds since 1970.
    pub(crate) auth_time: i64,
    /// Set by a login that an authorize request with `prompt=login` asked for, until that request
    /// comes back.
    pub(crate) satisfies_prompt: bool,
}

/// What one grant of access carries on into tokens.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) client_id: String,
    pub(crate) username: String,
    pub(crate) scope: Vec<String>,
    pub(crate) nonce: Option<String>,
    /// `None` when no browser was involved.
    pub(crate) session_key: Option<String>,
    /// Seconds since 1970.
    pub(crate) auth_time: i64,
}

impl Grant {
    /// The `sid` claim.
    pub(crate) fn sid(&self) -> Option<String> {
        self.session_key.as_deref().map(sid_of)
    }
}

/// An authorization code's other half.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) grant: Grant,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: Option<Challenge>,
    issued: Instant,
}

impl Code {
    pub(crate) fn new(grant: Grant, redirect_uri: String, challenge: Option<Challenge>) -> Self {
        Self {
            grant,
            redirect_uri,
            challenge,
            issued: Instant::now(),
        }
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.issued.elapsed() < CODE_LIFETIME
    }
}

/// A PKCE challenge (RFC 7636).
#[derive(Debug, Clone)]
pub(crate) struct Challenge {
    pub(crate) value: String,
    /// Whether the method is S256, not plain.
    pub(crate) hashed: bool,
}

/// An access token's other half.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) client_id: String,
    pub(crate) session_key: Option<String>,
    pub(crate) scope: Vec<String>,
    /// The claims that introspection answers with.
    pub(crate) claims: Value,
    /// Seconds since 1970.
    pub(crate) expires: i64,
}

/// Everything granted, by the secret that stands for it.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    pub(crate) codes: HashMap<String, Code>,
    pub(crate) tokens: HashMap<String, Token>,
    pub(crate) refresh_tokens: HashMap<String, Grant>,
}

/// The `sid` claim that belongs to a session key.
pub(crate) fn sid_of(session_key: &str) -> String {
    random::sha256_hex(session_key)
}

impl State {
    /// Keeps a code and returns the secret that stands for it.
    pub(crate) fn new_code(&mut self, code: Code) -> String {
        let secret = Uuid::new_v4().simple().to_string();
        self.grants.codes.insert(secret.clone(), code);
        secret
    }

    /// Signs `username` in and returns the new session's key.
    pub(crate) fn sign_in(&mut self, username: &str) -> String {
        let key = random::alphanumeric(32).to_lowercase();
        let session = Session {
            username: username.to_owned(),
            auth_time: unix_now(),
            satisfies_prompt: false,
        };
        self.sessions.insert(key.clone(), session);
        key
    }

    /// The keys of the sessions that `matches`.
    pub(crate) fn session_keys(&self, matches: impl Fn(&str, &Session) -> bool) -> Vec<String> {
        let matching = self
            .sessions
            .iter()
            .filter(|(key, session)| matches(key, session));
        matching.map(|(key, _)| key.clone()).collect()
    }

    /// The keys of all sessions of `username`.
    pub(crate) fn sessions_of(&self, username: &str) -> Vec<String> {
        self.session_keys(|_, session| session.username == username)
    }
}

/// How a session ended, which decides how often the older server tells the outpost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its browser signed out.
    SignedOut,
    /// An administrator ended it.
    Deleted,
}

impl Shared {
    /// Ends the session with that key: what was granted in it is void, outposts are told.
    pub(crate) fn end_session(&self, key: &str, how: Ended) {
        let mut state = self.lock();
        if state.sessions.remove(key).is_none() {
            return;
        }
        let ended = Some(key);
        state
            .grants
            .codes
            .retain(|_, code| code.grant.session_key.as_deref() != ended);
        state
            .grants
            .tokens
            .retain(|_, token| token.session_key.as_deref() != ended);
        state
            .grants
            .refresh_tokens
            .retain(|_, grant| grant.session_key.as_deref() != ended);
        let (frame, times) = event(self.settings.dialect, &sid_of(key), how);
        for _ in 0..times {
            state.send_to_outposts(&frame);
        }
    }
}

/// The frame that tells an outpost about the end of a session, and how often it is sent. Keys are
/// written in the recorded order.
fn event(dialect: Dialect, sid: &str, how: Ended) -> (String, usize) {
    match dialect {
        Dialect::V2025_6 => {
            let args = format!(
                r#"{{"type": "event.provider.specific", "sub_type": "logout", "session_id": "{sid}"}}"#
            );
            let times = if how == Ended::SignedOut { 2 } else { 1 };
            (format!(r#"{{"instruction": 3, "args": {args}}}"#), times)
        }
        Dialect::V2026_2 => {
            let args = format!(r#"{{"type": "event.session.end", "session_id": "{sid}"}}"#);
            (format!(r#"{{"instruction": 4, "args": {args}}}"#), 1)
        }
    }
}
