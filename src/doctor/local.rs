//! What can be seen without leaving this machine.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::net::TcpListener;

use super::report::{Report, Status};
use crate::config::Config;
use crate::web::client::{BackChannel, FetchError};
use crate::web::trust::Trust;

/// How long a program that listens where we should may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The settings, which are usable if we come here, and what is odd about them.
pub(super) fn settings(config: &Config, report: &mut Report) {
    let browser = match &config.authentik.host_browser {
        Some(url) => format!(", browsers use {url}"),
        None => String::new(),
    };
    let host = &config.authentik.host;
    report.ok("settings", format!("authentik is at {host}{browser}"));
    for warning in &config.warnings {
        report.told("settings", Status::Warning, warning);
    }
}

/// A kind of listener: its name, the scheme that is spoken there, and what an answer of ours has.
struct Kind {
    check: &'static str,
    setting: &'static str,
    scheme: &'static str,
    is_ours: fn(StatusCode, &HeaderMap) -> bool,
}

/// Whether the addresses can be listened on, or our own server does already.
pub(super) async fn listeners(config: &Config, trust: &Trust, report: &mut Report) {
    let listen = &config.listen;
    let pings: fn(StatusCode, &HeaderMap) -> bool =
        |status, headers| status == StatusCode::NO_CONTENT && headers.contains_key("x-powered-by");
    let kind = |check, setting, scheme, is_ours: fn(StatusCode, &HeaderMap) -> bool| Kind {
        check,
        setting,
        scheme,
        is_ours,
    };
    for (kind, addresses) in [
        (
            kind("listen http", "AUTHENTIK_LISTEN__HTTP", "http", pings),
            &listen.http,
        ),
        (
            kind("listen https", "AUTHENTIK_LISTEN__HTTPS", "https", pings),
            &listen.https,
        ),
        (
            kind(
                "listen metrics",
                "AUTHENTIK_LISTEN__METRICS",
                "http",
                |status, _| status == StatusCode::NO_CONTENT,
            ),
            &listen.metrics,
        ),
        (
            kind(
                "listen ext_authz",
                "AUTHENTIK_PROXY_LISTEN__EXT_AUTHZ",
                "http",
                // Only that it is gRPC.
                |_, headers| headers.contains_key("grpc-status"),
            ),
            &listen.ext_authz,
        ),
    ] {
        for address in addresses {
            listener(&kind, *address, trust, report).await;
        }
    }
}

async fn listener(kind: &Kind, address: SocketAddr, trust: &Trust, report: &mut Report) {
    let check = kind.check;
    let Err(error) = TcpListener::bind(address).await else {
        return report.ok(check, format!("{address} is free"));
    };
    let setting = kind.setting;
    let cannot = |report: &mut Report| {
        let fix = format!(
            "choose another address or port with {setting}; ports below 1024 need a capability"
        );
        report.failed(check, format!("{address} cannot be used: {error}"), fix);
    };
    if error.kind() == ErrorKind::AddrNotAvailable {
        return cannot(report);
    }
    let found = match ping(kind.scheme, address, trust).await {
        Ok(answer) if (kind.is_ours)(answer.status(), answer.headers()) => {
            let found = format!("{address} is in use by an outpost: the server, if it runs here");
            return report.ok(check, found);
        }
        Ok(answer) => format!("answers our ping with {}", answer.status()),
        Err(FetchError::Refused) => return cannot(report),
        Err(error) => format!("does not answer our ping: {error}"),
    };
    let fix = format!("end that program, or choose another port with {setting}");
    report.failed(
        check,
        format!("another program listens on {address}, and {found}"),
        fix,
    );
}

/// Asks whoever listens there whether it is an outpost.
async fn ping(
    scheme: &str,
    address: SocketAddr,
    trust: &Trust,
) -> Result<Response<Bytes>, FetchError> {
    let local: IpAddr = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let local = SocketAddr::new(local, address.port());
    let request = Request::builder()
        .uri(format!("{scheme}://{local}/outpost.goauthentik.io/ping"))
        .body(Full::default())
        .map_err(|error| FetchError::Connection(error.to_string()))?;
    BackChannel::over(trust, true, PATIENCE)
        .fetch(request)
        .await
}
