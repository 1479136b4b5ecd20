//! Warnings: what is valid but probably not intended.

use ipnet::IpNet;
use url::{Host, Url};

use super::layers::Reader;
use super::settings::settings;
use super::{Config, SessionStore, TlsReqs};
use crate::model::{Action, Diagnostic};

/// Adds the warnings that follow from the values.
pub(super) fn add(config: &mut Config, reader: &Reader<'_>) {
    let found = [
        internal_host(config),
        insecure(config),
        trusts_every_address(&config.listen.trusted_proxies),
        redis_without_host(config, reader),
        redis_unverified(config),
    ];
    config.warnings.extend(found.into_iter().flatten());
    config.warnings.extend(spoofable_addresses(config));
    config.warnings.extend(claimable_networks(config));
}

fn internal_host(config: &Config) -> Option<Diagnostic> {
    let host = &config.authentik.host;
    (config.authentik.host_browser.is_none() && is_internal(host)).then(|| {
        Diagnostic::new(format!(
            "AUTHENTIK_HOST is {host}, a name that browsers probably cannot resolve"
        ))
        .hinting("set AUTHENTIK_HOST_BROWSER to the address of authentik that browsers use")
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

fn insecure(config: &Config) -> Option<Diagnostic> {
    config.authentik.insecure.then(|| {
        Diagnostic::new(
            "AUTHENTIK_INSECURE is on: authentik's certificate is not verified, so the token can be \
             intercepted",
        )
        .hinting("name the CA of authentik's certificate in AUTHENTIK_PROXY_TLS__CA_FILE instead")
    })
}

fn trusts_every_address(networks: &[IpNet]) -> Option<Diagnostic> {
    networks
        .iter()
        .any(|network| network.prefix_len() == 0)
        .then(|| {
            Diagnostic::new(
                "AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS covers every address: any client can claim \
                 any address and host",
            )
            .hinting("name your reverse proxies alone")
        })
}

/// Networks with more addresses than reverse proxies have: other clients are in there, too. What is
/// on this host only does not count.
fn wide(networks: &[IpNet]) -> Vec<&IpNet> {
    let is_wide = |network: &&IpNet| match network {
        IpNet::V4(network) => network.prefix_len() < 24 && !network.addr().is_loopback(),
        IpNet::V6(network) => network.prefix_len() < 120,
    };
    networks.iter().filter(is_wide).collect()
}

/// Where a wide network is trusted, a client in it, or one whose reverse proxy only adds to what the
/// client sent, chooses its address and with it what rules by network decide.
fn spoofable_addresses(config: &Config) -> Vec<Diagnostic> {
    let wide = wide(&config.listen.trusted_proxies);
    if wide.is_empty() {
        return Vec::new();
    }
    let wide: Vec<_> = wide.iter().map(ToString::to_string).collect();
    let mut slugs: Vec<_> = config
        .applications
        .iter()
        .filter(|(_, policy)| policy.rules.iter().any(|rule| !rule.networks.is_empty()))
        .map(|(slug, _)| slug)
        .collect();
    slugs.sort();
    let warning = |slug| {
        Diagnostic::new(format!(
            "applications.{slug} decides by the client's address, and \
             AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS trusts every address in {}: a client there, or \
             behind a proxy that adds to X-Forwarded-For, can claim any address",
            wide.join(", ")
        ))
        .hinting(
            "name your reverse proxies alone (an address, or at most a /24 or /120), and have them \
             set X-Forwarded-For to the address that they see",
        )
    };
    slugs.into_iter().map(warning).collect()
}

/// Clients in networks of trusted proxies can claim any address.
fn claimable_networks(config: &Config) -> Vec<Diagnostic> {
    let trusted = &config.listen.trusted_proxies;
    if !wide(trusted).is_empty() {
        // What is said of them says this as well.
        return Vec::new();
    }
    let overlaps = |net: &IpNet| trusted.iter().any(|t| t.contains(net) || net.contains(t));
    let mut found: Vec<_> = config
        .applications
        .iter()
        .flat_map(|(slug, policy)| policy.rules.iter().map(move |rule| (slug, rule)))
        .filter(|(_, rule)| rule.action == Action::Allow)
        .flat_map(|(slug, rule)| rule.networks.iter().map(move |net| (slug, net)))
        .filter(|(_, net)| overlaps(net))
        .map(|(slug, net)| {
            Diagnostic::new(format!(
                "applications.{slug} allows {net} without a login, and \
                 AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS trusts its addresses: a client there can \
                 claim any address"
            ))
            .hinting("name your reverse proxies alone")
        })
        .collect();
    found.sort_by(|a, b| a.what.cmp(&b.what));
    found
}

fn redis_without_host(config: &Config, reader: &Reader<'_>) -> Option<Diagnostic> {
    let other = settings()
        .filter(|setting| setting.key.starts_with("redis."))
        .find(|setting| reader.has_variable(setting))?;
    if matches!(
        config.session.store,
        Some(SessionStore::Memory | SessionStore::Cookie)
    ) {
        return Some(
            Diagnostic::new(format!(
                "{} is set but session.store keeps sessions elsewhere: Redis is not used",
                other.variable()
            ))
            .hinting("unset the settings of Redis, or session.store"),
        );
    }
    config.redis.is_none().then(|| {
        Diagnostic::new(format!(
            "{} is set but AUTHENTIK_REDIS__HOST is not (nor Sentinels, nor a cluster): sessions \
             stay in this process",
            other.variable()
        ))
        .hinting("set AUTHENTIK_REDIS__HOST, or unset the other settings of Redis")
    })
}

fn redis_unverified(config: &Config) -> Option<Diagnostic> {
    let redis = config.redis.as_ref()?;
    (redis.options.tls && redis.options.tls_reqs == TlsReqs::None).then(|| {
        Diagnostic::new(
            "AUTHENTIK_REDIS__TLS_REQS is none: the certificate of Redis is not verified",
        )
        .hinting("name its CA in AUTHENTIK_REDIS__TLS_CA_CERT, and set AUTHENTIK_REDIS__TLS_REQS=required")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Policy, Rule};

    #[test]
    fn ap_2026_05_rules_by_network_and_wide_trusted_networks_are_a_warning() {
        for (trusted, expected) in [
            (
                "",
                Some("10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fe80::/10:"),
            ),
            ("10.244.0.0/16", Some("10.244.0.0/16:")),
            ("10.1.2.0/23", Some("10.1.2.0/23:")),
            ("fd00::/64,10.1.2.3", Some("fd00::/64:")),
            ("10.1.2.0/24", None),
            ("127.0.0.0/8,::1,10.1.2.3,fd00::1:0/120", None),
            ("none", None),
        ] {
            let mut config = Config::from_pairs([
                ("AUTHENTIK_HOST", "https://authentik.company"),
                ("AUTHENTIK_TOKEN", "hunter2"),
                ("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", trusted),
            ])
            .expect("usable");
            assert_eq!(spoofable_addresses(&config), [], "no rule by network");
            let rule = Rule {
                path: None,
                networks: vec!["192.0.2.0/24".parse().expect("a network")],
                methods: vec![],
                action: Action::Deny,
            };
            let rules = vec![rule];
            let policy = Policy {
                rules,
                ..Policy::default()
            };
            config.applications.insert("wiki".into(), policy);
            let found = spoofable_addresses(&config);
            assert_eq!(found.len(), usize::from(expected.is_some()), "{found:?}");
            if let Some(expected) = expected {
                assert!(found[0].what.contains("applications.wiki"), "{found:?}");
                assert!(found[0].what.contains(expected), "{found:?}");
            }
        }
    }
}
