//! What goes wrong is told with its cause and what to do, and stops nothing else.

use authentik_standin::{Dialect, Endpoint, Fault};

use crate::objects::service;
use crate::{GRAFANA, World, finish};

#[tokio::test]
async fn a_mistake_in_one_object_stops_no_other_and_deletes_nothing() {
    let world = World::furnished().await;
    world
        .cluster
        .put(service("monitoring", "grafana", &[("internal-port", "81")]));
    world
        .cluster
        .put(service("apps", "wiki", &[("descripton", "x")]));
    let said = world.run(&["--apply", "--prune"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    for expected in [
        "REFUSED  grafana   service monitoring/grafana        annotation authentik.io/internal-port is \"81\", which is no TCP port of the Service; it has 80 (http)",
        "warning  service apps/wiki: annotation authentik.io/descripton is unknown and has no effect; did you mean authentik.io/description?",
    ] {
        assert!(said.out.contains(expected), "{expected} in\n{}", said.out);
    }
    assert_eq!(world.slugs(), ["grafana", "longhorn", "wiki"]);
    world.provider(GRAFANA);
}

#[tokio::test]
async fn a_missing_rule_of_kubernetes_is_named() {
    for (resource, rule) in [
        (
            "services",
            "apiGroups [\"\"], resources [services], verbs [list, watch]",
        ),
        (
            "ingresses",
            "apiGroups [\"networking.k8s.io\"], resources [ingresses], verbs [list, watch]",
        ),
    ] {
        let world = World::new().await;
        world.cluster.deny(resource);
        let said = world.run(&[]).await;
        assert_eq!(said.code, Some(1));
        for expected in [rule, "in all namespaces", "the ClusterRole"] {
            assert!(said.complaints.contains(expected), "{expected} in {said:?}");
        }
        let said = world.run(&["--namespace", "apps"]).await;
        for expected in [rule, "in namespace apps", "the Role"] {
            assert!(said.complaints.contains(expected), "{expected} in {said:?}");
        }
    }
}

#[tokio::test]
async fn a_kubernetes_that_refuses_the_account_or_is_down_is_reported() {
    let world = World::new().await;
    world.cluster.refuse_everybody();
    let said = world.run(&[]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.complaints.contains("rejects the credentials (401"),
        "{said:?}"
    );

    let mut command = world.command(&[]);
    command.env("KUBECONFIG", "/nonexistent");
    let said = finish(command).await;
    assert_eq!(said.code, Some(1));
    assert!(said.complaints.contains("set KUBECONFIG"), "{said:?}");

    let said = world.run(&["--context", "nowhere"]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.complaints.contains("no way to the Kubernetes API"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_missing_permission_at_authentik_is_named() {
    for (permission, action) in [
        ("authentik_outposts.view_outpost", "list outposts"),
        (
            "authentik_providers_proxy.view_proxyprovider",
            "list proxy providers",
        ),
        ("authentik_core.view_application", "read applications"),
        ("authentik_flows.view_flow", "read flows"),
        (
            "authentik_providers_proxy.add_proxyprovider",
            "create proxy providers",
        ),
        ("authentik_core.add_application", "create applications"),
        ("authentik_outposts.change_outpost", "change outposts"),
    ] {
        let world = World::new().await;
        world.cluster.put(service("apps", "wiki", &[]));
        world.authentik.deny_admin(permission);
        let said = world.run(&["--apply"]).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        let expected = format!("the token may not {action}");
        assert!(
            said.complaints.contains(&expected),
            "{expected} in {said:?}"
        );
        assert!(said.complaints.contains(permission), "{said:?}");
        // Nothing is left half done once the permission is there.
        world.authentik.allow_admin();
        let said = world.run(&["--apply"]).await;
        assert_eq!(said.code, Some(0), "{permission}: {said:?}");
        assert_eq!(world.authentik.admin_providers().len(), 1);
        assert_eq!(world.slugs(), ["wiki"]);
        assert_eq!(world.authentik.admin_assigned()[0].len(), 1);
    }
}

#[tokio::test]
async fn what_can_be_done_is_done_when_something_fails() {
    let world = World::furnished().await;
    world.cluster.put(service("apps", "wiki", &[]));
    world.cluster.put(service(
        "monitoring",
        "grafana",
        &[("skip-path-regex", "^/public/")],
    ));
    world
        .authentik
        .deny_admin("authentik_providers_proxy.add_proxyprovider");
    let said = world.run(&["--apply"]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.complaints
            .contains("service apps/wiki: the token may not"),
        "{said:?}"
    );
    assert!(
        said.out.ends_with("1 changes made, 1 failed\n"),
        "{}",
        said.out
    );
    assert_eq!(world.provider(GRAFANA)["skip_path_regex"], "^/public/");
}

#[tokio::test]
async fn a_slug_has_the_length_that_its_authentik_accepts() {
    let slug = "s".repeat(60);
    for (dialect, accepted) in [(Dialect::V2025_6, false), (Dialect::V2026_2, true)] {
        let world = World::of(dialect).await;
        world.cluster.put(service("apps", &slug, &[]));
        let said = world.run(&["--apply"]).await;
        assert_eq!(said.code, Some(i32::from(!accepted)), "{said:?}");
        if accepted {
            assert_eq!(world.slugs(), [&*slug]);
        } else {
            let expected = format!(
                "annotation authentik.io/slug \"{slug}\" has 60 characters, and this version of authentik accepts 50; choose a shorter slug, or update authentik to 2025.12"
            );
            assert!(said.out.contains(&expected), "{said:?}");
            assert_eq!(world.writes(), [""; 0]);
        }
    }
}

#[tokio::test]
async fn a_provider_without_an_application_that_authentik_accepts_is_taken_back() {
    let world = World::with_a_slug_that_authentik_refuses().await;
    world.cluster.put(service("apps", "wiki", &[]));
    for made in [3, 0] {
        let said = world.run(&["--apply"]).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        let expected = "service apps/long: authentik does not create applications: slug: Ensure this field has no more than 50 characters.";
        assert!(said.complaints.contains(expected), "{said:?}");
        let expected = format!("{made} changes made, 1 failed\n");
        assert!(said.out.ends_with(&expected), "{said:?}");
        assert_eq!(world.authentik.admin_providers().len(), 1);
        assert_eq!(world.authentik.admin_assigned()[0].len(), 1);
    }
}

#[tokio::test]
async fn a_namespace_that_does_not_exist_is_reported() {
    let world = World::new().await;
    let said = world.run(&["--namespace", "none-such"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let expected = "there is no namespace \"none-such\"";
    assert!(said.complaints.contains(expected), "{said:?}");
    // A token that may not read namespaces leaves it open.
    world.cluster.deny("namespaces");
    let said = world.run(&["--namespace", "none-such"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[tokio::test]
async fn tokens_that_do_not_do_are_told_apart() {
    let world = World::new().await;
    let mut command = world.command(&[]);
    command.env_remove("AUTHENTIK_PROXY_DISCOVER__TOKEN");
    let said = finish(command).await;
    assert_eq!(said.code, Some(2));
    assert!(
        said.complaints
            .contains("AUTHENTIK_PROXY_DISCOVER__TOKEN: is not set"),
        "{said:?}"
    );

    let mut command = world.command(&[]);
    command.env(
        "AUTHENTIK_PROXY_DISCOVER__TOKEN",
        "another-token-0123456789",
    );
    let said = finish(command).await;
    assert_eq!(said.code, Some(1));
    assert!(said.complaints.contains("refuses the token"), "{said:?}");

    // The outpost's own token may read its outpost, and nothing that is needed here.
    let mut command = world.command(&[]);
    command.env("AUTHENTIK_PROXY_DISCOVER__TOKEN", crate::OUTPOST_TOKEN);
    let said = finish(command).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.complaints
            .contains("authentik_providers_proxy.view_proxyprovider"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_wrong_outpost_or_flow_is_named() {
    let world = World::new().await;
    world.cluster.put(service("apps", "wiki", &[]));
    let mut command = world.command(&[]);
    command.env(
        "AUTHENTIK_OUTPOST_ID",
        "3f0970c5-d6a3-43b2-9a36-d74665c6b24e",
    );
    let said = finish(command).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.complaints.contains("those are \"standin-outpost\""),
        "{said:?}"
    );

    let mut command = world.command(&["--apply"]);
    command.env("AUTHENTIK_PROXY_DISCOVER__INVALIDATION_FLOW", "none-such");
    let said = finish(command).await;
    assert_eq!(said.code, Some(1));
    for expected in [
        "no flow \"none-such\"",
        "AUTHENTIK_PROXY_DISCOVER__INVALIDATION_FLOW",
    ] {
        assert!(said.complaints.contains(expected), "{said:?}");
    }
    assert!(world.authentik.admin_providers().is_empty());
}

#[tokio::test]
async fn a_newer_authentik_is_understood() {
    let world = World::new().await;
    world.cluster.put(service("apps", "wiki", &[]));
    world.authentik.fault(Endpoint::Any, Fault::ExtraFields);
    for done in ["3 changes made", "0 changes made"] {
        let said = world.run(&["--apply"]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.out.contains(done), "{said:?}");
    }
}

#[tokio::test]
async fn an_authentik_that_is_not_one_is_told() {
    let world = World::new().await;
    world.authentik.fault(Endpoint::Outposts, Fault::Html);
    let said = world.run(&["--apply"]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.complaints.contains("instead of JSON"), "{said:?}");
}
