//! Settings of single applications, right and wrong.

use std::path::Path;

use super::*;

fn read_yaml(text: &str) -> (Policies, Vec<String>) {
    let mut problems = Problems::default();
    let (_, policies) = crate::config::file::read(
        Path::new("outpost.yaml"),
        Ok(text.to_owned()),
        &mut problems,
    );
    (policies, problems.lines())
}

#[test]
fn reads_everything_that_can_be_set() {
    let (policies, problems) = read_yaml(
        r#"
applications:
  grafana:
    redirect_scripts: true
    cors_preflight: yes
    send_jwt: false
    header_encoding: percent
    trusted_networks: [192.0.2.0/24, 198.51.100.7]
    rules:
      - {path: ^/public/, methods: [GET, HEAD], action: allow}
      - {path: ^/admin, groups: [admins, "it"], action: require}
      - {networks: 203.0.113.0/24, action: deny}
    headers:
      X-Scope-OrgID: tenant-1
      Authorization: {file: /run/token, prefix: "Bearer "}
    identity_headers: [X-Remote-User, Remote_Groups]
    upstream_protocol: http2
  other:
"#,
    );
    assert_eq!(problems, [""; 0]);
    let grafana = &policies["grafana"];
    assert!(grafana.redirect_scripts && grafana.cors_preflight);
    assert_eq!(grafana.identity.send_jwt, Some(false));
    assert_eq!(grafana.identity.encoding, HeaderEncoding::Percent);
    assert_eq!(grafana.upstream_protocol, UpstreamProtocol::Http2);
    assert_eq!(policies["other"].upstream_protocol, UpstreamProtocol::Http1);
    let actions: Vec<_> = grafana.rules.iter().map(|rule| &rule.action).collect();
    let require = Action::Require(vec!["admins".into(), "it".into()]);
    assert_eq!(
        actions,
        [&Action::Allow, &require, &Action::Deny, &Action::Allow]
    );
    assert_eq!(
        grafana.rules[3].networks.len(),
        2,
        "trusted networks come last"
    );
    assert_eq!(grafana.headers.len(), 2);
    assert_eq!(grafana.identity_headers, ["x-remote-user", "remote_groups"]);
    assert!(
        !format!("{grafana:?}").contains("tenant-1"),
        "may be a secret"
    );
    assert!(policies["other"].rules.is_empty());
}

#[test]
fn every_mistake_is_named_with_its_place() {
    for (settings, expected) in [
        (
            "rulez: []",
            "applications.a.rulez: unknown key; did you mean rules?",
        ),
        ("rules: {}", "applications.a.rules: is not a list of rules"),
        (
            "rules: [{path: ^/x}]",
            "applications.a.rules[1]: needs an action: allow, deny or require",
        ),
        (
            "rules: [{action: deny}, {action: require}]",
            "applications.a.rules[2]: requires no group; name some in `groups`",
        ),
        (
            "rules: [{action: allow, groups: [x]}]",
            "applications.a.rules[1]: has `groups`, which only the action \"require\" looks at",
        ),
        (
            "rules: [{action: deny, path: (}]",
            "applications.a.rules[1].path: is not usable: error: unclosed group",
        ),
        (
            "rules: [{action: deny, networks: x}]",
            "applications.a.rules[1].networks: is neither a network nor an address",
        ),
        (
            "rules: [{action: deny, methods: [post]}]",
            "applications.a.rules[1].methods: \"post\" is not an HTTP method; write POST",
        ),
        (
            "send_jwt: 7",
            "applications.a.send_jwt: is neither yes nor no",
        ),
        (
            "headers: {X-Secret: 'env://SECRET'}",
            "applications.a.headers.X-Secret: env:// and file:// are not followed here; write the value, or for a header {file: /the/path}",
        ),
        (
            "upstream_protocol: h3",
            "applications.a.upstream_protocol: is neither \"http1\" nor \"http2\"",
        ),
        (
            "headers: {'a b': x}",
            "applications.a.headers.a b: is not usable: invalid HTTP header name",
        ),
        (
            "identity_headers: [a b]",
            "applications.a.identity_headers: is not usable: invalid HTTP header name",
        ),
        (
            "identity_headers: [X-User, Content-Length]",
            "applications.a.identity_headers: content-length is not an identity header",
        ),
        (
            "headers: {x: {prefix: y}}",
            "applications.a.headers.x: needs a value, or the name of a `file` that holds it",
        ),
        ("7", "applications.a: is a section, not a value"),
    ] {
        let text = if settings == "7" {
            "applications: {a: 7}".to_owned()
        } else {
            format!("applications:\n  a:\n    {settings}\n")
        };
        let (_, problems) = read_yaml(&text);
        assert_eq!(problems, [expected], "{settings}");
    }
}

#[test]
fn the_documented_example_is_right() {
    let document = include_str!("../../../docs/CONFIGURATION.md");
    let (_, rest) = document
        .split_once("```yaml\napplications:")
        .expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let (policies, problems) = read_yaml(&format!("applications:{example}"));
    assert_eq!(problems, [""; 0]);
    assert_eq!(policies["grafana"].rules.len(), 4);
}
