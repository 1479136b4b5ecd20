//! A real `HAProxy` in front of an outpost.

use std::io;
use std::net::SocketAddr;

use tokio::process::Command;

use super::Program;

/// Which `HAProxy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Whichever is installed; 2.6 on Debian 12.
    Installed,
    /// 2.8, as `scripts/programs.sh` installs it.
    Latest,
}

impl Release {
    fn program(self) -> &'static str {
        match self {
            Self::Installed => "haproxy",
            Self::Latest => "haproxy-2.8",
        }
    }
}

/// A running `HAProxy`.
#[derive(Debug)]
pub struct HaProxy(Program);

impl HaProxy {
    /// Starts `HAProxy` with this configuration, a frontend of which has to listen on `address`,
    /// and waits until it does.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if that release is not installed.
    pub async fn start(
        release: Release,
        address: SocketAddr,
        configuration: &str,
    ) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("haproxy.cfg");
        std::fs::write(&config, configuration)?;
        let mut command = Command::new(release.program());
        command.arg("-db").arg("-f").arg(&config);
        let program = Program::start(&mut command, address, directory).await?;
        Ok(Self(program))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}
