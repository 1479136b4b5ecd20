//! The applications, one by one.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use http::{Request, header};
use http_body_util::Full;

use super::report::Report;
use crate::config::{Config, is_internal};
use crate::model::{Application, Backend, Mode};
use crate::oidc::{Accepted, OidcError};
use crate::route::{Refused, Site, Snapshot};
use crate::web::client::BackChannel;
use crate::web::trust::Trust;

/// How many applications are looked at at the same time: each takes several requests to authentik.
const AT_ONCE: usize = 8;

/// Looks at all applications, or at the one with the slug `only`.
pub(super) async fn examine(
    config: &Config,
    trust: &Trust,
    snapshot: &Snapshot,
    only: Option<&str>,
    report: &mut Report,
) {
    let meant = |slug: &str| only.is_none_or(|only| slug == only);
    let refused: Vec<_> = snapshot.refused.iter().filter(|r| meant(&r.slug)).collect();
    for Refused {
        provider, reason, ..
    } in &refused
    {
        let fix = "correct the provider in authentik; the others are served";
        report.failed(format!("provider {provider:?}"), reason, fix);
    }
    let sites = snapshot.table.sites();
    let (examined, others): (Vec<_>, Vec<_>) =
        sites.iter().partition(|site| meant(&site.application.slug));
    if examined.is_empty() {
        if refused.is_empty() {
            nothing_to_look_at(snapshot, only, report);
        }
        return;
    }
    report.ok("applications", slugs(sites));
    // Those that are meant last, so that each of them is the one that is complained of.
    let ordered = others.into_iter().chain(examined.iter().copied());
    shared_addresses(ordered.map(|site| &site.application), &meant, report);
    let examined = examined
        .into_iter()
        .map(|site| application(config, trust, site));
    let mut examined = stream::iter(examined).buffered(AT_ONCE);
    while let Some(found) = examined.next().await {
        report.extend(found);
    }
}

fn slugs(sites: &[Arc<Site>]) -> String {
    let slugs: Vec<_> = sites.iter().map(|s| s.application.slug.as_str()).collect();
    slugs.join(", ")
}

fn nothing_to_look_at(snapshot: &Snapshot, only: Option<&str>, report: &mut Report) {
    let sites = snapshot.table.sites();
    let outpost = snapshot.outpost.as_ref();
    let name = outpost.map_or("", |outpost| &outpost.name);
    match only {
        Some(only) if !sites.is_empty() => report.failed(
            "applications",
            format!("none has the slug {only:?}; there are {}", slugs(sites)),
            "assign it to this outpost, or correct the slug",
        ),
        _ => report.failed(
            "applications",
            format!("none is assigned to outpost {name:?}"),
            "in authentik: Applications > Outposts > edit it and select the applications; they may still belong to the embedded outpost",
        ),
    }
}

/// Two applications at one address: the second is never reached.
fn shared_addresses<'a>(
    applications: impl Iterator<Item = &'a Application>,
    meant: &impl Fn(&str) -> bool,
    report: &mut Report,
) {
    let mut taken: HashMap<(String, &str), &str> = HashMap::new();
    for application in applications {
        let external = &application.external;
        let address = (external.origin(), external.path_prefix());
        let other = taken.insert(address, &application.name);
        if let Some(other) = other.filter(|_| meant(&application.slug)) {
            report.failed(
                format!("{}: external host", application.slug),
                format!("{} is that of {other:?}, too", external.as_str()),
                "give each provider an external host of its own",
            );
        }
    }
}

async fn application(config: &Config, trust: &Trust, site: &Site) -> Report {
    let mut found = Report::default();
    let report = &mut found;
    let application = &site.application;
    let check = |what: &str| format!("{}: {what}", application.slug);
    let external = &application.external;
    let mode = match &application.mode {
        Mode::Proxy => "proxy",
        Mode::ForwardSingle => "forward auth",
        Mode::ForwardDomain(_) => "forward auth of a domain",
    };
    if external.is_https() {
        report.ok(
            check("external host"),
            format!("{} ({mode})", external.as_str()),
        );
    } else {
        report.warning(
            check("external host"),
            format!(
                "{} is not https: cookies travel in the clear",
                external.as_str()
            ),
            "set the provider's external host to https, unless this is meant",
        );
    }
    let endpoints = site.relying_party.endpoints();
    let browser = endpoints.authorization.host_str().unwrap_or_default();
    if is_internal(&endpoints.authorization) {
        report.failed(
            check("browser host"),
            format!("browsers would be sent to {browser}, which only the cluster knows"),
            "set AUTHENTIK_HOST_BROWSER to the address of authentik that browsers use",
        );
    } else {
        report.ok(
            check("browser host"),
            format!("browsers sign in at {browser}"),
        );
    }
    issuer(site, &check("issuer"), report).await;
    redirect_uri(site, &check("redirect URI"), report).await;
    signing_keys(site, &check("signing keys"), report).await;
    introspection(site, &check("introspection"), report).await;
    if let Some(backend) = &application.backend {
        internal_host(
            config,
            trust,
            application,
            backend,
            &check("internal host"),
            report,
        )
        .await;
    }
    open_paths(application, &check("open paths"), report);
    found
}

/// Whether the application itself answers; what it answers does not matter.
async fn internal_host(
    config: &Config,
    trust: &Trust,
    application: &Application,
    backend: &Backend,
    check: &str,
    report: &mut Report,
) {
    let address = format!("{}://{}/", backend.scheme(), backend.authority());
    let request = Request::builder()
        .uri(&address)
        .header(header::HOST, application.external.host())
        .body(Full::default());
    let Ok(request) = request else {
        return report.failed(check, format!("{address} is not usable"), "");
    };
    let insecure = application.backend_insecure;
    let patience = config.upstream.connect_timeout;
    match BackChannel::over(trust, insecure, patience).fetch(request).await {
        Ok(_) if insecure && backend.scheme().as_str() == "https" => report.warning(
            check,
            format!("{address} answers; its certificate is not verified"),
            "fine inside of a cluster; otherwise name its authority in AUTHENTIK_PROXY_TLS__CA_FILE and turn on \"Internal host SSL Validation\"",
        ),
        Ok(answer) => report.ok(check, format!("{address} answers ({})", answer.status().as_u16())),
        Err(error) => report.failed(
            check,
            format!("{address}: {error}"),
            error.advice_for_applications(),
        ),
    }
}

/// What anybody may open, at authentik and by our own rules.
fn open_paths(application: &Application, check: &str, report: &mut Report) {
    let list = &application.allowlist;
    for (line, reason) in list.refused() {
        let reason = reason.lines().last().unwrap_or_default().trim();
        report.warning(
            check,
            format!("{line:?} is no expression and opens nothing: {reason}"),
            "correct the provider's unauthenticated paths in authentik (RE2 syntax)",
        );
    }
    let open: Vec<_> = list.expressions().collect();
    if open.is_empty() {
        report.ok(check, "authentik opens none");
    } else {
        report.ok(check, format!("without a sign-in: {}", open.join(", ")));
    }
}

async fn issuer(site: &Site, check: &str, report: &mut Report) {
    let accepted = &site.relying_party.endpoints().issuers;
    match site.relying_party.discovered_issuer(&site.application.slug).await {
        Ok(issuer) if accepted.contains(&issuer) => report.ok(check, issuer),
        Ok(issuer) => report.failed(
            check,
            format!("tokens will be issued by {issuer}, expected {}", accepted.join(" or ")),
            "set AUTHENTIK_HOST_BROWSER to the address of authentik that browsers use, scheme included",
        ),
        Err(error) => unanswered(check, &error, report),
    }
}

async fn redirect_uri(site: &Site, check: &str, report: &mut Report) {
    let uri = site.application.redirect_uri();
    match site.relying_party.accepted().await {
        Ok(Accepted::Yes) => report.ok(check, uri),
        Ok(Accepted::No) => report.failed(
            check,
            format!("authentik refuses {uri}"),
            "save the provider in authentik once more, so that its redirect URIs follow the external host (http or https?)",
        ),
        Ok(Accepted::Unclear(status)) => {
            report.warning(check, format!("authentik answered {status}"), "look at its log");
        }
        Err(error) => unanswered(check, &error, report),
    }
}

/// Whether there is what tokens are verified with.
async fn signing_keys(site: &Site, check: &str, report: &mut Report) {
    match site.relying_party.published_keys().await {
        Ok(None) => report.ok(check, "tokens are signed with the client secret"),
        Ok(Some(0)) => report.failed(
            check,
            "authentik publishes no key, so that no token can be verified",
            "save the provider in authentik once more; it then signs with the client secret",
        ),
        Ok(Some(count)) => report.ok(check, format!("authentik publishes {count}")),
        Err(error) => unanswered(check, &error, report),
    }
}

/// Whether authentik can be asked if a session still stands.
async fn introspection(site: &Site, check: &str, report: &mut Report) {
    match site.relying_party.introspects().await {
        Ok(()) => report.ok(check, "authentik says whether a token is still good"),
        Err(error) => unanswered(check, &error, report),
    }
}

fn unanswered(check: &str, error: &OidcError, report: &mut Report) {
    let fix = match error {
        // Its text says so.
        OidcError::Unreachable { .. } => "",
        _ => "look at authentik's own log, and at what lies between it and here",
    };
    report.failed(check, error.to_string(), fix);
}
