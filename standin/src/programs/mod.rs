//! A reverse proxy that runs as a program of its own until it is dropped.

pub mod caddy;
pub mod envoy;
pub mod haproxy;
pub mod nginx;
pub mod prometheus;
pub mod traefik;

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};

/// Ports that Linux does not give away by itself.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

/// How long a program may take until it listens. A machine under load is slow, and a test that waits for
/// a program that will never listen is told by its exit code.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// A running program with its files.
#[derive(Debug)]
pub(crate) struct Program {
    process: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Program {
    /// Runs `command` and waits until something listens on `address`. Programs in the directories
    /// for administrators are found, too, and those that `scripts/programs.sh` has installed.
    pub(crate) async fn start(
        command: &mut Command,
        address: SocketAddr,
        directory: TempDir,
    ) -> io::Result<Self> {
        let path = search_path();
        let complaints = directory.path().join("stderr");
        let mut process = command
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&complaints)?)
            .kill_on_drop(true)
            .spawn()?;
        let begun = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = process.try_wait()? {
                let complaints = std::fs::read_to_string(&complaints)?;
                return Err(io::Error::other(format!("{status}: {complaints}")));
            }
            if begun.elapsed() > START_TIMEOUT {
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

/// Where programs are looked for: `PATH`, the directories for administrators, and
/// `tools/programs/bin` below the target directory, in which this very program lies.
#[must_use]
pub fn search_path() -> String {
    let mut directories = vec![
        std::env::var("PATH").unwrap_or_default(),
        "/usr/sbin:/usr/local/sbin".to_owned(),
    ];
    let own = std::env::current_exe().unwrap_or_default();
    for directory in own.ancestors() {
        let installed = directory.join("tools/programs/bin");
        if installed.is_dir() {
            directories.push(installed.display().to_string());
        }
    }
    directories.join(":")
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
/// that the system gives to programs that ask for any, and stays reserved for as long as this process runs:
/// a socket is bound to it that does not listen. Programs that set `SO_REUSEADDR`, as servers do, may
/// bind and listen beside it; another call of this function, in any process, does not return it.
///
/// # Errors
/// If there is none.
pub fn free_address() -> io::Result<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static RESERVED: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    let mut result = Err(io::ErrorKind::AddrInUse.into());
    for _ in 0..COUNT {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id().wrapping_mul(97).wrapping_add(number) % COUNT;
        let port = u16::try_from(FIRST + offset).unwrap_or(u16::MAX);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let socket = TcpSocket::new_v4()?;
        // Without `SO_REUSEADDR` this fails beside any other socket, also beside one that is reserved.
        result = socket.bind(address).map(|()| address);
        if result.is_ok() {
            socket.set_reuseaddr(true)?;
            let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
            reserved.push(socket);
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_free_address_is_reserved_for_a_server_and_refuses_connections_until_then() {
        let address = free_address().expect("a port");
        let found = TcpStream::connect(address).await;
        let refused = found.expect_err("nothing listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        // Another process that looks for a free port.
        let other = TcpSocket::new_v4().expect("a socket");
        let taken = other.bind(address).expect_err("it is reserved");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        // A server, twice.
        for _ in 0..2 {
            let server = tokio::net::TcpListener::bind(address).await;
            let _server = server.expect("servers set SO_REUSEADDR");
            TcpStream::connect(address).await.expect("it listens");
        }
    }
}
