//! Tables of what objects ask for.

use super::*;
use crate::discover::desired::ports::{Port, Target};

const RULES: Rules<'_> = Rules {
    cluster_domain: "cluster.local",
    max_slug_chars: Some(slug::MAX_CHARS),
};

fn service(annotations: &[(&str, &str)], ports: &[(u16, Option<&str>)]) -> Labelled {
    let ports = Ports {
        headless: false,
        all: ports
            .iter()
            .map(|&(number, name)| Port {
                number,
                name: name.map(str::to_owned),
                protocol: "TCP".into(),
                target: Target::Number(8080),
            })
            .collect(),
    };
    labelled(Kind::Service, annotations, Spec::Service(ports))
}

fn ingress(annotations: &[(&str, &str)], hosts: &[(&str, bool)]) -> Labelled {
    let hosts = hosts.iter().map(|&(name, tls)| Host {
        name: name.to_owned(),
        tls,
    });
    labelled(Kind::Ingress, annotations, Spec::Ingress(hosts.collect()))
}

fn labelled(kind: Kind, annotations: &[(&str, &str)], spec: Spec) -> Labelled {
    Labelled {
        source: Source {
            kind,
            namespace: "monitoring".into(),
            name: "grafana".into(),
        },
        label: ENABLED.into(),
        annotations: annotations
            .iter()
            .map(|(key, value)| (format!("{PREFIX}{key}"), (*value).to_owned()))
            .collect(),
        spec,
    }
}

fn asked(labelled: &Labelled) -> DesiredApplication {
    let wanted = desired_application(labelled, RULES).expect("no problem");
    wanted.expect("an application")
}

fn refused(labelled: &Labelled) -> Vec<String> {
    let problems = desired_application(labelled, RULES).expect_err("a problem");
    problems.iter().map(Problem::to_string).collect()
}

const HOST: (&str, &str) = (EXTERNAL_HOST, "https://grafana.home.example");

#[test]
fn a_service_is_proxied_with_everything_that_it_does_not_say_by_default() {
    let wanted = asked(&service(&[HOST], &[(80, None)]));
    assert_eq!(
        (wanted.slug.as_str(), wanted.name.as_str()),
        ("grafana", "grafana")
    );
    assert_eq!(
        (wanted.description.as_str(), wanted.publisher.as_str()),
        ("", "")
    );
    let expected = Provider {
        external_host: "https://grafana.home.example".into(),
        internal_host: "http://grafana.monitoring.svc.cluster.local:80".into(),
        mode: "proxy".into(),
        internal_host_ssl_validation: true,
        skip_path_regex: String::new(),
        intercept_header_auth: true,
    };
    assert_eq!(wanted.provider, expected);
}

#[test]
fn annotations_decide() {
    let annotations = [
        HOST,
        (SLUG, "graphs"),
        (NAME, "Grafana"),
        (DESCRIPTION, " Graphs of everything "),
        (PUBLISHER, "Home"),
        (INTERNAL_PORT, "web"),
        (INTERNAL_SCHEME, "https"),
        (INTERNAL_TLS_VERIFY, "false"),
        (SKIP_PATH_REGEX, "^/api/.*\n\n  ^/public/\n"),
        (INTERCEPT, "false"),
    ];
    let wanted = asked(&service(
        &annotations,
        &[(443, Some("web")), (9090, Some("metrics"))],
    ));
    assert_eq!(
        (wanted.slug.as_str(), wanted.name.as_str()),
        ("graphs", "Grafana")
    );
    assert_eq!(wanted.description, "Graphs of everything");
    assert_eq!(wanted.publisher, "Home");
    let expected = Provider {
        external_host: "https://grafana.home.example".into(),
        internal_host: "https://grafana.monitoring.svc.cluster.local:443".into(),
        mode: "proxy".into(),
        internal_host_ssl_validation: false,
        skip_path_regex: "^/api/.*\n^/public/".into(),
        intercept_header_auth: false,
    };
    assert_eq!(wanted.provider, expected);
}

#[test]
fn addresses_are_written_one_way() {
    for (text, expected) in [
        ("grafana.home.example", "https://grafana.home.example"),
        (
            "https://grafana.home.example/",
            "https://grafana.home.example",
        ),
        ("http://h:8080", "http://h:8080"),
        ("https://H.example/sub", "https://h.example/sub"),
        ("https://h.example/sub/", "https://h.example/sub/"),
    ] {
        let wanted = asked(&service(&[(EXTERNAL_HOST, text)], &[(80, None)]));
        assert_eq!(wanted.provider.external_host, expected, "{text}");
    }
    for text in [
        "ftp://h",
        "https://u:p@h",
        "https://h/?q",
        "https://h/#f",
        "https://",
    ] {
        let problems = refused(&service(&[(EXTERNAL_HOST, text)], &[(80, None)]));
        assert!(
            problems[0].contains("is not the address of a host"),
            "{problems:?}"
        );
    }
}

#[test]
fn what_authentik_would_refuse_is_refused_before_it_is_asked() {
    for (key, text, expected) in [
        (
            EXTERNAL_HOST,
            "https://*.home.example",
            "without \"*\" or \"_\"",
        ),
        (
            EXTERNAL_HOST,
            "https://my_app.home.example",
            "\"my_app.home.example\" is refused",
        ),
        (
            EXTERNAL_HOST,
            "https://-a.home.example",
            "refused by authentik as a host",
        ),
        (
            EXTERNAL_HOST,
            "https://a..home.example",
            "refused by authentik as a host",
        ),
        (
            EXTERNAL_HOST,
            "https://a.test, https://b.test",
            "has to be one address",
        ),
        (EXTERNAL_HOST, "a.test,b.test", "label one object for each"),
        (
            EXTERNAL_HOST,
            "https://a.test/ https://b.test/",
            "has to be one address",
        ),
        (
            EXTERNAL_HOST,
            "https://a.test/x\nhttps://b.test/",
            "has to be one address",
        ),
        (
            EXTERNAL_HOST,
            &format!("https://{}example", "a.".repeat(124)),
            "the host has 255 characters, and at most 253 are accepted",
        ),
        (
            EXTERNAL_HOST,
            &format!("https://a.test/{}", "p".repeat(2034)),
            "the address has 2049 characters, and at most 2048 are accepted",
        ),
        (
            SLUG,
            &"s".repeat(51),
            "has 51 characters, and this version of authentik accepts 50",
        ),
        (SLUG, "token", "is reserved by authentik"),
        (SLUG, "authorize", "is reserved by authentik"),
        (SLUG, "device", "is reserved by authentik"),
        (SLUG, "userinfo", "is reserved by authentik"),
        (SLUG, "introspect", "is reserved by authentik"),
        (SLUG, "revoke", "is reserved by authentik"),
    ] {
        let mut annotations = vec![(key, text)];
        if key != EXTERNAL_HOST {
            annotations.push(HOST);
        }
        let problems = refused(&service(&annotations, &[(80, None)]));
        assert!(problems[0].contains(expected), "{text}: {problems:?}");
    }
    for text in [
        "https://tokens.example",
        "https://10.0.0.1",
        "https://[::1]:8443",
        "https://xn--bcher-kva.example",
        "localhost",
        &format!("https://{}example", "a.".repeat(123)),
        &format!("https://a.test/{}", "p".repeat(2033)),
    ] {
        asked(&service(
            &[(EXTERNAL_HOST, text), (SLUG, "tokens")],
            &[(80, None)],
        ));
    }
}

#[test]
fn ports_are_those_of_the_service() {
    let two = [(80, Some("http")), (9090, None)];
    for (named, ports, expected) in [
        ("80", &two[..], Ok(80)),
        ("http", &two, Ok(80)),
        ("9090", &two, Ok(9090)),
        ("8080", &[], Ok(8080)),
        ("", &two[..1], Ok(80)),
        (
            "",
            &two,
            Err("is missing, and the Service has several: 80 (http), 9090"),
        ),
        ("", &[], Err("is missing, and the Service has no port")),
        (
            "8080",
            &two,
            Err("is \"8080\", which is no TCP port of the Service; it has 80 (http), 9090"),
        ),
        (
            "https",
            &two,
            Err("is \"https\", which is no TCP port of the Service; it has 80 (http), 9090"),
        ),
    ] {
        let service = service(&[HOST, (INTERNAL_PORT, named)], ports);
        match expected {
            Ok(port) => {
                let internal = asked(&service).provider.internal_host;
                assert!(internal.ends_with(&format!(":{port}")), "{internal}");
            }
            Err(text) => {
                let text = format!("annotation authentik.io/internal-port {text}");
                assert_eq!(refused(&service), [text]);
            }
        }
    }
}

#[test]
fn an_ingress_is_forward_auth_for_the_host_that_it_has_a_certificate_for() {
    let wanted = asked(&ingress(&[], &[("grafana.home.example", true)]));
    assert_eq!(
        wanted.provider.external_host,
        "https://grafana.home.example"
    );
    assert_eq!(
        (
            wanted.provider.mode.as_str(),
            wanted.provider.internal_host.as_str()
        ),
        ("forward_single", "")
    );
    let wanted = asked(&ingress(&[HOST], &[("a", true), ("b", false)]));
    assert_eq!(wanted.provider.external_host, HOST.1);
    for (hosts, reason) in [
        (&[("a", false)][..], "no certificate for a"),
        (&[("a", true), ("b", true)], "several hosts: a, b"),
        (&[("*.a", true)], "*.a hosts"),
        (&[], "names no host"),
    ] {
        let problems = refused(&ingress(&[], hosts));
        assert!(problems[0].contains(reason), "{problems:?}");
    }
}

#[test]
fn all_errors_are_reported_at_once() {
    let annotations = [
        (SLUG, "no slug!"),
        (MODE, "forward_domain"),
        (INTERNAL_TLS_VERIFY, "maybe"),
        (INTERCEPT, "no"),
        (SKIP_PATH_REGEX, "^/ok\n("),
        (INTERNAL_SCHEME, "ftp"),
    ];
    let problems = refused(&service(&annotations, &[(80, None)]));
    let names = [
        "authentik.io/slug",
        "authentik.io/external-host is missing",
        "authentik.io/mode",
        "authentik.io/internal-scheme",
        "authentik.io/internal-tls-verify",
        "authentik.io/intercept-header-auth",
        "authentik.io/skip-path-regex \"(\"",
    ];
    assert_eq!(problems.len(), names.len(), "{problems:?}");
    for (problem, name) in problems.iter().zip(names) {
        assert!(
            problem.starts_with(&format!("annotation {name}")),
            "{problem}"
        );
    }
    let problems = refused(&ingress(&[(MODE, "proxy")], &[("a", true)]));
    assert!(problems[0].contains("label that instead"), "{problems:?}");
}

#[test]
fn only_the_label_enabled_counts_and_another_one_is_told() {
    let mut service = service(&[HOST], &[(80, None)]);
    for label in DISABLED {
        label.clone_into(&mut service.label);
        assert_eq!(desired_application(&service, RULES), Ok(None));
    }
    "true".clone_into(&mut service.label);
    let expected = "label authentik.io/proxy is \"true\"; expected \"enabled\" or \"disabled\"";
    assert_eq!(refused(&service), [expected]);
}

#[test]
fn a_misspelled_annotation_is_told() {
    let service = service(
        &[HOST, ("external-hosts", "x"), ("nonsense", "x")],
        &[(80, None)],
    );
    assert_eq!(
        unknown(&service),
        [
            "annotation authentik.io/external-hosts is unknown and has no effect; did you mean authentik.io/external-host?",
            "annotation authentik.io/nonsense is unknown and has no effect",
        ]
    );
}
