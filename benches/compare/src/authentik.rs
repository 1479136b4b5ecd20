//! The stand-in for authentik, which makes sessions on demand: it reads one command per line, a JSON
//! object, and answers each with a line.

use std::net::SocketAddr;

use authentik_standin::{Provider, Signing, Standin};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::{Failure, sessions};

/// Hosts of the applications: behind forward auth, behind mode `proxy`, and behind an outpost that
/// needs tokens signed with a public key.
const CHECKED: &str = "grafana.localhost";
const PROXIED: &str = "app.localhost";
const OTHER: &str = "other.localhost";
/// Sign-ins need a user each, as sessions do: see [`sessions::user`].
const FIRST: &str = "user-0";
/// Seconds; no session ends while it is measured.
const VALIDITY: f64 = 86_400.0;

/// Runs until standard input ends. The log level takes precedence over the outpost's own.
pub(crate) async fn run(application: SocketAddr, log_level: &str) -> Result<(), Failure> {
    let authentik = Standin::builder().log_level(log_level).start().await?;
    let internal = format!("http://{application}");
    let valid = |provider| Provider {
        access_token_validity: Some(VALIDITY),
        ..provider
    };
    let checked = valid(Provider::forward_single(
        "grafana",
        &format!("http://{CHECKED}"),
    ));
    let client_id = checked.client_id.clone();
    let proxied = valid(Provider::proxy(
        "app",
        &format!("http://{PROXIED}"),
        &internal,
    ));
    let other = Provider {
        signing: Signing::Rs256,
        ..valid(Provider::forward_single(
            "other",
            &format!("http://{OTHER}"),
        ))
    };
    println!(
        "{}",
        json!({
            "url": authentik.url().as_str(),
            "token": authentik.token(),
            "hosts": {"checked": CHECKED, "proxied": PROXIED, "other": OTHER},
            "other": {"client_id": other.client_id, "client_secret": other.client_secret, "slug": other.slug},
        })
    );
    for provider in [checked, proxied, other] {
        authentik.add_provider(provider);
    }
    authentik.add_user(sessions::user(FIRST));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let command: Value = serde_json::from_str(&line)?;
        println!("{}", obey(&authentik, &client_id, &command).await?);
    }
    Ok(())
}

async fn obey(authentik: &Standin, client_id: &str, command: &Value) -> Result<Value, Failure> {
    let text = |name: &str| {
        command[name]
            .as_str()
            .ok_or_else(|| format!("no {name} in {command}"))
    };
    let count = usize::try_from(command["count"].as_u64().unwrap_or(1))?;
    match text("do")? {
        "sign_in" => {
            let (outpost, host) = (text("outpost")?.parse()?, text("host")?);
            let mut cookie = String::new();
            for _ in 0..count {
                cookie = crate::common::sign_in(authentik, outpost, host, FIRST).await;
            }
            Ok(json!({"cookie": cookie}))
        }
        "sessions" => {
            let (outpost, file) = (text("outpost")?.parse()?, text("file")?);
            let first = usize::try_from(command["first"].as_u64().unwrap_or(0))?;
            let numbers = first..first + count;
            let made = sessions::make(authentik, client_id, outpost, CHECKED, numbers).await?;
            std::fs::write(file, made.cookies.join("\n"))?;
            Ok(json!({"count": made.cookies.len(), "token_bytes": made.token_bytes}))
        }
        other => Err(format!("unknown: {other}").into()),
    }
}
