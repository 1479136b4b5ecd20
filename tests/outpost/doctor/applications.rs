//! What is looked at for each application.

use authentik_standin::{Endpoint, Fault, Provider, Signing};
use serde_json::json;

use super::{Break, authentik, doctor, failed, found, is_found};

#[tokio::test]
async fn each_mistake_of_a_provider_is_found_and_named() {
    for (environment, breaks, check, expected, fix) in [
        (
            &[][..],
            (|a| {
                a.add_provider(Provider {
                    external_host: "no host".to_owned(),
                    ..Provider::forward_single("lost", "https://lost.test")
                });
            }) as Break,
            "provider \"lost\"",
            "invalid external host \"no host\"",
            "set the provider's external host",
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
            "check the port of the provider's internal host",
        ),
        (
            &[],
            |a| {
                // By another scheme, but requests do not tell it.
                a.add_provider(Provider::forward_single("twin", "http://Grafana.test/"));
            },
            "twin: external host",
            "is that of \"grafana\", too",
            "give each provider an external host of its own",
        ),
        (
            &[],
            |a| {
                a.add_provider(Provider {
                    signing: Signing::Rs256,
                    ..Provider::forward_single("app", "https://app.test")
                });
                a.fault(Endpoint::Jwks, Fault::Html);
            },
            "app: signing keys",
            "cannot be decoded",
            "check authentik's own log",
        ),
        (
            &[],
            |a| a.fault(Endpoint::Introspect, Fault::Status(502)),
            "grafana: introspection",
            "502 Bad Gateway",
            "check authentik's own log",
        ),
    ] {
        is_found(environment, breaks, check, expected, fix).await;
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
async fn other_providers_do_not_matter_to_one_application() {
    let authentik = authentik().await;
    authentik.add_provider(Provider {
        external_host: "no host".to_owned(),
        ..Provider::forward_single("lost", "https://lost.test")
    });
    let (code, findings) = doctor(&authentik, &["--app", "grafana"], &[]).await;
    assert_eq!((code, failed(&findings)), (0, vec![]));
    let (code, findings) = doctor(&authentik, &["--app", "lost"], &[]).await;
    let failed = failed(&findings);
    assert_eq!((code, failed.len()), (1, 1), "{failed:?}");
    assert_eq!(failed[0].0, "provider \"lost\"");
}

#[tokio::test]
async fn published_keys_are_counted() {
    let authentik = authentik().await;
    authentik.add_provider(Provider {
        signing: Signing::Rs256,
        ..Provider::forward_single("app", "https://app.test")
    });
    let (code, findings) = doctor(&authentik, &[], &[]).await;
    assert_eq!(code, 0);
    let keys = found(&findings, "app: signing keys");
    assert_eq!(keys, [("ok", "authentik publishes 1")]);
}

#[tokio::test]
async fn keys_that_are_not_understood_are_told_from_none() {
    let authentik = authentik().await;
    authentik.add_provider(Provider {
        signing: Signing::Rs256,
        ..Provider::forward_single("app", "https://app.test")
    });
    authentik.fault(Endpoint::Jwks, Fault::MissingField("n".into()));
    let (code, findings) = doctor(&authentik, &[], &[]).await;
    assert_eq!(code, 1, "{findings:?}");
    let [(status, text)] = found(&findings, "app: signing keys")[..] else {
        panic!("one in {findings:?}");
    };
    assert_eq!(status, "failed");
    assert!(
        text.starts_with("authentik publishes 1, of kinds"),
        "{text}"
    );
}

#[tokio::test]
async fn what_cannot_be_asked_is_not_said_to_be_in_order() {
    let authentik = authentik().await;
    let field = "introspection_endpoint".into();
    authentik.fault(Endpoint::Providers, Fault::MissingField(field));
    let (_, findings) = doctor(&authentik, &[], &[]).await;
    let [(status, text)] = found(&findings, "grafana: introspection")[..] else {
        panic!("one in {findings:?}");
    };
    assert_eq!(status, "warning");
    assert!(text.starts_with("authentik names no address"), "{text}");
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
    assert_eq!(grafana, [("ok", "neither rules nor authentik allow any")]);
}

#[tokio::test]
async fn an_application_that_answers_is_found_to_do_so() {
    let upstream = crate::support::upstream::Upstream::start().await;
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
async fn ap_2026_06_an_application_that_gets_the_token_is_named() {
    const KEEP: (&str, &str) = ("AUTHENTIK_PROXY_IDENTITY__SEND_JWT", "false");
    let authentik = authentik().await;
    for (settings, expected, fix) in [
        (&[][..], "the application gets it", Some(KEEP.0)),
        (&[KEEP], "it stays here", None),
    ] {
        let (code, findings) = doctor(&authentik, &[], settings).await;
        assert_eq!(code, 0, "it is no failure");
        let named = |f: &&serde_json::Value| f["check"] == "grafana: access token";
        let finding = findings.iter().find(named).expect("looked at");
        assert_eq!(finding["status"], "ok");
        let found = finding["found"].as_str().expect("text");
        assert!(found.starts_with(expected), "{finding}");
        let better = finding["fix"].as_str();
        assert_eq!(better.is_some(), fix.is_some(), "{finding}");
        assert!(fix.is_none_or(|fix| better.unwrap_or_default().contains(fix)));
    }
}
