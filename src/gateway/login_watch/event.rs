//! The steps of logins, as readers get them.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What a reader gets, one JSON object in a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first line: events follow from now on.
    Watching {
        /// The server's version.
        version: String,
    },
    /// A step of a login.
    Event(Event),
    /// The number of events that the reader was too slow for.
    Missed(u64),
    /// The only line: why the server sends no events.
    Refused(String),
}

impl Line {
    /// As JSON, with a line break.
    #[must_use]
    pub fn to_json(&self) -> Arc<str> {
        let mut json = serde_json::to_string(self).unwrap_or_default();
        json.push('\n');
        json.into()
    }
}

/// A step of a login. It has no token, cookie, code, state, path or query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened, in Unix seconds.
    pub time: i64,
    /// The id of the request, as in the access log.
    pub request_id: String,
    /// The client's address, as in the access log.
    pub client: IpAddr,
    /// The scheme of the client's request, as far as known.
    pub scheme: String,
    /// The host that the user opened, as far as known.
    pub host: String,
    /// The slug of the application, if one was found.
    pub application: Option<String>,
    /// A short id of the login, which no other part of the login has or shows.
    pub login: Option<String>,
    /// The step.
    #[serde(flatten)]
    pub step: Step,
}

/// The steps of a login, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// A navigation without a session.
    NoSession {
        /// The dialect of forward auth, or `proxy`.
        mode: String,
        /// Why there is none.
        cookie: SessionCookie,
        /// The response.
        response: Response,
    },
    /// The browser is sent to authentik.
    Redirected {
        /// The origin of authentik's page.
        to: String,
        /// 1, or 2 where a callback started over.
        attempt: u8,
    },
    /// The browser came back from authentik.
    Callback {
        /// Why the callback does not belong to a login of this browser.
        problem: Option<String>,
    },
    /// authentik gave tokens for the code, and they were verified.
    CodeExchanged {
        /// How long it took.
        milliseconds: u64,
    },
    /// The session is stored, and the browser is sent back with its cookie.
    SignedIn {
        /// Whether browsers send the cookie over TLS only.
        secure: bool,
        /// The domain of the cookie; none if it is for the host alone.
        domain: Option<String>,
    },
    /// The login starts over, once.
    StartedOver {
        /// Why.
        reason: String,
    },
    /// The callback is of no use, and the browser has a session.
    AlreadySignedIn {
        /// Why.
        reason: String,
    },
    /// The first request with the new session.
    Accepted,
    /// A request of a login, or a navigation, that failed.
    Failed {
        /// The status of the response.
        status: u16,
        /// The cause, as in the log.
        error: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

/// The session cookie of a request that has no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionCookie {
    /// The browser sent none.
    Missing,
    /// It has no valid signature.
    Invalid,
    /// Its session has ended, is not stored, or needs a new authorization by authentik.
    Ended,
}

/// The response to a navigation without a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// A redirect to authentik.
    Authentik,
    /// A redirect to the page that starts the login.
    Start,
    /// 401.
    Unauthorized,
}
