//! A real Caddy in front of an outpost.

use std::io;
use std::net::SocketAddr;

use tokio::process::Command;

use super::Program;

/// Which Caddy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Whichever is installed; 2.6 on Debian 12.
    Installed,
    /// 2.11, as `scripts/programs.sh` installs it.
    Latest,
}

impl Release {
    /// The name of the program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Installed => "caddy",
            Self::Latest => "caddy-2.11",
        }
    }
}

/// A running Caddy.
#[derive(Debug)]
pub struct Caddy(Program);

impl Caddy {
    /// Starts Caddy with the sites of a Caddyfile, one of which has to listen on `address`, and
    /// waits until it does. It fetches no certificates and has no administration endpoint, and speaks
    /// HTTP/2 with and without TLS.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if that release is not installed.
    pub async fn start(release: Release, address: SocketAddr, sites: &str) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("Caddyfile");
        let options =
            "{\n\tadmin off\n\tauto_https off\n\tservers {\n\t\tprotocols h1 h2 h2c\n\t}\n}\n";
        std::fs::write(&config, format!("{options}{sites}"))?;
        let mut command = Command::new(release.program());
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&config)
            .env("XDG_CONFIG_HOME", directory.path())
            .env("XDG_DATA_HOME", directory.path());
        let program = Program::start(&mut command, address, directory).await?;
        Ok(Self(program))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}
