//! Cookies that no outpost made for this use.

use authentik_standin::Provider;
use serde_json::json;

use super::{
    HOST, LARGE, authentik, connected, found_and_decrypted, header, pairs, replica, sign_in,
    status, user,
};
use crate::forward_auth::dialects::ALL;
use crate::support::{Browser, World};

/// Asks in every dialect.
async fn assert_refused(world: &World, what: &str, cookies: &str) {
    for surface in ALL {
        let answer = surface
            .ask(world, HOST, "/d/x", &[("cookie", cookies)])
            .await;
        assert!(
            matches!(answer.status().as_u16(), 302 | 401),
            "{what} {surface:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn cve_2026_25748_a_changed_session_in_a_cookie_never_passes() {
    let authentik = authentik().await;
    let world = connected(&authentik, &[]).await;
    let cookies = sign_in(&world).await;
    let pairs = pairs(&cookies);
    let [(name, value)] = pairs[..] else {
        panic!("one part: {pairs:?}");
    };
    assert_eq!(status(&world, &header(&pairs)).await, 200);
    let text = value.strip_prefix("1.1.").expect("the form");
    for at in (0..text.len()).step_by(97).chain([text.len() - 1]) {
        let mut bad = text.as_bytes().to_vec();
        bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
        let bad = String::from_utf8(bad).expect("text");
        assert_refused(&world, "changed", &format!("{name}=1.1.{bad}")).await;
    }
    for (what, value) in [
        ("cut off", format!("1.1.{}", &text[..text.len() - 2])),
        ("longer", format!("1.1.{text}AA")),
        ("another number of parts", format!("1.2.{text}")),
        ("another version", format!("2.1.{text}")),
        ("empty", "1.1.".to_owned()),
        ("padded", format!("1.1.{text}=")),
        ("quoted", format!("\"{value}\"")),
        ("none", String::new()),
    ] {
        assert_refused(&world, what, &format!("{name}={value}")).await;
    }
    assert_eq!(world.outpost.store().len(), 1, "nothing else is kept");
}

#[tokio::test]
async fn ap_2026_04_cookies_that_were_never_sealed_are_not_decrypted_and_hide_none() {
    let authentik = authentik().await;
    let cookies = sign_in(&connected(&authentik, &[]).await).await;
    let (name, value) = pairs(&cookies)[0];
    // It has not seen the session.
    let world = connected(&authentik, &[]).await;
    let further: Vec<_> = (1..8).map(|n| format!("{name}_{n}=AAAAAAAA.A; ")).collect();
    let junk = format!(
        "{name}=1.2.{}; {name}=1.1.{}; ",
        "A".repeat(60),
        "B".repeat(60)
    );
    let junk = format!("{}{}", further.concat().repeat(30), junk.repeat(127));
    assert_refused(&world, "never sealed", &junk).await;
    assert_eq!(found_and_decrypted(&world).await, (0, 0));
    let hidden = format!("{junk}{cookies}");
    for times in 0..5 {
        assert_eq!(status(&world, &hidden).await, 200);
        assert_eq!(found_and_decrypted(&world).await, (times, 1));
    }
    // The start of a session, which a user has and an anonymous client has not.
    let start = &value[..value.len() / 8];
    let many: Vec<_> = (0..250)
        .map(|n| format!("{name}={start}{n:03}; "))
        .collect();
    assert_eq!(status(&world, &many.concat()).await, 401);
    assert_eq!(found_and_decrypted(&world).await, (4, 17));
}

#[tokio::test]
async fn ap_2026_05_a_session_counts_for_its_application_and_name_alone() {
    let authentik = authentik().await;
    authentik.add_provider(Provider::forward_single("wiki", "http://wiki.test"));
    let world = connected(&authentik, &[]).await;
    let mut browser = Browser::default();
    browser
        .log_in(&world, "wiki.test", "http://wiki.test/")
        .await;
    let wiki = browser.cookies("wiki.test");
    let grafana = sign_in(&world).await;
    let ((wiki_name, wiki_value), (name, value)) = (pairs(&wiki)[0], pairs(&grafana)[0]);
    assert_refused(&world, "as it is", &format!("{wiki_name}={wiki_value}")).await;
    assert_refused(&world, "renamed", &format!("{name}={wiki_value}")).await;
    for prefix in ["__Host-", "__Secure-"] {
        assert_refused(&world, prefix, &format!("{prefix}{name}={value}")).await;
    }
    assert_refused(&world, "of a login", &format!("{name}_login={value}")).await;
}

#[tokio::test]
async fn cve_2026_25748_parts_of_several_sessions_never_pass() {
    let authentik = authentik().await;
    authentik.add_user(user("bob", 300));
    let world = connected(&authentik, &[LARGE]).await;
    let mut logins = Vec::new();
    for _ in 0..2 {
        let cookies = Browser::default().log_in_as(&world, HOST, "bob").await;
        logins.push(cookies);
    }
    let (one, two) = (pairs(&logins[0]), pairs(&logins[1]));
    assert!(one.len() >= 3 && one.len() == two.len(), "{}", one.len());
    let there = replica(&authentik, &[]).await;
    for world in [&world, &there] {
        for (what, parts) in [
            ("one is missing", [&one[..1], &one[2..]].concat()),
            ("the last is missing", one[..one.len() - 1].to_vec()),
            (
                "one is of another",
                [&one[..1], &two[1..2], &one[2..]].concat(),
            ),
            ("the first is of another", [&two[..1], &one[1..]].concat()),
        ] {
            assert_refused(world, what, &header(&parts)).await;
        }
        let tag = two[1].1.split('.').next().expect("a tag");
        let (_, part) = one[1].1.split_once('.').expect("a tag");
        let renamed = format!("{tag}.{part}");
        let spliced = [&two[..1], &[(one[1].0, &*renamed)], &two[2..]].concat();
        assert_refused(world, "with its tag", &header(&spliced)).await;
        let swapped = [
            (one[0].0, one[0].1),
            (one[1].0, one[2].1),
            (one[2].0, one[1].1),
        ];
        let swapped = [&swapped[..], &one[3..]].concat();
        assert_refused(world, "another order", &header(&swapped)).await;
        assert_eq!(
            status(world, &header(&[&one[..], &two[..]].concat())).await,
            200
        );
    }
}

#[tokio::test]
async fn a_change_of_either_secret_ends_the_sessions_in_cookies() {
    for secret in ["cookie_secret", "client_secret"] {
        let authentik = authentik().await;
        let world = connected(&authentik, &[]).await;
        let cookies = sign_in(&world).await;
        assert_eq!(status(&world, &cookies).await, 200);
        let before = world.outpost.live().load_full();
        authentik.patch_provider("grafana", json!({secret: "another-secret-of-the-provider"}));
        world
            .until(|world| !std::sync::Arc::ptr_eq(&world.outpost.live().load_full(), &before))
            .await;
        assert_refused(&world, secret, &cookies).await;
    }
}

#[tokio::test]
async fn another_outpost_does_not_accept_the_cookie() {
    let authentik = authentik().await;
    let world = connected(&authentik, &[]).await;
    let cookies = sign_in(&world).await;
    assert_eq!(status(&world, &cookies).await, 200);
    let other = authentik.add_outpost("other").to_string();
    let other = replica(&authentik, &[("AUTHENTIK_OUTPOST_ID", &other)]).await;
    assert_refused(&other, "another outpost", &cookies).await;
}
