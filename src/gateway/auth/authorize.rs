//! Whether a request may pass: cookie, rules, credentials, in this order. The same for every way
//! in which requests reach us.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::HeaderMap;

use crate::gateway::Parted;
use crate::gateway::auth::credentials::Presented;
use crate::gateway::auth::session::{Decision, Permit, decide};
use crate::gateway::error::GatewayError;
use crate::model::Question;
use crate::route::Site;
use crate::telemetry::metrics::Refusal;
use crate::web::request::inbound::Source;

/// What becomes of a request that is not denied outright.
pub(crate) enum Admission {
    /// It passes.
    Passed(Pass),
    /// Somebody has to sign in first; or it has wrong credentials, which never start a browser's
    /// login.
    Refused(Refusal),
}

/// The right to pass.
pub(crate) struct Pass {
    pub(in crate::gateway) permit: Permit,
    /// `Set-Cookie` value that spares the next question to authentik.
    pub(in crate::gateway) cookie: Option<String>,
    /// Whether it was the `Authorization` header that opened the door.
    pub(in crate::gateway) by_credentials: bool,
}

impl Parted {
    /// Finds out who asks and decides; a denial is an error.
    pub(crate) async fn admit(
        &self,
        site: &Arc<Site>,
        question: &Question<'_>,
        headers: &HeaderMap,
        source: Source,
    ) -> Result<Admission, GatewayError> {
        let application = &site.application;
        let denied = |reason| GatewayError::Denied {
            site: Arc::clone(site),
            reason,
        };
        let session = self.identify(site, headers).await?;
        match decide(application, question, session) {
            Decision::Allow(permit) => {
                return Ok(Admission::Passed(Pass {
                    permit,
                    cookie: None,
                    by_credentials: false,
                }));
            }
            Decision::Deny(reason) => return Err(denied(reason)),
            Decision::Login => {}
        }
        // Boxed, because it is rare and large.
        let presented: BoxFuture<'_, _> = Box::pin(self.credentials(site, headers, source));
        match presented.await? {
            Presented::Good(session, cookie) => {
                match decide(application, question, Some(session)) {
                    Decision::Allow(permit) => Ok(Admission::Passed(Pass {
                        permit,
                        cookie,
                        by_credentials: true,
                    })),
                    Decision::Deny(reason) => Err(denied(reason)),
                    Decision::Login => Ok(Admission::Refused(Refusal::Credentials)),
                }
            }
            Presented::Nothing => Ok(Admission::Refused(Refusal::SignInRequired)),
            Presented::Refused => Ok(Admission::Refused(Refusal::Credentials)),
        }
    }
}
