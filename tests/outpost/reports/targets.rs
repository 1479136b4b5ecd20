//! Where a login leads to.

use authentik_standin::Provider;

use crate::support::upstream::HOST;
use crate::support::{Browser, World};

/// goauthentik/authentik#26270: an external host with a path and a slash at its end, behind nginx. The
/// stand-in refuses a redirect URI that authentik has not registered.
#[tokio::test]
async fn an_external_host_below_a_path_signs_in_with_and_without_a_slash() {
    for external in ["http://app.test/sso/", "http://app.test/sso"] {
        let world = World::new(vec![Provider::forward_single("app", external)]).await;
        for page in ["/sso/", "/sso/page?x=1"] {
            let mut browser = Browser::default();
            let url = format!("http://{HOST}{page}");
            let landing = browser.log_in(&world, HOST, &url).await;
            assert_eq!(landing, url, "{external}");
            let cookies = browser.cookies(HOST);
            let answer = world.nginx(&url, &cookies, &[]).await;
            assert_eq!(answer.status(), 200, "{external} {page}");
        }
        let answer = world.nginx("http://app.test/", "", &[]).await;
        assert_ne!(answer.status(), 200, "what is not below the path");
    }
}
