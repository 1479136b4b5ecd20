//! Addresses that clients make up.

use authentik_standin::Standin;

use super::{HOST, modes};
use crate::forward_auth::dialects::{ALL, Surface};
use crate::support::World;

const TRUSTED_NETWORK: &str = "
applications:
  grafana:
    trusted_networks: [192.0.2.0/24]
";

#[tokio::test]
async fn cve_2023_36456_and_cve_2024_47070_only_a_believed_address_is_in_a_trusted_network() {
    let long = "192.0.2.1,".repeat(1000);
    for provider in modes() {
        let authentik = Standin::builder().start().await.expect("started");
        let world = World::with_file(authentik, vec![provider], TRUSTED_NETWORK, &[]).await;
        for surface in ALL {
            for (forwarded, passes) in [
                ("192.0.2.1", true),
                ("192.0.2.1:5678", true),
                ("198.51.100.1, 192.0.2.1", true),
                ("192.0.2.1, 10.1.2.3", true),
                ("192.0.2.1, 198.51.100.1", false),
                ("192.0.2.1, a, 10.1.2.3", false),
                ("a", false),
                ("", false),
                ("999.1.1.1", false),
                ("192.0.2.1.", false),
                ("192.0.2.1/24", false),
                ("[::1]:1", false),
                (&long, false),
            ] {
                let headers = [("x-forwarded-for", forwarded)];
                let answer = surface.ask(&world, HOST, "/private", &headers).await;
                let expected = if passes { 200 } else { surface.login() };
                let shown = &forwarded[..forwarded.len().min(40)];
                assert_eq!(answer.status(), expected, "{surface:?} {shown:?}");
            }
        }
    }
}

#[tokio::test]
async fn cve_2023_36456_the_address_that_an_untrusted_client_claims_is_ignored() {
    for provider in modes() {
        let authentik = Standin::builder().start().await.expect("started");
        let more = [("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", "203.0.113.0/24")];
        let world = World::with_file(authentik, vec![provider], TRUSTED_NETWORK, &more).await;
        for surface in [Surface::Nginx, Surface::Envoy] {
            let headers = [("x-forwarded-for", "192.0.2.1"), ("x-real-ip", "192.0.2.1")];
            let answer = surface.ask(&world, HOST, "/private", &headers).await;
            assert_eq!(answer.status(), surface.login(), "{surface:?}");
        }
    }
}
