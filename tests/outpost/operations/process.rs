//! The program as an operator meets it: arguments, exit codes, signals; and the means for other
//! tests to run it.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};

use authentik_standin::{Endpoint, Fault, Provider, Standin};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::support::{Browser, Outpost, World, furnish, get, location, settings, within};

/// The program, running.
pub(crate) struct Process {
    child: Child,
    /// What it has logged so far; the channel closes with its output.
    lines: watch::Receiver<Vec<Value>>,
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    metrics: Vec<SocketAddr>,
}

impl Outpost for Process {
    fn address(&self) -> SocketAddr {
        self.http[0]
    }
}

impl Process {
    /// Runs the program with these variables, and waits until it listens.
    pub(crate) async fn start<N, V>(variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<std::ffi::OsStr>,
        V: AsRef<std::ffi::OsStr>,
    {
        Self::of(command(&[]).envs(variables)).await
    }

    /// Runs a command that becomes the program, and waits until it listens.
    pub(crate) async fn of(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let output = child.stdout.take().expect("it is piped");
        let (tell, lines) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut output = BufReader::new(output).lines();
            while let Ok(Some(line)) = output.next_line().await {
                let line = serde_json::from_str(&line).expect("every line is JSON");
                tell.send_modify(|lines| lines.push(line));
            }
        });
        let mut process = Self {
            child,
            lines,
            http: Vec::new(),
            https: Vec::new(),
            metrics: Vec::new(),
        };
        let line = process.wait_line("is listening").await;
        process.http = addresses(&line["http"]);
        process.https = addresses(&line["https"]);
        process.metrics = addresses(&line["metrics"]);
        process
    }

    /// Runs the program beside `authentik`.
    pub(crate) async fn beside(authentik: &Standin, more: &[(&str, &str)]) -> Self {
        Self::start(settings(authentik, more)).await
    }

    /// Where it serves them with TLS.
    pub(crate) fn https(&self) -> SocketAddr {
        self.https[0]
    }

    /// Where it shows metrics and health.
    pub(crate) fn metrics(&self) -> SocketAddr {
        self.metrics[0]
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let id = self.child.id().expect("it was not waited for");
        authentik_standin::nginx::resident(id).expect("it runs")
    }

    /// What it has logged so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.lines.borrow().clone()
    }

    /// Warnings and errors so far: event, cause and hint.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let complaint = |line: &Value| {
            let severe = matches!(line["level"].as_str(), Some("warning" | "error"));
            severe.then(|| diagnostic(line))
        };
        self.lines.borrow().iter().filter_map(complaint).collect()
    }

    /// Waits for a line whose event, cause or hint has `text` in it; one that is there already counts.
    pub(crate) async fn wait_line(&self, text: &str) -> Value {
        self.wait_lines(text, 1).await.swap_remove(0)
    }

    /// Waits until `n` lines have `text` in their event, cause or hint.
    pub(crate) async fn wait_lines(&self, text: &str, n: usize) -> Vec<Value> {
        let wanted = |line: &&Value| diagnostic(line).contains(text);
        let mut lines = self.lines.clone();
        let enough = |lines: &Vec<Value>| lines.iter().filter(wanted).count() >= n;
        within(async {
            match lines.wait_for(enough).await {
                Ok(lines) => lines.iter().filter(wanted).cloned().collect(),
                Err(ended) => panic!("the program ended without saying {text:?}: {ended}"),
            }
        })
        .await
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it was not waited for")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).expect("process ids are small");
        signal::kill(Pid::from_raw(id), signal).expect("it is ours");
    }

    /// Waits for the end of the program and of its output; returns its exit code, `None` if a
    /// signal ended it.
    pub(crate) async fn wait_exit(&mut self) -> Option<i32> {
        let status = within(self.child.wait()).await.expect("it ends");
        let closed = async { while self.lines.changed().await.is_ok() {} };
        within(closed).await;
        status.code()
    }

    /// Asks it to stop, and expects that it does so in peace.
    pub(crate) async fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.wait_exit().await, Some(0));
    }
}

impl World<Process> {
    /// The program beside `authentik`, serving and connected.
    pub(crate) async fn running(
        authentik: Standin,
        providers: Vec<Provider>,
        more: &[(&str, &str)],
    ) -> Self {
        furnish(&authentik, providers);
        let outpost = Process::beside(&authentik, more).await;
        let world = Self { authentik, outpost };
        world.outpost.wait_line("configuration loaded").await;
        within(world.authentik.wait_websocket()).await;
        world
    }
}

/// Event, cause and hint of a line, in one text.
pub(crate) fn diagnostic(line: &Value) -> String {
    let fields = ["event", "error", "hint"];
    let texts = fields.iter().filter_map(|field| line[field].as_str());
    texts.collect::<Vec<_>>().join("; ")
}

/// A list of addresses as the log shows it.
fn addresses(list: &Value) -> Vec<SocketAddr> {
    let list = list.as_str().unwrap_or_default();
    let list = list.trim_matches(['[', ']']).split(", ");
    list.map(|address| address.parse().expect("an address"))
        .collect()
}

/// The program.
pub(crate) fn command(arguments: &[&str]) -> Command {
    clean(env!("CARGO_BIN_EXE_authentik-proxy"), arguments)
}

/// The program, begun by a shell once it has done something else.
pub(crate) fn after(first: &str) -> Command {
    let script = format!("{first} && exec \"$0\"");
    clean(
        "sh",
        &["-c", &script, env!("CARGO_BIN_EXE_authentik-proxy")],
    )
}

/// A command with nothing in its environment that would decide for the test.
fn clean(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_proxy = text.to_ascii_uppercase().ends_with("_PROXY");
        let decides = ["AUTHENTIK_", "SSL_CERT_"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        if decides || is_proxy || text == "COLUMNS" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the program to its end: status, output, complaints.
pub(crate) async fn run(
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> (ExitStatus, String, String) {
    let mut command = command(arguments);
    command.envs(variables.iter().copied());
    let output = within(command.output()).await.expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status, text(output.stdout), text(output.stderr))
}

const HOST: &str = "grafana.test";

pub(crate) async fn with_grafana(more: &[(&str, &str)]) -> World<Process> {
    let authentik = Standin::builder().start().await.expect("started");
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    World::running(authentik, vec![grafana], more).await
}

async fn ready(address: SocketAddr) -> u16 {
    let answer = get(address, "/outpost.goauthentik.io/ready", "x", &[]).await;
    answer.status().as_u16()
}

/// Nothing announces readiness, so it is asked for.
async fn until_not_ready(address: SocketAddr) {
    within(async { while ready(address).await != 503 {} }).await;
}

#[tokio::test]
async fn help_and_version_need_no_environment() {
    let (status, output, complaints) = run(&["--version"], &[]).await;
    assert_eq!(status.code(), Some(0));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(output, format!("authentik-proxy {version}\n"));
    assert_eq!(complaints, "");

    let (status, output, complaints) = run(&["--help"], &[]).await;
    assert_eq!(status.code(), Some(0));
    for wanted in [
        "Usage: authentik-proxy [OPTIONS] [COMMAND]",
        "healthcheck",
        "--config <PATH>",
        "Environment variables:",
        "AUTHENTIK_HOST\n",
        "[default: [::]:9000]",
        "Exit codes:\n  0  success\n",
    ] {
        assert!(output.contains(wanted), "{wanted} in\n{output}");
    }
    assert_eq!(complaints, "");
}

#[tokio::test]
async fn a_wrong_command_line_exits_with_2() {
    for arguments in [&["bake"][..], &["--conf"], &["--config", "/nowhere.yaml"]] {
        let (status, output, complaints) = run(arguments, &[]).await;
        assert_eq!(status.code(), Some(2), "{arguments:?}");
        assert_eq!(output, "");
        let wrong = arguments[arguments.len() - 1];
        assert!(complaints.contains(wrong), "{wrong} in {complaints}");
    }
}

#[tokio::test]
async fn all_errors_are_reported_at_once_without_secrets() {
    let wrong = [
        ("AUTHENTIK_HOST", "authentik"),
        ("AUTHENTIK_TOKEN", "hunter2 hunter3"),
        ("AUTHENTIK_INSECURE", "maybe"),
        ("AUTHENTIK_LISTEN__HTTP", "localhost:9000"),
        ("AUTHENTIK_OUTPOST_ID", "mine"),
        ("AUTHENTIK_REDIS__HOST", "redis.test"),
        ("AUTHENTIK_REDIS__PASSWORD", "file:///nowhere/hunter4"),
        ("AUTHENTIK_PROXY_SHUTDOWN__TIMOUT", "1s"),
    ];
    let (status, output, complaints) = run(&[], &wrong).await;
    assert_eq!(status.code(), Some(2));
    assert_eq!(
        output, "",
        "nothing is logged before the configuration is known"
    );
    for (variable, found, expected) in [
        ("AUTHENTIK_HOST: ", "\"authentik\"", "http:// or https://"),
        ("AUTHENTIK_TOKEN: ", "", "without spaces"),
        ("AUTHENTIK_INSECURE: ", "\"maybe\"", "true or false"),
        (
            "AUTHENTIK_LISTEN__HTTP: ",
            "\"localhost:9000\"",
            "0.0.0.0:9000",
        ),
        ("AUTHENTIK_OUTPOST_ID: ", "\"mine\"", "a UUID"),
        ("AUTHENTIK_REDIS__PASSWORD: ", "/nowhere/hunter4", ""),
        (
            "AUTHENTIK_PROXY_SHUTDOWN__TIMOUT: ",
            "unknown variable",
            "did you mean AUTHENTIK_PROXY_SHUTDOWN__DRAIN_TIMEOUT?",
        ),
    ] {
        let mut lines = complaints.lines();
        let line = lines.find(|line| line.contains(variable));
        let line = line.unwrap_or_else(|| panic!("{variable} in\n{complaints}"));
        assert!(line.contains(found) && line.contains(expected), "{line}");
    }
    for secret in ["hunter2", "hunter3"] {
        assert!(!complaints.contains(secret), "{complaints}");
    }
}

#[tokio::test]
async fn all_missing_settings_are_reported_at_once() {
    let (status, _, complaints) = run(&["serve"], &[]).await;
    assert_eq!(status.code(), Some(2));
    for variable in ["AUTHENTIK_HOST: is not set", "AUTHENTIK_TOKEN: is not set"] {
        assert!(complaints.contains(variable), "{variable} in {complaints}");
    }
}

#[tokio::test]
async fn an_address_in_use_is_named_with_its_variable() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("an address").to_string();
    for variable in [
        "AUTHENTIK_LISTEN__HTTP",
        "AUTHENTIK_LISTEN__HTTPS",
        "AUTHENTIK_LISTEN__METRICS",
    ] {
        let mut variables = vec![
            ("AUTHENTIK_HOST", "http://127.0.0.1:1"),
            ("AUTHENTIK_TOKEN", "token"),
            ("AUTHENTIK_LISTEN__HTTP", "127.0.0.1:0"),
            ("AUTHENTIK_LISTEN__HTTPS", "127.0.0.1:0"),
            ("AUTHENTIK_LISTEN__METRICS", "127.0.0.1:0"),
        ];
        variables.push((variable, &taken));
        let (status, _, complaints) = run(&[], &variables).await;
        assert_eq!(status.code(), Some(1), "{variable}");
        let expected = format!("cannot listen on {taken} ({variable}): ");
        assert!(complaints.contains(&expected), "{complaints}");
        assert!(complaints.contains("in use"), "{complaints}");
    }
}

#[tokio::test]
async fn a_request_in_flight_survives_sigterm() {
    let mut world = with_grafana(&[("AUTHENTIK_PROXY_SHUTDOWN__DELAY", "2s")]).await;
    let (address, metrics) = (world.address(), world.outpost.metrics());
    let mut browser = Browser::default();
    let callback = browser.sign_in(&world, HOST, "/page").await;
    world.authentik.fault(Endpoint::Token, Fault::Hang);
    let cookies = browser.cookies(HOST);
    let login =
        tokio::spawn(async move { get(address, &callback, HOST, &[("cookie", &cookies)]).await });
    let exchange = world
        .authentik
        .wait_requests(1, |request| request.path.ends_with("/token/"));
    within(exchange).await;
    assert_eq!((ready(address).await, ready(metrics).await), (200, 200));

    world.outpost.signal(Signal::SIGTERM);
    // First the load balancer is told, while requests are still taken …
    until_not_ready(address).await;
    assert_eq!(ready(metrics).await, 503);
    // … then no more of them are …
    within(async { while tokio::net::TcpStream::connect(address).await.is_ok() {} }).await;
    // … and what was begun is finished, on a connection to authentik that still stands.
    assert!(!login.is_finished());
    assert_eq!(world.authentik.websockets(), 1);
    world.authentik.clear_faults();
    let answer = within(login).await.expect("no panic");
    assert_eq!(location(&answer), "http://grafana.test/page");
    assert_eq!(world.outpost.wait_exit().await, Some(0));
    within(world.authentik.wait_no_websocket()).await;
    assert_eq!(world.authentik.closes(), [Some(1000)]);
    assert_eq!(world.outpost.complaints(), [""; 0]);
}

#[tokio::test]
async fn signals_are_heeded_as_soon_as_the_program_says_so() {
    let authentik = Standin::builder().start().await.expect("started");
    for _ in 0..5 {
        let mut process = Process::beside(&authentik, &[]).await;
        process.stop().await;
        let delay = ("AUTHENTIK_PROXY_SHUTDOWN__DELAY", "1h");
        let mut process = Process::beside(&authentik, &[delay]).await;
        process.signal(Signal::SIGTERM);
        process.wait_line("a second signal stops at once").await;
        process.signal(Signal::SIGTERM);
        assert_eq!(process.wait_exit().await, Some(1));
    }
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    for again in [Signal::SIGTERM, Signal::SIGINT] {
        let mut world = with_grafana(&[("AUTHENTIK_PROXY_SHUTDOWN__DELAY", "1h")]).await;
        world.outpost.signal(Signal::SIGTERM);
        until_not_ready(world.address()).await;
        world
            .outpost
            .wait_line("a second signal stops at once")
            .await;
        world.outpost.signal(again);
        assert_eq!(world.outpost.wait_exit().await, Some(1));
    }
}

#[tokio::test]
async fn sigusr1_fetches_the_configuration() {
    let mut world = with_grafana(&[]).await;
    world.outpost.wait_line("configuration loaded").await;
    world.authentik.clear_requests();
    world.outpost.signal(Signal::SIGUSR1);
    let asked = world
        .authentik
        .wait_requests(1, |request| request.path.ends_with("/outposts/proxy/"));
    within(asked).await;
    world.outpost.wait_lines("configuration loaded", 2).await;
    world.outpost.stop().await;
}
