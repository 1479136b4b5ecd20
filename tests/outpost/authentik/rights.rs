//! What changes at authentik, and which sessions end by that.

use authentik_standin::Standin;
use serde_json::json;

use crate::login::refresh::age_tokens;
use crate::redis::replicas::{HOST, PAGE, status};
use crate::support::{Browser, World};

type Change = fn(&Standin);

/// Changes that end the sessions of alice, or of grafana.
const ENDING: [(&str, Change); 7] = [
    ("the user signs out at authentik", |authentik| {
        for sid in authentik.sids_of("alice") {
            authentik.end_session(&sid);
        }
    }),
    ("the session is deleted", |authentik| {
        authentik.end_sessions_of("alice");
    }),
    ("the user is deactivated", |authentik| {
        authentik.deactivate("alice");
    }),
    ("the user is deleted", |authentik| {
        authentik.delete_user("alice");
    }),
    ("the provider is removed from the outpost", |authentik| {
        authentik.attach_provider("grafana", false);
    }),
    ("the application is deleted", |authentik| {
        authentik.patch_provider("grafana", json!({"assigned_application_slug": ""}));
    }),
    ("the cookie secret changes", |authentik| {
        authentik.patch_provider("grafana", json!({"cookie_secret": "another-secret"}));
    }),
];

/// Changes of which authentik sends no event, and after which its tokens stay active.
const SILENT: [(&str, Change); 4] = [
    ("a password is set", |authentik| {
        authentik.set_password("alice", "another-password");
    }),
    ("the user is removed from a group", |authentik| {
        authentik.set_groups("alice", &[]);
    }),
    ("a policy changes", |authentik| {
        authentik.restrict_provider("grafana", Some(&["others"]));
    }),
    ("the client secret changes", |authentik| {
        let secret = json!({"client_secret": "another-secret-of-the-client-0123456789"});
        authentik.patch_provider("grafana", secret);
    }),
];

async fn signed_in() -> (World, Browser) {
    let world = World::with_grafana().await;
    age_tokens(&world.authentik, 60);
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, PAGE).await;
    assert_eq!(status(&world, &browser).await, 200);
    (world, browser)
}

#[tokio::test]
async fn what_authentik_announces_ends_sessions_at_once() {
    for (name, change) in ENDING {
        let (world, browser) = signed_in().await;
        change(&world.authentik);
        world.until(|world| world.outpost.store().is_empty()).await;
        // Nothing is served any more where the only provider is gone.
        let answer = status(&world, &browser).await;
        assert!(matches!(answer, 401 | 500), "{name}: {answer}");
    }
}

#[tokio::test]
async fn what_authentik_does_not_announce_ends_no_session_by_itself() {
    for (name, change) in SILENT {
        let (world, browser) = signed_in().await;
        change(&world.authentik);
        world.authentik.trigger_update();
        // After a gap every session is introspected.
        world.authentik.drop_websockets();
        world
            .authentik
            .wait_requests(1, |request| request.path.contains("/introspect/"))
            .await;
        let introspected = || {
            let all = world.outpost.store().sweep();
            all.first().map(|(_, session)| session.introspected_at())
        };
        world
            .until(|_| introspected().is_some_and(|time| time > 0))
            .await;
        assert_eq!(status(&world, &browser).await, 200, "{name}");
    }
}
