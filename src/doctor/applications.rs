//! The applications, one by one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use http::Method;

use super::report::{Report, Status};
use super::{browsers, request_trace};
use crate::config::Config;
use crate::model::{
    Action, Application, AuthorizationRequest, Backend, Decision, Hint as _, Mode, RequestedUrl,
};
use crate::oidc::{Accepted, OidcError, Published};
use crate::route::{Site, Snapshot};
use crate::upstream::{ProbeError, ProbeResponse, Timeouts, Upstream};
use crate::web::client::trust::Trust;

/// How many applications are looked at at the same time: each takes several requests to authentik.
const MAX_CONCURRENT: usize = 8;

/// How long an application may take to begin its answer, however long it may for others.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// What it takes to look at an application.
struct Look<'a> {
    config: &'a Config,
    upstream: Upstream,
    /// The slug of the one that is looked at more closely.
    only: Option<&'a str>,
}

/// Looks at all applications, or at the one with the slug `only`.
pub(super) async fn examine(
    config: &Config,
    trust: &Trust,
    snapshot: &Snapshot,
    only: Option<&str>,
    report: &mut Report,
) {
    let timeouts = Timeouts {
        connect: config.upstream.connect_timeout,
        response: RESPONSE_TIMEOUT,
    };
    let look = Look {
        config,
        upstream: Upstream::new(trust, timeouts),
        only,
    };
    let meant = |slug: &str| only.is_none_or(|only| slug == only);
    let refused: Vec<_> = snapshot.refused.iter().filter(|r| meant(&r.slug)).collect();
    for provider in &refused {
        let check = format!("provider {:?}", provider.provider);
        report.diagnostic(check, Status::Failed, &provider.diagnostic);
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
    // The examined ones last, so that each of them is the one that is reported.
    let ordered = others.into_iter().chain(examined.iter().copied());
    shared_addresses(ordered.map(|site| &site.application), &meant, report);
    let sites = examined.iter().map(|site| &***site);
    browsers::examine(config, trust, snapshot.outpost.as_ref(), sites, report).await;
    let examined = examined.into_iter().map(|site| application(&look, site));
    let mut examined = stream::iter(examined).buffered(MAX_CONCURRENT);
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
    let mut taken: HashMap<String, &str> = HashMap::new();
    for application in applications {
        let external = &application.external;
        let other = taken.insert(external.routed(), &application.name);
        if let Some(other) = other.filter(|_| meant(&application.slug)) {
            report.failed(
                format!("{}: external host", application.slug),
                format!("{} is that of {other:?}, too", external.as_str()),
                "give each provider an external host of its own",
            );
        }
    }
}

async fn application(look: &Look<'_>, site: &Site) -> Report {
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
    if let Mode::ForwardDomain(domain) = &application.mode {
        let check = check("cookie domain");
        match domain.refused_from(external.host()) {
            None => report.ok(check, format!("{} and all hosts below", domain.as_str())),
            Some(reason) => report.failed(
                check,
                reason,
                "correct the provider's cookie domain, or its external host, in authentik",
            ),
        }
    }
    issuer(site, &check("issuer"), report).await;
    redirect_uri(site, &check("redirect URI"), report).await;
    signing_keys(site, &check("signing keys"), report).await;
    introspection(site, &check("introspection"), report).await;
    if let Some(backend) = &application.backend {
        let check = check("internal host");
        internal_host(&look.upstream, application, backend, &check, report).await;
    }
    open_paths(application, &check("open paths"), report);
    access_token(application, &check("access token"), report);
    if look.only.is_some() {
        request_trace::tell(look.config, site, report).await;
    }
    found
}

/// Whether the application itself answers; what it answers does not matter.
async fn internal_host(
    upstream: &Upstream,
    application: &Application,
    backend: &Backend,
    check: &str,
    report: &mut Report,
) {
    let answer = upstream.probe(application, backend).await;
    match answer {
        Ok(ProbeResponse {
            is_outpost: true, ..
        }) => report.failed(
            check,
            format!("at {backend}/ it is the outpost itself that answers, so that requests go round in circles"),
            "set the provider's internal host to the application's own Service, not to its public address",
        ),
        Ok(_) if application.backend_insecure && backend.scheme().as_str() == "https" => report
            .warning(
                check,
                format!("{backend}/ answers; its certificate is not verified"),
                "fine inside of a cluster; otherwise name its authority in AUTHENTIK_PROXY_TLS__CA_FILE and turn on \"Internal host SSL Validation\"",
            ),
        Ok(ProbeResponse { status, .. }) => {
            report.ok(check, format!("{backend}/ answers ({})", status.as_u16()));
        }
        Err(ProbeError::Unreachable(error)) => report.failed(
            check,
            format!("{backend}/: {error}"),
            error.hint_for_application(),
        ),
        Err(ProbeError::Unreadable(cause, hint)) => {
            report.failed(check, format!("{backend}/: {cause}"), hint);
        }
        Err(error @ ProbeError::ResponseTimeout(_)) => report.warning(
            check,
            format!("{backend}/ {error}"),
            "check the application, or allow more time with AUTHENTIK_PROXY_UPSTREAM__RESPONSE_TIMEOUT",
        ),
        Err(error @ ProbeError::Other(_)) => {
            let fix = "correct external and internal host of the provider";
            report.failed(check, format!("{backend}/: {error}"), fix);
        }
    }
}

/// What is allowed without a login, by rules of the outpost and of authentik.
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
    if let Some(reason) = opens_everything(application) {
        return report.warning(
            check,
            format!("all paths are allowed without a login: {reason}"),
            "unless that is meant, narrow it: rules are in the configuration file below applications.<slug>, unauthenticated paths at the provider in authentik",
        );
    }
    let rules = application.policy.rules.iter().zip(1..);
    let rules = rules.filter(|(rule, _)| rule.action == Action::Allow);
    let open: Vec<_> = rules
        .map(|(rule, number)| format!("{} (rule {number})", request_trace::conditions(rule)))
        .chain(list.expressions().map(str::to_owned))
        .collect();
    if open.is_empty() {
        report.ok(check, "neither rules nor authentik allow any");
    } else {
        report.ok(check, format!("without a sign-in: {}", open.join(", ")));
    }
}

/// Whether the application gets a token that it hardly needs.
fn access_token(application: &Application, check: &str, report: &mut Report) {
    if application.policy.identity.sends_jwt() {
        report.hint(
            check,
            "the application gets it in X-authentik-jwt, with all attributes of the user",
            "unless it reads that header, keep it here: AUTHENTIK_PROXY_IDENTITY__SEND_JWT=false for all, and applications.<slug>.send_jwt: true for those that do",
        );
    } else {
        report.ok(check, "it stays here; X-authentik-jwt is empty");
    }
}

/// Why an arbitrary path is allowed without a login, if it is.
fn opens_everything(application: &Application) -> Option<String> {
    let text = format!("{}/a/path-of-no-meaning", application.external.origin());
    let url = RequestedUrl::parse(&text).ok()?;
    let request = AuthorizationRequest {
        url: &url,
        method: Some(&Method::GET),
        client: None,
        preflight: false,
        routed_host: None,
    };
    match application.decide(&request, None) {
        (Decision::Allow, reason) => Some(reason.to_string()),
        _ => None,
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
            report.warning(check, format!("authentik answered {status}"), "check its log");
        }
        Err(error) => unanswered(check, &error, report),
    }
}

/// Whether there is what tokens are verified with.
async fn signing_keys(site: &Site, check: &str, report: &mut Report) {
    match site.relying_party.published_keys().await {
        Ok(None) => report.ok(check, "tokens are signed with the client secret"),
        Ok(Some(Published { received: 0, .. })) => report.failed(
            check,
            "authentik publishes no key, so that no token can be verified",
            "save the provider in authentik once more; it then signs with the client secret",
        ),
        Ok(Some(Published {
            received,
            understood: 0,
        })) => report.failed(
            check,
            format!("authentik publishes {received}, of kinds that are not understood here, so that no token can be verified"),
            "give the provider another signing key in authentik: RSA, or elliptic curves (P-256, P-384)",
        ),
        Ok(Some(Published { received, .. })) => {
            report.ok(check, format!("authentik publishes {received}"));
        }
        Err(error) => unanswered(check, &error, report),
    }
}

/// Whether authentik can be asked if a session still stands.
async fn introspection(site: &Site, check: &str, report: &mut Report) {
    match site.relying_party.introspects().await {
        Ok(true) => report.ok(check, "authentik says whether a token is still good"),
        Ok(false) => report.warning(
            check,
            "authentik names no address to ask whether a token is still good: sessions whose end was missed last until their tokens end",
            "look at the provider's OpenID configuration, or update authentik",
        ),
        Err(error) => unanswered(check, &error, report),
    }
}

fn unanswered(check: &str, error: &OidcError, report: &mut Report) {
    const FIX: &str = "check authentik's own log, and the proxies in front of authentik";
    let fix = error.hint().unwrap_or(FIX.into());
    report.failed(check, error.to_string(), fix);
}
