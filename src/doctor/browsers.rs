//! Where browsers are sent to sign in. It is asked from here, which need not be where browsers are.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::report::Report;
use crate::config::{Config, is_internal};
use crate::model::{ExternalUrl, Outpost};
use crate::route::Site;
use crate::web::client::trust::Trust;
use crate::web::client::{BackChannel, FetchError};

const CHECK: &str = "browser host";

/// Looks at each address that browsers are sent to for one of the sites.
pub(super) async fn examine(
    config: &Config,
    trust: &Trust,
    outpost: Option<&Outpost>,
    sites: impl Iterator<Item = &Site>,
    report: &mut Report,
) {
    let mut pages: BTreeMap<String, Vec<&Site>> = BTreeMap::new();
    for site in sites {
        let page = &site.relying_party.endpoints().authorization;
        let origin = page.origin().ascii_serialization();
        pages.entry(origin).or_default().push(site);
    }
    for (origin, sites) in pages {
        let configured = outpost.and_then(|outpost| outpost.authentik_host.as_ref());
        let configured = configured.filter(|host| host.origin() != config.authentik.host.origin());
        // Without a setting here, authentik's record of the outpost decides.
        let fix = match (&config.authentik.host_browser, configured) {
            (None, Some(host)) if host.origin().ascii_serialization() == origin => {
                "correct authentik_host in the outpost's configuration at authentik (Applications > Outposts > edit > Advanced settings), or set AUTHENTIK_HOST_BROWSER to the address of authentik that browsers use"
            }
            _ => "set AUTHENTIK_HOST_BROWSER to the address of authentik that browsers use",
        };
        address(config, trust, &origin, &sites, fix, report).await;
    }
}

/// Looks at the address that browsers are sent to from all of `sites`.
async fn address(
    config: &Config,
    trust: &Trust,
    origin: &str,
    sites: &[&Site],
    fix: &str,
    report: &mut Report,
) {
    let page = &sites[0].relying_party.endpoints().authorization;
    let host = page.host_str().unwrap_or_default();
    let any = |is: fn(&ExternalUrl) -> bool| sites.iter().any(|s| is(&s.application.external));
    // Other networks than clusters have such names, too; one that is set may be intended.
    let is_meant = config.authentik.host_browser.is_some() && !is_service(host);
    if is_internal(page) && !is_meant {
        let found = format!("browsers would be sent to {host}, which only the cluster knows");
        return report.failed(CHECK, found, fix);
    }
    if is_loopback(host) && any(|external| !is_loopback(external.host())) {
        let found = format!("browsers are sent to {host}, which is each browser's own machine");
        return report.warning(CHECK, found, fix);
    }
    if page.scheme() == "http" && any(ExternalUrl::is_https) {
        let found =
            format!("browsers sign in at {origin}, without TLS: passwords travel in the clear");
        return report.warning(CHECK, found, fix);
    }
    if page.origin() == config.authentik.host.origin() {
        return report.ok(
            CHECK,
            format!("browsers sign in at {origin}, the same address as AUTHENTIK_HOST"),
        );
    }
    match ask(config, trust, sites[0]).await {
        Ok(answer) if answer.status() == StatusCode::NOT_FOUND => report.warning(
            CHECK,
            format!("{origin}, where browsers sign in, answers with 404 where authentik has a page"),
            "correct AUTHENTIK_HOST_BROWSER, or what leads from there to authentik",
        ),
        Ok(_) => report.ok(CHECK, format!("browsers sign in at {origin}, which answers")),
        Err(error) => report.warning(
            CHECK,
            format!("{origin}, where browsers sign in, is not reached from here: {error}"),
            "correct AUTHENTIK_HOST_BROWSER if it is misspelt; where only other networks know it, look at it in a browser",
        ),
    }
}

/// Asks for the sign-in page of an application. Without a query, authentik has none there.
async fn ask(config: &Config, trust: &Trust, site: &Site) -> Result<Response<Bytes>, FetchError> {
    let mut page = site.relying_party.endpoints().authorization.clone();
    let id = &site.application.client.id;
    page.query_pairs_mut().clear().append_pair("client_id", id);
    let authentik = &config.authentik;
    let timeout = config.control.request_timeout;
    BackChannel::over(trust, authentik.insecure, timeout, &config.egress)
        .get(page.as_str())
        .await
}

/// Whether it is the name of a Service in Kubernetes.
fn is_service(host: &str) -> bool {
    host.ends_with(".cluster.local") || host.split('.').any(|label| label == "svc")
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost"
        || host.ends_with(".localhost")
        || address.is_ok_and(|address| address.is_loopback())
}
