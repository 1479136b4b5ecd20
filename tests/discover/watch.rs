//! `--watch`: what changes in the cluster arrives at authentik, and a signal ends it.

use std::process::Stdio;

use authentik_standin::{Dialect, Endpoint, Fault};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::cluster;
use crate::objects::service;
use crate::{GRAFANA, OUTPOST_TOKEN, TOKEN, World, within};

/// The command, running.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    all: Vec<String>,
}

impl Watching {
    fn start(world: &World, arguments: &[&str]) -> Self {
        let mut command = world.command(arguments);
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
            for secret in [TOKEN, OUTPOST_TOKEN, cluster::TOKEN] {
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
    let world = World::of(Dialect::V2025_6).await;
    // So that the limit is not known.
    world.authentik.fault(Endpoint::Version, Fault::Html);
    let slug = "s".repeat(60);
    world
        .cluster
        .put(service("apps", "long", &[("slug", &slug)]));
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
