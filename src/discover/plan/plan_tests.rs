//! Tables of what is wanted, what is there, and what follows.

use std::collections::BTreeMap;

use super::super::ownership_marker::Kind;
use super::*;
use crate::discover::desired::labels::{Labelled, Rules, Spec};
use crate::discover::desired::ports::{Port, Ports, Target};

#[path = "adoption_tests.rs"]
mod adoption;

const OWNER: &str = "home";
const RULES: Rules<'_> = Rules {
    cluster_domain: "cluster.local",
    max_slug_chars: None,
};

fn source(name: &str) -> Source {
    Source {
        kind: Kind::Service,
        namespace: "apps".into(),
        name: name.into(),
    }
}

fn service(name: &str, annotations: &[(&str, &str)]) -> Labelled {
    let host = format!("https://{name}.test");
    let mut all = BTreeMap::from([("authentik.io/external-host".to_owned(), host)]);
    all.extend(
        annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    Labelled {
        source: source(name),
        label: "enabled".into(),
        annotations: all,
        spec: Spec::Service(Ports {
            headless: false,
            all: vec![Port {
                number: 80,
                name: None,
                protocol: "TCP".into(),
                target: Target::Number(80),
            }],
        }),
    }
}

/// What is there after everything that `services` ask for was created.
fn created(services: &[Labelled]) -> Actual {
    let mut actual = Actual::default();
    actual.outpost.name = "ours".into();
    actual.embedded = Some(Outpost::default());
    for (asked, pk) in Desired::of(services, RULES).asked.into_values().zip(1..) {
        let wanted = asked.expect("an application");
        actual.providers.push(ActualProvider {
            pk,
            name: OwnershipMarker::name(&wanted.slug, OWNER, &wanted.source),
            application: Some(wanted.slug.clone()),
            settings: wanted.provider,
        });
        let application = Application {
            name: wanted.name,
            description: wanted.description,
            publisher: wanted.publisher,
            provider: Some(pk),
        };
        actual.applications.insert(wanted.slug, application);
        actual.outpost.providers.insert(pk);
    }
    actual
}

fn plan(services: &[Labelled], actual: &Actual) -> Vec<Action> {
    let desired = Desired::of(services, RULES);
    let plan = Plan::of(desired, actual, OWNER, |_| true);
    plan.items.into_iter().map(|item| item.action).collect()
}

fn reason(action: &Action) -> &str {
    match action {
        Action::Refused(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_missing_is_created_and_what_is_there_is_left() {
    let services = [service("a", &[])];
    let mut empty = created(&[]);
    empty.outpost.providers.insert(77);
    let expected = vec![
        Change::CreateProvider,
        Change::CreateApplication,
        Change::Assign("ours".into()),
    ];
    assert_eq!(plan(&services, &empty), [Action::Change(expected)]);
    assert_eq!(
        plan(&services, &created(&services)),
        [Action::Change(vec![])]
    );
}

#[test]
fn each_step_that_failed_is_made_up_for() {
    let services = [service("a", &[])];
    let mut actual = created(&services);
    actual.providers[0].application = None;
    actual.applications.clear();
    assert_eq!(
        plan(&services, &actual),
        [Action::Change(vec![Change::CreateApplication])]
    );

    let mut actual = created(&services);
    actual.outpost.providers.clear();
    actual
        .embedded
        .as_mut()
        .expect("it is there")
        .providers
        .insert(1);
    let moved = vec![Change::Assign("ours".into()), Change::Unassign];
    assert_eq!(plan(&services, &actual), [Action::Change(moved)]);
}

#[test]
fn what_differs_is_changed_field_by_field() {
    let before = created(&[service("a", &[])]);
    let after = [service(
        "a",
        &[
            ("authentik.io/slug", "b"),
            ("authentik.io/skip-path-regex", "^/x"),
        ],
    )];
    let field = |name, from: &str, to: &str| Field {
        name,
        from: from.into(),
        to: to.into(),
    };
    let expected = vec![
        Change::UpdateProvider(vec![
            field(
                "name",
                "a (home: service apps/a)",
                "b (home: service apps/a)",
            ),
            field("skip_path_regex", "", "^/x"),
        ]),
        Change::UpdateApplication("a".into(), vec![field("slug", "a", "b")]),
    ];
    assert_eq!(plan(&after, &before), [Action::Change(expected)]);

    // As it is when the run ended between the two: the application has its new slug already.
    let mut between = before;
    between.providers[0].application = Some("b".into());
    let application = between.applications.remove("a").expect("it is there");
    between.applications.insert("b".into(), application);
    let actions = plan(&after, &between);
    assert!(
        matches!(&actions[..], [Action::Change(steps)] if steps.len() == 1),
        "{actions:?}"
    );
}

#[test]
fn what_is_no_longer_asked_for_is_an_orphan_and_what_others_made_is_not() {
    let services = [service("a", &[]), service("b", &[])];
    let mut actual = created(&services);
    for name in ["c", "c (other: service apps/c)"] {
        let mut foreign = actual.providers[0].clone();
        foreign.name = name.into();
        foreign.settings.external_host = "https://c.test".into();
        actual.providers.push(foreign);
    }
    let orphan = Action::Orphan {
        application: Some("b".into()),
        requested_by: Vec::new(),
    };
    assert_eq!(
        plan(&services[..1], &actual),
        [Action::Change(vec![]), orphan]
    );

    let desired = Desired::of(&services[..1], RULES);
    let elsewhere = Plan::of(desired, &actual, OWNER, |namespace| namespace == "others");
    assert_eq!(elsewhere.items.len(), 1, "{elsewhere:?}");
}

#[test]
fn an_object_with_a_mistake_keeps_what_it_has() {
    let services = [service("a", &[("authentik.io/internal-port", "81")])];
    let actions = plan(&services, &created(&[service("a", &[])]));
    assert!(
        reason(&actions[0]).contains("is no TCP port of the Service"),
        "{actions:?}"
    );
    assert_eq!(actions.len(), 1);
}

#[test]
fn of_two_that_want_the_same_none_gets_it() {
    let slug = [("authentik.io/slug", "a")];
    let actions = plan(
        &[service("a", &[]), service("b", &slug)],
        &created(&[service("a", &[])]),
    );
    assert_eq!(
        reason(&actions[0]),
        "the slug \"a\" is asked for by service apps/b as well"
    );
    assert_eq!(
        reason(&actions[1]),
        "the slug \"a\" is asked for by service apps/a as well"
    );
    for address in ["a.test", "A.test:443/", "http://a.test"] {
        let address = [("authentik.io/external-host", address)];
        let actions = plan(&[service("a", &[]), service("b", &address)], &created(&[]));
        assert!(
            reason(&actions[1]).starts_with("the address \"a.test\""),
            "{actions:?}"
        );
    }
}

#[test]
fn an_address_is_taken_however_it_is_written() {
    for (wanted, written, taken) in [
        ("https://a.test", "https://a.test", true),
        ("https://a.test", "https://a.test/", true),
        ("https://a.test", "https://A.Test", true),
        ("https://a.test", "https://a.test:443", true),
        ("https://a.test", " https://a.test. ", true),
        // Requests are told apart by host, port and path, not by scheme.
        ("https://a.test", "http://a.test", true),
        ("https://a.test/sub", "https://a.test/sub/", true),
        ("https://a.test:8443", "https://a.test:8443/", true),
        (
            "https://b\u{fc}cher.test",
            "https://xn--bcher-kva.test/",
            true,
        ),
        ("https://a.test", "https://a.test:8443", false),
        ("https://a.test", "https://a.test/sub", false),
        ("https://a.test/sub", "https://a.test/Sub", false),
        ("https://a.test", "https://other.test", false),
        // No address at all is compared as text.
        ("https://a.test", "a.test", true),
        ("https://a.test", "", false),
    ] {
        let services = [service("a", &[("authentik.io/external-host", wanted)])];
        let mut actual = created(&services);
        actual.applications.clear();
        actual.providers[0].name = "mine".into();
        actual.providers[0].settings.external_host = written.into();
        let actions = plan(&services, &actual);
        match &actions[0] {
            Action::Refused(reason) => assert!(
                taken && reason.contains("is the address of the provider \"mine\""),
                "{wanted} {written:?}: {reason}"
            ),
            other => assert!(!taken, "{wanted} {written:?}: {other:?}"),
        }
    }
}

#[test]
fn what_others_made_is_never_touched() {
    let services = [service("a", &[])];
    let foreign = |address: &str| {
        let mut actual = created(&services);
        actual.providers[0].name = "mine".into();
        actual.providers[0].settings.external_host = address.into();
        actual
    };
    let name = "\"a (home: service apps/a)\"";
    let actions = plan(&services, &foreign("https://x.test"));
    assert!(
        reason(&actions[0]).contains("was not created from this object"),
        "{actions:?}"
    );
    assert!(
        reason(&actions[0]).contains(&format!("from \"mine\" to {name}")),
        "{actions:?}"
    );

    // An administrator gave our provider to another application.
    let mut actual = created(&services);
    actual.providers[0].application = Some("theirs".into());
    let application = actual.applications.remove("a").expect("it is there");
    actual.applications.insert("theirs".into(), application);
    for services in [&services[..], &[]] {
        let actions = plan(services, &actual);
        assert!(reason(&actions[0]).contains("\"theirs\""), "{actions:?}");
    }
}
