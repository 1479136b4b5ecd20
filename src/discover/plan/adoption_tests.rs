//! Tables of what becomes of what was made from objects that are gone.

use super::*;

/// An object that wants what another one had.
fn heir(name: &str, slug: &str, host: &str) -> Labelled {
    let annotations = [
        ("authentik.io/slug", slug),
        ("authentik.io/external-host", host),
    ];
    service(name, &annotations)
}

fn adopted(action: &Action) -> bool {
    matches!(action, Action::Change(steps) if matches!(steps.first(), Some(Change::Adopt { .. })))
}

fn requested_by(action: &Action) -> Vec<&str> {
    match action {
        Action::Orphan { requested_by, .. } => {
            requested_by.iter().map(|s| s.name.as_str()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_renamed_object_had_is_taken_over_once() {
    let before = created(&[service("old", &[])]);
    let new = [heir("new", "old", "https://old.test")];
    let field = |name, from: &str, to: &str| Field {
        name,
        from: from.into(),
        to: to.into(),
    };
    let fields = vec![
        field(
            "name",
            "old (home: service apps/old)",
            "old (home: service apps/new)",
        ),
        field(
            "internal_host",
            "http://old.apps.svc.cluster.local:80",
            "http://new.apps.svc.cluster.local:80",
        ),
    ];
    let from = source("old");
    let expected = vec![
        Change::Adopt { from, fields },
        Change::UpdateApplication("old".into(), vec![field("name", "old", "new")]),
    ];
    assert_eq!(plan(&new, &before), [Action::Change(expected)]);

    let mut after = created(&new);
    assert_eq!(plan(&new, &after), [Action::Change(vec![])]);
    // As it is when the run ended between application and provider.
    after.providers = before.providers;
    let actions = plan(&new, &after);
    assert!(adopted(&actions[0]) && actions.len() == 1, "{actions:?}");
}

#[test]
fn another_namespace_another_kind_and_another_address_are_taken_over_as_well() {
    let mut moved = service("a", &[]);
    moved.source.namespace = "other".into();
    let mut ingress = service("a", &[]);
    ingress.source.kind = Kind::Ingress;
    ingress.spec = Spec::Ingress(Vec::new());
    for object in [moved, ingress, heir("b", "a", "https://b.test")] {
        let actions = plan(&[object], &created(&[service("a", &[])]));
        assert!(adopted(&actions[0]) && actions.len() == 1, "{actions:?}");
    }
    // A provider whose application was never made, or is gone.
    let mut bare = created(&[service("a", &[])]);
    bare.providers[0].application = None;
    bare.applications.clear();
    let actions = plan(&[heir("b", "a", "https://a.test")], &bare);
    assert!(adopted(&actions[0]), "{actions:?}");
    assert!(
        matches!(&actions[0], Action::Change(steps) if steps.contains(&Change::CreateApplication)),
        "{actions:?}"
    );
    // Once it has that, another leftover with the same slug is in no other's way.
    let mut both = created(&[service("a", &[]), service("b", &[])]);
    both.applications.remove("b");
    both.providers[1].application = None;
    both.providers[1].name = OwnershipMarker::name("a", OWNER, &source("b"));
    let actions = plan(&[heir("c", "a", "https://a.test")], &both);
    assert_eq!(requested_by(&actions[0]), ["c"]);
    assert!(adopted(&actions[1]), "{actions:?}");
    let actions = plan(&[service("a", &[])], &both);
    assert_eq!(requested_by(&actions[1]), [""; 0]);
}

#[test]
fn where_it_is_not_clear_who_takes_over_everything_stays() {
    let slug = |name| heir(name, "old", "https://elsewhere.test");
    let address = |name| heir(name, name, "https://old.test");
    let mistake = |mut object: Labelled| {
        let annotation = "authentik.io/internal-port".to_owned();
        object.annotations.insert(annotation, "81".to_owned());
        object
    };
    let both = |name| heir(name, "old", "https://old.test");
    for (objects, expected) in [
        // Who has the same slug gets it, unless another object claims the address.
        (
            vec![address("b"), slug("c")],
            vec![
                "which is gone: with the annotation authentik.io/slug: old",
                "asked for by service apps/b as well",
            ],
        ),
        (
            vec![both("b"), both("c")],
            vec!["asked for by service apps/c", "asked for by service apps/b"],
        ),
        (
            vec![mistake(both("b")), slug("c")],
            vec![
                "is no TCP port of the Service",
                "asked for by service apps/b as well",
            ],
        ),
        (
            vec![address("b")],
            vec!["this object takes it over with its policies and bindings"],
        ),
        (
            vec![mistake(address("b"))],
            vec!["is no TCP port of the Service"],
        ),
    ] {
        let actions = plan(&objects, &created(&[service("old", &[])]));
        assert_eq!(actions.len(), objects.len() + 1, "{actions:?}");
        let (orphan, refused) = actions.split_last().expect("there are some");
        for (action, expected) in refused.iter().zip(&expected) {
            assert!(reason(action).contains(expected), "{action:?}");
        }
        let names: Vec<_> = objects.iter().map(|o| o.source.name.as_str()).collect();
        assert_eq!(requested_by(orphan), names);
    }

    // Two that were made for the same slug, and neither has an application.
    let mut two = created(&[service("x", &[]), service("y", &[])]);
    for provider in &mut two.providers {
        provider.application = None;
        provider.name = provider
            .name
            .replace("x (", "old (")
            .replace("y (", "old (");
    }
    two.applications.clear();
    let actions = plan(&[slug("b")], &two);
    assert!(
        reason(&actions[0]).contains("more than one provider for the slug \"old\""),
        "{actions:?}"
    );
    assert!(actions[1..].iter().all(|o| requested_by(o) == ["b"]));
}

#[test]
fn who_has_an_application_already_takes_over_no_other() {
    let before = created(&[service("a", &[]), service("old", &[])]);
    for object in [
        heir("a", "old", "https://a.test"),
        heir("a", "a", "https://old.test"),
    ] {
        let actions = plan(&[object], &before);
        let expected = "made from service apps/old, which is gone: delete it and its application";
        assert!(reason(&actions[0]).contains(expected), "{actions:?}");
        assert_eq!(requested_by(&actions[1]), ["a"]);
    }
}

#[test]
fn while_an_object_is_not_clear_about_what_it_asks_for_nothing_goes() {
    let before = created(&[service("a", &[]), service("old", &[])]);
    let mut label = heir("b", "old", "https://old.test");
    label.label = "true".into();
    for object in [
        heir("b", "no slug!", "https://b.test"),
        heir("b", "b", "https://b.test/?q"),
        label,
    ] {
        let actions = plan(&[service("a", &[]), object], &before);
        assert_eq!(requested_by(&actions[2]), ["b"], "{actions:?}");
    }
    // One that has what it had, and one that is not to be an application, are no reason to wait.
    let mut disabled = heir("b", "old", "https://old.test");
    disabled.label = "disabled".into();
    for objects in [
        vec![heir("a", "no slug!", "https://a.test")],
        vec![service("a", &[]), disabled],
    ] {
        let actions = plan(&objects, &before);
        assert_eq!(requested_by(&actions[1]), [""; 0], "{actions:?}");
    }
}

#[test]
fn what_is_in_the_way_is_told_with_whose_it_is() {
    let before = created(&[service("a", &[])]);
    // It moves on, and makes way for another.
    let moving = heir("a", "a2", "https://a2.test");
    let actions = plan(&[moving, heir("b", "a", "https://a.test")], &before);
    assert!(matches!(actions[0], Action::Change(_)), "{actions:?}");
    assert!(
        reason(&actions[1]).contains("it is that of service apps/a, which asks for something else"),
        "{actions:?}"
    );

    let mut moved = service("a", &[]);
    moved.source.namespace = "other".into();
    let desired = Desired::of(&[moved], RULES);
    let plan = Plan::of(desired, &before, OWNER, |namespace| namespace == "other");
    assert_eq!(plan.items.len(), 1, "{plan:?}");
    assert!(
        reason(&plan.items[0].action).contains("was not looked at: add --namespace apps"),
        "{plan:?}"
    );

    // An administrator has given it to another application.
    let mut foreign = before;
    foreign.providers[0].application = Some("theirs".into());
    let application = foreign.applications.remove("a").expect("it is there");
    foreign.applications.insert("theirs".into(), application);
    let desired = Desired::of(&[heir("b", "a", "https://a.test")], RULES);
    let plan = Plan::of(desired, &foreign, OWNER, |_| true);
    assert_eq!(plan.refusals(), 2, "{plan:?}");
}
