//! Whether a request may pass: cookie, rules, credentials, in this order. The same for every way
//! in which requests reach us.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::HeaderMap;

use crate::gateway::Parted;
use crate::gateway::auth::credentials::CredentialCheck;
use crate::gateway::auth::session::{Denial, Permit, authorize};
use crate::gateway::error::GatewayError;
use crate::model::AuthorizationRequest;
use crate::route::Site;
use crate::telemetry::metrics::Rejection;
use crate::web::request::inbound::Source;

/// What becomes of a request that is not denied outright.
pub(crate) enum Admission {
    /// It passes.
    Passed(Pass),
    /// Somebody has to sign in first; or it has wrong credentials, which never start a browser's
    /// login.
    Refused(Rejection),
}

/// The right to pass.
pub(crate) struct Pass {
    pub(in crate::gateway) permit: Permit,
    /// `Set-Cookie` value that spares the next request to authentik.
    pub(in crate::gateway) cookie: Option<String>,
    /// Whether it was the `Authorization` header that opened the door.
    pub(in crate::gateway) by_credentials: bool,
}

impl Parted {
    /// Finds out who asks and decides; a denial is an error.
    pub(crate) async fn admit(
        &self,
        site: &Arc<Site>,
        request: &AuthorizationRequest<'_>,
        headers: &HeaderMap,
        source: Source,
    ) -> Result<Admission, GatewayError> {
        let application = &site.application;
        let denied = |reason| GatewayError::Denied {
            site: Arc::clone(site),
            reason,
        };
        let session = self.identify(site, headers).await?;
        match authorize(application, request, session) {
            Ok(permit) => {
                return Ok(Admission::Passed(Pass {
                    permit,
                    cookie: None,
                    by_credentials: false,
                }));
            }
            Err(Denial::Forbidden(reason)) => return Err(denied(reason)),
            Err(Denial::LoginRequired) => {}
        }
        // Boxed, because it is rare and large.
        let presented: BoxFuture<'_, _> = Box::pin(self.credentials(site, headers, source));
        match presented.await? {
            CredentialCheck::Valid(session, cookie) => {
                match authorize(application, request, Some(session)) {
                    Ok(permit) => Ok(Admission::Passed(Pass {
                        permit,
                        cookie,
                        by_credentials: true,
                    })),
                    Err(Denial::Forbidden(reason)) => Err(denied(reason)),
                    Err(Denial::LoginRequired) => {
                        Ok(Admission::Refused(Rejection::InvalidCredentials))
                    }
                }
            }
            CredentialCheck::Absent => Ok(Admission::Refused(Rejection::LoginRequired)),
            CredentialCheck::Invalid => Ok(Admission::Refused(Rejection::InvalidCredentials)),
        }
    }
}
