//! The doctor, with each thing broken in turn.

mod applications;
mod broken;
mod certificates;
mod clock_and_issuer;
mod deployment;
mod forward_auth;
mod watch;
mod watch_socket;

use authentik_standin::{Endpoint, Fault, Provider, Standin};
use serde_json::Value;
use tokio::process::Command;

/// Runs the doctor; returns the exit code and the findings.
pub(crate) async fn doctor(
    authentik: &Standin,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (i32, Vec<Value>) {
    let program = Command::new(env!("CARGO_BIN_EXE_authentik-proxy"));
    examine(program, authentik, arguments, environment).await
}

/// The same with a certain program.
pub(crate) async fn examine(
    mut program: Command,
    authentik: &Standin,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (i32, Vec<Value>) {
    program
        .args(["doctor", "--json"])
        .args(arguments)
        .env_clear()
        .env("AUTHENTIK_HOST", authentik.url().as_str())
        .env("AUTHENTIK_TOKEN", authentik.token())
        .env("AUTHENTIK_LISTEN__HTTP", "127.0.0.1:0")
        .env("AUTHENTIK_LISTEN__HTTPS", "none")
        .env("AUTHENTIK_LISTEN__METRICS", "127.0.0.1:0")
        .envs(environment.iter().copied());
    let output = program.output().await.expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    for secret in [authentik.token().as_str(), "client-secret"] {
        assert!(!text.contains(secret), "no secret is printed");
    }
    let complaints = String::from_utf8_lossy(&output.stderr);
    let report: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{complaints}"));
    let findings = report["findings"].as_array().expect("findings").clone();
    for finding in &findings {
        let status = finding["status"].as_str().expect("text");
        let wrong = ["failed", "warning"].contains(&status);
        let fix = finding["fix"].as_str().unwrap_or_default();
        assert!(!wrong || !fix.is_empty(), "what to do: {finding}");
    }
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
        "grafana: signing keys",
        "grafana: introspection",
    ] {
        assert!(checks.contains(&check), "{check} in {checks:?}");
    }
}

type Break = fn(&Standin);

/// Breaks one thing; the doctor finds it, and says what to do.
async fn is_found(
    environment: &[(&str, &str)],
    breaks: Break,
    check: &str,
    expected: &str,
    fix: &str,
) {
    let authentik = authentik().await;
    breaks(&authentik);
    let (code, findings) = doctor(&authentik, &[], environment).await;
    assert_eq!(code, 1, "{check}");
    says(&findings, check, "failed", expected, fix);
}

/// One finding with its status, a part of its text and one of its fix.
fn says(findings: &[Value], check: &str, status: &str, found: &str, fix: &str) {
    let has = |finding: &Value, field: &str, part: &str| {
        finding[field].as_str().unwrap_or_default().contains(part)
    };
    let matching = findings.iter().filter(|finding| {
        finding["check"] == check
            && finding["status"] == status
            && has(finding, "found", found)
            && has(finding, "fix", fix)
    });
    assert_eq!(
        matching.count(),
        1,
        "{check} {status}: {found}: {findings:#?}"
    );
}

#[tokio::test]
async fn each_mistake_is_found_and_named() {
    for (environment, breaks, check, expected, fix) in [
        (
            &[("AUTHENTIK_TOKEN", "stale")][..],
            (|_| {}) as Break,
            "token",
            "refuses the token",
            "copy the token",
        ),
        (
            &[(
                "AUTHENTIK_OUTPOST_ID",
                "3f0970c5-d6a3-43b2-9a36-d74665c6b24e",
            )],
            |_| {},
            "outpost",
            "does not list outpost 3f0970c5",
            "correct AUTHENTIK_OUTPOST_ID or AUTHENTIK_TOKEN",
        ),
        (
            &[],
            |a| a.clear_outposts(),
            "outpost",
            "belongs to no outpost",
            "create an outpost of type \"proxy\"",
        ),
        (
            &[],
            |a| a.remove_provider("grafana"),
            "applications",
            "none is assigned",
            "edit it and select the applications",
        ),
        (
            &[("AUTHENTIK_HOST", "http://nonexistent.invalid")],
            |_| {},
            "dns",
            "cannot be resolved",
            "check the host name in AUTHENTIK_HOST",
        ),
        (
            &[("AUTHENTIK_HOST", "http://127.0.0.1:1")],
            |_| {},
            "connection",
            "refused",
            "check the port in AUTHENTIK_HOST",
        ),
        (
            &[],
            |a| a.fault(Endpoint::Outposts, Fault::Html),
            "authentik",
            "instead of JSON",
            "use the Service",
        ),
        (
            &[],
            |a| a.refuse_websockets(true),
            "websocket",
            "403",
            "check AUTHENTIK_TOKEN",
        ),
        (
            // Nobody has this address (RFC 5737).
            &[("AUTHENTIK_LISTEN__HTTP", "192.0.2.1:9000")],
            |_| {},
            "listen http",
            "192.0.2.1:9000 cannot be used",
            "choose another address or port with AUTHENTIK_LISTEN__HTTP",
        ),
        (
            &[],
            |a| a.fault(Endpoint::Authorize, Fault::Status(400)),
            "grafana: redirect URI",
            "authentik refuses https://grafana.test/",
            "save the provider in authentik once more",
        ),
        (
            &[
                ("AUTHENTIK_REDIS__HOST", "127.0.0.1"),
                ("AUTHENTIK_REDIS__PORT", "1"),
            ],
            |_| {},
            "redis",
            "refused",
            "AUTHENTIK_REDIS__HOST, AUTHENTIK_REDIS__PORT",
        ),
        (
            &[(
                "AUTHENTIK_HOST_BROWSER",
                "https://authentik.default.svc.cluster.local",
            )],
            |_| {},
            "browser host",
            "only the cluster knows",
            "set AUTHENTIK_HOST_BROWSER",
        ),
    ] {
        is_found(environment, breaks, check, expected, fix).await;
    }
}

#[tokio::test]
async fn what_answers_for_authentik_and_what_authentik_leaves_out_is_named() {
    for (breaks, check, expected, fix) in [
        (
            // An application behind an outpost, or a reverse proxy with a password.
            (|a| a.fault(Endpoint::Outposts, Fault::Status(401))) as Break,
            "authentik",
            "something other than authentik refuses the request (401",
            "set it to authentik itself",
        ),
        (
            |a| a.fault(Endpoint::Outposts, Fault::Status(403)),
            "authentik",
            "something other than authentik refuses the request (403",
            "set it to authentik itself",
        ),
        (
            |a| {
                a.add_provider(Provider {
                    slug: String::new(),
                    ..Provider::forward_single("lonely", "https://lonely.test")
                });
            },
            "outpost",
            "provider \"lonely\" is assigned, but has no application",
            "create one with this provider",
        ),
    ] {
        is_found(&[], breaks, check, expected, fix).await;
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
    let found = "file:///nowhere/token: cannot read the file";
    says(&findings, "settings", "failed", found, "mount it there");
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
async fn versions_that_are_not_known_yet_are_said_to_be() {
    let authentik = authentik().await;
    for (version, expected) in [
        ("2026.2.9", "authentik 2026.2.9"),
        ("2026.5.1", "authentik 2026.5.1"),
        (
            "2031.10.0",
            "authentik 2031.10.0, newer than any that this program was tried with",
        ),
    ] {
        authentik.set_version(version);
        let (_, findings) = doctor(&authentik, &[], &[]).await;
        assert_eq!(found(&findings, "version"), [("ok", expected)]);
    }
}

#[tokio::test]
async fn https_where_http_is_spoken_is_named() {
    let authentik = authentik().await;
    let wrong = authentik.url().as_str().replace("http:", "https:");
    let (code, findings) = doctor(&authentik, &[], &[("AUTHENTIK_HOST", &wrong)]).await;
    assert_eq!(code, 1);
    let tls = findings.iter().find(|f| f["check"] == "tls");
    let fix = tls.expect("a check")["fix"].as_str().expect("text");
    assert!(fix.contains("is it http:// instead of https://"), "{fix}");
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_redis_that_works_is_found_to_work() {
    let (authentik, redis) = (
        authentik().await,
        crate::redis::server::Server::start(&[]).await,
    );
    let port = redis.port();
    let environment = crate::redis::server::settings(&port);
    let (code, findings) = doctor(&authentik, &[], &environment).await;
    assert_eq!((code, failed(&findings)), (0, vec![]));
    let found = findings
        .iter()
        .find(|f| f["check"] == "redis")
        .expect("a check");
    assert_eq!(found["status"], "ok", "{found}");
}

/// What was found by one check.
pub(crate) fn found<'a>(findings: &'a [Value], check: &str) -> Vec<(&'a str, &'a str)> {
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
#[ignore = "needs Redis"]
async fn a_redis_that_may_forget_is_warned_about() {
    let authentik = authentik().await;
    let policy = ["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"];
    let redis = crate::redis::server::Server::start(&policy).await;
    let port = redis.port();
    let environment = crate::redis::server::settings(&port);
    let (code, findings) = doctor(&authentik, &[], &environment).await;
    assert_eq!(code, 0);
    let [(status, text)] = found(&findings, "redis memory")[..] else {
        panic!("one in {findings:?}");
    };
    assert_eq!(status, "warning");
    assert!(text.contains("allkeys-lru"), "{text}");
}
