//! A real `redis-server` on a free loopback port, in a directory of its own.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use authentik_standin::nginx::free_address;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Value};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::support::within;

/// What leads the outpost to the Redis at a port of loopback.
pub(crate) fn settings(port: &str) -> [(&'static str, &str); 2] {
    [
        ("AUTHENTIK_REDIS__HOST", "127.0.0.1"),
        ("AUTHENTIK_REDIS__PORT", port),
    ]
}

/// A running server; it ends with this value.
pub(crate) struct Server {
    process: Option<Child>,
    address: SocketAddr,
    arguments: Vec<String>,
    directory: TempDir,
}

impl Server {
    /// Starts a server with these further arguments, and waits until it answers.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        Self::at(free_address().expect("a port"), arguments).await
    }

    /// Starts a server on this address.
    pub(crate) async fn at(address: SocketAddr, arguments: &[&str]) -> Self {
        let mut server = Self {
            process: None,
            address,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            directory: tempfile::tempdir().expect("a directory"),
        };
        server.start_again().await;
        server
    }

    /// Takes over a process that is to listen on this address.
    pub(crate) async fn adopt(process: Child, address: SocketAddr) -> Self {
        let server = Self {
            process: Some(process),
            address,
            arguments: Vec::new(),
            directory: tempfile::tempdir().expect("a directory"),
        };
        within(server.listens()).await;
        server
    }

    async fn listens(&self) {
        while tokio::net::TcpStream::connect(self.address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts it again where it was, with what it kept on disk.
    pub(crate) async fn start_again(&mut self) {
        let process = Command::new("redis-server")
            .args(["--port", &self.address.port().to_string()])
            .args(["--bind", "127.0.0.1", "--save", ""])
            .arg("--dir")
            .arg(self.directory.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis is installed: apt-get install redis-server");
        self.process = Some(process);
        within(self.listens()).await;
    }

    /// Starts it again where it was, without anything that it knew.
    pub(crate) async fn start_empty(&mut self) {
        self.directory = tempfile::tempdir().expect("a directory");
        self.start_again().await;
    }

    /// Ends it without a chance to save anything that it has not saved yet.
    pub(crate) async fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().await.expect("killed");
    }

    /// Lets it hang: connections stay open, nothing is answered.
    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.process.as_ref().and_then(Child::id).expect("it runs");
        let id = i32::try_from(id).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("it is ours");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// A connection of the test's own.
    pub(crate) async fn connect(&self) -> MultiplexedConnection {
        let client = redis::Client::open((self.address.ip().to_string(), self.address.port()));
        let client = client.expect("an address");
        loop {
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await
                && redis::cmd("PING").exec_async(&mut connection).await.is_ok()
            {
                return connection;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Runs a command.
    pub(crate) async fn run<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = within(self.connect()).await;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command
            .query_async(&mut connection)
            .await
            .expect("an answer")
    }

    /// Everything in it, names and values, as text.
    pub(crate) async fn dump(&self) -> String {
        let mut text = String::new();
        for name in self.run::<Vec<String>>(&["KEYS", "*"]).await {
            let kind: String = self.run(&["TYPE", &name]).await;
            let value: Value = match kind.as_str() {
                "string" => self.run(&["GET", &name]).await,
                "zset" => self.run(&["ZRANGE", &name, "0", "-1", "WITHSCORES"]).await,
                kind => panic!("{name} is a {kind}"),
            };
            text.push_str(&name);
            text.push('\n');
            append(&mut text, &value);
        }
        text
    }
}

fn append(text: &mut String, value: &Value) {
    match value {
        Value::BulkString(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
        Value::Array(values) => values.iter().for_each(|value| append(text, value)),
        other => panic!("not expected: {other:?}"),
    }
    text.push('\n');
}
