//! Sign-in and back to the same URL, headers at the application, sign-out, the end of a session.

use super::application::mark;
use super::{APP, Jar, OTHER, Plan, Site, shown};
use crate::fronts::behind_each_server;
use crate::fronts::client::Protocol;
use crate::fronts::servers::Server;
use crate::support::{NAVIGATION, SIGN_OUT, location, text};

/// Targets that have to come back as they are. `%2F` is for all but Envoy, which refuses it.
const TARGETS: [&str; 8] = [
    "/",
    "/d/x%2Fy?orgId=1&var=%20a+b",
    "/a%20b/caf%C3%A9?q=%C3%BC&empty=&flag",
    "/search?q=a&rd=https%3A%2F%2Felsewhere.example%2F&b=c#",
    "/next?url=https://app.example.com/x?y=z&w=%26%3D",
    "/p;v=1/x.y~z_-!$()*,:@?a[]=1&b=%5B%5D",
    "/trailing/?",
    "/%25/100%25?p=%25",
];

behind_each_server!(a_sign_in_comes_back_to_the_same_url);

async fn a_sign_in_comes_back_to_the_same_url(server: Server) {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let plan = Plan {
            protocol,
            ..Plan::new(server)
        };
        let site = plan.start().await;
        for target in TARGETS {
            if matches!(server, Server::Envoy | Server::EnvoyGrpc) && target.contains("%2F") {
                continue;
            }
            let target = target.trim_end_matches('#');
            let url = format!("https://{APP}{target}");
            let mut jar = Jar::default();
            let (landing, answer) = site.open(&mut jar, &url, "alice").await;
            assert_eq!(landing.as_str(), url, "{protocol:?} {answer:?}");
            let page = text(&answer);
            assert!(page.starts_with(&mark(APP)), "{page}");
            assert!(
                page.contains(&format!("\nGET {target}\n")),
                "{target} {page}"
            );
            // Another application of the same reverse proxy is another matter.
            let cookies = jar.cookies(APP);
            let answer = site.get(OTHER, "/", &[("cookie", &cookies)]).await;
            assert_eq!(answer.status(), 302, "{answer:?}");
        }
        sessions_end(&site).await;
    }
}

/// By the user's wish, and by authentik's.
async fn sessions_end(site: &Site) {
    let status = async |cookies: &str| {
        let headers = [("cookie", cookies)];
        site.get(APP, "/page", &headers).await.status()
    };
    let cookies = site.cookies(APP, "alice").await;
    assert_eq!(status(&cookies).await, 200);
    let headers = [&NAVIGATION[..], &[("cookie", cookies.as_str())]].concat();
    let answer = site.get(APP, SIGN_OUT, &headers).await;
    assert!(location(&answer).contains("/end-session/"), "{answer:?}");
    assert_eq!(status(&cookies).await, 302);

    let cookies = site.cookies(APP, "alice").await;
    assert_eq!(status(&cookies).await, 200);
    site.world.authentik.end_sessions_of("alice");
    site.world
        .until(|world| world.outpost.store().is_empty())
        .await;
    assert_eq!(status(&cookies).await, 302);
}

behind_each_server!(redirects_to_a_sign_in_are_not_stored);

/// A browser that goes back would replay a stored redirect although the user is signed in by now.
async fn redirects_to_a_sign_in_are_not_stored(server: Server) {
    let site = Plan::new(server).start().await;
    let answer = site.get(APP, "/page?x=1", &NAVIGATION).await;
    assert_eq!(answer.status(), 302, "{answer:?}");
    let stored = answer.headers().get("cache-control");
    let stored = stored.map(|value| value.to_str().expect("text"));
    if server == Server::Ingress {
        // It adds headers to this redirect by a snippet alone.
        assert_eq!(stored, None);
    } else {
        assert!(
            stored.is_some_and(|value| value.contains("no-store")),
            "{answer:?}"
        );
    }
}

/// Identity headers; entitlements are empty: alice has none.
const IDENTITY: [(&str, &str); 6] = [
    ("x-authentik-username", "alice"),
    ("x-authentik-groups", "admins|users"),
    ("x-authentik-entitlements", ""),
    ("x-authentik-email", "alice@"),
    ("x-authentik-name", "alice"),
    ("x-authentik-uid", ""),
];

/// Headers about the application and the outpost, and the token.
const META: [&str; 6] = [
    "x-authentik-jwt",
    "x-authentik-meta-jwks",
    "x-authentik-meta-outpost",
    "x-authentik-meta-provider",
    "x-authentik-meta-app",
    "x-authentik-meta-version",
];

/// By which applications learn of the client, its URL and its reverse proxies.
const FORWARDING: [&str; 8] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-real-ip",
];

behind_each_server!(an_application_sees_what_is_true_and_nothing_forged);

async fn an_application_sees_what_is_true_and_nothing_forged(server: Server) {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let plan = Plan {
            protocol,
            ..Plan::new(server)
        };
        let site = plan.start().await;
        let cookies = site.cookies(APP, "alice").await;
        let mut headers = vec![("cookie", cookies.as_str())];
        let names = IDENTITY.iter().map(|(name, _)| *name).chain(META);
        headers.extend(names.chain(FORWARDING).map(|name| (name, "forged")));
        let page = text(&site.get(APP, "/page", &headers).await);
        assert!(page.starts_with(&mark(APP)), "{page}");
        for (name, expected) in IDENTITY {
            let values = shown(&page, name).join("\n");
            assert!(values.contains(expected), "{name}: {values:?}");
        }
        assert_eq!(shown(&page, "x-forwarded-proto"), ["https"]);
        assert_eq!(
            shown(&page, "x-forwarded-host").concat(),
            expected_host(server)
        );
        let forged: Vec<&str> = page.lines().filter(|l| l.contains("forged")).collect();
        // No annotation removes these: docs/reverse-proxies/ingress-nginx.md.
        let known: &[&str] = if server == Server::Ingress {
            &[
                "forwarded: forged",
                "x-forwarded-prefix: forged",
                "x-original-forwarded-for: forged",
            ]
        } else {
            &[]
        };
        let mut forged = forged;
        forged.sort_unstable();
        assert_eq!(forged, known, "{protocol:?} {page}");

        // Where every user passes, nothing is known of one.
        headers[0].1 = "";
        let page = text(&site.get(APP, "/open", &headers).await);
        assert!(page.starts_with(&mark(APP)), "{page}");
        assert!(!page.contains("alice"), "{page}");
        let mut forged: Vec<&str> = page.lines().filter(|l| l.contains("forged")).collect();
        forged.sort_unstable();
        assert_eq!(forged, known, "{protocol:?} {page}");
    }
}

/// Envoy's recipe sets none; the application has `Host`.
fn expected_host(server: Server) -> &'static str {
    match server {
        Server::Envoy | Server::EnvoyGrpc => "",
        _ => APP,
    }
}
