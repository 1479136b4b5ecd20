//! `authentik-proxy discover`, as an operator runs it, between a stand-in for Kubernetes and one
//! for authentik.

mod adoption;
mod cluster;
mod failures;
mod many;
mod objects;
mod ports;
mod proxies;
mod watch;

use std::time::Duration;

use authentik_standin::{Dialect, Endpoint, Fault, Standin};
use serde_json::Value;
use tokio::process::Command;

use cluster::Cluster;
use objects::{ingress, service};

const TOKEN: &str = "admin-token-0123456789";
const OUTPOST_TOKEN: &str = "outpost-token-0123456789";

/// A cluster and an authentik.
struct World {
    cluster: Cluster,
    authentik: Standin,
}

/// What a run said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    complaints: String,
}

impl World {
    async fn new() -> Self {
        Self::of(Dialect::default()).await
    }

    /// A world with this version of authentik.
    async fn of(dialect: Dialect) -> Self {
        let authentik = Standin::builder().token(OUTPOST_TOKEN).dialect(dialect);
        let authentik = authentik.start().await;
        let authentik = authentik.expect("the stand-in starts");
        authentik.admit_admin(TOKEN);
        Self {
            cluster: Cluster::start().await,
            authentik,
        }
    }

    /// A world with a Service whose slug is too long, which only authentik can tell.
    async fn with_a_slug_that_authentik_refuses() -> Self {
        let world = Self::of(Dialect::V2025_6).await;
        // So that the limit is not known.
        world.authentik.fault(Endpoint::Version, Fault::Html);
        let slug = "s".repeat(60);
        let long = service("apps", "long", &[("slug", &slug)]);
        world.cluster.put(long);
        world
    }

    /// A world with grafana and longhorn, which have been created.
    async fn furnished() -> Self {
        let world = Self::new().await;
        world.cluster.put(service("monitoring", "grafana", &[]));
        world
            .cluster
            .put(service("longhorn-system", "longhorn", &[]));
        let said = world.run(&["--apply"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        world.authentik.clear_requests();
        world
    }

    /// The command, with nothing in its environment that would decide for the test.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_authentik-proxy"));
        command
            .arg("discover")
            .args(arguments)
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("KUBECONFIG", self.cluster.kubeconfig())
            .env("AUTHENTIK_HOST", self.authentik.url().as_str())
            .env("AUTHENTIK_PROXY_DISCOVER__TOKEN", TOKEN)
            .kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        finish(self.command(arguments)).await
    }

    /// Requests that change something at authentik.
    fn writes(&self) -> Vec<String> {
        let requests = self.authentik.requests().into_iter();
        let writes = requests.filter(|request| request.method != "GET");
        writes
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }

    fn provider(&self, name: &str) -> Value {
        let providers = self.authentik.admin_providers();
        let found = providers.iter().find(|provider| provider["name"] == name);
        found
            .cloned()
            .unwrap_or_else(|| panic!("no {name} in {providers:?}"))
    }

    fn slugs(&self) -> Vec<String> {
        let applications = self.authentik.admin_applications();
        let slugs = applications
            .iter()
            .map(|a| a["slug"].as_str().expect("a slug").to_owned());
        slugs.collect()
    }
}

async fn finish(mut command: Command) -> Said {
    let output = within(command.output()).await.expect("the program runs");
    let said = Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        complaints: String::from_utf8(output.stderr).expect("text"),
    };
    for secret in [TOKEN, OUTPOST_TOKEN, cluster::TOKEN] {
        let shown = said.out.contains(secret) || said.complaints.contains(secret);
        assert!(!shown, "a secret in {said:?}");
    }
    said
}

/// Waits for what should happen soon; longer than that, it never will.
async fn within<T>(awaited: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), awaited)
        .await
        .expect("it happens in time")
}

const GRAFANA: &str = "grafana (authentik-proxy: service monitoring/grafana)";
const LONGHORN: &str = "longhorn (authentik-proxy: service longhorn-system/longhorn)";

#[tokio::test]
async fn a_plan_changes_nothing() {
    let world = World::new().await;
    world.cluster.put(service("monitoring", "grafana", &[]));
    world.cluster.put(ingress("apps", "wiki"));
    for arguments in [&[][..], &["--dry-run"], &["--prune"]] {
        let said = world.run(arguments).await;
        assert_eq!((said.code, said.complaints.as_str()), (Some(0), ""));
        let expected = "\
create   grafana  service monitoring/grafana  provider: https://grafana.home.example -> http://grafana.monitoring.svc.cluster.local:80
create   grafana  service monitoring/grafana  application: \"grafana\"
assign   grafana  service monitoring/grafana  to the outpost \"standin-outpost\"
create   wiki     ingress apps/wiki           provider: https://wiki.home.example, forward auth
create   wiki     ingress apps/wiki           application: \"By Ingress\"
assign   wiki     ingress apps/wiki           to the outpost \"standin-outpost\"
2 applications: 2 to change, 0 up to date, 0 refused, 0 orphaned
nothing was changed; --apply makes the changes
";
        assert_eq!(said.out, expected);
    }
    let said = world.run(&["--json"]).await;
    let json: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(json["items"][0]["verdict"]["change"][0], "create_provider");
    assert_eq!(json["items"][1]["source"]["kind"], "ingress");
    assert_eq!(world.writes(), [""; 0]);
}

#[tokio::test]
async fn what_is_missing_is_created_once() {
    let world = World::new().await;
    let annotations = [
        ("service-name", "Grafana"),
        ("description", "Graphs"),
        ("publisher", "Home"),
        ("internal-port", "http"),
    ];
    world
        .cluster
        .put(service("monitoring", "grafana", &annotations));
    world.cluster.put(ingress("apps", "wiki"));
    let said = world.run(&["--apply"]).await;
    assert_eq!(
        (said.code, said.complaints.as_str()),
        (Some(0), ""),
        "{said:?}"
    );
    assert!(
        said.out.ends_with("6 changes made, 0 failed\n"),
        "{}",
        said.out
    );

    let provider = world.provider(GRAFANA);
    assert_eq!(provider["external_host"], "https://grafana.home.example");
    assert_eq!(
        provider["internal_host"],
        "http://grafana.monitoring.svc.cluster.local:80"
    );
    assert_eq!(provider["mode"], "proxy");
    assert!(
        provider["authorization_flow"].is_string() && provider["invalidation_flow"].is_string()
    );
    let wiki = world.provider("wiki (authentik-proxy: ingress apps/wiki)");
    assert_eq!(
        (&wiki["mode"], &wiki["internal_host"]),
        (&"forward_single".into(), &"".into())
    );
    let application = &world.authentik.admin_applications()[0];
    assert_eq!(application["name"], "Grafana");
    assert_eq!(application["meta_description"], "Graphs");
    assert_eq!(application["meta_publisher"], "Home");
    assert_eq!(application["provider"], provider["pk"]);
    assert_eq!(
        world.authentik.admin_assigned(),
        [vec![1, 2], vec![]].map(sorted)
    );

    world.authentik.clear_requests();
    let said = world.run(&["--apply", "--prune"]).await;
    assert_eq!(said.code, Some(0));
    assert!(said.out.contains("ok       grafana"), "{}", said.out);
    assert!(
        said.out.ends_with("0 changes made, 0 failed\n"),
        "{}",
        said.out
    );
    assert_eq!(world.writes(), [""; 0]);
}

fn sorted(mut list: Vec<i64>) -> Vec<i64> {
    list.sort_unstable();
    list
}

#[tokio::test]
async fn a_changed_annotation_changes_its_field_and_nothing_else() {
    let world = World::furnished().await;
    let before = world.provider(GRAFANA);
    let annotations = [
        ("slug", "graphs"),
        ("skip-path-regex", "^/public/"),
        ("mode", "forward_single"),
    ];
    world
        .cluster
        .put(service("monitoring", "grafana", &annotations));
    let said = world.run(&["--apply"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    for expected in [
        "update   graphs    service monitoring/grafana        provider: name ",
        "skip_path_regex \"\" -> \"^/public/\"",
        "mode \"proxy\" -> \"forward_single\"",
        "application: slug \"grafana\" -> \"graphs\"",
    ] {
        assert!(said.out.contains(expected), "{expected} in {}", said.out);
    }
    let mut after = world.provider("graphs (authentik-proxy: service monitoring/grafana)");
    assert_eq!(after["skip_path_regex"], "^/public/");
    for field in [
        "name",
        "skip_path_regex",
        "mode",
        "internal_host",
        "assigned_application_slug",
    ] {
        after[field] = before[field].clone();
    }
    assert_eq!(after, before);
    assert_eq!(world.slugs(), ["graphs", "longhorn"]);
    assert_eq!(world.writes().len(), 2, "{:?}", world.writes());
}

#[tokio::test]
async fn what_is_no_longer_labelled_is_deleted_only_when_asked() {
    let world = World::furnished().await;
    world.cluster.remove("grafana");
    let said = world.run(&["--apply"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("orphan   grafana"), "{}", said.out);
    assert_eq!(world.writes(), [""; 0]);

    // Who looks elsewhere sees no orphan.
    let said = world
        .run(&["--apply", "--prune", "--namespace", "longhorn-system"])
        .await;
    assert!(said.out.starts_with("ok       longhorn"), "{}", said.out);
    assert_eq!(world.writes(), [""; 0]);

    let said = world.run(&["--apply", "--prune"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("delete   grafana"), "{}", said.out);
    assert_eq!(world.slugs(), ["longhorn"]);
    assert_eq!(world.authentik.admin_providers().len(), 1);
    let longhorn = world.provider(LONGHORN)["pk"].as_i64().expect("a number");
    assert_eq!(world.authentik.admin_assigned(), [vec![longhorn], vec![]]);
}

#[tokio::test]
async fn an_empty_cluster_deletes_nothing_by_mistake() {
    let world = World::furnished().await;
    for name in ["grafana", "longhorn"] {
        world.cluster.remove(name);
    }
    let said = world.run(&["--apply", "--prune"]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.complaints.contains("looks like the wrong cluster"),
        "{said:?}"
    );
    assert_eq!(world.writes(), [""; 0]);
    let said = world.run(&["--apply", "--prune", "--allow-empty"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(world.authentik.admin_providers(), [Value::Null; 0]);
}

#[tokio::test]
async fn owned_providers_leave_the_embedded_outpost_and_others_stay() {
    let world = World::furnished().await;
    let foreign = world
        .authentik
        .add_admin_application("theirs", "https://theirs.test");
    let grafana = world.provider(GRAFANA)["pk"].as_i64().expect("a number");
    let longhorn = world.provider(LONGHORN)["pk"].as_i64().expect("a number");
    world.authentik.assign_to_embedded(grafana);
    let said = world.run(&["--apply"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out.contains(
            "remove   grafana   service monitoring/grafana        from the embedded outpost"
        ),
        "{}",
        said.out
    );
    let [ours, embedded] = world.authentik.admin_assigned().map(sorted);
    assert_eq!(ours, sorted(vec![grafana, longhorn]));
    assert_eq!(embedded, [foreign]);
    assert_eq!(
        world.writes().len(),
        2,
        "one for each outpost: {:?}",
        world.writes()
    );
}

#[tokio::test]
async fn what_others_assign_meanwhile_is_not_lost() {
    let world = World::furnished().await;
    let grafana = world.provider(GRAFANA)["pk"].as_i64().expect("a number");
    world.authentik.assign_to_embedded(grafana);
    // Held between the outposts, which were read, and the rest.
    let authentik = &world.authentik;
    authentik.fault(Endpoint::Outposts, Fault::Slow(Duration::ZERO));
    authentik.fault(Endpoint::Any, Fault::Hang);
    let meanwhile = async {
        let held = authentik.wait_requests(1, |request| request.path.ends_with("/users/me/"));
        within(held).await;
        let foreign = authentik.add_admin_application("theirs", "https://theirs.test");
        authentik.clear_faults();
        foreign
    };
    let (said, foreign) = tokio::join!(world.run(&["--apply"]), meanwhile);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(world.authentik.admin_assigned()[1], [foreign]);
}

#[tokio::test]
async fn what_others_created_stays_until_it_is_handed_over() {
    let world = World::furnished().await;
    let foreign = world
        .authentik
        .add_admin_application("wiki", "https://wiki.home.example");
    let before = world.provider("wiki");
    world.cluster.put(ingress("apps", "wiki"));
    let said = world.run(&["--apply", "--prune"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let name = "wiki (authentik-proxy: ingress apps/wiki)";
    for expected in ["REFUSED  wiki", "was not created from this object", name] {
        assert!(said.out.contains(expected), "{expected} in {}", said.out);
    }
    assert_eq!(world.writes(), [""; 0]);
    assert_eq!(world.provider("wiki"), before);

    world.authentik.rename_admin_provider(foreign, name);
    let said = world.run(&["--apply"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let [ours, embedded] = world.authentik.admin_assigned();
    assert!(
        ours.contains(&foreign) && embedded.is_empty(),
        "{ours:?} {embedded:?}"
    );
}

#[tokio::test]
async fn two_runs_at_once_do_no_harm() {
    let world = World::new().await;
    for name in ["a", "b", "c", "d"] {
        world.cluster.put(service("apps", name, &[]));
    }
    let (one, other) = tokio::join!(world.run(&["--apply"]), world.run(&["--apply"]));
    assert_eq!(
        (one.code, other.code),
        (Some(0), Some(0)),
        "{one:?} {other:?}"
    );
    assert_eq!(world.slugs(), ["a", "b", "c", "d"]);
    assert_eq!(world.authentik.admin_providers().len(), 4);
    let [ours, _] = world.authentik.admin_assigned();
    assert_eq!(sorted(ours).len(), 4);
}
