//! The command line, and the commands that need no server.

#[cfg(feature = "discover")]
pub mod discover;
pub mod doctor;
pub mod rules;

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{CommandFactory as _, Parser, Subcommand};
use thiserror::Error;

use crate::config::{Config, ConfigErrors, Language, Vars, environment_help, reachable};

/// Exit code: the command did what it was asked to.
pub const EXIT_OK: u8 = 0;
/// Exit code: something failed while running.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code: the command line or the configuration is wrong. `clap` uses the same.
pub const EXIT_USAGE: u8 = 2;

/// authentik's name for outposts of this type.
const OUTPOST_TYPE: &str = "proxy";

/// What the program was called with.
#[derive(Debug, Parser)]
#[command(
    name = "authentik-proxy",
    version,
    about = env!("CARGO_PKG_DESCRIPTION"),
    after_help = "`--help` also lists the environment variables and the exit codes.",
    after_long_help = after_long_help()
)]
pub struct Cli {
    /// The command; default `serve`.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Configuration file, .yaml or .toml; also `AUTHENTIK_PROXY_CONFIG`
    #[arg(long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Subcommand)]
pub enum Command {
    /// Run the outpost; the default
    // The vendor's image of 2026.8 is run with this argument.
    #[default]
    #[command(alias = OUTPOST_TYPE)]
    Serve,
    /// Check the health of the server on this host
    Healthcheck {
        /// Type of the outpost; authentik's Docker integration passes it
        #[arg(hide = true, value_parser = [OUTPOST_TYPE])]
        outpost_type: Option<String>,
    },
    /// Diagnose configuration, connectivity and every application
    Doctor(doctor::Arguments),
    /// Explain how a request would be authorized
    Rules(rules::Request),
    /// Show the effective settings and their origin, without secrets
    Config {
        /// Print the reference of all settings (Markdown) instead
        #[arg(long)]
        reference: bool,
        /// Print an example file with every default instead
        #[arg(long, value_name = "LANGUAGE", conflicts_with = "reference")]
        example: Option<Language>,
    },
    /// Print the manual page (roff)
    Man {
        /// Write the pages of all commands into this directory instead
        #[arg(long, value_name = "PATH")]
        directory: Option<PathBuf>,
    },
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Create applications in authentik from Kubernetes labels; prints a plan first
    #[cfg(feature = "discover")]
    Discover(discover::Arguments),
}

impl Cli {
    /// The command to run.
    #[must_use]
    pub fn selected(&self) -> Command {
        self.command.clone().unwrap_or_default()
    }
}

/// Writes the manual page.
pub fn manual_page(out: &mut impl io::Write) -> io::Result<()> {
    clap_mangen::Man::new(Cli::command().disable_help_subcommand(true)).render(out)
}

/// Writes the manual pages of the program and of all its commands into `directory`.
pub fn manual_pages(directory: &Path) -> io::Result<()> {
    clap_mangen::generate_to(Cli::command(), directory)
}

/// Writes the completions of `shell`.
pub fn completions(shell: clap_complete::Shell, out: &mut impl io::Write) {
    clap_complete::generate(shell, &mut Cli::command(), "authentik-proxy", out);
}

/// Requests ping from the metrics listener, or from the HTTP listener if there is none. Needs only the
/// listen settings, so that it works in a container without a token.
pub fn healthcheck(cli: &Cli, vars: &Vars) -> Result<(), Unhealthy> {
    let addresses = Config::health_addresses(cli.config.as_deref(), vars)?;
    let mut failures = String::new();
    // One response is enough: the server does not run without all of its listeners.
    for address in addresses
        .iter()
        .map(|&address| reachable(address, &addresses))
    {
        match ping(address) {
            Ok(204) => return Ok(()),
            Ok(status) => append(
                &mut failures,
                address,
                &format!("answered {status}, not 204"),
            ),
            Err(error) => append(&mut failures, address, &error.to_string()),
        }
    }
    if failures.is_empty() {
        Err(Unhealthy::NoListener)
    } else {
        Err(Unhealthy::Failed(failures))
    }
}

/// Why a health check failed.
#[derive(Debug, Error)]
pub enum Unhealthy {
    /// The listen settings are invalid.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// There is no listener.
    #[error(
        "AUTHENTIK_LISTEN__METRICS and AUTHENTIK_LISTEN__HTTP are \"none\", so there is no listener to ask"
    )]
    NoListener,
    /// The failure at each address.
    #[error("not healthy: {0}")]
    Failed(String),
}

impl Unhealthy {
    /// What the process should exit with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => EXIT_USAGE,
            Self::NoListener | Self::Failed(_) => EXIT_FAILURE,
        }
    }
}

/// Timeout for connecting, and again for the response.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum size of a status line.
const MAX_STATUS_LINE_BYTES: usize = 256;

fn after_long_help() -> String {
    format!(
        "{}\n\nExit codes:\n  {EXIT_OK}  success\n  {EXIT_FAILURE}  failure while running, or not \
         healthy\n  {EXIT_USAGE}  wrong command line or configuration",
        environment_help()
    )
}

fn append(failures: &mut String, address: SocketAddr, failure: &str) {
    let separator = if failures.is_empty() { "" } else { "; " };
    // Writing to a `String` cannot fail.
    let _ = write!(failures, "{separator}{address}: {failure}");
}

/// The status of the response to a ping.
// hyper's client would need a runtime, a task for the connection and texts for its errors.
fn ping(address: SocketAddr) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, PING_TIMEOUT)?;
    let deadline = Instant::now() + PING_TIMEOUT;
    stream.set_write_timeout(Some(PING_TIMEOUT))?;
    write!(
        stream,
        "GET /outpost.goauthentik.io/ping HTTP/1.1\r\nHost: {address}\r\n\
         User-Agent: authentik-proxy-healthcheck\r\nConnection: close\r\n\r\n"
    )?;
    let mut head = Vec::new();
    let mut chunk = [0; MAX_STATUS_LINE_BYTES];
    while !head.contains(&b'\n') && head.len() < MAX_STATUS_LINE_BYTES {
        // A timeout per read alone would let a slow server hold the check forever.
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk)? {
            0 => break,
            count => head.extend_from_slice(&chunk[..count]),
        }
    }
    status(&head).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "did not speak HTTP"))
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next()?.strip_prefix("HTTP/1.")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use clap::error::ErrorKind;

    use super::*;
    use crate::config::settings::{Fallback, settings};

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["authentik-proxy"], arguments].concat())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_is_serve() {
        let healthcheck = |outpost_type: Option<&str>| Command::Healthcheck {
            outpost_type: outpost_type.map(str::to_owned),
        };
        for (arguments, command, config) in [
            (&[][..], Command::Serve, None),
            (&["serve"], Command::Serve, None),
            (&["proxy"], Command::Serve, None),
            (&["healthcheck"], healthcheck(None), None),
            (&["healthcheck", "proxy"], healthcheck(Some("proxy")), None),
            (&["--config", "a.yaml"], Command::Serve, Some("a.yaml")),
            (
                &["--config", "a.yaml", "healthcheck"],
                healthcheck(None),
                Some("a.yaml"),
            ),
            (
                &["healthcheck", "--config=a.yaml"],
                healthcheck(None),
                Some("a.yaml"),
            ),
        ] {
            let cli = parse(arguments).expect("valid");
            assert_eq!(cli.selected(), command, "{arguments:?}");
            assert_eq!(cli.config, config.map(PathBuf::from), "{arguments:?}");
        }
    }

    #[test]
    fn the_manual_page_has_the_commands_and_the_variables() {
        let mut page = Vec::new();
        manual_page(&mut page).expect("memory takes everything");
        let page = String::from_utf8(page).expect("text").replace('\\', "");
        for wanted in [
            ".TH authentik-proxy 1",
            "doctor",
            "AUTHENTIK_HOST_BROWSER",
            "Exit codes:",
        ] {
            assert!(page.contains(wanted), "{wanted} is missing in\n{page}");
        }
    }

    #[test]
    fn every_manual_page_that_is_referred_to_exists() {
        let directory = tempfile::tempdir().expect("a directory");
        manual_pages(directory.path()).expect("it can be written");
        let read = |name: &str| {
            let page = std::fs::read_to_string(directory.path().join(format!("{name}.1")));
            page.unwrap_or_else(|error| panic!("{name}: {error}"))
                .replace('\\', "")
        };
        let top = read("authentik-proxy");
        let reference = regex::Regex::new(r"(authentik-proxy-[a-z-]+)\(1\)").expect("a pattern");
        let mut pages = String::new();
        for found in reference.captures_iter(&top) {
            pages.push_str(&read(&found[1]));
        }
        assert!(pages.contains("--app"), "{pages}");
        assert_eq!(pages.contains("--prune"), cfg!(feature = "discover"));
    }

    #[test]
    fn completions_know_the_commands() {
        use clap_complete::Shell;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            completions(shell, &mut script);
            let script = String::from_utf8(script).expect("text");
            assert!(script.contains("healthcheck"), "{shell}");
        }
    }

    #[test]
    fn usage_errors_have_their_exit_code() {
        for arguments in [
            &["bake"][..],
            &["--config"],
            &["serve", "now"],
            &["healthcheck", "ldap"],
        ] {
            let error = parse(arguments).expect_err("invalid");
            assert_eq!(error.exit_code(), i32::from(EXIT_USAGE), "{arguments:?}");
        }
        let version = parse(&["--version"]).expect_err("ends the program");
        assert_eq!(version.kind(), ErrorKind::DisplayVersion);
        assert_eq!(version.exit_code(), i32::from(EXIT_OK));
    }

    #[test]
    fn long_help_tells_every_variable_its_default_and_the_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        for setting in settings() {
            assert!(
                help.contains(setting.variable().as_ref()),
                "{}",
                setting.key
            );
            if let Fallback::Value(default) = setting.fallback {
                assert!(help.contains(default), "{}: {default}", setting.key);
            }
        }
        for wanted in [
            "AUTHENTIK_PROXY_CONFIG",
            "--config <PATH>",
            "healthcheck",
            "Exit codes:",
        ] {
            assert!(help.contains(wanted), "{wanted}");
        }
    }

    #[test]
    fn only_the_listen_settings_matter_to_a_health_check() {
        let check = |vars: &[(&str, &str)]| {
            let cli = parse(&["healthcheck"]).expect("valid");
            healthcheck(&cli, &vars.iter().copied().collect()).expect_err("no server listens")
        };
        let error = check(&[
            ("AUTHENTIK_LISTEN__METRICS", "127.0.0.1:1"),
            ("AUTHENTIK_HOST", "nonsense"),
        ]);
        assert!(matches!(&error, Unhealthy::Failed(why) if why.starts_with("127.0.0.1:1: ")));
        assert_eq!(error.exit_code(), EXIT_FAILURE);

        let error = check(&[("AUTHENTIK_LISTEN__METRICS", "nonsense")]);
        assert_eq!(error.exit_code(), EXIT_USAGE);

        let error = check(&[
            ("AUTHENTIK_LISTEN__METRICS", "none"),
            ("AUTHENTIK_LISTEN__HTTP", "none"),
        ]);
        assert!(matches!(error, Unhealthy::NoListener));
    }

    #[test]
    fn only_204_is_healthy() {
        for (answer, expected) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", None),
            ("HTTP/1.0 204\r\n", None),
            ("HTTP/1.1 200 OK\r\n\r\n", Some("answered 200, not 204")),
            (
                "HTTP/1.1 503 Service Unavailable\r\n\r\n",
                Some("answered 503, not 204"),
            ),
            ("SSH-2.0-OpenSSH\r\n", Some("did not speak HTTP")),
            ("", Some("did not speak HTTP")),
        ] {
            let (port, request) = answering_once(answer);
            let vars = [("AUTHENTIK_LISTEN__METRICS", format!("0.0.0.0:{port}"))];
            let cli = parse(&["healthcheck"]).expect("valid");
            let result = healthcheck(&cli, &vars.into_iter().collect());
            let failure = result.err().map(|error| error.to_string());
            let wanted = expected.map(|why| format!("not healthy: 127.0.0.1:{port}: {why}"));
            assert_eq!(failure, wanted, "{answer:?}");
            let request = request.join().expect("the listener ends");
            assert!(request.starts_with("GET /outpost.goauthentik.io/ping HTTP/1.1\r\n"));
        }
    }

    #[test]
    fn listeners_are_reached_by_loopback() {
        for (addresses, expected) in [
            (["0.0.0.0:9300"].as_slice(), "127.0.0.1:9300"),
            (&["[::]:9300"], "127.0.0.1:9300"),
            (&["[::]:9300", "0.0.0.0:9300"], "[::1]:9300"),
            (&["[::]:9300", "0.0.0.0:9000"], "127.0.0.1:9300"),
            (&["[::1]:9300"], "[::1]:9300"),
            (&["192.0.2.7:9300"], "192.0.2.7:9300"),
        ] {
            let parsed = addresses
                .iter()
                .map(|text| text.parse().expect("an address"));
            let parsed: Vec<SocketAddr> = parsed.collect();
            let found = reachable(parsed[0], &parsed).to_string();
            assert_eq!(found, expected, "{addresses:?}");
        }
    }

    /// A listener that reads one request, answers it and hangs up.
    fn answering_once(answer: &'static str) -> (u16, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).expect("a whole request");
                request.extend(byte);
            }
            stream
                .write_all(answer.as_bytes())
                .expect("the client listens");
            String::from_utf8(request).expect("text")
        });
        (port, thread)
    }
}
