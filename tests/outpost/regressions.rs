//! What users of authentik's own outpost ran into, by the number of the issue there, where no
//! other file has a place for it.

use authentik_standin::{Endpoint, Fault, Provider, Standin, User};
use serde_json::json;
use url::Url;

use crate::forward_auth::dialects::{ALL, Surface};
use crate::operations::process::Process;
use crate::support::{Browser, PASSWORD, World, location, text};

const HOST: &str = "grafana.test";

#[tokio::test]
async fn issue_15685_a_port_that_is_not_the_default_is_kept() {
    let grafana = Provider::forward_single("grafana", "http://grafana.test:8443");
    let other = Provider::forward_single("other", "http://other.test");
    let world = World::new(vec![grafana, other]).await;
    let host = "grafana.test:8443";
    let page = "/d/x?orgId=1";
    for surface in ALL {
        let mut browser = Browser::default();
        let asked = surface.ask(&world, host, page, &[]).await;
        assert_eq!(asked.status(), surface.login(), "{surface:?}");
        let answer = if surface.redirects() {
            asked
        } else {
            let start = format!("/outpost.goauthentik.io/start?rd=http://{host}{page}");
            world.get(&start, host, &[]).await
        };
        browser.keep(host, answer.headers());
        let authorize = Url::parse(&location(&answer)).expect("a URL");
        let redirect = authorize
            .query_pairs()
            .find(|(name, _)| name == "redirect_uri");
        let (_, redirect) = redirect.expect("a redirect URI");
        assert!(
            redirect.starts_with("http://grafana.test:8443/"),
            "{redirect}"
        );
        let callback = Browser::authorize(&world, authorize.as_str());
        let answer = browser.open(&world, host, &callback).await;
        assert_eq!(
            location(&answer),
            format!("http://{host}{page}"),
            "{surface:?}"
        );
        // Reverse proxies that drop the port from `Host` mean the same application.
        let cookies = browser.cookies(host);
        for asked in [host, "grafana.test"] {
            let headers = [("cookie", cookies.as_str())];
            let answer = surface.ask(&world, asked, page, &headers).await;
            assert_eq!(answer.status(), 200, "{surface:?} {asked}");
        }
        browser.log_in(&world, "grafana.test", page).await;
    }
}

#[tokio::test]
async fn issue_5097_scripts_do_not_change_where_a_login_lands() {
    for surface in ALL.into_iter().filter(|surface| surface.redirects()) {
        let world = World::with_grafana().await;
        let mut browser = Browser::default();
        let first = surface.ask(&world, HOST, "/dashboard", &[]).await;
        browser.keep(HOST, first.headers());
        // While the user types, the page that is still open goes on polling.
        for script in [
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-mode", "no-cors"),
            ("sec-fetch-mode", "websocket"),
            ("x-requested-with", "XMLHttpRequest"),
        ] {
            let cookies = browser.cookies(HOST);
            let headers = [("cookie", cookies.as_str()), script];
            let answer = surface.ask(&world, HOST, "/api/live", &headers).await;
            assert_eq!(answer.status(), 401, "{surface:?} {script:?}");
            assert!(!answer.headers().contains_key("set-cookie"));
        }
        let callback = Browser::authorize(&world, &location(&first));
        let answer = browser.open(&world, HOST, &callback).await;
        assert_eq!(
            location(&answer),
            "http://grafana.test/dashboard",
            "{surface:?}"
        );
    }
}

#[tokio::test]
async fn issue_10501_hundreds_of_applications_have_their_own_logins() {
    let providers = (0..300).map(|n| {
        let host = format!("http://app{n}.test");
        Provider::forward_single(&format!("app{n}"), &host)
    });
    let world = World::new(providers.collect()).await;
    for n in [0, 99, 100, 199, 299] {
        let host = format!("app{n}.test");
        let mut browser = Browser::default();
        let landing = browser.log_in(&world, &host, "/page").await;
        assert_eq!(landing, format!("http://{host}/page"));
        let cookies = browser.cookies(&host);
        let headers = [("cookie", cookies.as_str())];
        for surface in ALL {
            let answer = surface.ask(&world, &host, "/", &headers).await;
            assert_eq!(answer.status(), 200, "{surface:?} {host}");
            assert_eq!(
                answer.headers()["x-authentik-meta-app"],
                format!("app{n}").as_str()
            );
            let answer = surface.ask(&world, "app150.test", "/", &headers).await;
            assert_eq!(answer.status(), surface.login(), "{surface:?} {host}");
        }
    }
    let answer = Surface::Envoy.ask(&world, "app300.test", "/", &[]).await;
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn issue_12552_nginx_gets_no_status_that_it_cannot_pass_on() {
    let authentik = Standin::builder().start().await.expect("started");
    let providers = vec![
        Provider::forward_single("grafana", "http://grafana.test"),
        Provider::forward_single("other", "http://other.test"),
    ];
    let file = "applications: {grafana: {rules: [{path: ^/never, action: deny}]}}";
    let world = World::with_file(authentik, providers, file, &[]).await;
    let basic = ("authorization", "Basic YTpi");
    for (url, headers, status, reason) in [
        ("http://grafana.test/", &[][..], 401, None),
        (
            "http://grafana.test/",
            &[("sec-fetch-mode", "cors")],
            401,
            None,
        ),
        (
            "http://grafana.test/never",
            &[],
            403,
            Some("rule 1 denies the request"),
        ),
        (
            "http://unknown.test/",
            &[],
            500,
            Some("no app for hostname 'unknown.test'"),
        ),
        ("/x", &[], 500, Some("X-Original-URL is not usable")),
        (
            "http://grafana.test/",
            &[basic],
            500,
            Some("could not be verified"),
        ),
        // Markers of our own pages make no difference here.
        (
            "http://grafana.test/?X-authentik-logout=true",
            &[],
            401,
            None,
        ),
    ] {
        world.authentik.fault(Endpoint::Token, Fault::Status(503));
        let answer = world.nginx(url, "", headers).await;
        assert_eq!(answer.status(), status, "{url}");
        assert!(answer.body().is_empty(), "{url}");
        let found = answer.headers().get("x-authentik-proxy-error");
        let found = found.map(|value| value.to_str().expect("text"));
        let told = match (found, reason) {
            (Some(found), Some(reason)) => found.contains(reason),
            (found, reason) => found == reason,
        };
        assert!(told, "{url}: {found:?}");
    }
}

/// The last line about a request in the log.
async fn remote(world: &World<Process>, path: &str) -> String {
    let line = world.outpost.wait_line(path).await;
    line["remote"].as_str().expect("an address").to_owned()
}

#[tokio::test]
async fn issue_25393_the_log_has_the_address_of_the_rightmost_untrusted_hop() {
    let grafana = || vec![Provider::forward_single("grafana", "http://grafana.test")];
    let authentik = Standin::builder().start().await.expect("started");
    let mut world = World::<Process>::running(authentik, grafana(), &[]).await;
    for (n, forwarded, expected) in [
        (1, "203.0.113.7", "203.0.113.7"),
        (2, "198.51.100.1, 203.0.113.7, 10.0.0.1", "203.0.113.7"),
        (3, "[2001:db8::7]:443, 192.168.1.1", "2001:db8::7"),
        (4, "unknown", "127.0.0.1"),
        (5, "10.0.0.9", "10.0.0.9"),
    ] {
        let page = format!("/outpost.goauthentik.io/start/{n}");
        world
            .get(&page, HOST, &[("x-forwarded-for", forwarded)])
            .await;
        assert_eq!(remote(&world, &page).await, expected, "{forwarded}");
    }
    assert_eq!(world.outpost.complaints(), [""; 0]);
    world.outpost.stop().await;

    // From an untrusted client it is ignored, which is said once.
    let authentik = Standin::builder().start().await.expect("started");
    let more = [("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", "192.0.2.0/24")];
    let mut world = World::<Process>::running(authentik, grafana(), &more).await;
    for n in 1..=3 {
        let page = format!("/outpost.goauthentik.io/start/{n}");
        let answer = world
            .get(&page, HOST, &[("x-forwarded-for", "203.0.113.7")])
            .await;
        assert!(text(&answer).contains("Not found"));
        assert_eq!(remote(&world, &page).await, "127.0.0.1");
    }
    world.outpost.stop().await;
    let complaints = world.outpost.complaints();
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    for part in ["from 127.0.0.1 are ignored", "TRUSTED_PROXY_CIDRS"] {
        assert!(complaints[0].contains(part), "{complaints:?}");
    }
}

/// A scope mapping of an administrator may say anything.
#[tokio::test]
async fn odd_claims_about_the_user_lock_no_user_out() {
    let world = World::with_grafana().await;
    for (number, odd) in [
        json!({"acr": 1, "amr": "pwd", "email_verified": "yes", "nickname": 5}),
        json!({"auth_time": "this morning", "updated_at": "now", "address": "Main Street"}),
        json!({"groups": [1, 2], "email": ["a@x.test"]}),
        json!({"ak_proxy": "nothing"}),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("user{number}");
        world.authentik.add_user(User {
            groups: vec!["users".into()],
            extra_claims: odd.clone(),
            ..User::new(&name, PASSWORD)
        });
        let cookies = Browser::default()
            .log_in_as(&world, "grafana.test", &name)
            .await;
        let answer = world.nginx("http://grafana.test/", &cookies, &[]).await;
        assert_eq!(answer.status(), 200, "{odd}");
        assert_eq!(answer.headers()["x-authentik-username"], name, "{odd}");
        let groups = if odd["groups"].is_null() {
            "users"
        } else {
            "1|2"
        };
        assert_eq!(answer.headers()["x-authentik-groups"], groups, "{odd}");
    }
}

/// An ingress in front of authentik may keep the page with the version to itself.
#[tokio::test]
async fn nothing_waits_for_the_version_of_authentik() {
    for fault in [Fault::Html, Fault::Hang, Fault::Reset, Fault::Status(404)] {
        let authentik = Standin::builder().start().await.expect("started");
        authentik.fault(Endpoint::Version, fault.clone());
        let providers = vec![Provider::forward_single("grafana", "http://grafana.test")];
        let world = World::beside(authentik, providers, &[]).await;
        let answer = world.nginx("http://grafana.test/", "", &[]).await;
        assert_eq!(answer.status(), 401, "{fault:?}");
        assert_eq!(world.served().version, None, "{fault:?}");
    }
}
