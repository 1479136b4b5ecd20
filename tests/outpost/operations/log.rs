//! The log and its reader.

use std::process::Stdio;

use authentik_standin::Standin;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::process::command;
use crate::support::{get, settings, within};

/// Requests whose log lines are more than a pipe holds (64 KiB).
const REQUESTS: usize = 100;

#[tokio::test]
async fn requests_do_not_wait_for_a_stalled_reader_of_the_log() {
    let authentik = Standin::builder().start().await.expect("started");
    let mut program = command(&[])
        .envs(settings(&authentik, &[]))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let output = program.stdout.take().expect("it is piped");
    // Reads no further than it is asked to.
    let mut output = BufReader::with_capacity(512, output).lines();
    let mut next = async move || -> Option<Value> {
        let line = within(output.next_line()).await.expect("text")?;
        Some(serde_json::from_str(&line).expect("every line is JSON"))
    };
    let (http, metrics) = loop {
        let line = next().await.expect("the program runs");
        if line["event"] == "authentik-proxy is listening" {
            let address = |field: &str| {
                let address = line[field].as_str().expect("text");
                address
                    .trim_matches(['[', ']'])
                    .parse()
                    .expect("an address")
            };
            break (address("http"), address("metrics"));
        }
    };
    let paths: Vec<_> = (0..REQUESTS)
        .map(|number| format!("/{number:02000}"))
        .collect();
    for path in &paths {
        get(http, path, "unknown.test", &[]).await;
    }
    let scrape = get(metrics, "/metrics", "x", &[]).await.into_body();
    let scrape = String::from_utf8(scrape.to_vec()).expect("text");
    assert!(scrape.contains("\nauthentik_outpost_log_lines_lost_total 0\n"));
    // The reader goes on while the program stops.
    let id = program.id().expect("it runs");
    let id = Pid::from_raw(i32::try_from(id).expect("process ids are small"));
    signal::kill(id, Signal::SIGTERM).expect("sent");
    let (mut logged, mut last) = (Vec::new(), Value::Null);
    while let Some(line) = next().await {
        if line["logger"] == "authentik_proxy.access" {
            logged.push(line["event"].as_str().expect("a path").to_owned());
        }
        last = line["event"].clone();
    }
    assert!(logged == paths, "every line, in order");
    assert_eq!(last, "stopping, a second signal stops at once");
    let status = within(program.wait()).await.expect("it ends");
    assert_eq!(status.code(), Some(0));
}
