//! Shows the main job: six small applications behind nginx, one behind the outpost itself, a
//! stand-in authentik, the outpost.
//!
//! `cargo run --release --example demo`; one Ctrl-C stops everything. Needs no root, no network
//! and no Redis. Without nginx the outpost's own port can be looked at.

use std::io::Write as _;
use std::net::SocketAddr;

use authentik_proxy::app::App;
use authentik_proxy::config::Config;
use authentik_proxy::telemetry::log;
use authentik_standin::nginx::{Nginx, Shape, free_address};
use authentik_standin::{Provider, Standin, User};
use http::{HeaderMap, Uri};

/// Behind nginx, which asks the outpost.
const APPLICATIONS: [&str; 6] = [
    "longhorn",
    "grafana",
    "prometheus",
    "alertmanager",
    "hubble",
    "dashboard",
];
/// Behind the outpost itself, in mode `proxy`.
const PROXIED: &str = "homeassistant";

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let (front, address) = (free_address()?, free_address()?);
    let authentik = Standin::builder().log_level("info").start().await?;
    for name in APPLICATIONS {
        authentik.add_provider(Provider::forward_single(name, &external(name, front)));
    }
    let internal = format!("http://{}", application().await?);
    authentik.add_provider(Provider::proxy(
        PROXIED,
        &external(PROXIED, address),
        &internal,
    ));
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
    let listen = address.to_string();
    let config = Config::from_pairs([
        ("AUTHENTIK_HOST", host.as_str()),
        ("AUTHENTIK_TOKEN", token.as_str()),
        ("AUTHENTIK_LISTEN__HTTP", listen.as_str()),
        ("AUTHENTIK_LISTEN__HTTPS", "127.0.0.1:0"),
        ("AUTHENTIK_LISTEN__METRICS", "127.0.0.1:0"),
        ("AUTHENTIK_PROXY_CONTROL__REFRESH_JITTER", "0"),
        ("AUTHENTIK_PROXY_SHUTDOWN__DELAY", "0"),
    ])?;
    let outpost = App::start(&config, log::init("info")).await?;
    authentik.wait_websocket().await;

    let nginx = match Nginx::start(front, address, Shape::Standalone).await {
        Ok(nginx) => Some(nginx),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    introduce(
        front,
        address,
        outpost.metrics_addresses()[0],
        nginx.is_some(),
        &host,
    )?;
    tokio::signal::ctrl_c().await?;
    if let Some(nginx) = nginx {
        nginx.stop().await?;
    }
    outpost.stop().await;
    authentik.shutdown().await;
    Ok(())
}

/// A page that shows what an application is told.
async fn application() -> std::io::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let page = async |uri: Uri, headers: HeaderMap| {
        let mut text = format!("You asked for {uri}. The application sees:\n\n");
        for (name, value) in &headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            // The token is nothing to show.
            if name != "x-authentik-jwt" {
                text.extend([name.as_str(), ": ", &value, "\n"]);
            }
        }
        text
    };
    let router = axum::Router::new().fallback(page);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
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
        writeln!(
            out,
            "  {}/  (passed on by the outpost itself)",
            external(PROXIED, outpost)
        )?;
    } else {
        writeln!(
            out,
            "\nnginx is not installed (Debian: apt-get install nginx-light), so there is only"
        )?;
        writeln!(
            out,
            "one application to open, as alice (alice-pass-1): {}/\nAsk the outpost about another, as nginx would:\n",
            external(PROXIED, outpost)
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
