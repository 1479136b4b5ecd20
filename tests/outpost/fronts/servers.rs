//! Real reverse proxies with the recipes of `deploy/`, with what these say to replace replaced.

use std::any::Any;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use authentik_standin::caddy::{self, Caddy};
use authentik_standin::envoy::Envoy;
use authentik_standin::haproxy::{self, HaProxy};
use authentik_standin::nginx::{self, Nginx, free_address};
use authentik_standin::traefik::Traefik;
use serde_json::{Value, json};

use crate::support::{get, within};

/// A reverse proxy and how it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    Nginx(nginx::Release),
    /// nginx with what ingress-nginx makes of our annotations.
    Ingress,
    Caddy(caddy::Release),
    Traefik,
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
}

/// A running reverse proxy.
pub(super) struct Front {
    pub(super) address: SocketAddr,
    /// Where it takes HTTP/2 without TLS.
    pub(super) http2: SocketAddr,
    _program: Box<dyn Any + Send + Sync>,
}

pub(super) fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(file)
}

/// A recipe with what it says to replace replaced; all of it has to be there.
pub(super) fn replaced(file: &str, replacements: &[(&str, &str)]) -> String {
    let text = std::fs::read_to_string(deploy(file)).expect("text");
    let replace = |text: String, (from, to): &(&str, &str)| {
        assert!(text.contains(from), "{from:?} in {file}");
        text.replace(from, to)
    };
    replacements.iter().fold(text, replace)
}

/// The same as YAML.
fn parsed(file: &str, replacements: &[(&str, &str)]) -> Value {
    let text = replaced(file, replacements);
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

impl Server {
    pub(super) async fn start(self, behind: &Behind<'_>) -> Front {
        let address = free_address().expect("a port");
        let mut http2 = address;
        let started: std::io::Result<Box<dyn Any + Send + Sync>> = match self {
            Self::Nginx(release) => {
                http2 = free_address().expect("a port");
                let blocks = nginx_blocks(behind, address, http2);
                boxed(Nginx::serving(release, address, &blocks).await)
            }
            Self::Ingress => {
                http2 = free_address().expect("a port");
                let blocks = ingress_blocks(behind, address, http2);
                boxed(Nginx::serving(nginx::Release::Installed, address, &blocks).await)
            }
            Self::Caddy(release) => {
                boxed(Caddy::start(release, address, &caddyfile(release, behind, address)).await)
            }
            Self::Traefik => boxed(Traefik::start(address, &traefik(behind)).await),
            Self::HaProxy(release) => {
                boxed(HaProxy::start(release, address, &haproxy(behind, address)).await)
            }
            Self::Envoy => boxed(Envoy::start(address, &envoy(behind, address, false)).await),
            Self::EnvoyGrpc => boxed(Envoy::start(address, &envoy(behind, address, true)).await),
        };
        let program = started.unwrap_or_else(|error| {
            panic!("{self:?} does not start: {error}; scripts/test.sh installs it")
        });
        if self == Self::Traefik {
            // It listens before it has its routers.
            within(async {
                while get(address, "/", behind.sites[0].0, &[]).await.status() == 404 {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            })
            .await;
        }
        Front {
            address,
            http2,
            _program: program,
        }
    }
}

fn boxed<T: Any + Send + Sync>(
    started: std::io::Result<T>,
) -> std::io::Result<Box<dyn Any + Send + Sync>> {
    started.map(|program| Box::new(program) as Box<dyn Any + Send + Sync>)
}

fn without(text: &str, of: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains(of));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

pub(super) fn nginx_blocks(behind: &Behind<'_>, address: SocketAddr, http2: SocketAddr) -> String {
    let block = |(host, application): &(&str, SocketAddr)| {
        let text = replaced(
            "nginx.conf.example",
            &[
                ("app.example.com", host),
                (
                    "listen 443 ssl;",
                    &format!("listen {address}; listen {http2} http2;"),
                ),
                ("http://app:8080", &format!("http://{application}")),
                ("http://outpost:9000", &format!("http://{}", behind.outpost)),
            ],
        );
        without(&text, "ssl_certificate")
    };
    behind.sites.iter().map(block).collect()
}

/// What ingress-nginx 1.12 makes of `ingress-nginx/forward-auth.yaml`, as far as questions, our pages
/// and headers go (`rootfs/etc/nginx/template/nginx.tmpl` there).
fn ingress_blocks(behind: &Behind<'_>, address: SocketAddr, http2: SocketAddr) -> String {
    let file = "recipes/ingress-nginx/forward-auth.yaml";
    let outpost = behind.outpost.to_string();
    // ingress-nginx has a default server, whose answer is 404.
    let mut blocks = format!(
        "server {{ listen {address} default_server; listen {http2} http2 default_server; return 404; }}\n"
    );
    for (host, application) in behind.sites {
        let service = "authentik-proxy.authentik-proxy.svc.cluster.local:9000";
        let text = replaced(
            file,
            &[
                ("https://grafana.home.example", &format!("http://{host}")),
                ("grafana.home.example", host),
                (service, &outpost),
                // It needs a module of nginx. The outpost takes both.
                ("$escaped_request_uri", "$request_uri"),
            ],
        );
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        let annotation = |name: &str| {
            let name = format!("nginx.ingress.kubernetes.io/{name}");
            let value = &documents[0]["metadata"]["annotations"][&*name];
            value
                .as_str()
                .unwrap_or_else(|| panic!("{name}"))
                .to_owned()
        };
        let mut copied = String::new();
        for (number, name) in annotation("auth-response-headers").split(',').enumerate() {
            let variable = name.to_lowercase().replace('-', "_");
            let _ = write!(
                copied,
                "auth_request_set $authHeader{number} $upstream_http_{variable};
      proxy_set_header '{name}' $authHeader{number};\n      "
            );
        }
        let mut pages = String::new();
        let paths = documents[1]["spec"]["rules"][0]["http"]["paths"].as_array();
        for path in paths.expect("paths") {
            let name = path["path"].as_str().expect("a path");
            assert_eq!(path["pathType"], "Exact", "{name}");
            let _ = write!(
                pages,
                "location = \"{name}\" {{ proxy_set_header Host $http_host; proxy_pass http://{outpost}; }}\n    "
            );
        }
        let (url, sign_in) = (annotation("auth-url"), annotation("auth-signin"));
        let _ = write!(
            blocks,
            "server {{
    listen {address}; listen {http2} http2;
    server_name {host};
    proxy_buffers 8 32k; proxy_buffer_size 32k;
    location = /_external-auth {{
      internal;
      proxy_pass_request_body off; proxy_set_header Content-Length '';
      proxy_set_header X-Forwarded-Proto '';
      proxy_set_header Host {outpost};
      proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
      proxy_set_header X-Original-Method $request_method;
      proxy_set_header X-Sent-From nginx-ingress-controller;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Auth-Request-Redirect $request_uri;
      set $target {url};
      proxy_pass $target;
    }}
    location @sign_in {{
      internal;
      add_header Set-Cookie $auth_cookie;
      return 302 {sign_in};
    }}
    {pages}location / {{
      auth_request /_external-auth;
      auth_request_set $auth_cookie $upstream_http_set_cookie;
      add_header Set-Cookie $auth_cookie;
      {copied}error_page 401 = @sign_in;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_pass http://{application};
    }}
  }}\n"
        );
    }
    blocks
}

fn caddyfile(release: caddy::Release, behind: &Behind<'_>, address: SocketAddr) -> String {
    let site = |(host, application): &(&str, SocketAddr)| {
        let begins = format!("http://{host}:{} {{\n\tbind 127.0.0.1", address.port());
        replaced(
            "recipes/caddy/Caddyfile",
            &[
                ("app.example.com {", &begins),
                (" outpost:9000", &format!(" {}", behind.outpost)),
                (" app:8080", &format!(" {application}")),
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

/// The recipe once for each application, as one document.
fn traefik(behind: &Behind<'_>) -> String {
    let mut whole = json!({"http": {"middlewares": {}, "routers": {}, "services": {}}});
    for (number, (host, application)) in behind.sites.iter().enumerate() {
        let recipe = parsed(
            "recipes/traefik/dynamic.yaml",
            &[
                ("app.example.com", host),
                ("http://outpost:9000", &format!("http://{}", behind.outpost)),
                ("http://app:8080", &format!("http://{application}")),
            ],
        );
        whole["http"]["middlewares"] = recipe["http"]["middlewares"].clone();
        for (name, router) in recipe["http"]["routers"].as_object().expect("routers") {
            let mut router = router.clone();
            let fields = router.as_object_mut().expect("a router");
            fields.remove("tls").expect("TLS");
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

/// Several applications take an `acl` and a backend each.
fn haproxy(behind: &Behind<'_>, address: SocketAddr) -> String {
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
    replaced(
        "recipes/haproxy/haproxy.cfg",
        &[
            (named, &conditions),
            ("use_backend app if app\n", &uses),
            ("backend app\n    server app 127.0.0.1:8080", &backends),
            (
                "/etc/haproxy/haproxy.lua",
                deploy("recipes/haproxy/haproxy.lua")
                    .to_str()
                    .expect("text"),
            ),
            (
                "bind :443 ssl crt /etc/haproxy/app.example.com.pem",
                &format!("bind {address}"),
            ),
            ("127.0.0.1:9000", &behind.outpost.to_string()),
        ],
    )
}

fn envoy(behind: &Behind<'_>, address: SocketAddr, grpc: bool) -> String {
    let mut recipe = parsed("recipes/envoy/static.yaml", &[]);
    let place = |address: SocketAddr| json!({"address": address.ip().to_string(), "port_value": address.port()});
    let listener = &mut recipe["static_resources"]["listeners"][0];
    listener["address"]["socket_address"] = place(address);
    let chain = &mut listener["filter_chains"][0];
    let tls = chain
        .as_object_mut()
        .expect("a chain")
        .remove("transport_socket");
    let protocols = &tls.expect("TLS")["typed_config"]["common_tls_context"]["alpn_protocols"];
    assert_eq!(*protocols, json!(["h2", "http/1.1"]), "browsers get HTTP/2");
    let manager = &mut chain["filters"][0]["typed_config"];
    // It waits that long before it closes a connection that it refuses to go on with.
    manager["delayed_close_timeout"] = Value::from("0.01s");
    let hosts = &mut manager["route_config"]["virtual_hosts"];
    let host = hosts[0].to_string();
    let hosts_of = |(number, (name, _)): (usize, &(&str, SocketAddr))| -> Value {
        let own = host.replace("app.example.com", name);
        let own = own.replace(
            "\"cluster\":\"app\"",
            &format!("\"cluster\":\"app{number}\""),
        );
        let mut own: Value = serde_json::from_str(&own).expect("JSON");
        own["name"] = Value::from(format!("app{number}"));
        own
    };
    *hosts = behind.sites.iter().enumerate().map(hosts_of).collect();
    if grpc {
        let asking = manager["http_filters"][0]["typed_config"].as_object_mut();
        let asking = asking.expect("ext_authz");
        for http in ["allowed_headers", "http_service"] {
            asking.remove(http).expect(http);
        }
        let service = json!({"envoy_grpc": {"cluster_name": "ext-authz"}, "timeout": "10s"});
        asking.insert("grpc_service".to_owned(), service);
    }
    let clusters = recipe["static_resources"]["clusters"].as_array_mut();
    let clusters = clusters.expect("clusters");
    let cluster = clusters[0].clone();
    let to = |name: &str, address: SocketAddr| {
        let mut own = cluster.clone();
        own["name"] = Value::from(name);
        let assignment = &mut own["load_assignment"];
        assignment["cluster_name"] = Value::from(name);
        assignment["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"] =
            place(address);
        own
    };
    let mut all = vec![to("outpost", behind.outpost)];
    for (number, (_, application)) in behind.sites.iter().enumerate() {
        all.push(to(&format!("app{number}"), *application));
    }
    let mut asked = to("ext-authz", behind.grpc);
    asked["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"] = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    });
    all.push(asked);
    *clusters = all;
    recipe.to_string()
}
