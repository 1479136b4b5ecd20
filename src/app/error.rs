//! Why the program cannot start.

use std::net::SocketAddr;

use crate::control::LoadError;
use crate::model::{Hint, HintText};
use crate::store::SetupError;
use crate::telemetry::traces::TracesError;
use crate::tls::KeyPairError;
use crate::web::client::trust::TlsError;

/// Why the program cannot start. The text says the cause, [`Hint`] what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({setting}): {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The variable that names it.
        setting: &'static str,
        /// What the system says.
        reason: std::io::Error,
    },
    /// Something was left out of this build.
    #[error("{0} is set, but this program was built without the feature {1:?}")]
    Feature(&'static str, &'static str),
    /// Traces.
    #[error("{0}")]
    Traces(#[from] TracesError),
    /// Certificates.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The session store.
    #[error("{0}")]
    Store(#[from] SetupError),
    /// A command needs the applications, and they could not be loaded.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// Our own certificate.
    #[error("TLS cannot be served: {0}")]
    Certificate(#[from] KeyPairError),
}

impl Hint for StartError {
    fn hint(&self) -> Option<HintText> {
        match self {
            Self::Listen { setting, .. } => Some(
                format!(
                    "choose another address or port with {setting}; ports below 1024 need a capability"
                )
                .into(),
            ),
            Self::Feature(setting, _) => Some(format!("unset {setting}").into()),
            Self::Traces(error) => error.hint(),
            Self::Tls(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Load(error) => error.hint(),
            Self::Certificate(_) => None,
        }
    }
}
