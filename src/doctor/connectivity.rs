//! Connectivity to authentik: name, connection, TLS, clock.

use url::{Host, Url};

use super::certificates::Chain;
use super::report::Report;
use crate::config::{Config, NextHop, is_internal};
use crate::control::Probe;
use crate::oidc::LEEWAY;
use crate::web::client::FetchError;

/// Looks at each step to authentik; whether it can be asked anything.
pub(super) async fn authentik(config: &Config, probe: &Probe, report: &mut Report) -> bool {
    let host = &config.authentik.host;
    let (name, port) = (
        host.host_str().unwrap_or_default(),
        host.port_or_known_default().unwrap_or(80),
    );
    let browsers = config.authentik.host_browser.as_ref();
    let is_chosen = browsers.is_some_and(|browsers| browsers.origin() != host.origin());
    if config.in_kubernetes && is_public(host) && !is_chosen {
        report.warning(
            "internal host",
            format!("AUTHENTIK_HOST is {host}, a public name: if authentik runs in this cluster, each request leaves it and comes back through the ingress, which may change or refuse it"),
            format!("unless authentik runs elsewhere, set AUTHENTIK_HOST to its Service, for example http://authentik-server.authentik.svc.cluster.local, and AUTHENTIK_HOST_BROWSER={host}"),
        );
    }
    let hop = config.next_hop();
    match hop {
        NextHop::Proxy(_) => report.skipped("dns", format!("the proxy resolves {name}")),
        NextHop::Socket(_) => report.skipped("dns", "AUTHENTIK_HOST is a socket"),
        NextHop::Direct => {
            if !resolve(name, port, report).await {
                return false;
            }
        }
    }
    let chain = Chain::shown(probe.trust(), config);
    match probe.clock_ahead().await {
        Err(error @ FetchError::Tls(_)) => {
            let shown = match chain.await {
                Some(chain) => format!(", the server shows {chain}"),
                None => String::new(),
            };
            let found = format!("{host}: {error}{shown}");
            report.failed("tls", found, error.hint_for_authentik());
            false
        }
        Err(error) => {
            report.failed(
                "connection",
                format!("{host}: {error}"),
                error.hint_for_authentik(),
            );
            false
        }
        Ok(ahead) => {
            let found = match hop {
                NextHop::Socket(_) => format!("{host} answers"),
                _ => format!("{host} answers on port {port}, reached {hop}"),
            };
            report.ok("connection", found);
            if host.scheme() == "https" {
                tls(config, chain.await, report);
            } else {
                report.ok(
                    "tls",
                    "not used, which is fine inside a cluster or on one host",
                );
            }
            clock(ahead, report);
            true
        }
    }
}

/// Looks for the addresses of a host; whether there are any.
async fn resolve(name: &str, port: u16, report: &mut Report) -> bool {
    let bare = name.trim_matches(['[', ']']);
    let shown: Vec<_> = match tokio::net::lookup_host((bare, port)).await {
        Ok(found) => found.map(|address| address.ip().to_string()).collect(),
        Err(error) => {
            let found = format!("{bare} cannot be resolved: {error}");
            report.failed("dns", found, FetchError::Dns.hint_for_authentik());
            return false;
        }
    };
    if shown == [bare] {
        report.ok("dns", format!("{bare} is an address already"));
    } else {
        report.ok("dns", format!("{bare} is {}", shown.join(", ")));
    }
    true
}

/// Whether an address is of the kind that browsers use.
fn is_public(url: &Url) -> bool {
    matches!(url.host(), Some(Host::Domain(name)) if name.contains('.')) && !is_internal(url)
}

fn tls(config: &Config, chain: Option<Chain>, report: &mut Report) {
    let said = chain.as_ref().map(|chain| format!(": {chain}"));
    let said = said.unwrap_or_default();
    if config.authentik.insecure {
        report.warning(
            "tls",
            format!("authentik's certificate is not verified{said}"),
            "name its authority in AUTHENTIK_PROXY_TLS__CA_FILE and unset AUTHENTIK_INSECURE",
        );
        return;
    }
    match chain.and_then(|chain| chain.ends_soon()) {
        None => report.ok("tls", format!("authentik's certificate is trusted{said}")),
        Some(left) => report.warning(
            "tls",
            format!(
                "authentik's certificate is trusted for {} more{said}",
                days_or_hours(left.as_secs() / 3600)
            ),
            "renew it where TLS ends in front of authentik; with cert-manager, kubectl describe certificate says why that has not happened",
        ),
    }
}

fn days_or_hours(hours: u64) -> String {
    match hours / 24 {
        0 | 1 => format!("{hours} hours"),
        days => format!("{days} days"),
    }
}

fn clock(ahead: Option<i64>, report: &mut Report) {
    match ahead {
        None => report.skipped("clock", "the answer has no Date"),
        Some(ahead) if ahead.abs() <= LEEWAY / 2 => {
            report.ok("clock", "the clocks of authentik and this host agree");
        }
        Some(ahead) => {
            let (side, then) = if ahead > 0 {
                ("ahead of", "fresh tokens are \"not yet valid\"")
            } else {
                ("behind", "tokens expire before their time")
            };
            let found = format!(
                "authentik's clock is {} s {side} this host's: beyond {LEEWAY} s {then}",
                ahead.abs()
            );
            let fix = "synchronise the clocks of both hosts (NTP)";
            if ahead.abs() > LEEWAY {
                report.failed("clock", found, fix);
            } else {
                report.warning("clock", found, fix);
            }
        }
    }
}
