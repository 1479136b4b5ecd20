//! Shows what the outpost does: a few small applications, a stand-in for authentik and the outpost,
//! in one process, with nginx in front if it is installed.
//!
//! `cargo run --package authentik-proxy-demo`; Ctrl-C stops everything. It needs no root, no network
//! and no Redis. With `-- --log` it prints the outpost's log.

mod applications;
mod demo;
mod page;
mod ports;

use std::io::Write as _;

use authentik_proxy::telemetry::log::{self, LogHandle};

use crate::applications::{APPLICATIONS, Front};
use crate::demo::{Demo, USERS};
use crate::ports::Ports;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (log, _guard) = match std::env::args().nth(1).as_deref() {
        None => (LogHandle::disconnected(), None),
        Some("--log") => {
            let (log, guard) = log::init("info")?;
            (log, Some(guard))
        }
        Some(_) => return Err("usage: cargo run --package authentik-proxy-demo [-- --log]".into()),
    };
    let demo = Demo::start(&Ports::memorable()?, Front::Nginx, log, &mut progress).await?;
    introduce(&demo)?;
    tokio::signal::ctrl_c().await?;
    demo.stop().await?;
    Ok(())
}

/// One line for each step, at once.
fn progress(step: &str) {
    let mut out = std::io::stdout().lock();
    // A terminal that is gone is no reason to stop.
    let _ = writeln!(out, "  {step}").and_then(|()| out.flush());
}

/// Prints the addresses and the users.
fn introduce(demo: &Demo) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nOpen one of these:\n")?;
    for application in &APPLICATIONS {
        let url = demo.url(application);
        writeln!(out, "  {url:<40} {}", application.about)?;
    }
    writeln!(out, "\nSign in as\n")?;
    for user in &USERS {
        let (name, password, groups) = (user.name, user.password(), user.groups.join(", "));
        writeln!(out, "  {name:<8} {password:<14} groups: {groups}")?;
    }
    let (authentik, metrics) = (demo.authentik_url(), demo.metrics_url());
    writeln!(
        out,
        "\n  {:<52} end the session at authentik",
        demo.invalidation_url()
    )?;
    writeln!(out, "  {authentik:<52} the stand-in for authentik")?;
    writeln!(out, "  {metrics:<52} the outpost's metrics\n")?;
    match demo.front() {
        Front::Nginx => writeln!(
            out,
            "nginx is in front and asks the outpost about each request (forward auth)."
        )?,
        Front::Outpost => writeln!(
            out,
            "nginx is not installed: all requests pass through the outpost (mode proxy).\n\
             To try forward auth, install nginx (apt-get install nginx-light) and start again."
        )?,
    }
    writeln!(out, "Ctrl-C stops everything.\n")
}
