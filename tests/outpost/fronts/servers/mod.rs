//! Real reverse proxies with the recipes of `deploy/`, with what these say to replace replaced.

mod envoy;
mod nginx;

use std::any::Any;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use authentik_standin::caddy::{self, Caddy};
use authentik_standin::envoy::Envoy;
use authentik_standin::haproxy::{self, HaProxy};
use authentik_standin::nginx::{self as standin_nginx, Nginx, free_address};
use authentik_standin::traefik::Traefik;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(super) use self::nginx::nginx_blocks;
use super::client::{Front, Protocol, exchange};
use crate::support::within;

/// A reverse proxy and how it authorizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    Nginx(standin_nginx::Release),
    /// nginx with what ingress-nginx makes of our annotations.
    Ingress,
    Caddy(caddy::Release),
    Traefik,
    /// Traefik with the configuration of authentik's documentation.
    TraefikOfAuthentik,
    HaProxy(haproxy::Release),
    Envoy,
    EnvoyGrpc,
}

/// What a reverse proxy is set up in front of.
pub(super) struct Behind<'a> {
    /// Hosts and the applications that they lead to.
    pub(super) sites: &'a [(&'a str, SocketAddr)],
    pub(super) outpost: SocketAddr,
    /// Where the outpost is asked over gRPC.
    pub(super) grpc: SocketAddr,
    /// With one, the reverse proxy serves HTTPS, as its recipe says; without, HTTP.
    pub(super) certificate: Option<&'a Certificate>,
    /// Whether the recipe's time-outs towards the outpost are shortened.
    pub(super) impatient: bool,
}

impl Behind<'_> {
    fn scheme(&self) -> &'static str {
        self.certificate.map_or("http", |_| "https")
    }

    /// A time-out of a recipe, or a shorter one.
    fn patience(&self, printed: &'static str, short: &'static str) -> &'static str {
        if self.impatient { short } else { printed }
    }
}

/// A certificate for some hosts that nobody else trusts, in files.
pub(super) struct Certificate(TempDir);

impl Certificate {
    pub(super) fn new(hosts: &[&str]) -> Self {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(hosts).expect("a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        for (name, text) in [
            ("tls.crt", &chain),
            ("tls.key", &key),
            ("both.pem", &format!("{chain}{key}")),
        ] {
            std::fs::write(directory.path().join(name), text).expect("written");
        }
        Self(directory)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn chain(&self) -> String {
        self.path("tls.crt")
    }

    fn key(&self) -> String {
        self.path("tls.key")
    }

    /// Chain and key in one file.
    fn both(&self) -> String {
        self.path("both.pem")
    }
}

pub(super) fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(file)
}

/// A recipe with what it says to replace replaced; all of it has to be there.
fn replaced(file: &str, replacements: &[(&str, String)]) -> String {
    let text = std::fs::read_to_string(deploy(file)).expect("text");
    let replace = |text: String, (from, to): &(&str, String)| {
        assert!(text.contains(from), "{from:?} in {file}");
        text.replace(from, to)
    };
    replacements.iter().fold(text, replace)
}

/// The same as YAML.
fn parsed(file: &str, replacements: &[(&str, String)]) -> Value {
    let text = replaced(file, replacements);
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

impl Server {
    pub(super) async fn start(self, behind: &Behind<'_>) -> Front {
        let address = free_address().expect("a port");
        let files = tempfile::tempdir().expect("a directory");
        let mut http2 = address;
        if matches!(self, Self::Nginx(_) | Self::Ingress) && behind.certificate.is_none() {
            http2 = free_address().expect("a port");
        }
        let started: std::io::Result<Box<dyn Any + Send + Sync>> = match self {
            Self::Nginx(release) => {
                let blocks = nginx::nginx_blocks(behind, address, http2);
                boxed(Nginx::serving(release, address, &blocks).await)
            }
            Self::Ingress => {
                let blocks = nginx::ingress_blocks(behind, address, http2);
                let release = standin_nginx::Release::Installed;
                boxed(Nginx::serving(release, address, &blocks).await)
            }
            Self::Caddy(release) => {
                boxed(Caddy::start(release, address, &caddyfile(release, behind, address)).await)
            }
            Self::Traefik => {
                let arguments = traefik_arguments();
                boxed(Traefik::start(address, &traefik(behind), &arguments).await)
            }
            Self::TraefikOfAuthentik => {
                let configuration = traefik_of_authentik(behind);
                boxed(Traefik::start(address, &configuration, &[]).await)
            }
            Self::HaProxy(release) => {
                let configuration = haproxy(behind, address, files.path());
                boxed(HaProxy::start(release, address, &configuration).await)
            }
            Self::Envoy => {
                boxed(Envoy::start(address, &envoy::envoy(behind, address, false)).await)
            }
            Self::EnvoyGrpc => {
                boxed(Envoy::start(address, &envoy::envoy(behind, address, true)).await)
            }
        };
        let program = started.unwrap_or_else(|error| {
            panic!("{self:?} does not start: {error}; scripts/test.sh installs it")
        });
        let front = Front {
            address,
            http2,
            tls: behind.certificate.is_some(),
            program: Box::new((program, files)),
        };
        if matches!(self, Self::Traefik | Self::TraefikOfAuthentik) {
            // It listens before it has its routers.
            within(has_routers(&front, behind.sites[0].0)).await;
        }
        front
    }
}

async fn has_routers(front: &Front, host: &str) {
    loop {
        let request = Request::get("/outpost.goauthentik.io/start");
        let request = request.header("host", host).body(Full::default());
        let request = request.expect("a request");
        let answer = exchange(front, Protocol::Http1, request).await;
        if answer.is_some_and(|answer| answer.status() != 404) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn boxed<T: Any + Send + Sync>(
    started: std::io::Result<T>,
) -> std::io::Result<Box<dyn Any + Send + Sync>> {
    started.map(|program| Box::new(program) as Box<dyn Any + Send + Sync>)
}

fn caddyfile(release: caddy::Release, behind: &Behind<'_>, address: SocketAddr) -> String {
    let tls = behind.certificate.map_or(String::new(), |certificate| {
        format!("\n\ttls {} {}", certificate.chain(), certificate.key())
    });
    let site = |(host, application): &(&str, SocketAddr)| {
        let (scheme, port) = (behind.scheme(), address.port());
        replaced(
            "recipes/caddy/Caddyfile",
            &[
                (
                    "app.example.com {",
                    format!("{scheme}://{host}:{port} {{\n\tbind 127.0.0.1{tls}"),
                ),
                (" outpost:9000 {", format!(" {} {{", behind.outpost)),
                (" app:8080\n", format!(" {application}\n")),
                (
                    "response_header_timeout 10s",
                    format!("response_header_timeout {}", behind.patience("10s", "1s")),
                ),
            ],
        )
    };
    let sites: String = behind.sites.iter().map(site).collect();
    match release {
        // As the recipe says of releases before 2.11.2.
        caddy::Release::Installed => {
            let copied = "X-Authentik-Meta-Version Authorization";
            assert!(sites.contains(copied));
            sites.replace(copied, "X-Authentik-Meta-Version")
        }
        caddy::Release::Latest => sites,
    }
}

/// The arguments for the entry point that the recipe has, but for what its address and TLS are.
fn traefik_arguments() -> Vec<String> {
    let compose = parsed("recipes/traefik/compose.yaml", &[]);
    let arguments = compose["services"]["traefik"]["command"].as_array();
    let arguments = arguments.expect("arguments").iter();
    let arguments = arguments.map(|argument| argument.as_str().expect("text").to_owned());
    let mut left: Vec<String> = arguments.collect();
    for replaced in [
        "--providers.docker=true",
        "--providers.docker.exposedbydefault=false",
        "--entrypoints.websecure.address=:443",
        "--entrypoints.websecure.http.tls=true",
    ] {
        let found = left.iter().position(|argument| argument == replaced);
        left.remove(found.unwrap_or_else(|| panic!("{replaced}")));
    }
    left
}

/// The recipe once for each application, as one document.
fn traefik(behind: &Behind<'_>) -> String {
    let mut whole = json!({"http": {"middlewares": {}, "routers": {}, "services": {}}});
    if let Some(certificate) = behind.certificate {
        let files = json!({"certFile": certificate.chain(), "keyFile": certificate.key()});
        whole["tls"] = json!({"certificates": [files]});
    }
    for (number, (host, application)) in behind.sites.iter().enumerate() {
        let recipe = parsed(
            "recipes/traefik/dynamic.yaml",
            &[
                ("app.example.com", (*host).to_owned()),
                ("http://outpost:9000", format!("http://{}", behind.outpost)),
                ("http://app:8080", format!("http://{application}")),
            ],
        );
        whole["http"]["middlewares"] = recipe["http"]["middlewares"].clone();
        for (name, router) in recipe["http"]["routers"].as_object().expect("routers") {
            let mut router = router.clone();
            let fields = router.as_object_mut().expect("a router");
            let tls = fields.remove("tls").expect("TLS");
            if behind.certificate.is_some() {
                fields.insert("tls".to_owned(), tls);
            }
            let service = fields["service"].as_str().expect("a name");
            fields["service"] = Value::from(format!("{service}{number}"));
            whole["http"]["routers"][format!("{name}{number}")] = router;
        }
        for (name, service) in recipe["http"]["services"].as_object().expect("services") {
            whole["http"]["services"][format!("{name}{number}")] = service.clone();
        }
    }
    whole.to_string()
}

/// The settings of "Standalone traefik" in authentik's documentation, which
/// `docs/reverse-proxies/traefik.md` compares with the recipe.
fn traefik_of_authentik(behind: &Behind<'_>) -> String {
    let outpost = format!("http://{}/outpost.goauthentik.io", behind.outpost);
    let identity = [
        "username",
        "groups",
        "entitlements",
        "email",
        "name",
        "uid",
        "jwt",
        "meta-jwks",
        "meta-outpost",
        "meta-provider",
        "meta-app",
        "meta-version",
    ];
    let service = |url: String| json!({"loadBalancer": {"servers": [{"url": url}]}});
    let mut routers = json!({});
    let mut services = json!({"authentik": service(outpost.clone())});
    for (host, application) in behind.sites {
        let rule = format!("Host(`{host}`)");
        routers[format!("app-{host}")] = json!({
            "rule": rule, "priority": 10, "middlewares": ["authentik"],
            "service": format!("app-{host}"), "tls": {},
        });
        routers[format!("auth-{host}")] = json!({
            "rule": format!("{rule} && PathPrefix(`/outpost.goauthentik.io/`)"), "priority": 15,
            "service": "authentik", "tls": {},
        });
        services[format!("app-{host}")] = service(format!("http://{application}"));
    }
    let certificate = behind.certificate.expect("a certificate");
    json!({
        "http": {
            "middlewares": {"authentik": {"forwardAuth": {
                "address": format!("{outpost}/auth/traefik"),
                "trustForwardHeader": true,
                "maxResponseBodySize": 4_194_304,
                "authResponseHeaders": identity.map(|name| format!("X-authentik-{name}")),
            }}},
            "routers": routers,
            "services": services,
        },
        "tls": {"certificates": [
            {"certFile": certificate.chain(), "keyFile": certificate.key()},
        ]},
    })
    .to_string()
}

/// Several applications take an `acl` and a backend each. The script is written into `directory`.
fn haproxy(behind: &Behind<'_>, address: SocketAddr, directory: &Path) -> String {
    let named = "acl app req.fhdr(host),lower -m str app.example.com";
    let (mut conditions, mut uses, mut backends) = (String::new(), String::new(), String::new());
    for (number, (host, application)) in behind.sites.iter().enumerate() {
        let own = named.replace("app.example.com", host);
        let _ = writeln!(conditions, "{own}");
        let _ = writeln!(
            conditions,
            "{}",
            own.replace("acl app", &format!("acl app{number}"))
        );
        let _ = writeln!(uses, "use_backend app{number} if app{number}");
        let _ = writeln!(
            backends,
            "backend app{number}\n    server app {application}"
        );
    }
    let timeout = format!("timeout = {},", behind.patience("2500", "250"));
    let script = replaced(
        "recipes/haproxy/haproxy.lua",
        &[("timeout = 2500,", timeout)],
    );
    let path = directory.join("haproxy.lua");
    std::fs::write(&path, script).expect("written");
    let bind = match behind.certificate {
        Some(certificate) => format!("bind {address} ssl crt {} alpn", certificate.both()),
        // HAProxy finds HTTP/2 out by itself where there is no TLS.
        None => format!("bind {address} #"),
    };
    replaced(
        "recipes/haproxy/haproxy.cfg",
        &[
            (named, conditions),
            ("use_backend app if app\n", uses),
            ("backend app\n    server app 127.0.0.1:8080", backends),
            ("/etc/haproxy/haproxy.lua", path.display().to_string()),
            (
                "bind :443 ssl crt /etc/haproxy/app.example.com.pem alpn",
                bind,
            ),
            ("127.0.0.1:9000", behind.outpost.to_string()),
        ],
    )
}
