//! w3c/webappsec-csp#8, mastodon/mastodon#28424: Chromium checks `form-action` for each redirect that
//! follows a form, and does nothing at all where the policy has not the redirect's target.

use authentik_standin::nginx::free_address;
use authentik_standin::{Provider, Standin};
use axum::Router;
use axum::response::Html;
use axum::routing::{get, post};
use http::header::CONTENT_SECURITY_POLICY;
use tokio::net::TcpListener;

use crate::login::browser::{Chromium, keep};
use crate::support::World;

const FORM: &str = "<!doctype html><title>edit</title><form method=post action=/save>\
    <button id=save>Save</button></form>";

/// An application in proxy mode with a form at `/edit`, whose policy lets it send forms to itself alone;
/// with its address.
async fn scene() -> (World, String) {
    let form = || async {
        (
            [(CONTENT_SECURITY_POLICY, "form-action 'self'")],
            Html(FORM),
        )
    };
    let saved = || async { Html("<!doctype html><title>saved</title>") };
    let router = Router::new()
        .route("/edit", get(form))
        .route("/save", post(saved));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let internal = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let address = free_address().expect("a port");
    let external = format!("http://form.localhost:{}", address.port());
    let provider = Provider::proxy("form", &external, &internal);
    let authentik = Standin::builder().start().await.expect("started");
    let http = address.to_string();
    let listen = ("AUTHENTIK_LISTEN__HTTP", http.as_str());
    let world = World::beside(authentik, vec![provider], &[listen]).await;
    (world, external)
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn the_policy_of_a_forms_page_does_not_stop_a_sign_in() {
    let (world, external) = scene().await;
    let chromium = Chromium::start().await;
    let page = format!("{external}/edit?id=1");
    chromium.client.goto(&page).await.expect("a page");
    chromium.sign_in().await;
    let save = chromium.element("#save").await;
    world.authentik.end_sessions_of("alice");
    world.until(|world| world.outpost.store().is_empty()).await;
    save.click().await.expect("clicked");
    let title = chromium.element("h1").await.text().await.expect("text");
    assert_eq!(title, "You are not signed in");
    keep(
        "form-not-sent.png",
        &chromium.client.screenshot().await.expect("a screenshot"),
    );
    let sign_in = chromium.element("main a").await;
    sign_in.click().await.expect("clicked");
    chromium.sign_in().await;
    chromium
        .element("#save")
        .await
        .click()
        .await
        .expect("clicked");
    let url = format!("{external}/save");
    let url = url.parse().expect("a URL");
    let saved = chromium.client.wait().for_url(&url).await;
    saved.expect("the form is sent");
    chromium.stop().await;
}
