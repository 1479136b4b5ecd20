//! The domain types, free of I/O: outposts, applications, sessions and the rules of access.
//!
//! Everything here is already validated: a value that exists is a value that may be used.

mod allowlist;
mod application;
mod authority;
mod authorization;
mod backend;
mod claims;
mod cookie_domain;
mod diagnostic;
mod dialect;
mod idle;
mod outpost;
#[cfg(not(test))]
mod path;
#[cfg(test)]
pub(crate) mod path;
mod policy;
mod requested_url;
mod session;

pub use allowlist::Allowlist;
pub use application::{Application, BasicAuth, ExternalUrl, ExternalUrlError, Mode, OAuthClient};
pub use authority::{Authority, AuthorityError};
pub use authorization::{AuthorizationRequest, Decision, Reason};
pub use backend::{Backend, BackendError};
pub use claims::{Claims, ProxyClaims};
pub use cookie_domain::{CookieDomain, CookieDomainError};
pub use diagnostic::{Diagnostic, Hint, HintText};
pub use dialect::{Dialect, Dialects};
pub use idle::IdleTimeout;
pub use outpost::Outpost;
pub use path::{MAX_BYTES, MAX_PATH, MAX_READINGS, PathPattern, Readings, eager as eager_path};
pub use policy::{
    Action, HeaderEncoding, HeaderSource, IdentityOptions, Policy, Rule, RuleDecision,
    UpstreamProtocol, is_framing_header,
};
pub use requested_url::{RequestedUrl, RequestedUrlError, Scheme};
pub use session::{Refresh, Session, SessionId, SessionKey};
