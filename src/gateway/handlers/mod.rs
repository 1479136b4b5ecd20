//! What answers requests: one file an entry.

#[cfg(feature = "ext-authz")]
pub mod ext_authz;
pub(crate) mod forward_auth;
pub(crate) mod login;
pub(crate) mod proxy;
pub(crate) mod user_page;
