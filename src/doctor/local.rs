//! What can be seen without asking anybody.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use super::report::Report;
use crate::config::Config;

/// The settings, which are usable if we come here, and what is odd about them.
pub(super) fn settings(config: &Config, report: &mut Report) {
    let browser = match &config.authentik.host_browser {
        Some(url) => format!(", browsers use {url}"),
        None => String::new(),
    };
    let host = &config.authentik.host;
    report.ok("settings", format!("authentik is at {host}{browser}"));
    for warning in &config.warnings {
        report.warning("settings", warning, "");
    }
}

/// Whether the addresses can be listened on, or somebody does already.
pub(super) async fn listeners(config: &Config, report: &mut Report) {
    let listen = &config.listen;
    for (check, addresses) in [
        ("listen http", &listen.http),
        ("listen https", &listen.https),
        ("listen metrics", &listen.metrics),
        ("listen ext_authz", &listen.ext_authz),
    ] {
        for address in addresses {
            listener(check, *address, report).await;
        }
    }
}

async fn listener(check: &str, address: SocketAddr, report: &mut Report) {
    let Err(error) = TcpListener::bind(address).await else {
        return report.ok(check, format!("{address} is free"));
    };
    let local = if address.ip().is_unspecified() {
        SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), address.port())
    } else {
        address
    };
    if TcpStream::connect(local).await.is_ok() {
        report.ok(
            check,
            format!("{address} is in use; by the server, if it runs here"),
        );
    } else {
        let fix = "choose another address or port; ports below 1024 need a capability";
        report.failed(check, format!("{address} cannot be used: {error}"), fix);
    }
}
