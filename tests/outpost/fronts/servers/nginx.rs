//! nginx with its recipe, and with what ingress-nginx makes of the other one.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::Value;

use super::{Behind, replaced};

fn without(text: &str, of: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains(of));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// The `listen` directives: with TLS, HTTP/2 is negotiated on the same port.
fn listen(behind: &Behind<'_>, address: SocketAddr, http2: SocketAddr) -> String {
    match behind.certificate {
        Some(_) => format!("listen {address} ssl http2;"),
        None => format!("listen {address}; listen {http2} http2;"),
    }
}

pub(crate) fn nginx_blocks(behind: &Behind<'_>, address: SocketAddr, http2: SocketAddr) -> String {
    let block = |(host, application): &(&str, SocketAddr)| {
        let mut replacements = vec![
            ("listen 443 ssl;\n", listen(behind, address, http2) + "\n"),
            ("http://app:8080", format!("http://{application}")),
            ("http://outpost:9000", format!("http://{}", behind.outpost)),
            (
                "proxy_read_timeout 10s;",
                format!("proxy_read_timeout {};", behind.patience("10s", "1s")),
            ),
        ];
        if let Some(certificate) = behind.certificate {
            replacements.push(("/etc/nginx/tls/app.example.com.crt", certificate.chain()));
            replacements.push(("/etc/nginx/tls/app.example.com.key", certificate.key()));
        }
        // Last, since the paths of the certificate have it.
        replacements.push(("app.example.com", (*host).to_owned()));
        let text = replaced("nginx.conf.example", &replacements);
        match behind.certificate {
            Some(_) => text,
            None => without(&text, "ssl_certificate"),
        }
    };
    behind.sites.iter().map(block).collect()
}

/// The annotations of an Ingress.
struct Annotations<'a>(&'a Value);

impl Annotations<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let name = format!("nginx.ingress.kubernetes.io/{name}");
        self.0["metadata"]["annotations"][&*name].as_str()
    }

    fn required(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("{name}"))
    }

    /// What ingress-nginx writes into each location, with its defaults.
    fn proxy(&self) -> String {
        let or = |name, default| self.get(name).unwrap_or(default);
        let size = or("proxy-buffer-size", "4k");
        format!(
            "proxy_buffering off; proxy_buffer_size {size}; proxy_buffers 4 {size};
      proxy_request_buffering {}; client_max_body_size {};",
            or("proxy-request-buffering", "on"),
            or("proxy-body-size", "1m"),
        )
    }

    fn timeouts(&self) -> String {
        let or = |name, default| self.get(name).unwrap_or(default);
        format!(
            "proxy_connect_timeout 5s; proxy_send_timeout {}s; proxy_read_timeout {}s;",
            or("proxy-send-timeout", "60"),
            or("proxy-read-timeout", "60"),
        )
    }

    /// Headers of the authorization answer that replace the client's.
    fn copied(&self) -> String {
        let mut copied = String::new();
        for (number, name) in self
            .required("auth-response-headers")
            .split(',')
            .enumerate()
        {
            let variable = name.to_lowercase().replace('-', "_");
            let _ = write!(
                copied,
                "auth_request_set $authHeader{number} $upstream_http_{variable};
      proxy_set_header '{name}' $authHeader{number};\n      "
            );
        }
        copied
    }
}

/// What ingress-nginx 1.12 makes of `ingress-nginx/forward-auth.yaml`, as far as authorization, the
/// outpost's pages, headers, buffers and time-outs go (`rootfs/etc/nginx/template/nginx.tmpl` there).
pub(super) fn ingress_blocks(
    behind: &Behind<'_>,
    address: SocketAddr,
    http2: SocketAddr,
) -> String {
    let outpost = behind.outpost.to_string();
    let listen = listen(behind, address, http2);
    let tls = behind.certificate.map_or(String::new(), |certificate| {
        format!(
            "ssl_certificate {}; ssl_certificate_key {};",
            certificate.chain(),
            certificate.key()
        )
    });
    // ingress-nginx has a default server, whose answer is 404.
    let default = listen.replace(';', " default_server;");
    let mut blocks = format!(
        "map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
server {{ {default} {tls} return 404; }}\n"
    );
    for (host, application) in behind.sites {
        let service = "authentik-proxy.authentik-proxy.svc.cluster.local:9000";
        let text = replaced(
            "recipes/ingress-nginx/forward-auth.yaml",
            &[
                (
                    "https://grafana.home.example",
                    format!("{}://{host}", behind.scheme()),
                ),
                ("grafana.home.example", (*host).to_owned()),
                (service, outpost.clone()),
                // It needs a module of nginx. The outpost takes both.
                ("$escaped_request_uri", "$request_uri".to_owned()),
            ],
        );
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        let protected = Annotations(&documents[0]);
        let own = Annotations(&documents[1]);
        let pages = ingress_pages(&documents[1], &own.proxy(), &outpost);
        let _ = write!(
            blocks,
            "server {{
    {listen}
    {tls}
    server_name {host};
    proxy_http_version 1.1;
    location = /_external-auth {{
      internal;
      proxy_pass_request_body off; proxy_set_header Content-Length '';
      {proxy}
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
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Scheme $scheme;
      proxy_set_header X-Scheme $scheme;
      proxy_set_header X-Original-Forwarded-For $http_x_forwarded_for;
      proxy_set_header Proxy '';
      {proxy}
      {timeouts}
      proxy_pass http://{application};
    }}
  }}\n",
            proxy = protected.proxy(),
            timeouts = protected.timeouts(),
            copied = protected.copied(),
            url = protected.required("auth-url"),
            sign_in = protected.required("auth-signin"),
        );
    }
    blocks
}

/// The locations of an Ingress of the outpost's own pages.
fn ingress_pages(ingress: &Value, proxy: &str, outpost: &str) -> String {
    let mut pages = String::new();
    let paths = ingress["spec"]["rules"][0]["http"]["paths"].as_array();
    for path in paths.expect("paths") {
        let name = path["path"].as_str().expect("a path");
        assert_eq!(path["pathType"], "Exact", "{name}");
        let _ = write!(
            pages,
            "location = \"{name}\" {{
      {proxy}
      proxy_set_header Host $http_host; proxy_pass http://{outpost};
    }}
    "
        );
    }
    pages
}
