//! What goes wrong around the server, broken in turn, with what the doctor says to do about it.

use authentik_standin::{Provider, Standin};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{authentik, doctor, says};
use crate::authentik::tls::Authority;
use crate::redis::server::Server;
use crate::support::upstream::{Recorded, Upstream};

/// Runs the doctor with a configuration file.
async fn with_file(authentik: &Standin, file: &str, arguments: &[&str]) -> (i32, Vec<Value>) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("outpost.yaml");
    std::fs::write(&path, file).expect("written");
    let path = path.to_str().expect("text");
    doctor(authentik, arguments, &[("AUTHENTIK_PROXY_CONFIG", path)]).await
}

#[tokio::test]
async fn a_file_of_authorities_that_is_missing_is_told_in_a_whole_report() {
    let authentik = authentik().await;
    let redis = [
        ("AUTHENTIK_REDIS__HOST", "127.0.0.1"),
        ("AUTHENTIK_REDIS__TLS", "true"),
        ("AUTHENTIK_REDIS__TLS_CA_CERT", "/nowhere.pem"),
    ];
    for (environment, fix) in [
        (
            &[("AUTHENTIK_PROXY_TLS__CA_FILE", "/nowhere.pem")][..],
            "mount it",
        ),
        (&redis, "check AUTHENTIK_REDIS__TLS_CA_CERT"),
    ] {
        let (code, findings) = doctor(&authentik, &[], environment).await;
        assert_eq!(code, 2, "{findings:?}");
        says(&findings, "settings", "failed", "/nowhere.pem", fix);
        says(&findings, "listen http", "ok", "is free", "");
        says(&findings, "applications", "skipped", "settings", "");
    }
}

#[tokio::test]
async fn what_the_server_would_only_log_is_a_warning() {
    let authentik = authentik().await;
    let file = "applications:\n  grafana:\n    headers:\n      X-Token:\n        file: /nowhere/token\n  grafanna:\n    rules: [{path: ^/admin, action: deny}]\n";
    let (code, findings) = with_file(&authentik, file, &[]).await;
    assert_eq!(code, 0, "{findings:?}");
    let empty = "/nowhere/token cannot be read";
    says(&findings, "log", "warning", empty, "mount the file");
    let typo = "applications.grafanna";
    says(&findings, "log", "warning", typo, "correct the slug");
}

/// The hint is about the key pair that the provider names, not about authentik's address.
#[tokio::test]
async fn a_key_pair_that_does_not_exist_has_its_own_hint() {
    let authentik = authentik().await;
    authentik.add_provider(Provider {
        certificate: Some(uuid::Uuid::new_v4()),
        ..Provider::proxy("app", "https://app.test", authentik.url().as_str())
    });
    let https = [("AUTHENTIK_LISTEN__HTTPS", "127.0.0.1:0")];
    let (_, findings) = doctor(&authentik, &[], &https).await;
    let logged: Vec<_> = findings.iter().filter(|f| f["check"] == "log").collect();
    assert_eq!(logged.len(), 1, "{findings:#?}");
    let found = logged[0]["found"].as_str().expect("text");
    for part in [
        "serving a self-signed one: ",
        "/crypto/certificatekeypairs/",
        "answered with 404 Not Found",
    ] {
        assert!(found.contains(part), "{part} in {found}");
    }
    assert_eq!(
        logged[0]["fix"],
        "choose another certificate for the provider, or let the outpost's user read it"
    );
}

#[tokio::test]
async fn a_fix_is_never_a_consequence() {
    let authentik = authentik().await;
    authentik.add_provider(Provider::forward_domain(
        "shared",
        "https://shared.test",
        "no domain",
    ));
    let token = [(
        "AUTHENTIK_OUTPOST_ID",
        "3f0970c5-d6a3-43b2-9a36-d74665c6b24e",
    )];
    for (environment, check, found, fix) in [
        (
            &[][..],
            "provider \"shared\"",
            "not served: cookie domain \"no domain\" is not a domain name",
            "set the provider's cookie domain to a domain such as example.com",
        ),
        (
            &token,
            "outpost",
            "the token does not list outpost 3f0970c5-d6a3-43b2-9a36-d74665c6b24e, but",
            "correct AUTHENTIK_OUTPOST_ID or AUTHENTIK_TOKEN",
        ),
    ] {
        let (code, findings) = doctor(&authentik, &[], environment).await;
        assert_eq!(code, 1, "{findings:?}");
        says(&findings, check, "failed", found, fix);
        let exact = findings.iter().any(|finding| finding["fix"] == fix);
        assert!(exact, "{fix:?} alone in {findings:#?}");
    }
}

#[tokio::test]
async fn a_file_of_the_systems_authorities_that_is_missing_is_a_warning() {
    let authentik = authentik().await;
    let environment = [("SSL_CERT_FILE", "/nowhere.pem")];
    let (code, findings) = doctor(&authentik, &[], &environment).await;
    assert_eq!(code, 0, "{findings:?}");
    let fix = "check that the file exists";
    says(&findings, "log", "warning", "/nowhere.pem", fix);
    let fix = "name a file of them in SSL_CERT_FILE";
    says(&findings, "log", "warning", "no CA certificates found", fix);
}

#[tokio::test]
async fn rules_that_open_are_listed_and_those_that_open_everything_warned_about() {
    let authentik = authentik().await;
    for (rule, status, found) in [
        (
            "path: ^/, action: allow",
            "warning",
            "rule 1 allows the request",
        ),
        ("action: allow", "warning", "rule 1 allows the request"),
        ("path: ^/health$, action: allow", "ok", "^/health$ (rule 1)"),
        ("path: ^/, action: deny", "ok", "neither rules nor"),
    ] {
        let file = format!("applications:\n  grafana:\n    rules: [{{{rule}}}]\n");
        let (_, findings) = with_file(&authentik, &file, &[]).await;
        says(&findings, "grafana: open paths", status, found, "");
    }
    authentik.add_provider(Provider {
        skip_path_regex: ".*".to_owned(),
        ..Provider::forward_single("app", "https://app.test")
    });
    let (_, findings) = doctor(&authentik, &[], &[]).await;
    says(
        &findings,
        "app: open paths",
        "warning",
        "\".*\"",
        "narrow it",
    );
}

#[tokio::test]
async fn an_internal_host_that_cannot_be_used_is_named() {
    let authority = Authority::new();
    let tls = authority.authentik().await;
    let address = tls.url().to_string();
    let odd = Upstream::answering(|_| "HTTP/1.1 200 OK\r\nX-Odd: a\0\r\n\r\n".into()).await;
    let odd = format!("http://{}", odd.address);
    for (internal, found, fix) in [
        (
            odd.as_str(),
            "invalid HTTP header parsed: line 2 (x-odd) has a NUL byte at byte 9",
            "a line with a NUL byte",
        ),
        (
            "http://kong.invalid",
            "could not be resolved",
            "create the Service",
        ),
        (
            address.as_str(),
            "UnknownIssuer",
            "Internal host SSL Validation",
        ),
    ] {
        let authentik = authentik().await;
        authentik.add_provider(Provider::proxy("app", "https://app.test", internal));
        let (code, findings) = doctor(&authentik, &[], &[]).await;
        assert_eq!(code, 1);
        says(&findings, "app: internal host", "failed", found, fix);
    }
}

#[tokio::test]
async fn an_external_host_without_tls_is_warned_about() {
    let authentik = authentik().await;
    authentik.add_provider(Provider::forward_single("app", "http://app.test"));
    let (_, findings) = doctor(&authentik, &[], &[]).await;
    let found = "cookies travel in the clear";
    says(&findings, "app: external host", "warning", found, "https");
}

#[tokio::test]
async fn an_application_that_is_silent_or_never_ends_is_no_failure() {
    // Connections stand, and nobody reads what arrives.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let unread = format!("http://{}", silent.local_addr().expect("an address"));
    let half = |_: &Recorded| b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx".to_vec();
    let application = Upstream::answering(half).await;
    let endless = format!("http://{}", application.address);
    let authentik = authentik().await;
    authentik.add_provider(Provider::proxy("endless", "https://endless.test", &endless));
    authentik.add_provider(Provider::proxy("silent", "https://silent.test", &unread));
    let (code, findings) = doctor(&authentik, &[], &[]).await;
    assert_eq!(code, 0);
    says(
        &findings,
        "endless: internal host",
        "ok",
        "answers (200)",
        "",
    );
    let found = "is connected, but no answer began within 10s";
    says(
        &findings,
        "silent: internal host",
        "warning",
        found,
        "RESPONSE_TIMEOUT",
    );
}

#[tokio::test]
async fn an_application_that_speaks_http2_alone_is_asked_as_its_setting_says() {
    let (address, _heads) = crate::proxy::grpc::echo(None).await;
    let authentik = authentik().await;
    let internal = format!("http://{address}");
    authentik.add_provider(Provider::proxy("app", "https://app.test", &internal));
    let check = "app: internal host";
    let (code, findings) = doctor(&authentik, &[], &[]).await;
    assert_eq!(code, 1);
    let fix = "applications.<slug>.upstream_protocol";
    // It depends on who speaks first whether the response is malformed or the connection fails.
    let causes = ["is not valid HTTP", "the connection failed"];
    let found = findings.iter().find(|finding| finding["check"] == check);
    let found = found.and_then(|finding| finding["found"].as_str());
    let cause = causes
        .into_iter()
        .find(|cause| found.is_some_and(|text| text.contains(cause)));
    says(&findings, check, "failed", cause.expect("a cause"), fix);
    let file = "applications: {app: {upstream_protocol: http2}}";
    let (code, findings) = with_file(&authentik, file, &[]).await;
    assert_eq!(code, 0, "{findings:?}");
    says(&findings, check, "ok", "answers (200)", "");
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_read_only_redis_is_named() {
    let authentik = authentik().await;
    let redis = Server::start(&["--replicaof", "127.0.0.1", "1"]).await;
    let port = redis.port();
    let environment = crate::redis::server::settings(&port);
    let (code, findings) = doctor(&authentik, &[], &environment).await;
    assert_eq!(code, 1);
    says(&findings, "redis", "failed", "ReadOnly", "name the primary");
}

#[tokio::test]
async fn a_listener_of_another_program_is_told_from_the_outposts() {
    let authentik = authentik().await;
    let program = Upstream::start().await;
    let other = program.address.to_string();
    let world = crate::support::World::with_grafana().await;
    let ours = world.address().to_string();
    for (address, status, found, fix) in [
        (
            other,
            "failed",
            "another program listens",
            "AUTHENTIK_LISTEN__HTTP",
        ),
        (ours, "ok", "in use by an outpost", ""),
    ] {
        let environment = [("AUTHENTIK_LISTEN__HTTP", address.as_str())];
        let (code, findings) = doctor(&authentik, &[], &environment).await;
        says(&findings, "listen http", status, found, fix);
        assert_eq!(code, i32::from(status == "failed"));
    }
}

#[tokio::test]
async fn the_embedded_outpost_is_not_taken_for_the_one_that_is_meant() {
    let authentik = Standin::builder().managed_embedded().start().await;
    let authentik = authentik.expect("started");
    authentik.add_provider(Provider::forward_single("grafana", "https://grafana.test"));
    let external = authentik.add_outpost("external").to_string();
    let (code, findings) = doctor(&authentik, &[], &[]).await;
    assert_eq!(code, 1);
    let fix = format!("set AUTHENTIK_OUTPOST_ID={external}");
    says(
        &findings,
        "outpost",
        "failed",
        "is the embedded outpost",
        &fix,
    );
    let environment = [("AUTHENTIK_OUTPOST_ID", external.as_str())];
    let (_, findings) = doctor(&authentik, &[], &environment).await;
    says(&findings, "outpost", "ok", "\"external\"", "");
    let held = "still assigned to the embedded outpost";
    says(
        &findings,
        "embedded outpost",
        "warning",
        held,
        "discover --apply",
    );
}

#[tokio::test]
async fn what_the_embedded_outpost_holds_is_seen_with_the_token_of_discover() {
    const ADMINISTRATOR: &str = "administrators-token";
    let authentik = authentik().await;
    authentik.admit_admin(ADMINISTRATOR);
    let with = [("AUTHENTIK_PROXY_DISCOVER__TOKEN", ADMINISTRATOR)];
    let check = "embedded outpost";
    for (environment, status, found) in [
        (&[][..], "skipped", "AUTHENTIK_PROXY_DISCOVER__TOKEN"),
        (&with, "ok", "holds no provider"),
    ] {
        let (_, findings) = doctor(&authentik, &[], environment).await;
        says(&findings, check, status, found, "");
    }
    authentik.add_admin_application("longhorn", "https://longhorn.test");
    let (code, findings) = doctor(&authentik, &[], &with).await;
    assert_eq!(code, 0, "{findings:?}");
    says(&findings, check, "warning", "longhorn", "discover --apply");
}

#[tokio::test]
async fn a_websocket_that_is_refused_has_one_fix() {
    let authentik = authentik().await;
    authentik.refuse_websockets(true);
    let (_, findings) = doctor(&authentik, &[], &[]).await;
    says(
        &findings,
        "websocket",
        "failed",
        "403",
        "check AUTHENTIK_TOKEN",
    );
    let text = serde_json::to_string(&findings).expect("JSON");
    assert!(!text.contains("pass websockets through"), "{text}");
}

#[tokio::test]
async fn a_hello_that_is_not_acknowledged_is_named() {
    let found = "did not acknowledge the hello within 10s";
    let fix = "check authentik's own log";
    super::is_found(&[], |a| a.ignore_hellos(true), "websocket", found, fix).await;
}

#[tokio::test]
async fn one_application_is_looked_at_more_closely() {
    let authentik = authentik().await;
    let file = "applications:\n  grafana:\n    rules: [{path: ^/admin, action: deny}]\n";
    let (code, findings) = with_file(&authentik, file, &["--app", "grafana"]).await;
    assert_eq!(code, 0);
    for (check, found) in [
        ("grafana: rule 1", "^/admin: all requests are denied"),
        ("grafana: cookie", "for grafana.test alone, Secure"),
        ("grafana: sign-in", "application/o/authorize/ as client"),
        ("grafana: headers", "x-authentik-username"),
    ] {
        says(&findings, check, "ok", found, "");
    }
}
