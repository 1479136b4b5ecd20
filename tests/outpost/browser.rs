//! A real Chromium signs in through a real nginx.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use authentik_standin::nginx::{Nginx, Shape, free_address};
use authentik_standin::{Provider, Standin};
use fantoccini::{ClientBuilder, Locator};
use serde_json::json;
use tokio::process::Command;

use crate::support::{PASSWORD, World};

#[tokio::test]
async fn a_person_signs_in_and_sees_the_application() {
    let address = free_address().expect("a port");
    let host = format!("grafana.localhost:{}", address.port());
    let authentik = Standin::builder().start().await.expect("started");
    let grafana = Provider::forward_single("grafana", &format!("http://{host}"));
    let world = World::beside(authentik, vec![grafana], &[]).await;
    let nginx = Nginx::start(address, world.address(), Shape::Standalone)
        .await
        .expect("nginx is installed: apt-get install nginx-light");

    let driver_address = free_address().expect("a port");
    let mut driver = Command::new("chromedriver")
        .arg(format!("--port={}", driver_address.port()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("chromedriver is installed: apt-get install chromium-driver");
    let profile = tempfile::tempdir().expect("a directory");
    let options = json!({"goog:chromeOptions": {"args": [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--window-size=900,700", format!("--user-data-dir={}", profile.path().display()),
    ]}});
    let mut builder = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
    builder.capabilities(options.as_object().expect("an object").clone());
    let url = format!("http://{driver_address}");
    let client = async {
        loop {
            match builder.connect(&url).await {
                Ok(client) => break client,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let client = tokio::time::timeout(Duration::from_mins(1), client)
        .await
        .expect("a browser");

    client
        .goto(&format!("http://{host}/dashboard?tab=1&x=%20y"))
        .await
        .expect("a page");
    let field = |name: &str| format!("input[name={name}]");
    let user = client
        .wait()
        .for_element(Locator::Css(&field("username")))
        .await
        .expect("a form");
    user.send_keys("alice").await.expect("typed");
    let password = client
        .find(Locator::Css(&field("password")))
        .await
        .expect("a field");
    password.send_keys(PASSWORD).await.expect("typed");
    client
        .find(Locator::Css("button"))
        .await
        .expect("a button")
        .click()
        .await
        .expect("clicked");
    let page = client
        .wait()
        .for_element(Locator::Id("page"))
        .await
        .expect("the application");
    assert_eq!(page.text().await.expect("text"), "/dashboard?tab=1&x=%20y");
    let who = client
        .find(Locator::Id("who"))
        .await
        .expect("who")
        .text()
        .await
        .expect("text");
    assert!(who.contains("username alice"), "{who}");
    keep(
        "signed-in.png",
        &client.screenshot().await.expect("a screenshot"),
    );

    // The page that people see when something is wrong.
    client.goto(&format!("http://{host}/outpost.goauthentik.io/callback?X-authentik-auth-callback=true&error=access_denied"))
        .await
        .expect("a page");
    let title = client
        .find(Locator::Css("h1"))
        .await
        .expect("a headline")
        .text()
        .await;
    assert_eq!(title.expect("text"), "Access denied");
    keep(
        "denied.png",
        &client.screenshot().await.expect("a screenshot"),
    );

    client.close().await.expect("closed");
    driver.kill().await.expect("stopped");
    nginx.stop().await.expect("stopped");
}

/// Screenshots are kept for people to look at, never committed.
fn keep(name: &str, png: &[u8]) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("artifacts");
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(directory.join(name), png).expect("written");
}
