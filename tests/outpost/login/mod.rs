//! Signing in and out: browsers, API clients, token refresh, applications that share a domain.

mod api_clients;
pub(crate) mod browser;
mod domains;
mod history;
pub(crate) mod person;
pub(crate) mod reauthorize;
pub(crate) mod refresh;
mod sign_in;
mod sign_out;
mod targets;
pub(crate) mod user_page;
