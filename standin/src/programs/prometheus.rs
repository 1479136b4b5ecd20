//! A real Prometheus and a real `AlertManager`, as applications.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::{Program, free_address};

/// One of the two, running.
#[derive(Debug)]
pub struct Monitoring(Program);

impl Monitoring {
    /// Starts Prometheus, which watches itself; `external` is the external URL.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it is not installed.
    pub async fn prometheus(external: &str) -> io::Result<Self> {
        let address = free_address()?;
        let config = format!(
            "scrape_configs: [{{job_name: self, static_configs: [{{targets: ['{address}']}}]}}]"
        );
        Self::start(
            "prometheus",
            "--storage.tsdb.path",
            address,
            external,
            &config,
            &[],
        )
        .await
    }

    /// Starts Prometheus, which scrapes `target` as the job `authentik-proxy` several times a second,
    /// with a file of rules.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it is not installed.
    pub async fn scraping(target: SocketAddr, rules: &Path) -> io::Result<Self> {
        let config = format!(
            "global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}
rule_files: ['{}']
scrape_configs: [{{job_name: authentik-proxy, static_configs: [{{targets: ['{target}']}}]}}]",
            rules.display()
        );
        Self::start(
            "prometheus",
            "--storage.tsdb.path",
            free_address()?,
            "http://localhost",
            &config,
            &[],
        )
        .await
    }

    /// Starts `AlertManager`, without receivers.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it is not installed.
    pub async fn alertmanager(external: &str) -> io::Result<Self> {
        let config = "{route: {receiver: nobody}, receivers: [{name: nobody}]}";
        let alone = ["--cluster.listen-address="];
        let name = "prometheus-alertmanager";
        Self::start(
            name,
            "--storage.path",
            free_address()?,
            external,
            config,
            &alone,
        )
        .await
    }

    async fn start(
        name: &str,
        storage: &str,
        address: SocketAddr,
        external: &str,
        config: &str,
        more: &[&str],
    ) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("config.yaml");
        std::fs::write(&file, config)?;
        let mut command = Command::new(program(name));
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "{storage}={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg(format!("--web.external-url={external}"))
            .args(more);
        let program = Program::start(&mut command, address, directory).await?;
        Ok(Self(program))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Stops it.
    ///
    /// # Errors
    /// If the process cannot be killed.
    pub async fn stop(self) -> io::Result<()> {
        self.0.stop().await
    }
}

/// The program of this name: where `scripts/tools.sh` unpacks it, or else anywhere in `PATH`.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap_or_default();
    // <target>/<profile>/deps/<test>
    let target = tests.ancestors().nth(3);
    let unpacked = target.map(|target| target.join("tools/usr/bin").join(name));
    let unpacked = unpacked.filter(|program| program.exists());
    unpacked.unwrap_or_else(|| name.into())
}
