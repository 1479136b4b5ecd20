//! A real Traefik in front of an outpost.

use std::io;
use std::net::SocketAddr;

use tokio::process::Command;

use super::Program;

/// A running Traefik.
#[derive(Debug)]
pub struct Traefik(Program);

impl Traefik {
    /// Starts Traefik with one entry point, `websecure`, at `address`, and the configuration of its
    /// file provider (YAML), and waits until it listens. Its routers come a moment later: until then
    /// every answer is 404. `arguments` are further ones of the command line.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if Traefik is not installed: `scripts/programs.sh` does it.
    pub async fn start(
        address: SocketAddr,
        dynamic: &str,
        arguments: &[String],
    ) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("dynamic.yaml");
        std::fs::write(&config, dynamic)?;
        let mut command = Command::new("traefik");
        command
            .arg(format!("--entrypoints.websecure.address={address}"))
            .arg(format!("--providers.file.filename={}", config.display()))
            .args([
                "--providers.file.watch=false",
                "--global.checknewversion=false",
                "--global.sendanonymoususage=false",
                "--log.level=WARN",
            ])
            .args(arguments);
        let program = Program::start(&mut command, address, directory).await?;
        Ok(Self(program))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}
