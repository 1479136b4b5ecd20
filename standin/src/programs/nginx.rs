//! A real nginx in front of an outpost, with a small application behind it that shows what it is
//! told about the user.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use tokio::process::Command;

use super::Program;
pub use super::{free_address, resident, search_path};

/// The identity headers that nginx copies from the outpost's answer to the application.
const COPIED: [&str; 6] = ["username", "groups", "entitlements", "email", "name", "uid"];

/// How nginx asks the outpost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As in authentik's documentation.
    Standalone,
    /// As ingress-nginx generates it: the outpost's own `Host`, the URL in `X-Original-URL`, made of the
    /// `Host` header, and the host that nginx routes by in a parameter, as our annotations have it.
    Ingress,
    /// The same with the snippet that sets `X-Forwarded-Host`.
    IngressForwardedHost,
}

/// Which nginx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Whichever is installed; 1.22 on Debian 12.
    Installed,
    /// 1.31, as `scripts/programs.sh` installs it.
    Mainline,
}

impl Release {
    fn program(self) -> &'static str {
        match self {
            Self::Installed => "nginx",
            Self::Mainline => "nginx-1.31",
        }
    }
}

/// A running nginx.
#[derive(Debug)]
pub struct Nginx(Program);

impl Nginx {
    /// Starts nginx on a free loopback address and waits until it listens.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if nginx is not installed.
    pub async fn start(address: SocketAddr, outpost: SocketAddr, shape: Shape) -> io::Result<Self> {
        Self::run(address, |work| {
            configuration(work, address, &[outpost], shape)
        })
        .await
    }

    /// Starts an nginx that asks several outposts in turns, as in [`Shape::Standalone`]. One that
    /// does not answer is passed over for a second. `X-Asked` of an answer has the last one that
    /// was asked.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if nginx is not installed.
    pub async fn balancing(address: SocketAddr, outposts: &[SocketAddr]) -> io::Result<Self> {
        Self::run(address, |work| {
            configuration(work, address, outposts, Shape::Standalone)
        })
        .await
    }

    /// Starts an nginx that passes everything on to `upstream`, as it came, with buffers for large
    /// bodies.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if nginx is not installed.
    pub async fn passing(address: SocketAddr, upstream: SocketAddr) -> io::Result<Self> {
        Self::run(address, |work| passing(work, address, &[upstream], LARGE)).await
    }

    /// Starts the same with the buffers that nginx has by itself.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if nginx is not installed.
    pub async fn passing_lightly(address: SocketAddr, upstream: SocketAddr) -> io::Result<Self> {
        Self::run(address, |work| passing(work, address, &[upstream], "")).await
    }

    /// Starts the same, which passes requests on to several upstreams in turns.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if nginx is not installed.
    pub async fn spreading(address: SocketAddr, upstreams: &[SocketAddr]) -> io::Result<Self> {
        Self::run(address, |work| passing(work, address, upstreams, "")).await
    }

    /// Starts a release of nginx with server blocks and what else stands inside of `http { … }`, one
    /// of which has to listen on `address`.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if that release is not installed.
    pub async fn serving(release: Release, address: SocketAddr, blocks: &str) -> io::Result<Self> {
        Self::run_release(release, address, |work| file(work, 256, blocks)).await
    }

    async fn run(
        address: SocketAddr,
        configured: impl FnOnce(&Path) -> String,
    ) -> io::Result<Self> {
        Self::run_release(Release::Installed, address, configured).await
    }

    async fn run_release(
        release: Release,
        address: SocketAddr,
        configured: impl FnOnce(&Path) -> String,
    ) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("nginx.conf");
        std::fs::write(&config, configured(directory.path()))?;
        let mut command = Command::new(release.program());
        command.arg("-c").arg(&config);
        let program = Program::start(&mut command, address, directory).await?;
        Ok(Self(program))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Memory that it takes, in bytes.
    ///
    /// # Errors
    /// If it does not run any more.
    pub fn memory(&self) -> io::Result<u64> {
        self.0.memory()
    }

    /// Stops it.
    ///
    /// # Errors
    /// If the process cannot be killed.
    pub async fn stop(self) -> io::Result<()> {
        self.0.stop().await
    }
}

/// A configuration file with these blocks inside of `http { … }`; all files of nginx stay in `work`.
fn file(work: &Path, connections: u32, blocks: &str) -> String {
    let work = work.display();
    format!(
        "daemon off; master_process off; pid {work}/nginx.pid; error_log {work}/error.log;
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/f;
  uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
{blocks}
}}"
    )
}

/// Buffers for large bodies.
const LARGE: &str = "client_header_buffer_size 64k; proxy_buffers 16 64k; proxy_buffer_size 64k;
  proxy_busy_buffers_size 128k;";

fn passing(work: &Path, address: SocketAddr, upstreams: &[SocketAddr], buffers: &str) -> String {
    let servers = servers(upstreams, "");
    let blocks = format!(
        "  keepalive_requests 1000000000; client_max_body_size 0; {buffers}
  underscores_in_headers on; ignore_invalid_headers off;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream app {{ {servers}keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen {address};
    location / {{
      proxy_pass http://app;
      proxy_http_version 1.1; proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_request_buffering off; proxy_max_temp_file_size 0; proxy_read_timeout 1h;
    }}
  }}"
    );
    file(work, 4096, &blocks)
}

fn configuration(
    work: &Path,
    address: SocketAddr,
    outposts: &[SocketAddr],
    shape: Shape,
) -> String {
    let (directory, outpost) = (work.display(), outposts[0]);
    let servers = servers(outposts, " max_fails=1 fail_timeout=1s");
    let (mut copy, mut rows) = (String::new(), String::new());
    for name in COPIED {
        // Writing to a string cannot fail.
        let _ = write!(
            copy,
            "auth_request_set $ak_{name} $upstream_http_x_authentik_{name};
      proxy_set_header X-authentik-{name} $ak_{name};
      "
        );
        let _ = write!(rows, "<tr><th>{name}<td>$http_x_authentik_{name}");
    }
    // nginx routes by `$host`, which has no port; ingress-nginx's own template has `$http_host`.
    let routed = format!("$host:{}", address.port());
    let (asked, ask) = match shape {
        Shape::Standalone => (routed.as_str(), format!("proxy_set_header Host {routed};")),
        Shape::Ingress => ("$http_host", format!("proxy_set_header Host {outpost};")),
        Shape::IngressForwardedHost => (
            "$http_host",
            format!(
                "proxy_set_header Host {outpost}; proxy_set_header X-Forwarded-Host $http_host;"
            ),
        ),
    };
    let parameter = match shape {
        Shape::Standalone => "",
        Shape::Ingress | Shape::IngressForwardedHost => "?host=$host",
    };
    let pages = ["start", "callback", "sign_out"].map(|page| {
        let path = format!("/outpost.goauthentik.io/{page}");
        format!(
            "location = {path} {{ proxy_pass http://outposts{path}; proxy_set_header Host {routed}; }}\n    "
        )
    });
    let pages = pages.concat();
    let blocks = format!(
        "  proxy_connect_timeout 1s; proxy_read_timeout 3s;
  upstream outposts {{ {servers}}}
  server {{
    listen unix:{directory}/app.sock;
    location / {{
      default_type text/html;
      return 200 '<!doctype html><meta name=viewport content=\"width=device-width\"><title>$host</title><style>body{{font:1rem/1.5 system-ui;margin:3rem auto;max-width:40rem;padding:0 1rem;color-scheme:light dark}}th{{text-align:left;padding-right:1rem}}</style><h1>$host</h1><p>You asked for <code id=\"page\">$request_uri</code>. The application sees:<table id=\"who\">{rows}</table><p><a href=\"/outpost.goauthentik.io/sign_out\">Sign out</a>';
    }}
  }}
  server {{
    listen {address};
    proxy_buffers 8 16k; proxy_buffer_size 32k;
    location / {{
      auth_request /ask;
      error_page 401 = @sign_in;
      auth_request_set $asked $upstream_addr; add_header X-Asked $asked;
      {copy}proxy_set_header Host {routed};
      proxy_pass http://unix:{directory}/app.sock;
    }}
    location = /ask {{
      internal;
      set $asked_at http://outposts/outpost.goauthentik.io/auth/nginx{parameter};
      proxy_pass $asked_at;
      {ask}
      proxy_set_header X-Original-URL $scheme://{asked}$request_uri;
      proxy_pass_request_body off; proxy_set_header Content-Length '';
    }}
    {pages}location @sign_in {{
      internal;
      return 302 /outpost.goauthentik.io/start?rd=$scheme://{routed}$request_uri;
    }}
  }}"
    );
    file(work, 256, &blocks)
}

/// The lines of an upstream.
fn servers(addresses: &[SocketAddr], options: &str) -> String {
    addresses.iter().fold(String::new(), |mut lines, address| {
        // Writing to a string cannot fail.
        let _ = write!(lines, "server {address}{options}; ");
        lines
    })
}
