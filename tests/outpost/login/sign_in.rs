//! Signing in and out, with everything that goes wrong on the way.

use authentik_standin::{Endpoint, Fault, Provider};

use crate::forward_auth::dialects::Surface;
use crate::support::{Browser, World, location, text};

const HOST: &str = "grafana.test";
const PAGE: &str = "http://grafana.test/d/x%2Fy?orgId=1&var=%20a+b&%7Bc%7D";

#[tokio::test]
async fn signs_in_lands_on_the_page_and_passes_with_identity_headers() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    assert_eq!(world.nginx(PAGE, "", &[]).await.status(), 401);
    assert_eq!(browser.log_in(&world, HOST, PAGE).await, PAGE);
    let answer = world
        .nginx(PAGE, &browser.cookies(HOST), &[("user-agent", "test/1")])
        .await;
    assert_eq!(answer.status(), 200);
    for (name, expected) in [
        ("x-authentik-username", "alice"),
        ("x-authentik-groups", "admins|users"),
        ("x-authentik-entitlements", ""),
        ("x-authentik-meta-app", "grafana"),
        ("x-authentik-meta-provider", "grafana"),
        ("x-powered-by", "authentik_proxy2"),
        ("user-agent", "test/1"),
    ] {
        let found = answer
            .headers()
            .get(name)
            .map(|value| value.to_str().expect("text"));
        assert_eq!(found, Some(expected), "{name}");
    }
    assert!(
        answer.headers()["x-authentik-jwt"]
            .to_str()
            .expect("text")
            .starts_with("ey")
    );
    assert!(answer.body().is_empty());
}

#[tokio::test]
async fn the_session_cookie_has_its_attributes() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    let callback = browser.sign_in(&world, HOST, "/").await;
    let answer = browser.open(&world, HOST, &callback).await;
    let cookie = answer.headers()["set-cookie"]
        .to_str()
        .expect("text")
        .to_owned();
    for part in [
        "authentik_proxy_",
        "; Path=/",
        "; HttpOnly",
        "; SameSite=Lax",
        "; Max-Age=",
    ] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    assert!(
        !cookie.contains("Secure") && !cookie.contains("Domain"),
        "{cookie}"
    );
}

#[tokio::test]
async fn issue_23001_nothing_is_stored_before_a_login_succeeds() {
    let world = World::with_grafana().await;
    for _ in 0..200 {
        world.nginx(PAGE, "", &[]).await;
        Browser::default()
            .open(&world, HOST, "/outpost.goauthentik.io/start?rd=/x")
            .await;
    }
    assert!(world.outpost.store().is_empty());
    Browser::default().log_in(&world, HOST, "/").await;
    assert_eq!(world.outpost.store().len(), 1);
}

#[tokio::test]
async fn issue_17033_parallel_tabs_all_land_on_their_pages() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    let first = browser.sign_in(&world, HOST, "/first").await;
    let second = browser.sign_in(&world, HOST, "/second").await;
    for (callback, page) in [(second, "/second"), (first, "/first")] {
        let answer = browser.open(&world, HOST, &callback).await;
        assert_eq!(location(&answer), format!("http://grafana.test{page}"));
    }
    assert_eq!(
        world
            .nginx(PAGE, &browser.cookies(HOST), &[])
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn a_replayed_callback_of_a_signed_in_user_just_lands() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    let callback = browser.sign_in(&world, HOST, "/page").await;
    for _ in 0..2 {
        let answer = browser.open(&world, HOST, &callback).await;
        assert_eq!(location(&answer), "http://grafana.test/page");
    }
}

#[tokio::test]
async fn issue_26076_a_lost_login_cookie_starts_over_once_and_then_explains() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    let callback = browser.sign_in(&world, HOST, "/page").await;
    browser.forget();
    let again = browser.open(&world, HOST, &callback).await;
    assert_eq!(again.status(), 302, "starts over");
    let callback = Browser::authorize(&world, &location(&again));
    browser.forget();
    let page = browser.open(&world, HOST, &callback).await;
    assert_eq!(page.status(), 400);
    assert!(
        text(&page).contains("Sign-in could not be completed"),
        "{}",
        text(&page)
    );
    assert!(
        text(&page).contains("%2Fpage"),
        "Try again leads to the page"
    );
    // With cookies the second try works.
    let mut browser = Browser::default();
    let callback = browser.sign_in(&world, HOST, "/page").await;
    browser.forget();
    let again = browser.open(&world, HOST, &callback).await;
    let callback = Browser::authorize(&world, &location(&again));
    assert_eq!(
        location(&browser.open(&world, HOST, &callback).await),
        "http://grafana.test/page"
    );
}

#[tokio::test]
async fn issue_11883_going_in_circles_ends_with_a_page() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    let mut answers = Vec::new();
    let start = "/outpost.goauthentik.io/start?rd=/x";
    for _ in 0..5 {
        let answer = browser.open(&world, HOST, start).await;
        answers.push(answer.status().as_u16());
        if answer.status() == 302 {
            let callback = Browser::authorize(&world, &location(&answer));
            browser.open(&world, HOST, &callback).await;
        }
    }
    assert_eq!(answers, [302, 302, 302, 302, 400]);
    let again = browser.open(&world, HOST, start).await;
    assert_eq!(again.status(), 302, "\"Try again\" tries again");
}

#[tokio::test]
async fn an_error_from_authentik_is_shown_and_never_looped() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    let target = "/outpost.goauthentik.io/callback?X-authentik-auth-callback=true?error=access_denied&error_description=%3Cb%3Eno";
    let page = browser.open(&world, HOST, target).await;
    assert_eq!(page.status(), 403);
    let page = text(&page);
    assert!(page.contains("Access denied") && page.contains("<code>access_denied</code>"));
    assert!(
        page.contains("/application/o/grafana/end-session/\">Sign out to use another account</a>"),
        "{page}"
    );
}

/// A state by itself proves nothing: anyone is given one, for a link to write on a page of the site.
#[tokio::test]
async fn only_a_login_of_this_browser_shows_what_authentik_wrote() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    let start = browser
        .open(&world, HOST, "/outpost.goauthentik.io/start?rd=/page")
        .await;
    let authorize = url::Url::parse(&location(&start)).expect("a URL");
    let state = authorize.query_pairs().find(|(name, _)| name == "state");
    let (_, state) = state.expect("a state");
    let callback = |error: &str| {
        format!(
            "/outpost.goauthentik.io/callback?X-authentik-auth-callback=true?error={error}&error_description=Call%20%3Cb%3E0900%0A123%3C/b%3E&state={state}"
        )
    };
    for (error, status, shown) in [
        ("access_denied", 403, "access_denied"),
        ("invalid_scope", 400, "invalid_scope"),
        ("Call%200900", 400, "Call 0900"),
    ] {
        let page = browser.open(&world, HOST, &callback(error)).await;
        assert_eq!(page.status(), status, "{error}");
        let page = text(&page);
        let written = format!("<code>{shown}: Call &lt;b&gt;0900123&lt;/b&gt;</code>");
        assert!(page.contains(&written), "{page}");
        assert!(page.contains("%2Fpage"), "\"Try again\" leads to the page");
        for headers in [&[][..], &[("cookie", "authentik_login=x")]] {
            let page = world.get(&callback(error), HOST, headers).await;
            assert_eq!(page.status(), status, "{error}");
            assert!(!text(&page).contains("0900"), "{}", text(&page));
            assert_eq!(text(&page).contains("<code>"), error != "Call%200900");
        }
    }
    // Nor does a cookie of another login.
    let mut other = Browser::default();
    other
        .open(&world, HOST, "/outpost.goauthentik.io/start?rd=/page")
        .await;
    let page = other.open(&world, HOST, &callback("access_denied")).await;
    assert!(!text(&page).contains("0900"), "{}", text(&page));
}

#[tokio::test]
async fn a_denied_user_is_offered_another_account() {
    let authentik = authentik_standin::Standin::builder();
    let authentik = authentik.start().await.expect("started");
    let providers = vec![Provider::forward_single("grafana", "http://grafana.test")];
    let file = "applications: {grafana: {rules: [{path: ^/never, action: deny}]}}";
    let world = World::with_file(authentik, providers, file, &[]).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let cookies = browser.cookies(HOST);
    let link = "<a href=\"http://grafana.test/outpost.goauthentik.io/sign_out\">Sign out to use another account</a>";
    for (cookies, offered) in [(cookies.as_str(), true), ("", false)] {
        let headers = [("cookie", cookies)];
        let page = Surface::Traefik.ask(&world, HOST, "/never", &headers).await;
        assert_eq!(page.status(), 403);
        assert_eq!(text(&page).contains(link), offered, "{}", text(&page));
    }
}

#[tokio::test]
async fn an_unreachable_token_endpoint_is_a_502_page_that_says_so() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    let callback = browser.sign_in(&world, HOST, "/").await;
    world.authentik.fault(Endpoint::Token, Fault::Reset);
    let page = browser.open(&world, HOST, &callback).await;
    assert_eq!(page.status(), 502);
    assert!(text(&page).contains("Sign-in service unreachable"));
    world.authentik.clear_faults();
    assert_eq!(
        browser.open(&world, HOST, &callback).await.status(),
        302,
        "and then it works"
    );
}

#[tokio::test]
async fn session_fixation_the_id_changes_at_the_callback() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let before = browser.cookies(HOST);
    browser.log_in(&world, HOST, "/other").await;
    assert_ne!(browser.cookies(HOST), before);
    assert_eq!(
        world.nginx(PAGE, &before, &[]).await.status(),
        401,
        "the old one is not valid"
    );
    assert_eq!(
        world
            .nginx(PAGE, &browser.cookies(HOST), &[])
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn sign_out_ends_all_sessions_of_the_user() {
    let world = World::with_grafana().await;
    let (mut laptop, mut phone) = (Browser::default(), Browser::default());
    laptop.log_in(&world, HOST, "/").await;
    phone.log_in(&world, HOST, "/").await;
    let answer = laptop.sign_out(&world, HOST).await;
    assert!(location(&answer).ends_with("/application/o/grafana/end-session/"));
    for browser in [&laptop, &phone] {
        assert_eq!(
            world
                .nginx(PAGE, &browser.cookies(HOST), &[])
                .await
                .status(),
            401
        );
    }
    assert!(world.outpost.store().is_empty());
}

#[tokio::test]
async fn pages_are_plain_and_need_nothing_from_outside() {
    let world = World::with_grafana().await;
    let page = world.get("/nothing", HOST, &[]).await;
    assert_eq!(page.status(), 404);
    assert!(page.headers().contains_key("content-security-policy"));
    let page = text(&page);
    assert!(page.contains("prefers-color-scheme:dark") && page.contains("width=device-width"));
}

#[tokio::test]
async fn issue_6563_two_applications_on_one_host_have_their_own_logins() {
    let world = World::new(vec![
        Provider::forward_single("whole", "http://grafana.test"),
        Provider::forward_single("part", "http://grafana.test/part/"),
    ])
    .await;
    let mut browser = Browser::default();
    for (page, application) in [("/part/x", "part"), ("/partly", "whole")] {
        let url = format!("http://grafana.test{page}");
        assert_eq!(
            world
                .nginx(&url, &browser.cookies(HOST), &[])
                .await
                .status(),
            401,
            "{page}"
        );
        assert_eq!(browser.log_in(&world, HOST, &url).await, url);
        let answer = world.nginx(&url, &browser.cookies(HOST), &[]).await;
        assert_eq!(answer.status(), 200, "{page}");
        assert_eq!(answer.headers()["x-authentik-meta-app"], application);
    }
}

#[tokio::test]
async fn a_protected_callback_is_told_from_a_login() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    let start = "/outpost.goauthentik.io/start?rd=http://grafana.test/outpost.goauthentik.io/callback?code=secret-code&state=x";
    let page = browser.open(&world, HOST, start).await;
    assert_eq!(page.status(), 500);
    assert!(text(&page).contains("Sign-in is misconfigured"));
    assert!(!text(&page).contains("secret-code"));
}

#[tokio::test]
async fn a_callback_without_code_starts_over_without_asking_authentik() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    let callback = browser.sign_in(&world, HOST, "/x").await;
    let (before, rest) = callback.split_once("&code=").expect("a code");
    let (_, after) = rest.split_once('&').expect("a state");
    world.authentik.clear_requests();
    let answer = browser
        .open(&world, HOST, &format!("{before}&{after}"))
        .await;
    assert!(location(&answer).contains("/application/o/authorize/"));
    assert!(world.authentik.requests().is_empty());
}
