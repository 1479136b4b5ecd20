//! Requests to listeners of this host.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Response;

use crate::config::Egress;
use crate::web::client::trust::Trust;
use crate::web::client::{BackChannel, FetchError};

/// Time-out of a request.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Gets a page of the listener at `address`, whatever its certificate.
pub(super) async fn get(
    scheme: &str,
    address: SocketAddr,
    path: &str,
    trust: &Trust,
) -> Result<Response<Bytes>, FetchError> {
    BackChannel::over(trust, true, PING_TIMEOUT, &Egress::default())
        .get(&format!("{scheme}://{address}{path}"))
        .await
}
