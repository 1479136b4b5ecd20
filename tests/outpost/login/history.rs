//! A real Chromium goes back to a page whose redirect to the sign-in it has stored. It replays the
//! redirect, and every other that it has stored, until a page ends the navigation.

use authentik_standin::nginx::{Nginx, Release, free_address};
use authentik_standin::{Provider, Standin};

use super::browser::Chromium;
use crate::support::{Browser, World, location, text};

const HOST: &str = "grafana.test";

/// nginx in front of an application. The redirect to the sign-in is not `no-store`, as with
/// ingress-nginx, which has no setting for it; `directives` are added to it.
fn blocks(address: &str, application: &str, outpost: &str, directives: &str) -> String {
    format!(
        "server {{
           listen {application};
           default_type text/html;
           location / {{ return 200 '<!doctype html><title>page</title><h1 id=page>$request_uri</h1><p id=site>$http_sec_fetch_site</p>'; }}
         }}
         server {{
           listen {address};
           location / {{
             auth_request /ask;
             error_page 401 = @sign_in;
             proxy_pass http://{application};
           }}
           location = /ask {{
             internal;
             proxy_pass http://{outpost}/outpost.goauthentik.io/auth/nginx;
             proxy_pass_request_body off; proxy_set_header Content-Length '';
             proxy_set_header Host $http_host;
             proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
           }}
           location /outpost.goauthentik.io/ {{
             proxy_pass http://{outpost};
             proxy_set_header Host $http_host;
           }}
           location @sign_in {{
             internal;
             {directives}
             return 302 /outpost.goauthentik.io/start?rd=$scheme://$http_host$request_uri;
           }}
         }}"
    )
}

/// A browser that signed in, and opened the application's page once more by its address: Chromium keeps
/// what a link of another site opened apart in its cache.
struct Scene {
    world: World,
    nginx: Nginx,
    chromium: Chromium,
    page: String,
}

impl Scene {
    async fn start(directives: &str) -> Self {
        let address = free_address().expect("a port");
        let application = free_address().expect("a port").to_string();
        let host = format!("grafana.localhost:{}", address.port());
        let authentik = Standin::builder().start().await.expect("started");
        let grafana = Provider::forward_single("grafana", &format!("http://{host}"));
        let world = World::beside(authentik, vec![grafana], &[]).await;
        let outpost = world.address().to_string();
        let blocks = blocks(&address.to_string(), &application, &outpost, directives);
        let nginx = Nginx::serving(Release::Installed, address, &blocks).await;
        let scene = Self {
            world,
            nginx: nginx.expect("nginx is installed: apt-get install nginx-light"),
            chromium: Chromium::start().await,
            page: format!("http://{host}/d/x?orgId=1"),
        };
        scene.open(&scene.page).await;
        scene.chromium.sign_in().await;
        scene.shows_the_page().await;
        scene.open(&scene.page).await;
        scene.shows_the_page().await;
        scene
    }

    async fn open(&self, url: &str) {
        self.chromium.client.goto(url).await.expect("a page");
    }

    async fn shows_the_page(&self) {
        let shown = self.chromium.element("#page").await.text().await;
        assert_eq!(shown.expect("text"), "/d/x?orgId=1");
        let url = self.chromium.client.current_url().await.expect("a URL");
        assert_eq!(url.as_str(), self.page);
    }

    async fn stop(self) {
        self.chromium.stop().await;
        self.nginx.stop().await.expect("stopped");
    }
}

/// Signed in, tab A leaves the page; both sessions end; tab B opens it and waits at authentik; the
/// user signs in there for another application; tab A goes back.
#[tokio::test]
#[ignore = "needs nginx and Chromium"]
async fn back_to_a_stored_redirect_ends_at_the_page() {
    let scene = Scene::start("").await;
    let (client, authentik) = (&scene.chromium.client, &scene.world.authentik);
    scene.open(authentik.url().as_str()).await;
    authentik.end_sessions_of("alice");
    let ended = |world: &World| world.outpost.store().is_empty();
    scene.world.until(ended).await;

    let tab_a = client.window().await.expect("a tab");
    let tab_b = client.new_window(true).await.expect("a tab").handle;
    client.switch_to_window(tab_b).await.expect("a tab");
    scene.open(&scene.page).await;
    scene.chromium.element("input[name=username]").await;

    let other = client.new_window(true).await.expect("a tab").handle;
    client.switch_to_window(other).await.expect("a tab");
    let sign_in = authentik.url().join("if/flow/default-authentication-flow/");
    scene.open(sign_in.expect("a URL").as_str()).await;
    scene.chromium.sign_in().await;
    let signed_in = |world: &World| world.authentik.sids_of("alice").len() == 1;
    scene.world.until(signed_in).await;

    client.switch_to_window(tab_a).await.expect("a tab");
    client.back().await.expect("back");
    scene.shows_the_page().await;
    // What another site began stays what another site began: `SameSite=Strict` cookies are not sent.
    let site = scene.chromium.element("#site").await.text().await;
    assert_eq!(site.expect("text"), "cross-site");
    scene.stop().await;
}

/// A redirect with `Expires` is replayed by every visit: the cache of the host is emptied.
#[tokio::test]
#[ignore = "needs nginx and Chromium"]
async fn a_redirect_that_is_fresh_in_the_cache_ends_at_the_page() {
    Scene::start("expires 1h;").await.stop().await;
}

/// Only a browser is shown a page, and only after a login that should have been needless.
#[tokio::test]
async fn the_callback_answers_with_a_page_after_a_needless_login() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    let rd = "http://grafana.test/x?a=1&b=%22";
    let mut seen = Vec::new();
    for round in 0..4 {
        let callback = browser.sign_in(&world, HOST, rd).await;
        let cookies = browser.cookies(HOST);
        let accept = ("accept", "text/html,*/*;q=0.8");
        let headers = [("cookie", cookies.as_str()), accept];
        let answer = world.get(&callback, HOST, &headers).await;
        browser.keep(HOST, answer.headers());
        assert_eq!(answer.headers()["cache-control"], "no-store", "{round}");
        assert!(answer.headers().contains_key("set-cookie"), "{round}");
        let clears = answer.headers().get("clear-site-data");
        seen.push((
            answer.status().as_u16(),
            clears.map(|value| value.to_str().expect("text").to_owned()),
        ));
        if round == 0 {
            assert_eq!(location(&answer), rd);
        } else {
            let page = text(&answer);
            let next = "http://grafana.test/x?a=1&amp;b=%22\"";
            assert!(page.contains(&format!("content=\"0;url={next}")), "{page}");
            assert!(page.contains(&format!("href=\"{next}")), "{page}");
            assert!(!answer.headers().contains_key("location"));
            let policy = &answer.headers()["content-security-policy"];
            let policy = policy.to_str().expect("text");
            assert!(policy.ends_with("; sandbox allow-scripts"), "{policy}");
        }
    }
    let cache = || Some("\"cache\"".to_owned());
    assert_eq!(
        seen,
        [(302, None), (200, None), (200, cache()), (200, cache())]
    );
    // Other pages are not concerned.
    let callback = browser.sign_in(&world, HOST, "/y").await;
    let answer = browser.open(&world, HOST, &callback).await;
    assert_eq!(location(&answer), "http://grafana.test/y");
}

/// The page leads nowhere but to the application.
#[tokio::test]
async fn cve_2017_1000070_the_page_is_no_open_redirect() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    for _ in 0..3 {
        let callback = browser.sign_in(&world, HOST, "https://evil.test/x").await;
        let cookies = browser.cookies(HOST);
        let headers = [("cookie", cookies.as_str()), ("accept", "text/html")];
        let answer = world.get(&callback, HOST, &headers).await;
        browser.keep(HOST, answer.headers());
        let shown = format!("{:?}{}", answer.headers(), text(&answer));
        assert!(!shown.contains("evil.test"), "{shown}");
        assert!(shown.contains("http://grafana.test"), "{shown}");
    }
}
