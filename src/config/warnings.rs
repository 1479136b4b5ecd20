//! What is legal but probably not meant.

use ipnet::IpNet;
use url::{Host, Url};

use super::reader::Reader;
use super::settings::SETTINGS;
use super::{Config, TlsReqs};
use crate::model::Action;

/// Adds the warnings that follow from the values.
pub(super) fn add(config: &mut Config, reader: &Reader<'_>) {
    let found = [
        internal_host(config),
        insecure(config),
        trusts_everyone(&config.listen.trusted_proxies),
        redis_without_host(config, reader),
        redis_unverified(config),
    ];
    config.warnings.extend(found.into_iter().flatten());
    config.warnings.extend(claimable_networks(config));
}

fn internal_host(config: &Config) -> Option<String> {
    let host = &config.authentik.host;
    (config.authentik.host_browser.is_none() && is_internal(host)).then(|| {
        format!(
            "AUTHENTIK_HOST is {host}, which browsers can hardly reach; set AUTHENTIK_HOST_BROWSER \
             to the address of authentik that they use"
        )
    })
}

/// Whether a URL names something that only a cluster knows.
#[must_use]
pub fn is_internal(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let cluster = [".svc", ".local", ".internal"];
            name != "localhost"
                && (!name.contains('.') || cluster.iter().any(|suffix| name.ends_with(suffix)))
        }
        // Home networks use addresses, and browsers in them too.
        Some(Host::Ipv4(_) | Host::Ipv6(_)) | None => false,
    }
}

fn insecure(config: &Config) -> Option<String> {
    config.authentik.insecure.then(|| {
        "AUTHENTIK_INSECURE is on: whoever stands between here and authentik can read the token; \
         a private authority belongs in AUTHENTIK_PROXY_TLS__CA_FILE instead"
            .to_owned()
    })
}

fn trusts_everyone(networks: &[IpNet]) -> Option<String> {
    networks
        .iter()
        .any(|network| network.prefix_len() == 0)
        .then(|| {
            "AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS covers every address: any client can claim any \
         address and host"
                .to_owned()
        })
}

/// Clients in networks of trusted proxies can claim any address.
fn claimable_networks(config: &Config) -> Vec<String> {
    let trusted = &config.listen.trusted_proxies;
    let overlaps = |net: &IpNet| trusted.iter().any(|t| t.contains(net) || net.contains(t));
    let mut found: Vec<_> = config
        .applications
        .iter()
        .flat_map(|(slug, policy)| policy.rules.iter().map(move |rule| (slug, rule)))
        .filter(|(_, rule)| rule.action == Action::Allow)
        .flat_map(|(slug, rule)| rule.networks.iter().map(move |net| (slug, net)))
        .filter(|(_, net)| overlaps(net))
        .map(|(slug, net)| {
            format!(
                "applications.{slug} lets {net} pass without a login, and \
                 AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS believes whoever is in it: a client there \
                 can claim any address; name your reverse proxies alone"
            )
        })
        .collect();
    found.sort();
    found
}

fn redis_without_host(config: &Config, reader: &Reader<'_>) -> Option<String> {
    let other = SETTINGS
        .iter()
        .filter(|setting| setting.key.starts_with("redis."))
        .find(|setting| reader.has_variable(setting))?;
    config.redis.is_none().then(|| {
        format!(
            "{} is set but AUTHENTIK_REDIS__HOST is not (nor Sentinels, nor a cluster): sessions stay in this process",
            other.variable()
        )
    })
}

fn redis_unverified(config: &Config) -> Option<String> {
    let redis = config.redis.as_ref()?;
    (redis.tls && redis.tls_reqs == TlsReqs::None).then(|| {
        "AUTHENTIK_REDIS__TLS_REQS is none: the certificate of Redis is not verified".to_owned()
    })
}
