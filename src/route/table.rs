//! Routes hosts and paths to applications, in constant time regardless of their number.

use std::collections::HashMap;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::Site;
use crate::model::{Authority, Mode, Readings};

/// The routing table. Generic over the target, so that it can be tested and measured alone.
pub struct Table<S = Site> {
    hosts: HashMap<Box<str>, Vec<Route<S>>>,
    domains: HashMap<Box<str>, Arc<S>>,
    sites: Vec<Arc<S>>,
}

struct Route<S> {
    port: Option<u16>,
    path_prefix: Box<str>,
    /// The prefix decoded, where that is another text.
    decoded_prefix: Option<Box<str>>,
    site: Arc<S>,
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Self {
            hosts: HashMap::new(),
            domains: HashMap::new(),
            sites: Vec::new(),
        }
    }
}

impl Table<Site> {
    /// Adds an application under its external host and, in domain mode, its cookie domain.
    pub fn add(&mut self, site: Arc<Site>) {
        let external = &site.application.external;
        let domain = match &site.application.mode {
            Mode::ForwardDomain(domain) => Some(domain.as_str().to_owned()),
            Mode::Proxy | Mode::ForwardSingle => None,
        };
        let (host, port) = (external.host().to_owned(), external.port());
        let prefix = external.path_prefix().to_owned();
        self.insert(&host, port, &prefix, domain.as_deref(), site);
    }
}

impl<S> Table<S> {
    /// Adds a route. `host` is lower case and without port; `path_prefix` without trailing slash.
    pub fn insert(
        &mut self,
        host: &str,
        port: Option<u16>,
        path_prefix: &str,
        domain: Option<&str>,
        site: Arc<S>,
    ) {
        let routes = self.hosts.entry(host.into()).or_default();
        let decoded = percent_decode_str(path_prefix).decode_utf8_lossy();
        routes.push(Route {
            port,
            path_prefix: path_prefix.into(),
            decoded_prefix: (decoded != path_prefix).then(|| decoded.into()),
            site: Arc::clone(&site),
        });
        // Longest prefix first; the sort is stable, so the first one added wins among equals.
        routes.sort_by_key(|route| std::cmp::Reverse(route.path_prefix.len()));
        if let Some(domain) = domain {
            self.domains
                .entry(domain.into())
                .or_insert_with(|| Arc::clone(&site));
        }
        self.sites.push(site);
    }

    /// The routes of a host. This is the only search of the table: what [`HostRoutes`] tells of paths
    /// needs no other.
    #[must_use]
    pub fn host<'a>(&'a self, authority: Authority<'a>) -> HostRoutes<'a, S> {
        let host = authority.canonical_host();
        let routes = self.hosts.get(&*host).map_or(&[][..], Vec::as_slice);
        HostRoutes {
            table: self,
            authority,
            routes,
            // Few hosts need it where they have routes of their own.
            domain: routes.is_empty().then(|| self.by_domain(&host)).flatten(),
        }
    }

    /// The application for a request; see [`HostRoutes::find`].
    #[must_use]
    pub fn find<'a>(&'a self, authority: &Authority<'a>, path: &str) -> Option<&'a Arc<S>> {
        self.host(*authority).find(path)
    }

    /// All applications.
    #[must_use]
    pub fn sites(&self) -> &[Arc<S>] {
        &self.sites
    }

    fn by_domain(&self, host: &str) -> Option<&Arc<S>> {
        if self.domains.is_empty() {
            return None;
        }
        let mut rest = host;
        loop {
            if let Some(site) = self.domains.get(rest) {
                return Some(site);
            }
            rest = rest.split_once('.')?.1;
        }
    }

    fn only(&self) -> Option<&Arc<S>> {
        match self.sites.as_slice() {
            [site] => Some(site),
            _ => None,
        }
    }
}

/// The routes of one host in a [`Table`].
pub struct HostRoutes<'a, S = Site> {
    table: &'a Table<S>,
    authority: Authority<'a>,
    routes: &'a [Route<S>],
    /// The application in domain mode with the longest domain of the host, if the host has no routes.
    domain: Option<&'a Arc<S>>,
}

impl<S> Clone for HostRoutes<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for HostRoutes<'_, S> {}

impl<'a, S> HostRoutes<'a, S> {
    /// The host.
    #[must_use]
    pub fn authority(&self) -> Authority<'a> {
        self.authority
    }

    /// The application for a request: by exact host, with the port if that tells several apart,
    /// and longest path prefix; else by the longest domain; else the only one there is.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&'a Arc<S>> {
        self.find_named(path).or_else(|| self.table.only())
    }

    /// Like [`find`](Self::find), but only if the host names the application.
    #[must_use]
    pub fn find_named(&self, path: &str) -> Option<&'a Arc<S>> {
        let exact = pick(self.routes, self.authority.port(), |route| {
            below(path, &route.path_prefix)
        });
        exact.map(|route| &route.site).or(self.domain)
    }

    /// Whether the host names an application for `path`, and that is another one than `site`.
    #[must_use]
    pub fn names_another(&self, path: &str, site: &Arc<S>) -> bool {
        let named = self.find_named(path);
        named.is_some_and(|named| !Arc::ptr_eq(named, site))
    }

    /// All applications, on any host.
    #[must_use]
    pub fn all_sites(&self) -> &'a [Arc<S>] {
        self.table.sites()
    }

    /// Every application on the host, for a callback that names its application in the state.
    pub fn sites(&self) -> impl Iterator<Item = &'a Arc<S>> + use<'a, S> {
        let domain = self.domain;
        let domain = domain.or_else(|| self.table.by_domain(&self.authority.canonical_host()));
        let exact = self.routes.iter().map(|route| &route.site);
        exact.chain(domain).chain(self.table.only())
    }

    /// Whether every server would route `path` to the same application of the host: some normalize
    /// `/a/../b` to `/b`, and some `/A` to `/a`.
    #[must_use]
    pub fn is_certain(&self, path: &str) -> bool {
        let routes = self.routes;
        let prefixes = || routes.iter().map(|route| &route.path_prefix);
        if prefixes().zip(prefixes().skip(1)).all(|(a, b)| a == b) {
            return true;
        }
        let port = self.authority.port();
        let Some(written) = pick(routes, port, |route| below(path, &route.path_prefix)) else {
            return true;
        };
        let readings = Readings::of(path);
        let Some(mut readings) = readings.known() else {
            return false;
        };
        readings.all(|reading| {
            let mut found = pick(routes, port, |route| route.may_hold(reading));
            // Prefixes that differ in case alone are for servers that tell them apart.
            if found.is_some_and(|found| written.differs_in_case_from(found)) {
                found = pick(routes, port, |route| below(reading, &route.path_prefix));
            }
            found.is_some_and(|found| Arc::ptr_eq(&found.site, &written.site))
        })
    }
}

impl HostRoutes<'_> {
    /// The part of a path that follows the outpost's own path below the external host of one of the
    /// host's applications; see [`ExternalUrl::own_path`](crate::model::ExternalUrl::own_path).
    #[must_use]
    pub fn own_path<'p>(&self, path: &'p str) -> Option<&'p str> {
        self.sites()
            .find_map(|site| site.application.external.own_path(path))
    }
}

impl<S> Route<S> {
    /// Whether some server takes a reading of a path for one of this application.
    fn may_hold(&self, reading: &str) -> bool {
        let decoded = self.decoded_prefix.as_deref();
        below_in_any_case(reading, &self.path_prefix)
            || decoded.is_some_and(|prefix| below_in_any_case(reading, prefix))
    }

    fn differs_in_case_from(&self, other: &Self) -> bool {
        let (own, others) = (&self.path_prefix, &other.path_prefix);
        own != others && own.eq_ignore_ascii_case(others)
    }
}

/// The route among those of a host that `matches`.
fn pick<S>(
    routes: &[Route<S>],
    port: Option<u16>,
    matches: impl Fn(&Route<S>) -> bool,
) -> Option<&Route<S>> {
    routes
        .iter()
        .filter(|route| matches(route))
        .find(|route| route.port == port)
        .or_else(|| routes.iter().find(|route| matches(route)))
        // A path outside of every prefix still belongs to the host's application.
        .or_else(|| routes.last())
}

/// Whether `path` is `prefix` or lies below it.
fn below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Like [`below`], but as Caddy compares paths.
fn below_in_any_case(path: &str, prefix: &str) -> bool {
    let start = path.get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        && below(&path[prefix.len()..], "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::path::servers::{self, Reading};

    type Row<'a> = (&'a str, Option<u16>, &'a str, Option<&'a str>);

    fn table(rows: &[Row<'_>]) -> Table<usize> {
        let mut table = Table::default();
        for (number, (host, port, prefix, domain)) in rows.iter().enumerate() {
            table.insert(host, *port, prefix, *domain, Arc::new(number));
        }
        table
    }

    fn find(table: &Table<usize>, host: &str, path: &str) -> Option<usize> {
        table
            .find(&Authority::parse(host).expect(host), path)
            .map(|site| **site)
    }

    #[test]
    fn routes_by_host_domain_and_path() {
        let table = table(&[
            ("grafana.home.test", None, "", None),
            ("port.home.test", Some(8443), "", None),
            ("auth.home.test", None, "", Some("home.test")),
            ("auth.deep.home.test", None, "", Some("deep.home.test")),
            ("paths.test", None, "/a", None),
            ("paths.test", None, "/a/b", None),
            ("port.home.test", Some(9443), "", None),
        ]);
        for (host, path, expected) in [
            ("grafana.home.test", "/", Some(0)),
            ("GRAFANA.home.test:443", "/x", Some(0)),
            ("grafana.home.test.", "/", Some(0)),
            ("port.home.test", "/", Some(1)),
            ("port.home.test:8443", "/", Some(1)),
            ("port.home.test:9443", "/", Some(6)),
            ("auth.home.test", "/", Some(2)),
            ("other.home.test", "/", Some(2)),
            ("home.test", "/", Some(2)),
            ("x.deep.home.test:8080", "/", Some(3)),
            ("evilhome.test", "/", None),
            ("home.test.evil.tld", "/", None),
            ("paths.test", "/a/b/c", Some(5)),
            ("paths.test", "/a/bc", Some(4)),
            ("paths.test", "/outpost.goauthentik.io/start", Some(4)),
            ("unknown.test", "/", None),
            ("[::1]:9000", "/", None),
        ] {
            assert_eq!(find(&table, host, path), expected, "{host}{path}");
        }
    }

    #[test]
    fn ghsa_3q34_rx83_r6mq_paths_that_may_lead_into_another_application_are_known() {
        let table = table(&[
            ("paths.test", None, "", None),
            ("paths.test", None, "/a", None),
            ("paths.test", None, "/b%20c", None),
            ("one.test", None, "/a", None),
        ]);
        for (host, path, expected) in [
            ("paths.test", "/", true),
            ("paths.test", "/a/x", true),
            ("paths.test", "/a/x/../y", false),
            ("paths.test", "/b%20c/x", true),
            ("paths.test", "/a/../x", false),
            ("paths.test", "/a/%2e%2e/x", false),
            ("paths.test", "/x/..;/a", false),
            ("paths.test", "//a", false),
            ("paths.test", "/%61/x", false),
            ("one.test", "/a/../x", true),
            ("unknown.test", "/a/../x", true),
        ] {
            let authority = Authority::parse(host).expect(host);
            assert_eq!(
                table.host(authority).is_certain(path),
                expected,
                "{host}{path}"
            );
        }
    }

    #[test]
    fn ap_2026_03_no_server_takes_a_certain_path_for_one_of_another_application() {
        let table = table(&[
            ("paths.test", None, "", None),
            ("paths.test", None, "/admin", None),
        ]);
        let authority = Authority::parse("paths.test").expect("a host");
        let (mut certain, mut uncertain) = (0, 0);
        for servers::Row {
            path,
            reading,
            servers,
        } in servers::rows()
        {
            let Reading::Text(reading) = reading else {
                continue;
            };
            let site = |path: &str| usize::from(below(path, "/admin"));
            // Names of files and what follows a script are not what requests are routed by.
            let inside = matches!(servers, "nginx.fastcgi" | "windows[4]");
            let same = inside || site(&reading) == site(path);
            if table.host(authority).is_certain(path) {
                certain += 1;
                assert!(same, "{path} is {reading} to {servers}");
            } else {
                uncertain += 1;
            }
        }
        assert!(certain > 20 && uncertain > 20, "{certain} {uncertain}");
    }

    #[test]
    fn ap_2026_03_prefixes_are_compared_in_any_case_unless_that_tells_them_apart() {
        let table = table(&[
            ("paths.test", None, "", None),
            ("paths.test", None, "/part", None),
            ("cases.test", None, "/App", None),
            ("cases.test", None, "/app", None),
            ("ports.test", Some(8443), "", None),
            ("ports.test", Some(9443), "", None),
        ]);
        for (host, path, expected) in [
            ("paths.test", "/part/x", true),
            ("paths.test", "/PART/x", false),
            ("paths.test", "/%50art/x", false),
            ("paths.test", "/party", true),
            ("paths.test", "/part%2Fx", false),
            ("paths.test", "/x%2Fpart", true),
            ("paths.test", "/x//part", true),
            ("paths.test", "//x/part", false),
            ("paths.test", "/%61/secret;%252f..%252f..%252fx", false),
            ("cases.test", "/app/x", true),
            ("cases.test", "/App/x", true),
            ("ports.test:8443", "/a/%2e%2e/x", true),
        ] {
            let authority = Authority::parse(host).expect(host);
            assert_eq!(
                table.host(authority).is_certain(path),
                expected,
                "{host}{path}"
            );
        }
    }

    #[test]
    fn the_only_application_answers_for_every_host() {
        let one = table(&[("a.test", None, "", None)]);
        assert_eq!(find(&one, "unknown.test", "/"), Some(0));
        let authority = Authority::parse("unknown.test").expect("a host");
        assert!(one.host(authority).find_named("/").is_none());
        assert_eq!(find(&Table::default(), "a.test", "/"), None);
    }
}
