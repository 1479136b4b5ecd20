//! The rules of one application.

use proptest::prelude::*;

use super::*;
use crate::model::path::chains::{STEPS, paths};

fn rule(path: &str, networks: &[&str], action: Action) -> Rule {
    Rule {
        path: (!path.is_empty()).then(|| PathPattern::new(path).expect(path)),
        networks: networks.iter().map(|net| net.parse().expect(net)).collect(),
        methods: vec![],
        action,
    }
}

fn policy() -> Policy {
    Policy {
        rules: vec![
            rule("^/admin/open$", &[], Action::Allow),
            rule("^/admin", &[], Action::Require(vec!["admins".into()])),
            rule("^/never", &[], Action::Deny),
            rule("^/public/", &[], Action::Allow),
            rule("", &["192.0.2.0/24"], Action::Allow),
        ],
        ..Policy::default()
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let (policy, admins) = (policy(), ["admins".to_owned()]);
    for (path, client, expected) in [
        ("/", "198.51.100.1", None),
        ("/", "192.0.2.1", Some(RuleDecision::Allow(5))),
        ("/never/x", "192.0.2.1", Some(RuleDecision::Deny(3))),
        ("/public/x", "198.51.100.1", Some(RuleDecision::Allow(4))),
        ("/admin/open", "198.51.100.1", Some(RuleDecision::Allow(1))),
        (
            "/admin/x",
            "192.0.2.1",
            Some(RuleDecision::Require(2, &admins)),
        ),
    ] {
        let client = client.parse().expect("an address");
        assert_eq!(
            policy.evaluate(path, Some(&Method::GET), Some(client)),
            expected,
            "{path} {client}"
        );
    }
}

#[test]
fn ghsa_3q34_rx83_r6mq_no_reading_of_a_path_escapes_a_rule() {
    let (policy, client) = (policy(), "198.51.100.1".parse().expect("an address"));
    let admins = ["admins".to_owned()];
    let (ambiguous, admin) = (RuleDecision::Ambiguous, RuleDecision::Require(2, &admins));
    for (path, expected) in [
        ("/public/../admin", Some(ambiguous)),
        ("/public/%2e%2e/admin", Some(ambiguous)),
        ("/public/%2e%2e%2fadmin", Some(ambiguous)),
        ("/public/..;/admin", Some(ambiguous)),
        ("/x/..\\never", Some(ambiguous)),
        ("/admin/../never", Some(ambiguous)),
        ("/public/%252e%252e/never", Some(ambiguous)),
        ("/public/./x", Some(ambiguous)),
        ("/public/%2fx", Some(ambiguous)),
        ("/public/%00", Some(ambiguous)),
        ("/%6eever", Some(ambiguous)),
        ("/never%2fx", Some(RuleDecision::Deny(3))),
        ("/NEVER", Some(RuleDecision::Deny(3))),
        ("/index.php/never/", Some(RuleDecision::Deny(3))),
        // Whoever is in the group may see what any server makes of these.
        ("//admin", Some(admin)),
        ("/x//admin", None),
        ("/%61dmin", Some(admin)),
        ("/Admin", Some(admin)),
        ("/admin%2fx", Some(admin)),
        ("/admin;x/y", Some(admin)),
        ("/x/admin", None),
        // Neither opened nor restricted.
        ("/public//x", None),
        ("/public/x;y", None),
        ("/public/x%2fy", None),
        ("/admin/open", Some(RuleDecision::Allow(1))),
        ("/admin/OPEN", Some(admin)),
        ("/admin/open/", Some(admin)),
    ] {
        let decision = policy.evaluate(path, Some(&Method::GET), Some(client));
        assert_eq!(decision, expected, "{path}");
    }
}

#[test]
fn ap_2026_03_rules_for_every_path_need_no_reading() {
    let staff = ["staff".to_owned()];
    for (every, client, expected) in [
        ("", "192.0.2.1", None),
        ("", "198.51.100.1", Some(RuleDecision::Require(2, &staff))),
        ("^/", "198.51.100.1", Some(RuleDecision::Require(2, &staff))),
        (".*", "198.51.100.1", Some(RuleDecision::Require(2, &staff))),
        ("^/x", "198.51.100.1", Some(RuleDecision::Ambiguous)),
    ] {
        let policy = Policy {
            rules: vec![
                rule("", &["192.0.2.0/24"], Action::Allow),
                rule(every, &[], Action::Require(vec!["staff".into()])),
            ],
            ..Policy::default()
        };
        let client = client.parse().expect("an address");
        let decision = policy.evaluate("/x/%2e%2e/y", Some(&Method::GET), Some(client));
        assert_eq!(decision, expected, "{every} {client}");
    }
}

#[test]
fn conditions_hold_together() {
    let mut only_get = rule("^/x", &["192.0.2.0/24"], Action::Allow);
    only_get.methods = vec![Method::GET];
    let policy = Policy {
        rules: vec![only_get],
        ..Policy::default()
    };
    let (near, far) = ("192.0.2.1", "198.51.100.1");
    for (path, method, client, passes) in [
        ("/x", Method::GET, near, true),
        ("/x", Method::POST, near, false),
        ("/x", Method::GET, far, false),
        ("/y", Method::GET, near, false),
    ] {
        let client = client.parse().expect("an address");
        assert_eq!(
            policy.evaluate(path, Some(&method), Some(client)).is_some(),
            passes
        );
        assert!(
            policy.evaluate(path, None, Some(client)).is_none(),
            "the method is unknown"
        );
        assert!(
            policy.evaluate(path, Some(&method), None).is_none(),
            "the client is unknown"
        );
    }
    let mut restricting = policy;
    restricting.rules[0].action = Action::Deny;
    let decision = restricting.evaluate("/x", None, None);
    assert_eq!(
        decision,
        Some(RuleDecision::Deny(1)),
        "restricts all the same"
    );
}

#[test]
fn ap_2026_03_a_rule_by_method_restricts_every_spelling_and_opens_one() {
    let method = |name: &str| Method::from_bytes(name.as_bytes()).expect(name);
    for (action, own, asked, matches) in [
        (Action::Deny, "POST", "POST", true),
        (Action::Deny, "POST", "post", true),
        (Action::Deny, "POST", "Post", true),
        (Action::Deny, "POST", "PUT", false),
        (Action::Deny, "GET", "HEAD", true),
        (Action::Deny, "GET", "head", true),
        (Action::Deny, "HEAD", "GET", false),
        (Action::Allow, "GET", "GET", true),
        (Action::Allow, "GET", "get", false),
        (Action::Allow, "GET", "HEAD", false),
    ] {
        let mut rule = rule("^/x", &[], action.clone());
        rule.methods = vec![method(own)];
        let policy = Policy {
            rules: vec![rule],
            ..Policy::default()
        };
        let decision = policy.evaluate("/x", Some(&method(asked)), None);
        assert_eq!(decision.is_some(), matches, "{action:?} {own} {asked}");
    }
}

#[test]
fn ap_2026_03_another_spelling_of_a_rule_hides_no_later_rule() {
    let require = |path: &str| rule(path, &[], Action::Require(vec!["admins".into()]));
    let policy = Policy {
        rules: vec![require("^/admin"), rule("", &[], Action::Deny)],
        ..Policy::default()
    };
    for (path, expected) in [
        (
            "/admin/x",
            Some(RuleDecision::Require(1, &["admins".to_owned()])),
        ),
        ("/Admin/x", Some(RuleDecision::Ambiguous)),
        ("/x", Some(RuleDecision::Deny(2))),
    ] {
        assert_eq!(policy.evaluate(path, None, None), expected, "{path}");
    }
}

/// Rules as operators write them, anchored and not.
fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let texts = [
        "",
        "^/",
        "^/admin",
        "/admin",
        "^/public/",
        "public",
        "^/a$",
        "\\.\\.",
        "%",
        "x$",
        ";",
    ];
    // Compiled once.
    let path = proptest::sample::select(texts.map(|text| rule(text, &[], Action::Allow)).to_vec());
    let action = prop_oneof![
        Just(Action::Allow),
        Just(Action::Deny),
        Just(Action::Require(vec!["admins".into()])),
    ];
    let network = proptest::sample::select(vec![&[][..], &["192.0.2.0/24"], &["10.0.0.0/8"]]);
    let rule = (path, network, action).prop_map(|(path, networks, action)| Rule {
        action,
        networks: rule("", networks, Action::Allow).networks,
        ..path
    });
    proptest::collection::vec(rule, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// What a rule restricts of that which any chain of servers makes of a path is not open, and
    /// not left to a mere session either.
    #[test]
    fn ghsa_3q34_rx83_r6mq_random_rules_hold_for_every_reading(
        rules in rules(),
        path in paths(),
        steps in proptest::collection::vec(0..STEPS.len(), 0..5),
    ) {
        let client = "192.0.2.1".parse().expect("an address");
        let policy = Policy { rules, ..Policy::default() };
        let decision = policy.evaluate(&path, Some(&Method::GET), Some(client));
        let mut reading = path.clone();
        for step in steps {
            reading = STEPS[step](&reading);
            let mut rules = policy.rules.iter();
            let first = rules.position(|rule| {
                rule.applies(Some(&Method::GET), Some(client))
                    && rule.path.as_ref().is_none_or(|pattern| pattern.matches(&reading))
            });
            let first = first.filter(|index| policy.rules[*index].restricts());
            match (first, decision) {
                (None, _) | (_, Some(RuleDecision::Deny(_) | RuleDecision::Ambiguous)) => {}
                (Some(index), Some(RuleDecision::Require(number, _))) => {
                    prop_assert_eq!(index + 1, number, "{} is {}", path, reading);
                }
                _ => prop_assert!(false, "{} is {}: {:?}", path, reading, decision),
            }
        }
        if let Some(RuleDecision::Allow(_)) = decision {
            prop_assert!(unambiguous(&path).is_some(), "{}", path);
        }
    }
}
