//! An object that is renamed keeps its application: policies and bindings at authentik hang on that,
//! and one that is deleted and created anew is open to everybody.

use std::time::Duration;

use authentik_standin::{Endpoint, Fault};
use serde_json::Value;

use crate::objects::{ingress, service};
use crate::{GRAFANA, World, within};

/// What bindings, certificates and sessions hang on.
fn identity(world: &World, slug: &str) -> [Value; 3] {
    let applications = world.authentik.admin_applications();
    let application = applications.into_iter().find(|a| a["slug"] == slug);
    let application = application.unwrap_or_else(|| panic!("no {slug}"));
    let mut providers = world.authentik.admin_providers().into_iter();
    let provider = providers.find(|p| p["pk"] == application["provider"]);
    let provider = provider.expect("its provider is there");
    [&application["pk"], &provider["pk"], &provider["client_id"]].map(Clone::clone)
}

#[tokio::test]
async fn a_moved_object_keeps_its_application() {
    let world = World::furnished().await;
    let before = identity(&world, "longhorn");
    let assigned = world.authentik.admin_assigned();
    world.cluster.remove("longhorn");
    world.cluster.put(service("storage", "longhorn", &[]));
    for arguments in [&[][..], &["--prune"], &["--json", "--prune"]] {
        let said = world.run(arguments).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        if arguments.contains(&"--json") {
            let json: Value = serde_json::from_str(&said.out).expect("JSON");
            assert_eq!(json["items"].as_array().map(Vec::len), Some(2), "{json}");
            let step = &json["items"][1]["verdict"]["change"][0]["adopt"];
            assert_eq!(step["from"]["namespace"], "longhorn-system", "{json}");
            assert_eq!(step["fields"][0]["name"], "name", "{json}");
            continue;
        }
        let expected = "adopt    longhorn  service storage/longhorn    what service longhorn-system/longhorn had, which is gone: provider: name \"longhorn (authentik-proxy: service longhorn-system/longhorn)\" -> \"longhorn (authentik-proxy: service storage/longhorn)\", internal_host ";
        assert!(said.out.contains(expected), "{}", said.out);
        assert!(!said.out.contains("delete"), "{}", said.out);
    }
    assert_eq!(world.writes(), [""; 0]);

    for (done, arguments) in [("1", &["--apply", "--prune"][..]), ("0", &["--apply"])] {
        let said = world.run(arguments).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let done = format!("{done} changes made, 0 failed\n");
        assert!(said.out.ends_with(&done), "{}", said.out);
    }
    assert_eq!(world.writes().len(), 1, "{:?}", world.writes());
    assert_eq!(identity(&world, "longhorn"), before);
    assert_eq!(world.authentik.admin_assigned(), assigned);
    let provider = world.provider("longhorn (authentik-proxy: service storage/longhorn)");
    assert_eq!(
        provider["internal_host"],
        "http://longhorn.storage.svc.cluster.local:80"
    );
}

#[tokio::test]
async fn an_ingress_in_place_of_a_service_keeps_its_application() {
    let world = World::furnished().await;
    let before = identity(&world, "grafana");
    world.cluster.remove("grafana");
    world.cluster.put(ingress("monitoring", "grafana"));
    let said = world.run(&["--apply"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(identity(&world, "grafana"), before);
    let provider = world.provider("grafana (authentik-proxy: ingress monitoring/grafana)");
    assert_eq!(provider["mode"], "forward_single");
    let said = world.run(&["--apply", "--prune"]).await;
    assert!(said.out.ends_with("0 changes made, 0 failed\n"), "{said:?}");
}

#[tokio::test]
async fn another_slug_waits_for_a_word_and_loses_nothing_meanwhile() {
    let world = World::furnished().await;
    let before = identity(&world, "grafana");
    let renamed = |slug: &'static [(&str, &str)]| {
        let mut annotations = vec![("external-host", "https://grafana.home.example")];
        annotations.extend(slug);
        service("monitoring", "graphs", &annotations)
    };
    world.cluster.remove("grafana");
    world.cluster.put(renamed(&[]));
    let said = world.run(&["--apply", "--prune"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    for expected in [
        "with the annotation authentik.io/slug: grafana this object takes it over",
        "orphan   grafana   service monitoring/grafana        application and provider stay, even with --prune: the object is gone or no longer labelled, but service monitoring/graphs may want them",
    ] {
        assert!(said.out.contains(expected), "{expected} in {}", said.out);
    }
    assert_eq!(world.writes(), [""; 0]);
    world.provider(GRAFANA);

    // As the refusal says, and then without the annotation again.
    for (object, slug) in [
        (renamed(&[("slug", "grafana")]), "grafana"),
        (renamed(&[]), "graphs"),
    ] {
        world.cluster.put(object);
        let said = world.run(&["--apply", "--prune"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(identity(&world, slug), before);
    }
    assert_eq!(world.slugs(), ["graphs", "longhorn"]);
}

#[tokio::test]
async fn a_mistake_in_the_renamed_object_deletes_nothing() {
    let world = World::furnished().await;
    let before = identity(&world, "longhorn");
    world.cluster.remove("longhorn");
    for annotations in [
        [("internal-port", "81"), ("slug", "longhorn")],
        [("internal-port", "80"), ("slug", "long horn")],
    ] {
        world
            .cluster
            .put(service("storage", "volumes", &annotations));
        let said = world.run(&["--apply", "--prune"]).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        let expected = "but service storage/volumes may want them";
        assert!(said.out.contains(expected), "{}", said.out);
    }
    assert_eq!(world.writes(), [""; 0]);
    let annotations = [("slug", "longhorn")];
    world
        .cluster
        .put(service("storage", "volumes", &annotations));
    let said = world.run(&["--apply", "--prune"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(identity(&world, "longhorn"), before);
}

#[tokio::test]
async fn who_looks_into_one_namespace_takes_nothing_from_another() {
    let world = World::furnished().await;
    world.cluster.remove("longhorn");
    world.cluster.put(service("storage", "longhorn", &[]));
    let said = world
        .run(&["--apply", "--prune", "--namespace", "storage"])
        .await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let expected = "in a namespace that was not looked at: add --namespace longhorn-system";
    assert!(said.out.contains(expected), "{}", said.out);
    assert_eq!(world.writes(), [""; 0]);
    let said = world
        .run(&[
            "--apply",
            "--namespace",
            "storage",
            "--namespace",
            "longhorn-system",
        ])
        .await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[tokio::test]
async fn what_another_run_gives_away_meanwhile_is_not_deleted() {
    let world = World::furnished().await;
    let before = identity(&world, "grafana");
    world.cluster.remove("grafana");
    let authentik = &world.authentik;
    let number = world.provider(GRAFANA)["pk"].as_i64().expect("a number");
    // Its application is read after the providers, and before anything is deleted.
    authentik.fault(Endpoint::Any, Fault::Slow(Duration::from_millis(500)));
    let meanwhile = async {
        let read = |path: &str| path.contains("/applications/grafana/");
        within(authentik.wait_requests(1, |request| read(&request.path))).await;
        let name = "grafana (authentik-proxy: service monitoring/graphs)";
        authentik.rename_admin_provider(number, name);
        authentik.clear_faults();
    };
    let (said, ()) = tokio::join!(world.run(&["--apply", "--prune"]), meanwhile);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("delete   grafana"), "{}", said.out);
    assert!(said.out.ends_with("0 changes made, 0 failed\n"), "{said:?}");
    assert_eq!(identity(&world, "grafana"), before);
}
