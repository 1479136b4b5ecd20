//! Cookies that we did not make, or made for something else.

use authentik_standin::{Provider, Standin};

use super::{HOST, modes, session_cookie, signed_in, worlds};
use crate::forward_auth::dialects::ALL;
use crate::support::{Browser, World, location, within};

#[tokio::test]
async fn cve_2026_25748_malformed_cookies_open_nothing() {
    for (world, other) in worlds().await.into_iter().zip(worlds().await) {
        let cookies = signed_in(&world).await;
        let (name, value) = session_cookie(&cookies);
        let elsewhere = signed_in(&other).await;
        let (_, elsewhere) = session_cookie(&elsewhere);
        let login = cookies.split("; ").find_map(|c| c.split_once("_login="));
        let (_, login) = login.expect("a login cookie");
        let (id, mac) = value.split_once('.').expect("a signed value");
        let bad = [
            String::new(),
            value[..value.len() - 1].to_owned(),
            value[1..].to_owned(),
            format!("{value}x"),
            format!("\"{value}\""),
            value.to_uppercase(),
            value.replace('.', ""),
            id.to_owned(),
            format!("{id}."),
            format!("{id}.{}", "A".repeat(mac.len())),
            format!("{mac}.{id}"),
            format!("{}.{mac}", "A".repeat(id.len())),
            format!("{id}.{}", "!".repeat(mac.len())),
            elsewhere.to_owned(),
            login.to_owned(),
            "A".repeat(8192),
        ];
        for surface in ALL {
            let mut sent: Vec<Vec<u8>> = bad
                .iter()
                .map(|bad| format!("Cookie: {name}={bad}\r\n").into_bytes())
                .collect();
            let name = name.as_bytes();
            sent.push([b"Cookie: ", name, b"=\xff\xfe\x80\r\n"].concat());
            sent.push([b"Cookie: ", name, b"\r\n"].concat());
            sent.push([b"Cookie: ;;=; ", name, b"\r\n"].concat());
            // Of a name that only begins alike.
            sent.push([b"Cookie: ", name, b"x=", value.as_bytes(), b"\r\n"].concat());
            for lines in sent {
                let answer = surface.ask_raw(&world, HOST, "/private", &lines).await;
                let expected = format!("HTTP/1.1 {} ", surface.login());
                let lines = String::from_utf8_lossy(&lines);
                assert!(
                    answer.starts_with(&expected),
                    "{surface:?} {lines:.200}: {answer}"
                );
            }
        }
        assert_eq!(world.outpost.store().len(), 1);
    }
}

#[tokio::test]
async fn cve_2026_25748_a_stale_cookie_beside_the_right_one_does_no_harm() {
    for world in worlds().await {
        let cookies = signed_in(&world).await;
        let (name, value) = session_cookie(&cookies);
        for surface in ALL {
            for doubled in [
                format!("{name}=x; {name}={value}"),
                format!("{name}={value}; {name}=x"),
            ] {
                let headers = [("cookie", doubled.as_str())];
                let answer = surface.ask(&world, HOST, "/private", &headers).await;
                assert_eq!(answer.status(), 200, "{surface:?} {doubled}");
            }
        }
    }
}

#[tokio::test]
async fn cve_2026_25748_the_session_of_another_application_opens_nothing() {
    let world = World::new(vec![
        Provider::forward_single("grafana", "http://grafana.test"),
        Provider::forward_single("other", "http://other.test"),
    ])
    .await;
    let cookies = signed_in(&world).await;
    let (_, value) = session_cookie(&cookies);
    let mut browser = Browser::default();
    browser.log_in(&world, "other.test", "/").await;
    let other = browser.cookies("other.test");
    let (name, _) = session_cookie(&other);
    let planted = format!("{name}={value}; {cookies}");
    for surface in ALL {
        let headers = [("cookie", planted.as_str())];
        let answer = surface.ask(&world, "other.test", "/", &headers).await;
        assert_eq!(answer.status(), surface.login(), "{surface:?}");
    }
}

/// The outpost computes the signature of a repeated cookie once.
#[tokio::test]
async fn cve_2026_25748_a_repeated_cookie_opens_its_session_alone_and_no_longer_than_that() {
    let world = World::new(vec![
        Provider::forward_single("grafana", "http://grafana.test"),
        Provider::forward_single("other", "http://other.test"),
    ])
    .await;
    let cookies = signed_in(&world).await;
    let (name, value) = session_cookie(&cookies);
    let mut browser = Browser::default();
    browser.log_in(&world, "other.test", "/").await;
    let other = browser.cookies("other.test");
    let (other_name, other_value) = session_cookie(&other);
    let status = async |host: &str, name: &str, value: &str| {
        let cookie = format!("{name}={value}");
        let headers = [("cookie", cookie.as_str())];
        let answer = ALL[0].ask(&world, host, "/", &headers).await;
        answer.status().as_u16()
    };
    let login = ALL[0].login();
    for _ in 0..3 {
        assert_eq!(status("grafana.test", name, value).await, 200);
        assert_eq!(status("other.test", other_name, other_value).await, 200);
        assert_eq!(status("other.test", other_name, value).await, login);
        assert_eq!(status("grafana.test", name, other_value).await, login);
        for at in [0, value.len() / 2 + 1, value.len() - 1] {
            let mut changed = value.to_owned();
            let other = if &value[at..=at] == "A" { "B" } else { "A" };
            changed.replace_range(at..=at, other);
            assert_eq!(status("grafana.test", name, &changed).await, login, "{at}");
        }
    }
    let snapshot = world.outpost.live().load_full();
    let mut sites = snapshot.table.sites().iter();
    let grafana = sites.find(|site| site.application.slug.as_str() == "grafana");
    let client = &grafana.expect("an application").application.client;
    for (key, session) in world.outpost.store().sweep() {
        if *session.client_id == *client.id {
            world.outpost.store().revoke(&key).await;
        }
    }
    assert_eq!(status("grafana.test", name, value).await, login);
    assert_eq!(status("other.test", other_name, other_value).await, 200);
}

#[tokio::test]
async fn cve_2026_25748_an_expired_session_opens_nothing() {
    for provider in modes() {
        let brief = Provider {
            access_token_validity: Some(2.0),
            ..provider
        };
        let world = World::new(vec![brief]).await;
        let cookies = signed_in(&world).await;
        let headers = [("cookie", cookies.as_str())];
        // Time passes for real here: the token's own life is what ends the session.
        let expired = async {
            while ALL[0]
                .ask(&world, HOST, "/private", &headers)
                .await
                .status()
                == 200
            {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        within(expired).await;
        for surface in ALL {
            let answer = surface.ask(&world, HOST, "/private", &headers).await;
            assert_eq!(answer.status(), surface.login(), "{surface:?}");
        }
    }
}

#[tokio::test]
async fn cve_2026_19349_state_and_session_are_not_each_other() {
    for world in worlds().await {
        let cookies = signed_in(&world).await;
        let (name, session) = session_cookie(&cookies);
        let mut browser = Browser::default();
        let callback = browser.sign_in(&world, HOST, "/page").await;
        let (before, state) = callback.split_once("&state=").expect("a state");
        // The state, whole and in parts, as a session cookie …
        let parts = state.split('.').chain([state]);
        for value in parts {
            for surface in ALL {
                let cookie = format!("{name}={value}");
                let headers = [("cookie", cookie.as_str())];
                let answer = surface.ask(&world, HOST, "/private", &headers).await;
                assert_eq!(answer.status(), surface.login(), "{surface:?} {value}");
            }
        }
        // … and the session as a state: the login starts over, the code is not redeemed.
        let mut victim = Browser::default();
        world.authentik.clear_requests();
        let answer = victim
            .open(&world, HOST, &format!("{before}&state={session}"))
            .await;
        assert!(
            location(&answer).contains("/application/o/authorize/"),
            "{answer:?}"
        );
        assert_eq!(world.authentik.requests(), []);
        assert_eq!(world.outpost.store().len(), 1);
    }
}

/// An attacker who planted their login cookie in the victim's browser knows nothing of the session
/// that the victim opens with it.
#[tokio::test]
async fn session_fixation_a_planted_login_cookie_is_worth_nothing_afterwards() {
    for provider in modes() {
        let authentik = Standin::builder().start().await.expect("started");
        let world = World::beside(authentik, vec![provider], &[]).await;
        let mut attacker = Browser::default();
        attacker.sign_in(&world, HOST, "/").await;
        let planted = attacker.cookies(HOST);
        let start = "/outpost.goauthentik.io/start?rd=http://grafana.test/";
        let answer = world.get(start, HOST, &[("cookie", &planted)]).await;
        let callback = Browser::authorize(&world, &location(&answer));
        let answer = world.get(&callback, HOST, &[("cookie", &planted)]).await;
        assert_eq!(location(&answer), "http://grafana.test/");
        for surface in ALL {
            let headers = [("cookie", planted.as_str())];
            let answer = surface.ask(&world, HOST, "/private", &headers).await;
            assert_eq!(answer.status(), surface.login(), "{surface:?}");
        }
    }
}
