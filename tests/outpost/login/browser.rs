//! A real Chromium signs in through a real nginx.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use authentik_standin::nginx::{Nginx, Shape, free_address};
use authentik_standin::{Provider, Standin};
use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::support::{PASSWORD, World};

/// A browser without a window.
pub(crate) struct Chromium {
    pub(crate) client: Client,
    driver: Child,
    _profile: TempDir,
}

impl Chromium {
    pub(crate) async fn start() -> Self {
        let address = free_address().expect("a port");
        let driver = Command::new("chromedriver")
            .arg(format!("--port={}", address.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver is installed: apt-get install chromium-driver");
        let profile = tempfile::tempdir().expect("a directory");
        let options = json!({"acceptInsecureCerts": true, "goog:chromeOptions": {"args": [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-features=BackForwardCache", "--disable-component-update", "--disable-sync",
            "--window-size=900,700", format!("--user-data-dir={}", profile.path().display()),
        ]}});
        let connector = hyper_util::client::legacy::connect::HttpConnector::new();
        let mut builder = ClientBuilder::new(connector);
        builder.capabilities(options.as_object().expect("an object").clone());
        let url = format!("http://{address}");
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
        Self {
            client,
            driver,
            _profile: profile,
        }
    }

    /// Fills in authentik's form, once it is there.
    pub(crate) async fn sign_in(&self) {
        for (name, text) in [("username", "alice"), ("password", PASSWORD)] {
            let field = self.element(&format!("input[name={name}]")).await;
            field.send_keys(text).await.expect("typed");
        }
        let button = self.element("button").await;
        button.click().await.expect("clicked");
    }

    /// An element, once it is there.
    pub(crate) async fn element(&self, css: &str) -> Element {
        let waiting = self.client.wait().for_element(Locator::Css(css));
        waiting.await.expect(css)
    }

    pub(crate) async fn stop(mut self) {
        self.client.close().await.expect("closed");
        self.driver.kill().await.expect("stopped");
    }
}

#[tokio::test]
#[ignore = "needs nginx and Chromium"]
async fn a_user_signs_in_and_sees_the_application() {
    let address = free_address().expect("a port");
    let host = format!("grafana.localhost:{}", address.port());
    let authentik = Standin::builder().start().await.expect("started");
    let grafana = Provider::forward_single("grafana", &format!("http://{host}"));
    let world = World::beside(authentik, vec![grafana], &[]).await;
    let nginx = Nginx::start(address, world.address(), Shape::Standalone)
        .await
        .expect("nginx is installed: apt-get install nginx-light");

    let chromium = Chromium::start().await;
    let client = &chromium.client;

    client
        .goto(&format!("http://{host}/dashboard?tab=1&x=%20y"))
        .await
        .expect("a page");
    chromium.sign_in().await;
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

    // The page that browsers show when something is wrong.
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

    chromium.stop().await;
    nginx.stop().await.expect("stopped");
}

/// Screenshots are kept for review, never committed.
pub(crate) fn keep(name: &str, png: &[u8]) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("artifacts");
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(directory.join(name), png).expect("written");
}
