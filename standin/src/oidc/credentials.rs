//! How OAuth clients prove who they are.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;

use crate::message::{Form, Incoming};
use crate::records::Entry;
use crate::state::State;

/// A client's id and secret, from the form or from an HTTP Basic header.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

impl Credentials {
    pub(crate) fn of(request: &Incoming, form: &Form) -> Self {
        let field = |name: &str| form.get(name).unwrap_or_default().to_owned();
        let posted = Self {
            client_id: field("client_id"),
            client_secret: field("client_secret"),
        };
        if posted.client_id.is_empty() {
            Self::basic(request).unwrap_or(posted)
        } else {
            posted
        }
    }

    fn basic(request: &Incoming) -> Option<Self> {
        let encoded = request.header("authorization")?.strip_prefix("Basic ")?;
        let (client_id, client_secret) = user_and_password(encoded)?;
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Some(Self {
            client_id: decode(&client_id),
            client_secret: decode(&client_secret),
        })
    }

    /// The client's provider, if the secret is right.
    pub(crate) fn provider<'a>(&self, state: &'a State) -> Option<&'a Entry> {
        state
            .provider_by_client(&self.client_id)
            .filter(|entry| entry.text("client_secret") == self.client_secret)
    }
}

/// Decodes `base64(user:password)`.
pub(crate) fn user_and_password(encoded: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
