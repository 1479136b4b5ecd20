//! What deployments suffered from, broken once more.

use authentik_standin::{Endpoint, Fault, Provider, Standin};
use serde_json::Value;
use url::Url;

use super::{authentik, doctor, found, says};
use crate::operations::process::Process;
use crate::redis::server::Server;
use crate::support::upstream::{Recorded, Upstream};
use crate::support::{World, get};

/// The doctor beside a server, as in its pod.
async fn beside(server: &Process, authentik: &Standin) -> (i32, Vec<Value>) {
    let metrics = server.metrics().to_string();
    let environment = [("AUTHENTIK_LISTEN__METRICS", metrics.as_str())];
    doctor(authentik, &[], &environment).await
}

#[tokio::test]
async fn a_server_that_read_an_old_token_is_told_from_one_that_works() {
    let authentik = authentik().await;
    let mut stale = Process::beside(&authentik, &[("AUTHENTIK_TOKEN", "stale")]).await;
    stale.wait_line("refuses the token").await;
    let (code, findings) = beside(&stale, &authentik).await;
    assert_eq!(code, 1);
    says(&findings, "token", "ok", "accepted", "");
    let found = "has no configuration from authentik";
    says(&findings, "server", "failed", found, "restart it");
    stale.stop().await;

    let mut world = World::running(authentik, Vec::new(), &[]).await;
    let (code, findings) = beside(&world.outpost, &world.authentik).await;
    assert_eq!(code, 0, "{findings:?}");
    says(&findings, "server", "ok", "is ready", "");
    // The token of the settings is another outpost's now.
    let other = Standin::builder().start().await.expect("started");
    other.add_provider(Provider::forward_single("grafana", "https://grafana.test"));
    let (code, findings) = beside(&world.outpost, &other).await;
    assert_eq!(code, 1);
    let found = "and the settings lead to";
    says(&findings, "server", "failed", found, "restart it");
    world.outpost.stop().await;
}

#[tokio::test]
async fn an_address_that_browsers_do_not_find_is_a_warning() {
    let authentik = authentik().await;
    for (browser, found, fix) in [
        (None, "each browser's own machine", "AUTHENTIK_HOST_BROWSER"),
        (
            Some("https://authentikk.invalid"),
            "is not reached from here",
            "if it is misspelt",
        ),
        (
            // Not a Service: somebody may call their network so.
            Some("https://authentik.home.internal"),
            "is not reached from here",
            "if it is misspelt",
        ),
        (
            Some("http://sso.invalid"),
            "without TLS",
            "AUTHENTIK_HOST_BROWSER",
        ),
    ] {
        let environment = browser.map(|browser| ("AUTHENTIK_HOST_BROWSER", browser));
        let environment: Vec<_> = environment.into_iter().collect();
        let (code, findings) = doctor(&authentik, &[], &environment).await;
        assert_eq!(code, 0, "{findings:?}");
        says(&findings, "browser host", "warning", found, fix);
    }
}

/// The outpost's record at authentik decides where browsers go, if no setting does.
#[tokio::test]
async fn an_internal_address_in_the_outposts_record_is_named() {
    let internal = "http://authentik-server.authentik.svc.cluster.local";
    let internal = || Standin::builder().browser_url(Url::parse(internal).expect("a URL"));
    for (authentik, check, status, found) in [
        (internal(), "outpost", "warning", "may refuse that"),
        (
            internal().managed_embedded(),
            "browser host",
            "failed",
            "only the cluster knows",
        ),
    ] {
        let authentik = authentik.start().await.expect("started");
        authentik.add_provider(Provider::forward_single("app", "https://app.test"));
        let (_, findings) = doctor(&authentik, &[], &[]).await;
        let fix = "correct authentik_host in the outpost's configuration at authentik";
        says(&findings, check, status, found, fix);
    }
}

#[tokio::test]
async fn what_answers_browsers_and_is_not_authentik_is_a_warning() {
    // As a person at the same machine has it.
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_provider(Provider::forward_single("app", "http://app.localhost"));
    let empty = |_: &Recorded| b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
    let ingress = Upstream::answering(empty).await;
    let port = authentik.url().port().expect("a port");
    for (port, status, found) in [
        (port, "ok", "which answers"),
        (ingress.address.port(), "warning", "answers with 404"),
    ] {
        let browser = format!("http://localhost:{port}");
        let environment = [("AUTHENTIK_HOST_BROWSER", browser.as_str())];
        let (_, findings) = doctor(&authentik, &[], &environment).await;
        says(&findings, "browser host", status, found, "");
    }
}

#[tokio::test]
async fn a_back_channel_through_the_ingress_is_a_warning_in_a_cluster() {
    let authentik = authentik().await;
    let outside = ("AUTHENTIK_HOST", "https://sso.home.invalid");
    let pod = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    let service = (
        "AUTHENTIK_HOST",
        "http://authentik-server.authentik.svc.cluster.local",
    );
    let chosen = ("AUTHENTIK_HOST_BROWSER", "https://sso.example.test");
    for (environment, expected) in [
        (&[outside, pod][..], 1),
        (&[outside, chosen, pod], 0),
        (&[outside], 0),
        (&[service, pod], 0),
    ] {
        let (_, findings) = doctor(&authentik, &[], environment).await;
        let warned = found(&findings, "internal host");
        assert_eq!(warned.len(), expected, "{environment:?}: {warned:?}");
    }
}

#[tokio::test]
async fn a_cookie_domain_of_another_site_is_named() {
    let authentik = authentik().await;
    for (slug, domain) in [("fits", "home.test"), ("wrong", "other.test")] {
        let external = format!("https://{slug}.home.test");
        authentik.add_provider(Provider::forward_domain(slug, &external, domain));
    }
    let (code, findings) = doctor(&authentik, &[], &[]).await;
    assert_eq!(code, 1);
    says(
        &findings,
        "fits: cookie domain",
        "ok",
        "all hosts below",
        "",
    );
    let found = "browsers refuse the cookie";
    says(
        &findings,
        "wrong: cookie domain",
        "failed",
        found,
        "correct the provider's cookie domain",
    );
}

#[tokio::test]
async fn an_internal_host_that_leads_back_to_the_outpost_is_named() {
    let world = World::with_grafana().await;
    let authentik = authentik().await;
    let internal = format!("http://{}", world.address());
    authentik.add_provider(Provider::proxy("app", "https://app.test", &internal));
    let (code, findings) = doctor(&authentik, &[], &[]).await;
    assert_eq!(code, 1);
    let fix = "the application's own Service";
    says(
        &findings,
        "app: internal host",
        "failed",
        "round in circles",
        fix,
    );
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_redis_without_a_limit_is_warned_about() {
    let authentik = authentik().await;
    for (limit, status, found) in [
        ("0", "warning", "it has no maxmemory"),
        ("64mb", "ok", "evicts nothing"),
    ] {
        let redis = Server::start(&["--maxmemory", limit]).await;
        let port = redis.port();
        let environment = crate::redis::server::settings(&port);
        let (_, findings) = doctor(&authentik, &[], &environment).await;
        says(&findings, "redis memory", status, found, "");
    }
}

#[tokio::test]
async fn an_authentik_that_hides_its_version_is_not_taken_for_an_old_one() {
    let authentik = authentik().await;
    authentik.fault(Endpoint::Version, Fault::Status(403));
    let (code, findings) = doctor(&authentik, &[], &[]).await;
    assert_eq!(code, 0);
    says(&findings, "version", "skipped", "may not read", "");
    let mut world = World::running(authentik, Vec::new(), &[]).await;
    let status = get(world.outpost.metrics(), "/status", "x", &[]).await;
    let status: Value = serde_json::from_slice(status.body()).expect("JSON");
    assert_eq!(status["outpost"]["authentik_version"], Value::Null);
    world.outpost.stop().await;
}

#[cfg(feature = "otel")]
#[tokio::test]
async fn traces_with_which_the_server_would_not_start_are_named() {
    let authentik = authentik().await;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[")];
    let (code, findings) = doctor(&authentik, &[], &environment).await;
    assert_eq!(code, 2, "{findings:?}");
    let fix = "check the variables OTEL_EXPORTER_OTLP_*";
    says(
        &findings,
        "settings",
        "failed",
        "traces cannot be exported",
        fix,
    );
}
