//! The program: reads arguments and environment, runs a command, says with its exit code how it
//! went.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use authentik_proxy::app::App;
use authentik_proxy::cli::{self, Cli, Command};
#[cfg(feature = "discover")]
use authentik_proxy::config::Discovery;
use authentik_proxy::config::{self, Config, Vars};
use authentik_proxy::doctor::{self, report::Status};
use authentik_proxy::model::Hint as _;
use authentik_proxy::telemetry::log;
use clap::Parser as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
#[cfg(feature = "discover")]
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let arguments = Cli::parse();
    match arguments.selected() {
        Command::Serve => match Config::from_env(arguments.config.as_deref()) {
            Ok(config) => serve(&config),
            Err(errors) => fail(cli::EXIT_USAGE, &errors),
        },
        Command::Doctor(options) if options.watch => {
            match Config::watch_socket(arguments.config.as_deref(), &Vars::process()) {
                Ok(socket) => watch(socket.as_deref(), options),
                Err(errors) => fail(cli::EXIT_USAGE, &errors),
            }
        }
        Command::Doctor(options) => doctor(
            arguments.config.as_deref(),
            options.app.as_deref(),
            options.json,
        ),
        Command::Rules(request) => match Config::from_env(arguments.config.as_deref()) {
            Ok(config) => rules(&config, &request),
            Err(errors) => fail(cli::EXIT_USAGE, &errors),
        },
        Command::Config { reference, example } => {
            config(arguments.config.as_deref(), reference, example)
        }
        Command::Man { directory: None } => print(cli::manual_page),
        Command::Man {
            directory: Some(directory),
        } => match cli::manual_pages(&directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(
                cli::EXIT_FAILURE,
                &format!("{}: {error}", directory.display()),
            ),
        },
        Command::Completions { shell } => print(|out| {
            cli::completions(shell, out);
            Ok(())
        }),
        #[cfg(feature = "discover")]
        Command::Discover(options) => {
            match Config::discovery(arguments.config.as_deref(), &Vars::process()) {
                Ok(settings) => discover(&settings, &options),
                Err(errors) => fail(cli::EXIT_USAGE, &errors),
            }
        }
        Command::Healthcheck { .. } => match cli::healthcheck(&arguments, &Vars::process()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => fail(reason.exit_code(), &reason),
        },
    }
}

fn config(file: Option<&Path>, reference: bool, example: Option<config::Language>) -> ExitCode {
    if let Some(language) = example {
        return print(|out| out.write_all(config::example(language).as_bytes()));
    }
    if reference {
        return print(|out| out.write_all(config::settings_table().as_bytes()));
    }
    match config::effective_settings(file, &Vars::process()) {
        Ok(text) => print(|out| out.write_all(text.as_bytes())),
        Err(errors) => fail(cli::EXIT_USAGE, &errors),
    }
}

fn print(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> ExitCode {
    let mut text = Vec::new();
    match write(&mut text).and_then(|()| std::io::stdout().write_all(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        // `| head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(cli::EXIT_FAILURE, &error),
    }
}

/// Exit code 0 if all is well, 1 if something failed, 2 if the settings cannot be used.
fn doctor(file: Option<&Path>, only: Option<&str>, json: bool) -> ExitCode {
    let report = match Config::from_env(file) {
        Err(errors) => doctor::unusable(&errors),
        Ok(config) => {
            let runtime = match tokio::runtime::Runtime::new() {
                Ok(runtime) => runtime,
                Err(error) => return fail(cli::EXIT_FAILURE, &error),
            };
            let shown = !json && std::io::stderr().is_terminal();
            let progress = |what: &str| {
                if shown {
                    // Overwritten by the next, and by the report.
                    let _ = write!(std::io::stderr(), "\r\x1b[Klooking at {what} ...");
                }
            };
            let report = runtime.block_on(doctor::examine(&config, only, progress));
            if shown {
                let _ = write!(std::io::stderr(), "\r\x1b[K");
            }
            report
        }
    };
    let code = match report.worst() {
        _ if report.unusable => cli::EXIT_USAGE,
        Status::Failed => cli::EXIT_FAILURE,
        Status::Ok | Status::Skipped | Status::Warning => cli::EXIT_OK,
    };
    let mut out = std::io::stdout();
    // Nobody is left to tell if standard output is closed.
    let _ = if json {
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        writeln!(out, "{text}")
    } else {
        let table = report.table(out.is_terminal());
        write!(out, "{table}")
    };
    ExitCode::from(code)
}

/// Exit code 0 if the login worked, 1 if it failed or cannot be watched.
fn watch(socket: Option<&Path>, options: cli::doctor::Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(cli::EXIT_FAILURE, &error),
    };
    let filter = doctor::watch::Filter {
        application: options.app,
        host: options.host,
    };
    let mut out = std::io::stdout();
    let watched = doctor::watch::next_login(socket, filter, options.json, &mut out);
    match runtime.block_on(watched) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(cli::EXIT_FAILURE),
        Err(error) => fail(cli::EXIT_FAILURE, &error.with_hint()),
    }
}

fn rules(config: &Config, request: &cli::rules::Request) -> ExitCode {
    let explained = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(cli::rules::explain(config, request)),
        Err(error) => return fail(cli::EXIT_FAILURE, &error),
    };
    match explained {
        Ok(text) => print(|out| out.write_all(text.as_bytes())),
        Err(error) => fail(cli::EXIT_FAILURE, &error.with_hint()),
    }
}

/// Exit code 0 if everything is as desired or can be changed to it, 1 if not.
#[cfg(feature = "discover")]
fn discover(settings: &Discovery, options: &cli::discover::Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(cli::EXIT_FAILURE, &error),
    };
    // Its level stays: authentik sets that of outposts only.
    let log = options
        .watch
        .then(|| log::init(settings.log.level.as_str()));
    let _log = match log.transpose() {
        Ok(log) => log,
        Err(error) => return fail(cli::EXIT_FAILURE, &error),
    };
    runtime.block_on(async {
        let mut signals = StopSignals::listen();
        let stop = CancellationToken::new();
        let work = async {
            if options.watch {
                let discover = options.discover(settings).await?;
                tracing::info!("looking for labelled objects");
                discover.watch(&stop).await;
                return Ok(None);
            }
            options.once(settings, &stop).await.map(Some)
        };
        let stopped = async {
            signals.received().await;
            stop.cancel();
            // Work in progress is finished; a second signal ends the process.
            if options.watch || options.apply {
                signals.received().await;
            }
        };
        let result = tokio::select! {
            result = work => result,
            () = stopped => return ExitCode::from(cli::EXIT_FAILURE),
        };
        match result {
            Ok(None) => ExitCode::SUCCESS,
            Ok(Some(summary)) => print_summary(&summary),
            Err(error) => fail(cli::EXIT_FAILURE, &error),
        }
    })
}

#[cfg(feature = "discover")]
fn print_summary(summary: &cli::discover::Summary) -> ExitCode {
    // Closed standard streams are no failure.
    let _ = write!(std::io::stdout(), "{}", summary.text);
    for failure in &summary.failures {
        let _ = writeln!(std::io::stderr(), "authentik-proxy: {failure}");
    }
    if summary.complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(cli::EXIT_FAILURE)
    }
}

fn serve(config: &Config) -> ExitCode {
    // The guard is dropped after the runtime: what its tasks log at last is written as well.
    let (log, _guard) = match log::init(config.log.level.as_str()) {
        Ok(log) => log,
        Err(error) => return fail(cli::EXIT_FAILURE, &error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(cli::EXIT_FAILURE, &error),
    };
    for warning in &config.warnings {
        tracing::warn!(hint = warning.hint.as_deref(), "{warning}");
    }
    raise_file_limit();
    runtime.block_on(async {
        // Before readiness is reported: a signal without a handler would end the process at once.
        let mut signals = StopSignals::listen();
        let app = match App::start(config, log).await {
            Ok(app) => app,
            Err(error) => return fail(cli::EXIT_FAILURE, &error.with_hint()),
        };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            http = ?app.http_addresses(),
            https = ?app.https_addresses(),
            metrics = ?app.metrics_addresses(),
            authentik = %config.authentik.host,
            reached = %config.next_hop(),
            "authentik-proxy is listening",
        );
        signals.received().await;
        tracing::info!("stopping, a second signal stops at once");
        tokio::select! {
            () = app.stop() => ExitCode::SUCCESS,
            () = signals.received() => ExitCode::from(cli::EXIT_FAILURE),
        }
    })
}

/// Lets as many files be open as may be, as programs in Go do. Service managers and container
/// runtimes often leave the soft limit at 1024, for programs that use `select`.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tracing::info!(
            from = limit.current,
            to = raised.current,
            "soft limit of open files raised to the hard limit",
        ),
        Err(error) => tracing::warn!(%error, "soft limit of open files cannot be raised"),
    }
}

/// SIGTERM and SIGINT; none is lost between two calls of `received`.
struct StopSignals([Option<tokio::signal::unix::Signal>; 2]);

impl StopSignals {
    fn listen() -> Self {
        Self([SignalKind::terminate(), SignalKind::interrupt()].map(|kind| signal(kind).ok()))
    }

    async fn received(&mut self) {
        let received = async |signal: &mut Option<tokio::signal::unix::Signal>| match signal {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        };
        let [terminate, interrupt] = &mut self.0;
        tokio::select! {
            () = received(terminate) => {}
            () = received(interrupt) => {}
        }
    }
}

fn fail(code: u8, reason: &dyn std::fmt::Display) -> ExitCode {
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "authentik-proxy: {reason}");
    ExitCode::from(code)
}
