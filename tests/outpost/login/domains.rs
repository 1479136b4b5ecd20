//! Applications that share a domain.

use authentik_standin::Provider;

use crate::support::{Browser, World, location};

/// Signs in on a host, as its reverse proxy would begin it; returns the session's cookie.
async fn sign_in(world: &World, host: &str, page: &str) -> String {
    let start = format!("/outpost.goauthentik.io/start?rd={page}");
    let answer = world.get(&start, host, &[]).await;
    let pair = |answer: &http::Response<bytes::Bytes>| {
        let cookie = answer.headers()["set-cookie"].to_str().expect("text");
        cookie.split(';').next().expect("a cookie").to_owned()
    };
    let login = pair(&answer);
    let authorize = location(&answer);
    let callback = Browser::authorize(world, &authorize);
    let redirect = url::Url::parse(&authorize).expect("a URL");
    let redirect = redirect
        .query_pairs()
        .find(|(name, _)| name == "redirect_uri");
    let redirect = url::Url::parse(&redirect.expect("a redirect URI").1).expect("a URL");
    let back = redirect.host_str().expect("a host").to_owned();
    let answer = world.get(&callback, &back, &[("cookie", &login)]).await;
    assert_eq!(location(&answer), page, "back on the application's host");
    pair(&answer)
}

#[tokio::test]
async fn domains_within_domains_and_single_applications_keep_to_themselves() {
    let world = World::new(vec![
        Provider::forward_domain("wide", "http://auth.home.test", "home.test"),
        Provider::forward_domain("deep", "http://auth.deep.home.test", "deep.home.test"),
        Provider::forward_single("single", "http://single.home.test"),
    ])
    .await;
    let wide = sign_in(&world, "app.home.test", "http://app.home.test/a").await;
    let deep = sign_in(&world, "app.deep.home.test", "http://app.deep.home.test/b").await;
    let single = sign_in(&world, "single.home.test", "http://single.home.test/c").await;
    for (url, opened_by) in [
        ("http://app.home.test/", &wide),
        ("http://home.test/", &wide),
        ("http://app.deep.home.test/", &deep),
        ("http://single.home.test/", &single),
    ] {
        for cookie in [&wide, &deep, &single] {
            let status = world.nginx(url, cookie, &[]).await.status();
            let expected = if cookie == opened_by { 200 } else { 401 };
            assert_eq!(status, expected, "{url} {cookie}");
        }
    }
}
