//! The `OpenID` Connect relying party: endpoints, requests, and verification of tokens.

mod api_clients;
mod client;
mod endpoints;
mod keys;
mod probe;
#[cfg(test)]
mod recorded;
mod state;
mod token;

pub use api_clients::Refusal;
pub use client::{ClientError, OidcError, RelyingParty, Tokens};
pub use endpoints::{Endpoints, EndpointsError, Origin, ProviderUrls};
pub use keys::Keys;
pub use probe::{Accepted, Published};
pub use state::{LoginState, StateError};
pub use token::{LEEWAY, TokenError, Verifier};
