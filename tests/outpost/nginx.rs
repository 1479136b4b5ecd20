//! A real nginx in front: the standalone configuration of authentik's documentation, and the
//! shape that ingress-nginx generates.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use authentik_standin::{Provider, Standin};
use tokio::process::{Child, Command};

use crate::support::{Browser, World, get, location, text};

/// The identity headers that nginx copies from the answer to the application.
const COPIED: [&str; 6] = ["username", "groups", "entitlements", "email", "name", "uid"];

/// How nginx asks the outpost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As in authentik's documentation.
    Standalone,
    /// As ingress-nginx generates it: the outpost's own Host, the URL in `X-Original-URL`.
    Ingress,
    /// The same with the snippet that sets `X-Forwarded-Host`.
    IngressForwardedHost,
}

/// A running nginx, and the directory that it works in.
pub(crate) struct Nginx {
    process: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Nginx {
    /// Starts nginx on `address` in front of the outpost; the application behind it echoes the
    /// identity headers that it received.
    pub(crate) async fn start(address: SocketAddr, outpost: SocketAddr, shape: Shape) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("nginx.conf");
        std::fs::write(
            &config,
            configuration(directory.path(), address, outpost, shape),
        )
        .expect("the configuration is written");
        let process = Command::new("nginx")
            .arg("-c")
            .arg(&config)
            .env(
                "PATH",
                "/usr/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin",
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nginx is installed: apt-get install nginx-light");
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "nginx does not listen"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self {
            process,
            address,
            _directory: directory,
        }
    }

    pub(crate) async fn stop(mut self) {
        self.process.kill().await.expect("nginx stops");
    }
}

/// A free port on loopback, for programs that cannot say which one they took.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

fn configuration(work: &Path, address: SocketAddr, outpost: SocketAddr, shape: Shape) -> String {
    let work = work.display();
    let (mut copy, mut echo) = (String::new(), String::new());
    for name in COPIED {
        write!(
            copy,
            "auth_request_set $ak_{name} $upstream_http_x_authentik_{name};
             proxy_set_header X-authentik-{name} $ak_{name};\n"
        )
        .expect("a string");
        write!(echo, "{name}=$http_x_authentik_{name};").expect("a string");
    }
    let ask = match shape {
        Shape::Standalone => "proxy_set_header Host $host;".to_owned(),
        Shape::Ingress => format!("proxy_set_header Host {outpost};"),
        Shape::IngressForwardedHost => format!(
            "proxy_set_header Host {outpost}; proxy_set_header X-Forwarded-Host $http_host;"
        ),
    };
    format!(
        "daemon off; master_process off; pid {work}/nginx.pid; error_log {work}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/f;
  uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
  server {{
    listen unix:{work}/app.sock;
    location / {{
      default_type text/html;
      return 200 '<!doctype html><title>the application</title><h1 id=\"page\">$request_uri</h1><p id=\"who\">{echo}</p>';
    }}
  }}
  server {{
    listen {address};
    proxy_buffers 8 16k; proxy_buffer_size 32k;
    location / {{
      auth_request /ask;
      error_page 401 = @sign_in;
      {copy}
      proxy_pass http://unix:{work}/app.sock;
    }}
    location = /ask {{
      internal;
      proxy_pass http://{outpost}/outpost.goauthentik.io/auth/nginx;
      {ask}
      proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
      proxy_pass_request_body off; proxy_set_header Content-Length '';
    }}
    location /outpost.goauthentik.io {{
      proxy_pass http://{outpost}; proxy_set_header Host $http_host;
    }}
    location @sign_in {{
      internal;
      return 302 /outpost.goauthentik.io/start?rd=$scheme://$http_host$request_uri;
    }}
  }}
}}"
    )
}

#[tokio::test]
async fn signs_in_through_nginx_in_every_shape_and_is_out_when_the_session_ends() {
    for shape in [
        Shape::Standalone,
        Shape::Ingress,
        Shape::IngressForwardedHost,
    ] {
        let address = free_address();
        let host = format!("grafana.localhost:{}", address.port());
        let authentik = Standin::builder().start().await.expect("started");
        let world = World::beside(
            authentik,
            vec![
                Provider::forward_single("grafana", &format!("http://{host}")),
                Provider::forward_single("other", "http://other.localhost"),
            ],
            &[],
        )
        .await;
        let nginx = Nginx::start(address, world.address(), shape).await;
        let page = "/d/x%2Fy?orgId=1&var=%20a+b";
        let mut browser = Browser::default();

        // Sent to sign in …
        let answer = get(nginx.address, page, &host, &[]).await;
        assert_eq!(answer.status(), 302);
        let start = location(&answer);
        let start = start
            .strip_prefix(&format!("http://{host}"))
            .unwrap_or(&start);
        let start = start
            .split_once("/outpost")
            .map_or(start, |(before, _)| &start[before.len()..]);
        let answer = get(nginx.address, start, &host, &[]).await;
        browser.keep(&host, answer.headers());
        let callback = Browser::authorize(&world, &location(&answer));
        let answer = get(
            nginx.address,
            &callback,
            &host,
            &[("cookie", &browser.cookies(&host))],
        )
        .await;
        browser.keep(&host, answer.headers());
        assert_eq!(
            location(&answer),
            format!("http://{host}{page}"),
            "byte for byte"
        );

        // … let through with identity headers, whatever the client claims …
        let cookies = browser.cookies(&host);
        let forged = [
            ("cookie", cookies.as_str()),
            ("x-authentik-groups", "forged"),
        ];
        let answer = get(nginx.address, page, &host, &forged).await;
        assert_eq!(answer.status(), 200);
        let body = text(&answer);
        assert!(
            body.contains("username=alice;groups=admins|users;entitlements=;"),
            "{body}"
        );

        // … and out as soon as the session ends at authentik.
        world.authentik.end_sessions_of("alice");
        world.until(|world| world.outpost.store().is_empty()).await;
        assert_eq!(get(nginx.address, page, &host, &forged).await.status(), 302);
        nginx.stop().await;
    }
}
