//! The domain types, free of I/O: outposts, applications, sessions and the rules of access.
//!
//! Everything here is already validated: a value that exists is a value that may be used.

mod application;
mod authority;
mod authorization;
mod diagnostic;
mod dialect;
mod outpost;
pub(crate) mod path;
mod policy;
mod requested_url;
mod session;

pub use application::backend::{Backend, BackendError};
pub use application::cookie_domain::{CookieDomain, CookieDomainError};
pub use application::{Application, BasicAuth, ExternalUrl, ExternalUrlError, Mode, OAuthClient};
pub use authority::{Authority, AuthorityError};
pub use authorization::{AuthorizationRequest, Decision, Reason};
pub use diagnostic::{Diagnostic, Hint, HintText};
pub use dialect::{Dialect, Dialects};
pub use outpost::Outpost;
pub use path::{MAX_BYTES, MAX_PATH, MAX_READINGS, PathPattern, Readings, eager as eager_path};
pub use policy::allowlist::Allowlist;
pub use policy::{
    Action, HeaderEncoding, HeaderSource, IdentityOptions, Policy, Rule, RuleDecision,
    UpstreamProtocol, is_framing_header,
};
pub use requested_url::{RequestedUrl, RequestedUrlError, Scheme};
pub use session::access_token::AccessToken;
pub use session::claims::{Claims, ProxyClaims};
pub use session::idle::IdleTimeout;
pub use session::shared::Names;
pub use session::{Refresh, Session, SessionId, SessionKey};
