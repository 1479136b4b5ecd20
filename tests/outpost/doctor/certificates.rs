//! What authentik's certificates say of themselves.

use authentik_standin::Provider;

use super::{doctor, found};
use crate::authentik::tls::Authority;

/// Variables for the doctor.
type Settings = fn(&Authority) -> Vec<(&'static str, String)>;

#[tokio::test]
async fn the_chain_is_told_whether_it_is_trusted_or_not() {
    let trusts = |authority: &Authority| vec![("AUTHENTIK_PROXY_TLS__CA_FILE", authority.file())];
    let insecure = |_: &Authority| vec![("AUTHENTIK_INSECURE", "true".to_owned())];
    let strange = |_: &Authority| Vec::new();
    let cases: [(i64, Settings, &str, &str); 5] = [
        (90, trusts, "ok", "is trusted: "),
        (5, trusts, "warning", "is trusted for 4 days more: "),
        (90, insecure, "warning", "is not verified: "),
        (90, strange, "failed", "UnknownIssuer"),
        (-1, trusts, "failed", "xpired"),
    ];
    for (days, settings, status, part) in cases {
        let authority = Authority::new();
        let authentik = authority.authentik_until(days).await;
        authentik.add_provider(Provider::forward_single("grafana", "https://grafana.test"));
        let settings = settings(&authority);
        let settings: Vec<_> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let (code, findings) = doctor(&authentik, &[], &settings).await;
        let [(was, text)] = found(&findings, "tls")[..] else {
            panic!("one in {findings:?}");
        };
        assert_eq!(was, status, "{days} days, {settings:?}: {text}");
        assert_eq!(code, i32::from(status == "failed"), "{text}");
        for part in [
            part,
            "CN=authentik of the tests",
            "for 127.0.0.1",
            "from CN=authority of the tests",
            "until ",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let tls = findings.iter().find(|finding| finding["check"] == "tls");
        let fix = tls.and_then(|tls| tls["fix"].as_str()).unwrap_or_default();
        assert_eq!(fix.contains("renew the certificate"), days < 0, "{fix}");
    }
}
