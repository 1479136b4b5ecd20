//! Where browsers are sent to sign in. It is asked from here, which need not be where browsers are.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use url::Url;

use super::report::Report;
use crate::config::{Config, is_internal};
use crate::model::ExternalUrl;
use crate::route::Site;
use crate::web::client::{BackChannel, FetchError};
use crate::web::trust::Trust;

const CHECK: &str = "browser host";

/// Looks at each address that browsers are sent to for one of the sites.
pub(super) async fn examine(
    config: &Config,
    trust: &Trust,
    sites: impl Iterator<Item = &Site>,
    report: &mut Report,
) {
    let mut seen = BTreeSet::new();
    for site in sites {
        let page = &site.relying_party.endpoints().authorization;
        if seen.insert(page.origin().ascii_serialization()) {
            address(config, trust, page, &site.application.external, report).await;
        }
    }
}

async fn address(
    config: &Config,
    trust: &Trust,
    page: &Url,
    external: &ExternalUrl,
    report: &mut Report,
) {
    const FIX: &str = "set AUTHENTIK_HOST_BROWSER to the address of authentik that browsers use";
    let origin = page.origin().ascii_serialization();
    let host = page.host_str().unwrap_or_default();
    if is_internal(page) {
        let found = format!("browsers would be sent to {host}, which only the cluster knows");
        return report.failed(CHECK, found, FIX);
    }
    if is_loopback(host) && !is_loopback(external.host()) {
        let found = format!("browsers are sent to {host}, which is each browser's own machine");
        return report.warning(CHECK, found, FIX);
    }
    if page.scheme() == "http" && external.is_https() {
        let found =
            format!("browsers sign in at {origin}, without TLS: passwords travel in the clear");
        return report.warning(CHECK, found, FIX);
    }
    if page.origin() == config.authentik.host.origin() {
        return report.ok(
            CHECK,
            format!("browsers sign in at {origin}, as we reach authentik"),
        );
    }
    match ask(config, trust, page).await {
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

async fn ask(config: &Config, trust: &Trust, page: &Url) -> Result<Response<Bytes>, FetchError> {
    let mut page = page.clone();
    page.set_query(None);
    let request = Request::builder().uri(page.as_str()).body(Full::default());
    let request = request.map_err(|error| FetchError::Connection(error.to_string()))?;
    let authentik = &config.authentik;
    BackChannel::over(trust, authentik.insecure, config.control.request_timeout)
        .fetch(request)
        .await
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost"
        || host.ends_with(".localhost")
        || address.is_ok_and(|address| address.is_loopback())
}
