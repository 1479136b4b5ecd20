//! What goes wrong at authentik, in words that an operator can act on.

use http::StatusCode;

use crate::model::Hint as _;
use crate::web::client::rest::RestError;

/// Why authentik could not be read or written. Each text names the cause and the fix.
#[derive(Debug, thiserror::Error)]
pub enum AuthentikError {
    /// The token is not one.
    #[error(
        "authentik refuses the token ({0}); set AUTHENTIK_PROXY_DISCOVER__TOKEN to an API token that has not expired"
    )]
    Token(String),
    /// The token may not do that.
    #[error(
        "the token may not {action}; give the user of AUTHENTIK_PROXY_DISCOVER__TOKEN a role with the permission {permission} (docs/DISCOVERY.md lists all of them)"
    )]
    Forbidden {
        /// What was tried.
        action: &'static str,
        /// What it takes.
        permission: &'static str,
    },
    /// authentik does not accept what was sent.
    #[error("authentik does not {action}: {detail}")]
    Invalid {
        /// What was tried.
        action: &'static str,
        /// What authentik says.
        detail: String,
    },
    /// A flow is not there.
    #[error(
        "authentik has no flow {slug:?} that the token may see; correct {variable}, or give the permission authentik_flows.view_flow"
    )]
    NoFlow {
        /// Its slug.
        slug: String,
        /// Where that is set.
        variable: &'static str,
    },
    /// There is no telling which outpost is meant.
    #[error("{0}")]
    Outpost(String),
    /// Anything else.
    #[error("{}", .0.with_hint())]
    Rest(RestError),
}

/// What a request is for, for the message of its failure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    action: &'static str,
    permission: &'static str,
}

/// What is about to be tried, and the permission that it takes.
pub(super) const fn to(action: &'static str, permission: &'static str) -> Attempt {
    Attempt { action, permission }
}

impl Attempt {
    pub(super) fn failed(self, error: RestError) -> AuthentikError {
        let Attempt { action, permission } = self;
        match error {
            // authentik answers both with 403.
            RestError::Status { status, detail, .. }
                if status == StatusCode::UNAUTHORIZED || is_about_token(status, &detail) =>
            {
                AuthentikError::Token(detail)
            }
            RestError::Status { status, .. } if status == StatusCode::FORBIDDEN => {
                AuthentikError::Forbidden { action, permission }
            }
            RestError::Status { status, detail, .. } if status == StatusCode::BAD_REQUEST => {
                AuthentikError::Invalid { action, detail }
            }
            error => AuthentikError::Rest(error),
        }
    }
}

fn is_about_token(status: StatusCode, detail: &str) -> bool {
    let refused = ["Token invalid/expired", "Authentication credentials"];
    status == StatusCode::FORBIDDEN && refused.iter().any(|text| detail.starts_with(text))
}

fn is_missing(error: &RestError) -> bool {
    matches!(error, RestError::Status { status, .. } if *status == StatusCode::NOT_FOUND)
}

/// What is not there is `None`.
pub(super) fn found_or_none<T>(
    found: Result<T, RestError>,
    attempt: Attempt,
) -> Result<Option<T>, AuthentikError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(attempt.failed(error)),
    }
}

/// Whatever is not there any more is deleted.
pub(super) fn gone(deleted: Result<(), RestError>, attempt: Attempt) -> Result<(), AuthentikError> {
    match deleted {
        Err(error) if !is_missing(&error) => Err(attempt.failed(error)),
        _ => Ok(()),
    }
}
