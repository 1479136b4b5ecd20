//! Applications that share one sign-in.

use authentik_standin::Provider;

use super::application::mark;
use super::{APP, Jar, OTHER, Plan, shown};
use crate::fronts::behind_each_server;
use crate::fronts::client::Protocol;
use crate::fronts::servers::Server;
use crate::support::text;

/// The host of the sign-in.
const AUTH: &str = "auth.example.com";

behind_each_server!(a_sign_in_for_a_domain_opens_its_applications);

async fn a_sign_in_for_a_domain_opens_its_applications(server: Server) {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let url = format!("https://{AUTH}");
        let plan = Plan {
            protocol,
            providers: vec![Provider::forward_domain("domain", &url, "example.com")],
            hosts: &[AUTH, APP, OTHER],
            ..Plan::new(server)
        };
        let site = plan.start().await;
        let mut jar = Jar::default();
        let url = format!("https://{APP}/d/x?y=1&z=%20");
        let (landing, answer) = site.open(&mut jar, &url, "alice").await;
        assert_eq!(landing.as_str(), url, "{answer:?}");
        assert!(text(&answer).starts_with(&mark(APP)), "{answer:?}");
        // Signed in by now, without authentik.
        for host in [OTHER, AUTH, APP] {
            let answer = site.get(host, "/", &[("cookie", &jar.cookies(host))]).await;
            let page = text(&answer);
            assert!(page.starts_with(&mark(host)), "{answer:?}");
            assert_eq!(shown(&page, "x-authentik-username"), ["alice"]);
        }
        site.world.authentik.end_sessions_of("alice");
        site.world
            .until(|world| world.outpost.store().is_empty())
            .await;
        let answer = site
            .get(OTHER, "/", &[("cookie", &jar.cookies(OTHER))])
            .await;
        assert_eq!(answer.status(), 302, "{answer:?}");
    }
}
