//! The doctor, with each thing broken in turn.

mod clock_and_issuer;

use authentik_standin::{Endpoint, Fault, Provider, Standin};
use serde_json::{Value, json};

/// Runs the doctor; returns the exit code and the findings.
async fn doctor(
    authentik: &Standin,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (i32, Vec<Value>) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_authentik-proxy"));
    command
        .args(["doctor", "--json"])
        .args(arguments)
        .env_clear()
        .env("AUTHENTIK_HOST", authentik.url().as_str())
        .env("AUTHENTIK_TOKEN", authentik.token())
        .env("AUTHENTIK_LISTEN__HTTP", "127.0.0.1:0")
        .env("AUTHENTIK_LISTEN__HTTPS", "none")
        .env("AUTHENTIK_LISTEN__METRICS", "127.0.0.1:0")
        .envs(environment.iter().copied());
    let output = command.output().await.expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    for secret in [authentik.token().as_str(), "client-secret"] {
        assert!(!text.contains(secret), "no secret is printed");
    }
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let findings = report["findings"].as_array().expect("findings").clone();
    (output.status.code().expect("an exit code"), findings)
}

fn failed(findings: &[Value]) -> Vec<(&str, &str)> {
    let failed = findings.iter().filter(|f| f["status"] == "failed");
    failed
        .map(|f| {
            (
                f["check"].as_str().expect("text"),
                f["found"].as_str().expect("text"),
            )
        })
        .collect()
}

async fn authentik() -> Standin {
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_provider(Provider::forward_single("grafana", "https://grafana.test"));
    authentik
}

#[tokio::test]
async fn a_sound_deployment_has_nothing_to_complain_of() {
    let authentik = authentik().await;
    let (code, findings) = doctor(&authentik, &[], &[]).await;
    assert_eq!(failed(&findings), []);
    assert_eq!(code, 0);
    let checks: Vec<_> = findings
        .iter()
        .map(|f| f["check"].as_str().expect("text"))
        .collect();
    for check in [
        "settings",
        "redis",
        "dns",
        "connection",
        "clock",
        "token",
        "outpost",
        "version",
        "websocket",
        "applications",
        "grafana: issuer",
        "grafana: redirect URI",
    ] {
        assert!(checks.contains(&check), "{check} in {checks:?}");
    }
}

type Break = fn(&Standin);

/// Breaks one thing; the doctor finds it.
async fn is_found(environment: &[(&str, &str)], breaks: Break, check: &str, expected: &str) {
    let authentik = authentik().await;
    breaks(&authentik);
    let (code, findings) = doctor(&authentik, &[], environment).await;
    assert_eq!(code, 1, "{check}");
    let failed = failed(&findings);
    let found = failed
        .iter()
        .any(|(c, found)| *c == check && found.contains(expected));
    assert!(found, "{check}: {expected} in {failed:?}");
}

#[tokio::test]
async fn each_mistake_is_found_and_named() {
    for (environment, breaks, check, expected) in [
        (
            &[("AUTHENTIK_TOKEN", "stale")][..],
            (|_| {}) as Break,
            "token",
            "refuses the token",
        ),
        (
            &[(
                "AUTHENTIK_OUTPOST_ID",
                "3f0970c5-d6a3-43b2-9a36-d74665c6b24e",
            )],
            |_| {},
            "outpost",
            "does not list outpost 3f0970c5",
        ),
        (
            &[],
            |a| a.clear_outposts(),
            "outpost",
            "belongs to no outpost",
        ),
        (
            &[],
            |a| a.remove_provider("grafana"),
            "applications",
            "none is assigned",
        ),
        (
            &[("AUTHENTIK_HOST", "http://nonexistent.invalid")],
            |_| {},
            "dns",
            "cannot be resolved",
        ),
        (
            &[("AUTHENTIK_HOST", "http://127.0.0.1:1")],
            |_| {},
            "connection",
            "refused",
        ),
        (
            &[],
            |a| a.fault(Endpoint::Outposts, Fault::Html),
            "authentik",
            "instead of JSON",
        ),
        (&[], |a| a.refuse_websockets(true), "websocket", "403"),
        (
            // Nobody has this address (RFC 5737).
            &[("AUTHENTIK_LISTEN__HTTP", "192.0.2.1:9000")],
            |_| {},
            "listen http",
            "192.0.2.1:9000 cannot be used",
        ),
        (
            &[],
            |a| a.fault(Endpoint::Authorize, Fault::Status(400)),
            "grafana: redirect URI",
            "authentik refuses https://grafana.test/",
        ),
        (
            &[
                ("AUTHENTIK_REDIS__HOST", "127.0.0.1"),
                ("AUTHENTIK_REDIS__PORT", "1"),
            ],
            |_| {},
            "redis",
            "refused",
        ),
        (
            &[(
                "AUTHENTIK_HOST_BROWSER",
                "https://authentik.default.svc.cluster.local",
            )],
            |_| {},
            "grafana: browser host",
            "only the cluster knows",
        ),
    ] {
        is_found(environment, breaks, check, expected).await;
    }
}

#[tokio::test]
async fn each_mistake_of_a_provider_is_found_and_named() {
    for (environment, breaks, check, expected) in [
        (
            &[][..],
            (|a| {
                a.add_provider(Provider {
                    external_host: "no host".to_owned(),
                    ..Provider::forward_single("lost", "https://lost.test")
                });
            }) as Break,
            "provider \"lost\"",
            "",
        ),
        (
            &[],
            |a| {
                a.add_provider(Provider::proxy(
                    "app",
                    "https://app.test",
                    "http://127.0.0.1:1",
                ));
            },
            "app: internal host",
            "http://127.0.0.1:1/: the connection was refused",
        ),
        (
            &[],
            |a| {
                a.add_provider(Provider::forward_single("twin", "https://grafana.test"));
            },
            "twin: external host",
            "is that of \"grafana\", too",
        ),
    ] {
        is_found(environment, breaks, check, expected).await;
    }
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_all_named() {
    let authentik = authentik().await;
    let wrong = [
        ("AUTHENTIK_HOST", "authentik"),
        ("AUTHENTIK_LOG_LEVEL", "loud"),
    ];
    let (code, findings) = doctor(&authentik, &[], &wrong).await;
    assert_eq!(code, 2);
    assert_eq!(failed(&findings).len(), 2);
}

#[tokio::test]
async fn a_secret_file_that_is_missing_is_named() {
    let authentik = authentik().await;
    let wrong = [("AUTHENTIK_TOKEN", "file:///nowhere/token")];
    let (code, findings) = doctor(&authentik, &[], &wrong).await;
    assert_eq!(code, 2);
    let failed = failed(&findings);
    assert!(failed[0].1.contains("file:///nowhere/token"), "{failed:?}");
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts_is_named() {
    let authentik = crate::tls::Authority::new().authentik().await;
    let (code, findings) = doctor(&authentik, &[], &[]).await;
    assert_eq!(code, 1);
    let [(status, text)] = found(&findings, "tls")[..] else {
        panic!("one in {findings:?}");
    };
    assert_eq!(status, "failed");
    assert!(text.contains("UnknownIssuer"), "{text}");
}

#[tokio::test]
async fn what_is_odd_is_a_warning() {
    let several = authentik().await;
    several.add_outpost("another");
    let old = authentik().await;
    old.set_version("2024.2.0");
    let embedded = Standin::builder().managed_embedded().start().await;
    let embedded = embedded.expect("started");
    embedded.add_provider(Provider::forward_single("grafana", "https://grafana.test"));
    for (authentik, check, expected) in [
        (several, "outpost", "the token lists"),
        (old, "version", "older than any"),
        (embedded, "outpost", "is the embedded outpost"),
    ] {
        let (code, findings) = doctor(&authentik, &[], &[]).await;
        assert_eq!(code, 0, "{check}: {findings:?}");
        let [(status, text)] = found(&findings, check)[..] else {
            panic!("one {check} in {findings:?}");
        };
        assert_eq!(status, "warning", "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn one_application_can_be_looked_at_alone() {
    let authentik = authentik().await;
    authentik.add_provider(Provider::forward_single("other", "http://other.test"));
    let (code, findings) = doctor(&authentik, &["--app", "grafana"], &[]).await;
    assert_eq!(code, 0);
    assert!(!json!(findings).to_string().contains("other: issuer"));
    let (code, findings) = doctor(&authentik, &["--app", "nobody"], &[]).await;
    assert_eq!((code, failed(&findings)[0].0), (1, "applications"));
}

#[tokio::test]
async fn a_redis_that_works_is_found_to_work() {
    let (authentik, redis) = (
        authentik().await,
        crate::redis::server::Server::start(&[]).await,
    );
    let port = redis.port();
    let environment = [
        ("AUTHENTIK_REDIS__HOST", "127.0.0.1"),
        ("AUTHENTIK_REDIS__PORT", port.as_str()),
    ];
    let (code, findings) = doctor(&authentik, &[], &environment).await;
    assert_eq!((code, failed(&findings)), (0, vec![]));
    let found = findings
        .iter()
        .find(|f| f["check"] == "redis")
        .expect("a check");
    assert_eq!(found["status"], "ok", "{found}");
}

/// What was found by one check.
fn found<'a>(findings: &'a [Value], check: &str) -> Vec<(&'a str, &'a str)> {
    let found = findings.iter().filter(|finding| finding["check"] == check);
    found
        .map(|finding| {
            (
                finding["status"].as_str().expect("text"),
                finding["found"].as_str().expect("text"),
            )
        })
        .collect()
}

#[tokio::test]
async fn what_is_open_to_everybody_is_listed() {
    let authentik = authentik().await;
    authentik.add_provider(Provider {
        skip_path_regex: "^/health$\n(".to_owned(),
        ..Provider::forward_single("app", "https://app.test")
    });
    let (code, findings) = doctor(&authentik, &[], &[]).await;
    assert_eq!(code, 0);
    let [warning, open] = found(&findings, "app: open paths")[..] else {
        panic!("two in {findings:?}");
    };
    assert_eq!(warning.0, "warning");
    assert!(
        warning.1.starts_with("\"(\" is no expression"),
        "{warning:?}"
    );
    assert_eq!(open, ("ok", "without a sign-in: ^/health$"));
    let grafana = found(&findings, "grafana: open paths");
    assert_eq!(grafana, [("ok", "authentik opens none")]);
}

#[tokio::test]
async fn an_application_that_answers_is_found_to_do_so() {
    let upstream = crate::upstream::Upstream::start().await;
    let authentik = authentik().await;
    let address = format!("http://{}", upstream.address);
    authentik.add_provider(Provider::proxy("app", "https://app.test", &address));
    let (code, findings) = doctor(&authentik, &["--app", "app"], &[]).await;
    assert_eq!(code, 0);
    let expected = format!("{address}/ answers (200)");
    let internal = found(&findings, "app: internal host");
    assert_eq!(internal, [("ok", expected.as_str())]);
}

#[tokio::test]
async fn a_redis_that_may_forget_is_warned_about() {
    let authentik = authentik().await;
    let policy = ["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"];
    let redis = crate::redis::server::Server::start(&policy).await;
    let port = redis.port();
    let environment = [
        ("AUTHENTIK_REDIS__HOST", "127.0.0.1"),
        ("AUTHENTIK_REDIS__PORT", port.as_str()),
    ];
    let (code, findings) = doctor(&authentik, &[], &environment).await;
    assert_eq!(code, 0);
    let [(status, text)] = found(&findings, "redis memory")[..] else {
        panic!("one in {findings:?}");
    };
    assert_eq!(status, "warning");
    assert!(text.contains("allkeys-lru"), "{text}");
}
