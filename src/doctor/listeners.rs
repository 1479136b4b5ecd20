//! What can be seen without leaving this machine.

use std::io::ErrorKind;
use std::net::SocketAddr;

use http::{HeaderMap, StatusCode};

use super::report::{Report, Status};
use super::{local_request, running_server};
use crate::admin;
use crate::config::{Config, is_v6_only, reachable};
use crate::server;
use crate::web::client::FetchError;
use crate::web::client::trust::Trust;

/// The settings, which are valid at this point, and their warnings.
pub(super) fn settings(config: &Config, report: &mut Report) {
    let browser = match &config.authentik.host_browser {
        Some(url) => format!(", browsers use {url}"),
        None => String::new(),
    };
    let host = &config.authentik.host;
    report.ok("settings", format!("authentik is at {host}{browser}"));
    for warning in &config.warnings {
        report.diagnostic("settings", Status::Warning, warning);
    }
}

const METRICS: &str = "listen metrics";

/// A kind of listener: its name, the scheme that is spoken there, and how a response of the outpost is recognized.
struct Kind {
    check: &'static str,
    setting: &'static str,
    scheme: &'static str,
    is_ours: fn(StatusCode, &HeaderMap) -> bool,
}

/// Whether the addresses can be listened on, or our own server does already.
/// Returns what that server says of itself.
pub(super) async fn listeners(
    config: &Config,
    trust: &Trust,
    report: &mut Report,
) -> Option<admin::Status> {
    let listen = &config.listen;
    let pings: fn(StatusCode, &HeaderMap) -> bool =
        |status, headers| status == StatusCode::NO_CONTENT && headers.contains_key("x-powered-by");
    let mut taken = None;
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
            kind(METRICS, "AUTHENTIK_LISTEN__METRICS", "http", |status, _| {
                status == StatusCode::NO_CONTENT
            }),
            &listen.metrics,
        ),
        (
            kind(
                "listen forward_auth",
                "AUTHENTIK_PROXY_LISTEN__FORWARD_AUTH",
                "http",
                pings,
            ),
            &listen.forward_auth,
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
            if listener(&kind, *address, addresses, trust, report).await && kind.check == METRICS {
                taken.get_or_insert(reachable(*address, addresses));
            }
        }
    }
    running_server::ask(taken?, trust, report).await
}

/// Whether an outpost listens there.
async fn listener(
    kind: &Kind,
    address: SocketAddr,
    addresses: &[SocketAddr],
    trust: &Trust,
    report: &mut Report,
) -> bool {
    let check = kind.check;
    let Err(error) = server::bind(address, is_v6_only(address, addresses)) else {
        report.ok(check, format!("{address} is free"));
        return false;
    };
    let setting = kind.setting;
    let cannot = |report: &mut Report| {
        let fix = format!(
            "choose another address or port with {setting}; ports below 1024 need a capability"
        );
        report.failed(check, format!("{address} cannot be used: {error}"), fix);
        false
    };
    if error.kind() != ErrorKind::AddrInUse {
        return cannot(report);
    }
    let local = reachable(address, addresses);
    let answer =
        local_request::get(kind.scheme, local, "/outpost.goauthentik.io/ping", trust).await;
    let found = match answer {
        Ok(answer) if (kind.is_ours)(answer.status(), answer.headers()) => {
            let found = format!("{address} is in use by an outpost: the server, if it runs here");
            report.ok(check, found);
            return true;
        }
        Ok(answer) => format!("answers the ping with {}", answer.status()),
        Err(FetchError::Refused) => return cannot(report),
        Err(error) => format!("does not answer the ping: {error}"),
    };
    let fix = format!("end that program, or choose another port with {setting}");
    report.failed(
        check,
        format!("another program listens on {address}, and {found}"),
        fix,
    );
    false
}
