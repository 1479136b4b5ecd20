//! `--watch`: what changes in the cluster arrives at authentik, and a signal ends it.

use std::path::PathBuf;
use std::process::Stdio;

use authentik_standin::{Endpoint, Fault};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::cluster;
use crate::objects::service;
use crate::{GRAFANA, OUTPOST_TOKEN, TOKEN, World, within};

const NEW_TOKEN: &str = "new-admin-token-0123456789";

/// The command, running.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    all: Vec<String>,
}

impl Watching {
    fn start(world: &World, arguments: &[&str]) -> Self {
        Self::of(world.command(arguments))
    }

    fn of(mut command: Command) -> Self {
        let command = command
            .arg("--watch")
            .env("AUTHENTIK_LOG_LEVEL", "trace")
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self {
            child,
            lines,
            all: Vec::new(),
        }
    }

    /// Waits for a line with this message.
    async fn until(&mut self, text: &str) -> Value {
        within(async {
            loop {
                let line = self.lines.next_line().await.expect("text");
                let line =
                    line.unwrap_or_else(|| panic!("it ended without {text}: {:#?}", self.all));
                let json: Value = serde_json::from_str(&line).expect("every line is JSON");
                self.all.push(line);
                if json["event"]
                    .as_str()
                    .is_some_and(|event| event.contains(text))
                {
                    return json;
                }
            }
        })
        .await
    }

    /// Asks it to stop, and expects that it does so in peace.
    async fn stop(mut self) -> Vec<String> {
        let id = i32::try_from(self.child.id().expect("it runs")).expect("process ids are small");
        signal::kill(Pid::from_raw(id), Signal::SIGTERM).expect("it is ours");
        while let Some(line) = within(self.lines.next_line()).await.expect("text") {
            self.all.push(line);
        }
        let status = within(self.child.wait()).await.expect("it ends");
        assert_eq!(status.code(), Some(0));
        for line in &self.all {
            for secret in [TOKEN, NEW_TOKEN, OUTPOST_TOKEN, cluster::TOKEN] {
                assert!(!line.contains(secret), "{line}");
            }
        }
        self.all
    }
}

/// Applications, and how many were refused; changes, and how many failed.
fn counts(line: &Value) -> [u64; 4] {
    ["applications", "refused", "done", "failed"].map(|name| {
        line[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name} in {line}"))
    })
}

#[tokio::test]
async fn what_happens_in_the_cluster_arrives_at_authentik() {
    let world = World::new().await;
    world.cluster.put(service("monitoring", "grafana", &[]));
    let mut watching = Watching::start(&world, &["--apply", "--prune"]);
    let line = watching.until("discovery is through").await;
    assert_eq!(line["level"], "info");
    // Provider, application, assignment.
    assert_eq!(counts(&line), [1, 0, 3, 0], "{line}");
    world.provider(GRAFANA);
    within(world.cluster.wait_watches(2)).await;

    world.cluster.put(service("apps", "wiki", &[]));
    watching.until("to the outpost").await;
    watching.until("discovery is through").await;
    assert_eq!(world.slugs(), ["grafana", "wiki"]);

    world.cluster.remove("grafana");
    watching.until("delete: application").await;
    watching.until("discovery is through").await;
    assert_eq!(world.slugs(), ["wiki"]);

    // The server forgets: the watch lists anew, and goes on from there.
    world.cluster.expire();
    within(world.cluster.wait_watches(4)).await;
    world.cluster.put(service("apps", "notes", &[]));
    watching
        .until("create: provider: https://notes.home.example")
        .await;
    watching.until("discovery is through").await;
    assert_eq!(world.slugs(), ["notes", "wiki"]);
    watching.stop().await;
}

#[tokio::test]
async fn without_apply_it_only_tells() {
    let world = World::new().await;
    world.cluster.put(service("monitoring", "grafana", &[]));
    let mut watching = Watching::start(&world, &[]);
    watching.until("create: application").await;
    watching.until("nothing is changed without --apply").await;
    watching.stop().await;
    assert_eq!(world.writes(), [""; 0]);
}

#[tokio::test]
async fn a_refusal_is_told_and_awaited_without_haste() {
    let world = World::new().await;
    world.cluster.deny("ingresses");
    let mut watching = Watching::start(&world, &["--apply"]);
    let line = watching.until("resources [ingresses]").await;
    assert!(
        line["level"] == "error" || line["level"] == "warning",
        "{line}"
    );
    watching.stop().await;
}

#[tokio::test]
async fn what_authentik_refuses_is_tried_again_only_when_its_object_changes() {
    let world = World::with_a_slug_that_authentik_refuses().await;
    let mut watching = Watching::start(&world, &["--apply"]);
    watching.until("no more than 50 characters").await;
    let line = watching.until("through, with failures").await;
    assert_eq!(counts(&line), [1, 0, 0, 1], "{line}");
    let attempts = || {
        let writes = world.writes().into_iter();
        let posts = writes.filter(|write| write.starts_with("POST"));
        posts.collect::<Vec<_>>()
    };
    assert_eq!(attempts().len(), 2, "provider and application");

    let line = watching.until("tried again when the object changes").await;
    assert_eq!(line["level"], "error", "{line}");
    let line = watching.until("through, with failures").await;
    assert_eq!(counts(&line), [1, 0, 0, 1], "{line}");
    assert_eq!(attempts().len(), 2, "{:?}", attempts());

    world.cluster.put(service("apps", "long", &[]));
    watching.until("discovery is through").await;
    assert_eq!(world.slugs(), ["long"]);
    watching.stop().await;
}

#[tokio::test]
async fn a_look_that_fails_is_told_with_its_counts_and_made_again() {
    let world = World::new().await;
    world.cluster.put(service("apps", "wiki", &[]));
    world
        .cluster
        .put(service("monitoring", "grafana", &[("internal-port", "81")]));
    world
        .authentik
        .deny_admin("authentik_providers_proxy.add_proxyprovider");
    let mut watching = Watching::start(&world, &["--apply"]);
    let line = watching.until("through, with failures").await;
    assert_eq!(line["level"], "warning");
    assert_eq!(counts(&line), [2, 1, 0, 1], "{line}");

    world.authentik.allow_admin();
    watching.until("discovery is through").await;
    assert_eq!(world.slugs(), ["wiki"]);
    watching.stop().await;
}

#[tokio::test]
async fn a_renamed_object_keeps_its_application() {
    let world = World::furnished().await;
    let mut watching = Watching::start(&world, &["--apply", "--prune"]);
    watching.until("discovery is through").await;
    within(world.cluster.wait_watches(2)).await;
    world.cluster.remove("longhorn");
    world.cluster.put(service("storage", "longhorn", &[]));
    let line = watching.until("adopt: what service").await;
    assert_eq!(line["source"], "service storage/longhorn", "{line}");
    let line = watching.until("discovery is through").await;
    assert_eq!(counts(&line), [2, 0, 1, 0], "{line}");
    watching.stop().await;
    let writes = world.writes();
    assert!(
        matches!(&writes[..], [write] if write.starts_with("PATCH ")),
        "{writes:?}"
    );
}

#[tokio::test]
async fn what_a_look_makes_free_is_had_soon() {
    let world = World::furnished().await;
    let mut watching = Watching::start(&world, &["--apply"]);
    // The watches list what is there before or after the first look: one more look, or none.
    watching.until("discovery is through").await;
    within(world.cluster.wait_watches(2)).await;
    world
        .cluster
        .put(service("monitoring", "grafana", &[("slug", "graphs")]));
    let annotations = [("slug", "grafana")];
    world.cluster.put(service("apps", "other", &annotations));
    let line = watching.until("which asks for something else now").await;
    assert_eq!(line["level"], "warning", "{line}");
    let line = watching.until("discovery is through").await;
    let [applications, refused, _, failed] = counts(&line);
    assert_eq!([applications, refused, failed], [3, 1, 0], "{line}");
    // Long before the interval is over.
    let line = loop {
        let line = watching.until("discovery is through").await;
        if counts(&line)[1] == 0 {
            break line;
        }
    };
    assert_eq!(counts(&line), [3, 0, 3, 0], "{line}");
    assert_eq!(world.slugs(), ["grafana", "graphs", "longhorn"]);
    watching.stop().await;
}

#[tokio::test]
async fn a_missing_right_to_watch_is_logged_once_and_the_interval_goes_on() {
    let world = World::new().await;
    world.cluster.put(service("apps", "wiki", &[]));
    world.cluster.deny("watch");
    let mut watching = Watching::start(&world, &["--apply"]);
    watching.until("does not permit to watch services").await;
    watching.until("discovery is through").await;
    // Several attempts each.
    within(world.cluster.wait_watches(6)).await;
    let all = watching.stop().await;
    for (text, expected) in [("watch services", 1), ("watch ingresses", 1)] {
        let found = all.iter().filter(|line| line.contains(text)).count();
        assert_eq!(found, expected, "{text} in {all:#?}");
    }
    assert!(
        !all.iter().any(|line| line.contains("\"logger\":\"kube")),
        "{all:#?}"
    );
    assert_eq!(world.slugs(), ["wiki"]);
}

/// The command with its token in a file, after its first look, and the file.
async fn with_token_file(world: &World) -> (Watching, TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("token");
    std::fs::write(&path, TOKEN).expect("written");
    let mut command = world.command(&["--apply"]);
    let reference = format!("file://{}", path.display());
    command.env("AUTHENTIK_PROXY_DISCOVER__TOKEN", reference);
    let mut watching = Watching::of(command);
    watching.until("discovery is through").await;
    within(world.cluster.wait_watches(2)).await;
    (watching, directory, path)
}

#[tokio::test]
async fn another_token_in_the_file_is_used() {
    let world = World::new().await;
    let (mut watching, _directory, path) = with_token_file(&world).await;
    world.authentik.rotate_admin_token(NEW_TOKEN);
    world.cluster.put(service("apps", "wiki", &[]));
    let line = watching.until("discovery failed").await;
    let event = line["event"].as_str().expect("text");
    assert!(event.contains("refuses the token"), "{event}");

    std::fs::write(&path, "two words").expect("written");
    watching.until("cannot be reloaded").await;
    std::fs::write(&path, NEW_TOKEN).expect("written");
    let line = watching.until("configuration reloaded").await;
    assert_eq!(line["applied"], "discover.token", "{line}");
    watching.until("discovery is through").await;
    assert_eq!(world.slugs(), ["wiki"]);
    watching.stop().await;
}

#[tokio::test]
async fn a_token_that_is_refused_is_read_at_once() {
    let world = World::new().await;
    let (mut watching, _directory, path) = with_token_file(&world).await;
    // Files are not looked at while it waits for an answer.
    world.authentik.clear_requests();
    world.authentik.fault(Endpoint::Outposts, Fault::Hang);
    world.cluster.put(service("apps", "wiki", &[]));
    let asked = world
        .authentik
        .wait_requests(1, |request| request.path.ends_with("/outposts/instances/"));
    within(asked).await;
    world.authentik.rotate_admin_token(NEW_TOKEN);
    std::fs::write(&path, NEW_TOKEN).expect("written");
    world.authentik.clear_faults();
    watching.until("configuration reloaded").await;
    watching.until("discovery is through").await;
    assert_eq!(world.slugs(), ["wiki"]);
    let all = watching.stop().await;
    let failed = all.iter().filter(|line| line.contains("discovery failed"));
    assert_eq!(failed.count(), 0, "{all:#?}");
}
