//! `OpenID` Connect, per provider.

mod authorize;
pub(crate) mod claims;
mod credentials;
mod introspect;
mod login;
mod logout;
mod token;

use http::HeaderValue;
use http::StatusCode;
use http::header::ACCESS_CONTROL_ALLOW_ORIGIN;

use crate::message::{Answer, Incoming, json};
use crate::state::Shared;
use crate::{message, records::keys};

pub(crate) use authorize::authorize;
pub(crate) use introspect::{introspect, revoke, userinfo};
pub(crate) use login::{login, signed_in, start_login};
pub(crate) use logout::{end_session, sign_out};
pub(crate) use token::token;

/// The discovery document of an application.
pub(crate) fn discovery(shared: &Shared, request: &Incoming, slug: &str) -> Answer {
    match shared.lock().provider_by_slug(slug) {
        Some(entry) => public(json(
            StatusCode::OK,
            &entry.discovery(shared.settings.dialect, &request.base),
        )),
        None => message::not_found(),
    }
}

/// The key set of an application.
pub(crate) fn jwks(shared: &Shared, slug: &str) -> Answer {
    let signing = shared
        .lock()
        .provider_by_slug(slug)
        .map(|entry| entry.signing);
    signing.map_or_else(message::not_found, |signing| {
        public(json(StatusCode::OK, &keys::key_set(signing)))
    })
}

/// Lets scripts of any site read an answer.
fn public(mut answer: Answer) -> Answer {
    answer
        .headers_mut()
        .insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    answer
}
