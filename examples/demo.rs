//! Shows the main job: seven small applications behind nginx, a stand-in authentik, the outpost.
//!
//! `cargo run --release --example demo`; one Ctrl-C stops everything. Needs no root, no network
//! and no Redis. Without nginx the outpost's own port can be looked at.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use authentik_proxy::app::App;
use authentik_proxy::config::Config;
use authentik_proxy::telemetry::log;
use authentik_standin::{Provider, Standin, User};
use tokio::process::{Child, Command};

const APPLICATIONS: [&str; 7] = [
    "longhorn",
    "grafana",
    "prometheus",
    "alertmanager",
    "hubble",
    "dashboard",
    "homeassistant",
];

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let front = free_address()?;
    let authentik = Standin::builder().log_level("info").start().await?;
    for name in APPLICATIONS {
        authentik.add_provider(Provider::forward_single(name, &external(name, front)));
    }
    for (name, groups) in [
        ("alice", ["admins", "users"].as_slice()),
        ("bob", &["users"]),
    ] {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        authentik.add_user(User {
            groups,
            ..User::new(name, &format!("{name}-pass-1"))
        });
    }
    let (host, token) = (authentik.url().to_string(), authentik.token());
    let config = Config::from_pairs([
        ("AUTHENTIK_HOST", host.as_str()),
        ("AUTHENTIK_TOKEN", token.as_str()),
        ("AUTHENTIK_LISTEN__HTTP", "127.0.0.1:0"),
        ("AUTHENTIK_LISTEN__METRICS", "127.0.0.1:0"),
        ("AUTHENTIK_PROXY_CONTROL__REFRESH_JITTER", "0"),
        ("AUTHENTIK_PROXY_SHUTDOWN__DELAY", "0"),
    ])?;
    let outpost = App::start(&config, log::init("info")).await?;
    authentik.wait_websocket().await;
    let address = outpost.http_addresses()[0];

    let work = tempfile::tempdir()?;
    let nginx = start_nginx(work.path(), front, address)?;
    introduce(
        front,
        address,
        outpost.metrics_addresses()[0],
        nginx.is_some(),
        &host,
    )?;
    tokio::signal::ctrl_c().await?;
    if let Some(mut nginx) = nginx {
        nginx.kill().await?;
    }
    outpost.stop().await;
    authentik.shutdown().await;
    Ok(())
}

fn introduce(
    front: SocketAddr,
    outpost: SocketAddr,
    metrics: SocketAddr,
    nginx: bool,
    authentik: &str,
) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if nginx {
        writeln!(
            out,
            "\nOpen one of these and sign in as alice (alice-pass-1) or bob (bob-pass-1):\n"
        )?;
        for name in APPLICATIONS {
            writeln!(out, "  {}/", external(name, front))?;
        }
    } else {
        writeln!(
            out,
            "\nnginx is not installed (Debian: apt-get install nginx-light), so there is no"
        )?;
        writeln!(
            out,
            "application to open; ask the outpost itself, as nginx would:\n"
        )?;
        let url = external("grafana", front);
        let target = "outpost.goauthentik.io/auth/nginx";
        writeln!(
            out,
            "  curl -i http://{outpost}/{target} -H 'X-Original-URL: {url}/'"
        )?;
    }
    writeln!(
        out,
        "\nOutpost http://{outpost}, metrics http://{metrics}/metrics"
    )?;
    writeln!(
        out,
        "End your session at authentik: {authentik}flows/-/default/invalidation/"
    )?;
    writeln!(out, "Ctrl-C stops everything.\n")
}

fn external(name: &str, front: SocketAddr) -> String {
    format!("http://{name}.localhost:{}", front.port())
}

/// A free port on loopback, since nginx cannot say which one it took.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// nginx with the seven applications, or `None` if it is not installed.
fn start_nginx(
    work: &Path,
    front: SocketAddr,
    outpost: SocketAddr,
) -> Result<Option<Child>, Failure> {
    let config = work.join("nginx.conf");
    std::fs::write(&config, configuration(work, front, outpost)?)?;
    let path = std::env::var("PATH").unwrap_or_default();
    let started = Command::new("nginx")
        .arg("-c")
        .arg(&config)
        .env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    match started {
        Ok(child) => Ok(Some(child)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn configuration(work: &Path, front: SocketAddr, outpost: SocketAddr) -> Result<String, Failure> {
    let work = work.display();
    let (mut copy, mut rows) = (String::new(), String::new());
    for name in ["username", "groups", "email", "name", "uid"] {
        writeln!(
            copy,
            "auth_request_set $ak_{name} $upstream_http_x_authentik_{name};"
        )?;
        writeln!(copy, "proxy_set_header X-authentik-{name} $ak_{name};")?;
        write!(rows, "<tr><th>{name}<td>$http_x_authentik_{name}")?;
    }
    Ok(format!(
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
      return 200 '<!doctype html><meta name=viewport content=\"width=device-width\"><title>$host</title><body style=\"font:1rem/1.5 system-ui;margin:3rem auto;max-width:40rem;padding:0 1rem;color-scheme:light dark\"><h1>$host</h1><p>You asked for $request_uri. The application sees:<table>{rows}</table><p><a href=\"/outpost.goauthentik.io/sign_out\">Sign out</a>';
    }}
  }}
  server {{
    listen {front};
    proxy_buffers 8 16k; proxy_buffer_size 32k;
    location / {{
      auth_request /ask;
      error_page 401 = @sign_in;
      {copy}
      proxy_set_header Host $host;
      proxy_pass http://unix:{work}/app.sock;
    }}
    location = /ask {{
      internal;
      proxy_pass http://{outpost}/outpost.goauthentik.io/auth/nginx;
      proxy_set_header Host $host;
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
    ))
}
