//! What decides whether tokens are believed: the clocks, and the issuer.

use authentik_standin::{Endpoint, Fault};
use serde_json::json;

use super::{authentik, doctor, found, is_found};

#[tokio::test]
async fn a_clock_that_is_wrong_is_found_with_its_skew() {
    let fine = "agree";
    for (ahead, status, parts) in [
        (600, "failed", [" s ahead of this host's", "not yet valid"]),
        (
            -600,
            "failed",
            [" s behind this host's", "before their time"],
        ),
        (45, "warning", [" s ahead of this host's", "not yet valid"]),
        (
            -45,
            "warning",
            [" s behind this host's", "before their time"],
        ),
        (10, "ok", [fine, fine]),
        (0, "ok", [fine, fine]),
        (-10, "ok", [fine, fine]),
    ] {
        let authentik = authentik().await;
        authentik.fault(Endpoint::Any, Fault::ClockAhead(ahead));
        let (code, findings) = doctor(&authentik, &[], &[]).await;
        assert_eq!(code, i32::from(status == "failed"), "{ahead}");
        let [(found, text)] = found(&findings, "clock")[..] else {
            panic!("one in {findings:?}");
        };
        assert_eq!(found, status, "{ahead}: {text}");
        for part in parts {
            assert!(text.contains(part), "{ahead}: {part} in {text}");
        }
        if status != "ok" {
            let said = text.split(' ').find_map(|word| word.parse::<i64>().ok());
            // A date has whole seconds, and asking takes a moment.
            let off = said.expect("a number").abs_diff(i64::abs(ahead));
            assert!(off < 30, "{ahead}: {text}");
        }
    }
}

#[tokio::test]
async fn an_issuer_that_tokens_will_not_carry_is_found() {
    let other = "https://sso.other.test/application/o/renamed/";
    let authentik = authentik().await;
    let patch = json!({"oidc_configuration": {"issuer": other}});
    authentik.patch_provider_silently("grafana", patch);
    let (code, findings) = doctor(&authentik, &[], &[]).await;
    assert_eq!(code, 1);
    let [(status, text)] = found(&findings, "grafana: issuer")[..] else {
        panic!("one in {findings:?}");
    };
    assert_eq!(status, "failed");
    let carried = format!("{}application/o/grafana/", authentik.url());
    for part in [format!("issued by {carried}"), format!("expected {other}")] {
        assert!(text.contains(&part), "{part} in {text}");
    }
}

#[tokio::test]
async fn a_provider_without_a_discovery_document_is_found() {
    let breaks = |authentik: &authentik_standin::Standin| {
        authentik.fault(Endpoint::Discovery, Fault::Status(404));
    };
    let fix = "check authentik's own log";
    is_found(&[], breaks, "grafana: issuer", "404", fix).await;
}
