//! A reverse proxy that runs as a program of its own until it is dropped.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Ports that Linux does not give away by itself.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

/// A running program with its files.
#[derive(Debug)]
pub(crate) struct Program {
    process: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Program {
    /// Runs `command` and waits until something listens on `address`. Programs in the directories
    /// for administrators are found, too.
    pub(crate) async fn start(
        command: &mut Command,
        address: SocketAddr,
        directory: TempDir,
    ) -> io::Result<Self> {
        let path = std::env::var("PATH").unwrap_or_default();
        let complaints = directory.path().join("stderr");
        let mut process = command
            .env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&complaints)?)
            .kill_on_drop(true)
            .spawn()?;
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            if let Some(status) = process.try_wait()? {
                let complaints = std::fs::read_to_string(&complaints)?;
                return Err(io::Error::other(format!("{status}: {complaints}")));
            }
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self {
            process,
            address,
            _directory: directory,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn memory(&self) -> io::Result<u64> {
        resident(self.process.id().ok_or(io::ErrorKind::NotFound)?)
    }

    /// Stops it.
    pub(crate) async fn stop(mut self) -> io::Result<()> {
        self.process.kill().await
    }
}

/// Memory that a process takes, in bytes (`VmRSS`, proc(5)).
///
/// # Errors
/// If it does not run.
pub fn resident(process: u32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes
        .map(|size| size << 10)
        .ok_or_else(|| io::Error::other("no size in its status"))
}

/// A free port on loopback, for programs that cannot say which one they took. It lies below those
/// that the system gives to whoever asks for any, so that nobody else takes it meanwhile.
///
/// # Errors
/// If there is none.
pub fn free_address() -> io::Result<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut result = Err(io::ErrorKind::AddrInUse.into());
    for _ in 0..COUNT {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id().wrapping_mul(97).wrapping_add(number) % COUNT;
        let port = u16::try_from(FIRST + offset).unwrap_or(u16::MAX);
        result = TcpListener::bind(("127.0.0.1", port)).and_then(|free| free.local_addr());
        if result.is_ok() {
            break;
        }
    }
    result
}
