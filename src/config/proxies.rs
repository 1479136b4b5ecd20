//! `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`: the proxy on the way to authentik.
//!
//! The rules are those of Go's `golang.org/x/net/http/httpproxy`, which authentik's own outpost follows.
//! hyper-util's `Matcher` follows curl: it knows no ports in `NO_PROXY`, has no exception for loopback,
//! and takes `.example.com` for `example.com` too.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri};
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use url::Url;

use super::layers::Reader;
use crate::model::Diagnostic;

/// Of each pair, the first that is set counts.
const HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const NONE: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Which requests to authentik go through which proxy. Never used for applications. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxies {
    http: Option<Arc<Proxy>>,
    https: Option<Arc<Proxy>>,
    exceptions: Arc<[Exception]>,
}

/// A forward proxy. Its text has no credentials.
#[derive(Debug)]
pub struct Proxy {
    variable: &'static str,
    uri: Uri,
    authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Its address: scheme, host and port.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The value of `Proxy-Authorization`, marked as sensitive.
    #[must_use]
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// `None` if it is not the URL of a proxy.
    fn parse(variable: &'static str, value: &str) -> Option<Self> {
        let url = if value.contains("://") {
            Url::parse(value).ok()?
        } else {
            Url::parse(&format!("http://{value}")).ok()?
        };
        let is_supported = matches!(url.scheme(), "http" | "https");
        let host = url.host_str().filter(|_| is_supported)?;
        let port = url.port_or_known_default()?;
        let uri = format!("{}://{host}:{port}", url.scheme()).parse().ok()?;
        let decoded = |text| percent_decode_str(text).collect::<Vec<u8>>();
        let authorization = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => {
                let pair = [decoded(user), decoded(password.unwrap_or_default())].join(&b':');
                let mut value =
                    HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Some(Self {
            variable,
            uri,
            authorization,
        })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.uri.to_string();
        write!(f, "{} ({})", address.trim_end_matches('/'), self.variable)
    }
}

/// An element of `NO_PROXY`.
#[derive(Debug)]
enum Exception {
    Everything,
    Network(IpNet),
    Address(IpAddr, Option<u16>),
    /// The name, unless only its subdomains are meant; the suffix with its dot.
    Domain {
        suffix: String,
        with_itself: bool,
        port: Option<u16>,
    },
}

impl Exception {
    fn parse(element: &str) -> Option<Self> {
        let element = element.trim().to_ascii_lowercase();
        if element == "*" {
            return Some(Self::Everything);
        }
        if let Ok(network) = element.parse() {
            return Some(Self::Network(network));
        }
        if let Ok(address) = element.parse() {
            return Some(Self::Address(address, None));
        }
        let (host, port) = match element.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (element.as_str(), None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse() {
            return Some(Self::Address(address, port));
        }
        let host = host
            .strip_prefix('*')
            .filter(|rest| rest.starts_with('.'))
            .unwrap_or(host);
        let with_itself = !host.starts_with('.');
        let suffix = format!(".{}", host.trim_start_matches('.'));
        if suffix == "." {
            return None;
        }
        Some(Self::Domain {
            suffix,
            with_itself,
            port,
        })
    }

    fn matches(&self, host: &str, address: Option<IpAddr>, at: u16) -> bool {
        let is_port = |port: &Option<u16>| port.is_none_or(|port| port == at);
        match self {
            Self::Everything => true,
            Self::Network(network) => address.is_some_and(|ip| network.contains(&ip)),
            Self::Address(one, port) => address == Some(*one) && is_port(port),
            Self::Domain {
                suffix,
                with_itself,
                port,
            } => {
                let is_host = host.ends_with(suffix) || (*with_itself && host == &suffix[1..]);
                is_host && is_port(port)
            }
        }
    }
}

impl Proxies {
    /// Reads the variables by `get`, which returns `None` for one that is not set or empty.
    fn parse<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let mut proxy = |names: [&'static str; 2]| {
            let set = names.iter().find_map(|name| Some((*name, get(name)?)));
            let (name, value) = set?;
            let proxy = Proxy::parse(name, value.trim());
            if proxy.is_none() {
                // The value may have a password.
                problems.push(
                    Diagnostic::new(format!("{name}: not the URL of an HTTP proxy")).hinting(
                        "expected http://host:port or https://host:port, with user:password@ before the host if the proxy requires it; SOCKS is not supported",
                    ),
                );
            }
            proxy.map(Arc::new)
        };
        let (http, https) = (proxy(HTTP), proxy(HTTPS));
        if !problems.is_empty() {
            return Err(problems);
        }
        let exceptions = NONE.iter().find_map(|name| get(name)).unwrap_or_default();
        Ok(Self {
            http,
            https,
            exceptions: exceptions.split(',').filter_map(Exception::parse).collect(),
        })
    }

    /// The same proxy for both schemes.
    pub(super) fn one(source: &'static str, url: &str) -> Option<Self> {
        let proxy = Arc::new(Proxy::parse(source, url)?);
        Some(Self {
            http: Some(Arc::clone(&proxy)),
            https: Some(proxy),
            exceptions: Arc::default(),
        })
    }

    /// The proxy for requests to `uri`, which has a scheme and a host.
    pub(super) fn towards(&self, uri: &Uri) -> Option<&Proxy> {
        let (proxy, port) = match uri.scheme_str()? {
            "http" => (self.http.as_deref()?, 80),
            "https" => (self.https.as_deref()?, 443),
            _ => return None,
        };
        let host = uri.host()?.to_ascii_lowercase();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        let port = uri.port_u16().unwrap_or(port);
        let is_local = host == "localhost" || address.is_some_and(|ip| ip.is_loopback());
        let mut exceptions = self.exceptions.iter();
        let is_direct = is_local || exceptions.any(|one| one.matches(host, address, port));
        (!is_direct).then_some(proxy)
    }
}

/// The proxies of the environment; problems are recorded.
pub(super) fn read(reader: &mut Reader<'_>) -> Proxies {
    match Proxies::parse(|name| reader.environment(name)) {
        Ok(proxies) => proxies,
        Err(problems) => {
            for problem in problems {
                reader.problem(problem);
            }
            Proxies::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &'static str)]) -> Result<Proxies, Vec<Diagnostic>> {
        Proxies::parse(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| *value)
        })
    }

    fn way(variables: &[(&str, &'static str)], uri: &str) -> String {
        let proxies = proxies(variables).expect("valid");
        let proxy = proxies.towards(&uri.parse().expect("a URI"));
        proxy.map_or_else(|| "directly".to_owned(), ToString::to_string)
    }

    #[test]
    fn the_variable_depends_on_the_scheme() {
        let [http, https] = ["http://auth.test/", "https://auth.test/"];
        for (variables, uri, expected) in [
            ([].as_slice(), http, "directly"),
            (&[("HTTP_PROXY", "p:1")], http, "http://p:1 (HTTP_PROXY)"),
            (&[("HTTP_PROXY", "p:1")], https, "directly"),
            (
                &[("https_proxy", "http://p")],
                https,
                "http://p:80 (https_proxy)",
            ),
            (
                &[("HTTPS_PROXY", "https://p/")],
                https,
                "https://p:443 (HTTPS_PROXY)",
            ),
            (
                &[("HTTPS_PROXY", "http://[::1]:8")],
                https,
                "http://[::1]:8 (HTTPS_PROXY)",
            ),
            (
                &[("HTTPS_PROXY", "a:1"), ("https_proxy", "b:1")],
                https,
                "http://a:1 (HTTPS_PROXY)",
            ),
            (&[("ALL_PROXY", "a:1")], https, "directly"),
            (
                &[("HTTP_PROXY", "http://u:p@a:1")],
                http,
                "http://a:1 (HTTP_PROXY)",
            ),
        ] {
            assert_eq!(way(variables, uri), expected, "{variables:?} {uri}");
        }
    }

    /// Cases of Go's `httpproxy/proxy_test.go`.
    #[test]
    fn no_proxy_is_read_as_in_go() {
        for (none, uri, direct) in [
            ("", "http://localhost/", true),
            ("", "http://127.0.0.1:80/", true),
            ("", "http://127.0.0.2/", true),
            ("", "http://[::1]/", true),
            ("", "http://[::ffff:127.0.0.1]/", true),
            ("", "http://localhost.example.com/", false),
            ("foobar.com, .barbaz.net", "http://foobar.com/", true),
            ("foobar.com, .barbaz.net", "http://WWW.FooBar.com/", true),
            ("foobar.com, .barbaz.net", "http://foofoobar.com/", false),
            ("foobar.com, .barbaz.net", "http://barbaz.net/", false),
            ("foobar.com, .barbaz.net", "http://www.barbaz.net/", true),
            ("*.barbaz.net", "http://a.barbaz.net/", true),
            ("*.barbaz.net", "http://barbaz.net/", false),
            ("192.168.1.1", "http://192.168.1.1/", true),
            ("192.168.1.1", "http://192.168.1.2/", false),
            ("192.168.1.0/24", "http://192.168.1.77:8000/", true),
            ("192.168.1.0/24", "http://192.168.2.1/", false),
            ("2001:db8::/32", "http://[2001:db8::7]/", true),
            ("2001:db8::52:0:1", "http://[2001:db8::52:0:1]/", true),
            ("[2001:db8::52:0:1]:80", "http://[2001:db8::52:0:1]/", true),
            (
                "[2001:db8::52:0:1]:443",
                "http://[2001:db8::52:0:1]/",
                false,
            ),
            ("example.com:443", "http://example.com/", false),
            ("example.com:80", "http://example.com/", true),
            ("10.0.0.1:8080", "http://10.0.0.1:8080/", true),
            ("10.0.0.1:8080", "http://10.0.0.1/", false),
            (
                "svc.cluster.local",
                "http://authentik.a.svc.cluster.local/",
                true,
            ),
            ("*", "http://example.com/", true),
            ("a, ,,*", "http://example.com/", true),
            (":80, x:y", "http://example.com/", false),
        ] {
            let variables = [("HTTP_PROXY", "proxy:3128"), ("NO_PROXY", none)];
            assert_eq!(way(&variables, uri) == "directly", direct, "{none:?} {uri}");
        }
    }

    #[test]
    fn credentials_are_sent_and_never_shown() {
        let variables = [("HTTPS_PROXY", "http://Aladdin:open%20sesame%21@p:1")];
        let proxies = proxies(&variables).expect("valid");
        let uri = Uri::from_static("https://auth.test/");
        let proxy = proxies.towards(&uri).expect("a proxy");
        let expected = format!("Basic {}", STANDARD.encode("Aladdin:open sesame!"));
        let authorization = proxy.authorization().expect("credentials");
        assert_eq!(authorization.to_str().expect("text"), expected);
        let shown = format!("{proxy} {proxies:?}");
        for secret in ["Aladdin", "sesame", "Basic", &expected[6..]] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn a_wrong_url_is_a_problem_without_its_value() {
        for value in [
            "socks5://u:hunter2@p:1",
            "ftp://hunter2",
            "http://:hunter2",
            "hunter2:x",
        ] {
            let problems = proxies(&[("HTTPS_PROXY", value)]).expect_err(value);
            let shown = format!("{problems:?}");
            assert_eq!(problems.len(), 1, "{shown}");
            assert!(problems[0].what.starts_with("HTTPS_PROXY: "), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
