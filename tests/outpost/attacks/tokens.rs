//! Tokens: in the wrong place, of another user, or outlived.

use authentik_standin::Standin;
use bytes::Bytes;
use http::Response;

use super::{HOST, modes, signed_in, worlds};
use crate::forward_auth::dialects::{ALL, Surface};
use crate::support::{Browser, NAVIGATION, SIGN_OUT, World, location};

#[tokio::test]
async fn cve_2025_29928_and_cve_2025_64521_who_is_out_at_authentik_is_out_everywhere_at_once() {
    let deactivate: fn(&Standin) = |authentik| authentik.deactivate("alice");
    let end: fn(&Standin) = |authentik| authentik.end_sessions_of("alice");
    let sign_out: fn(&Standin) = |authentik| {
        for sid in authentik.sids_of("alice") {
            authentik.end_session(&sid);
        }
    };
    for how in [deactivate, end, sign_out] {
        for world in worlds().await {
            let cookies = signed_in(&world).await;
            let headers = [("cookie", cookies.as_str())];
            for surface in ALL {
                let answer = surface.ask(&world, HOST, "/private", &headers).await;
                assert_eq!(answer.status(), 200, "{surface:?}");
            }
            how(&world.authentik);
            world.until(|world| world.outpost.store().is_empty()).await;
            for surface in ALL {
                let answer = surface.ask(&world, HOST, "/private", &headers).await;
                assert_eq!(answer.status(), surface.login(), "{surface:?}");
            }
        }
    }
}

/// Remembers where answers lead.
#[derive(Default)]
struct Trail(Vec<String>);

impl Trail {
    fn note(&mut self, answer: &Response<Bytes>) {
        let found = answer.headers().get_all("location").into_iter();
        let found = found.chain(answer.headers().get_all("refresh"));
        let found = found.map(|value| value.to_str().expect("text").to_owned());
        self.0.extend(found);
        let body = String::from_utf8_lossy(answer.body());
        let of_forms = body.split("action=\"").skip(1);
        let links = body.split("href=\"").skip(1).chain(of_forms);
        let links = links.filter_map(|rest| rest.split('"').next());
        self.0.extend(links.map(str::to_owned));
    }
}

#[tokio::test]
async fn go_2022_0783_and_kin_no_token_is_in_any_url() {
    for world in worlds().await {
        for surface in ALL {
            let mut trail = Trail::default();
            let mut browser = Browser::default();
            // A login, as the surface begins it, and once more by `/start`.
            let asked = surface.ask(&world, HOST, "/private?q=1", &[]).await;
            trail.note(&asked);
            browser.keep(HOST, asked.headers());
            let callback = browser.sign_in(&world, HOST, "/private?q=1").await;
            let answer = browser.open(&world, HOST, &callback).await;
            trail.note(&answer);
            // The back button, a lost cookie, an answer of authentik that says no.
            trail.note(&browser.open(&world, HOST, &callback).await);
            let cookies = browser.cookies(HOST);
            trail.note(&world.get(&callback, HOST, &[]).await);
            let denied = "/outpost.goauthentik.io/callback?error=access_denied";
            trail.note(&browser.open(&world, HOST, denied).await);
            let headers = [("cookie", cookies.as_str())];
            let answer = surface.ask(&world, HOST, "/private", &headers).await;
            let token = answer.headers()["x-authentik-jwt"].clone();
            let token = token.to_str().expect("text");
            assert!(token.starts_with("ey"), "{token}");
            // Out again, by the page and by the marker.
            let elsewhere = [
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-site", "cross-site"),
            ];
            let asks = [&headers[..], &elsewhere].concat();
            let asks = sign_out(&world, surface, &asks).await;
            assert!(!asks.headers().contains_key("location"), "it asks first");
            trail.note(&asks);
            let leaves = [&headers[..], &NAVIGATION].concat();
            let answer = sign_out(&world, surface, &leaves).await;
            assert!(location(&answer).ends_with("/end-session/"), "{answer:?}");
            trail.note(&answer);
            trail.note(&browser.sign_out(&world, HOST).await);

            assert!(trail.0.len() >= 8, "{:?}", trail.0);
            let (_, payload) = token.split_once('.').expect("a token");
            let secrets = cookies.split("; ").filter_map(|pair| pair.split_once('='));
            for url in &trail.0 {
                assert!(!url.contains(token) && !url.contains(payload), "{url}");
                for (_, value) in secrets.clone() {
                    assert!(!url.contains(value), "{value} in {url}");
                }
            }
        }
    }
}

async fn sign_out(world: &World, surface: Surface, headers: &[(&str, &str)]) -> Response<Bytes> {
    if surface.redirects() {
        let target = "/any?X-authentik-logout=true";
        surface.ask(world, HOST, target, headers).await
    } else {
        world.get(SIGN_OUT, HOST, headers).await
    }
}

#[tokio::test]
async fn cve_2025_64521_a_deactivated_account_does_not_get_in_again() {
    for provider in modes() {
        let world = World::new(vec![provider]).await;
        let cookies = signed_in(&world).await;
        let headers = [("cookie", cookies.as_str())];
        let answer = Surface::Nginx.ask(&world, HOST, "/private", &headers).await;
        let token = answer.headers()["x-authentik-jwt"].to_str().expect("text");
        let bearer = format!("Bearer {token}");
        world.authentik.deactivate("alice");
        world.until(|world| world.outpost.store().is_empty()).await;
        for surface in ALL {
            let headers = [("authorization", bearer.as_str())];
            let answer = surface.ask(&world, HOST, "/private", &headers).await;
            assert_eq!(answer.status(), 401, "{surface:?}");
        }
    }
}

#[tokio::test]
async fn a_page_that_asks_us_itself_is_not_shown_the_token() {
    for world in worlds().await {
        let cookies = signed_in(&world).await;
        let headers = [("cookie", cookies.as_str())];
        for asked in ["nginx", "traefik", "caddy", "envoy/private"] {
            let target = format!("/outpost.goauthentik.io/auth/{asked}");
            for surface in ALL {
                let answer = surface.ask(&world, HOST, &target, &headers).await;
                assert_eq!(answer.status(), 403, "{surface:?} {asked}");
                assert!(!answer.headers().contains_key("x-authentik-jwt"));
            }
        }
    }
}
