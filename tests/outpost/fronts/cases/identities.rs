//! Users whose identity is large.

use authentik_standin::User;

use super::application::mark;
use super::{APP, Jar, Plan, shown};
use crate::fronts::behind_each_server;
use crate::fronts::client::Protocol;
use crate::fronts::servers::Server;
use crate::support::{PASSWORD, text};

const GROUPS: usize = 400;

behind_each_server!(a_user_with_400_groups_signs_in_and_is_known);

async fn a_user_with_400_groups_signs_in_and_is_known(server: Server) {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let plan = Plan {
            protocol,
            ..Plan::new(server)
        };
        let site = plan.start().await;
        let groups: Vec<String> = (0..GROUPS)
            .map(|number| format!("department-{number:04}-readers"))
            .collect();
        site.world.authentik.add_user(User {
            groups: groups.clone(),
            ..User::new("many", PASSWORD)
        });
        let mut jar = Jar::default();
        let url = format!("https://{APP}/page");
        let (landing, answer) = site.open(&mut jar, &url, "many").await;
        assert_eq!(landing.as_str(), url);
        let page = text(&answer);
        assert!(page.starts_with(&mark(APP)), "{protocol:?} {answer:?}");
        assert_eq!(shown(&page, "x-authentik-groups"), [groups.join("|")]);
    }
}
