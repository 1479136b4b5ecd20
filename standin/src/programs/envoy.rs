//! A real Envoy in front of an outpost.

use std::io;
use std::net::SocketAddr;

use tokio::process::Command;

use super::Program;

/// A running Envoy.
#[derive(Debug)]
pub struct Envoy(Program);

impl Envoy {
    /// Starts Envoy with this configuration (YAML), a listener of which has to listen on `address`,
    /// and waits until it does.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if Envoy is not installed: `scripts/programs.sh` does it.
    pub async fn start(address: SocketAddr, configuration: &str) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("envoy.yaml");
        std::fs::write(&config, configuration)?;
        let mut command = Command::new("envoy");
        // Without hot restart, several run side by side.
        command
            .args(["--concurrency", "1", "--disable-hot-restart", "-c"])
            .arg(&config);
        let program = Program::start(&mut command, address, directory).await?;
        Ok(Self(program))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}
