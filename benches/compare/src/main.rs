//! The programs of `benches/compare`: each measured server and each client is a process of its own, so
//! that the system accounts for it and it can be pinned to a processor.
//!
//! `python3 benches/compare` starts them. All listen on loopback, and end when their standard input does.

#![expect(
    clippy::print_stdout,
    reason = "the caller reads results from standard output"
)]

mod authentik;
#[path = "../../common/mod.rs"]
mod common;
mod load;
mod servers;
mod sessions;
mod websocket;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: compare authentik APPLICATION LOG_LEVEL
       compare application ADDRESS
       compare server ADDRESS HEADERS
       compare proxy ADDRESS APPLICATION HEADERS
       compare load ADDRESS CONNECTIONS RATE SECONDS < REQUEST
       compare websockets ADDRESS HOST COOKIE CONNECTIONS SECONDS
       compare idle ADDRESS HOST COOKIE CONNECTIONS";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["authentik", application, log_level] => {
            authentik::run(application.parse()?, log_level).await
        }
        ["application", address] => {
            let address: SocketAddr = address.parse()?;
            until_stdin_ends(servers::application(address).await?).await
        }
        ["server", address, headers] => {
            let headers = servers::headers(headers)?;
            until_stdin_ends(servers::bare(address.parse()?, headers).await?).await
        }
        ["proxy", address, application, headers] => {
            let (address, application) = (address.parse()?, application.parse()?);
            let headers = servers::headers(headers)?;
            until_stdin_ends(servers::bare_proxy(address, application, headers).await?).await
        }
        ["load", address, connections, rate, seconds] => {
            let mut request = Vec::new();
            tokio::io::stdin().read_to_end(&mut request).await?;
            let load = load::Load {
                address: address.parse()?,
                request,
                connections: connections.parse()?,
                rate: rate.parse()?,
                seconds: seconds.parse()?,
            };
            println!("{}", load.run()?);
            Ok(())
        }
        ["websockets", address, host, cookie, connections, seconds] => {
            let mut sockets =
                websocket::Sockets::open(address.parse()?, host, cookie, connections.parse()?)
                    .await?;
            let time = Duration::from_secs_f64(seconds.parse()?);
            println!("{}", sockets.echo(time).await?);
            Ok(())
        }
        ["idle", address, host, cookie, connections] => {
            let sockets =
                websocket::Sockets::open(address.parse()?, host, cookie, connections.parse()?)
                    .await?;
            println!("{}", sockets.len());
            until_stdin_ends(()).await
        }
        _ => Err(USAGE.into()),
    }
}

/// Waits until whoever started this process closes its standard input, or is gone.
async fn until_stdin_ends<T>(running: T) -> Result<(), Failure> {
    let mut input = tokio::io::stdin();
    while input.read(&mut [0; 64]).await? > 0 {}
    drop(running);
    Ok(())
}
