//! authentik under two names: one for us, one for browsers.

use authentik_standin::{Provider, Recorded, Signing, Standin};
use url::Url;

use crate::operations::process::Process;
use crate::support::{Browser, Outpost as _, World, furnish, get, location, within};

const HOST: &str = "grafana.test";
const PAGE: &str = "http://grafana.test/d/x";
pub(super) const BROWSER: &str = "https://authentik.home.example";

pub(super) fn browser_url() -> Url {
    Url::parse(BROWSER).expect("a URL")
}

/// Signs with a published key, so that one more endpoint of the back channel is asked.
pub(super) fn grafana() -> Provider {
    Provider {
        signing: Signing::Rs256,
        ..Provider::forward_single("grafana", "http://grafana.test")
    }
}

/// The only request whose path ends so.
fn only(authentik: &Standin, end: &str) -> Recorded {
    let mut found = authentik.requests();
    found.retain(|request| request.path.ends_with(end));
    assert_eq!(found.len(), 1, "{end}: {found:?}");
    found.swap_remove(0)
}

/// All values of a header.
pub(super) fn values<'a>(request: &'a Recorded, name: &str) -> Vec<&'a str> {
    let named = request.headers.iter().filter(|(found, _)| found == name);
    named.map(|(_, value)| value.as_str()).collect()
}

/// Signs in and out; browsers only ever see `front`, and the back channel speaks in its name.
pub(super) async fn signs_in_and_out_at(world: &World, front: &str) {
    let mut browser = Browser::default();
    let start = format!("/outpost.goauthentik.io/start?rd={PAGE}");
    let answer = browser.open(world, HOST, &start).await;
    let authorize = format!("{front}/application/o/authorize/?");
    assert!(location(&answer).starts_with(&authorize), "{answer:?}");
    let callback = Browser::authorize(world, &location(&answer));
    let answer = browser.open(world, HOST, &callback).await;
    assert_eq!(location(&answer), PAGE, "the issuer is the one expected");
    let cookies = browser.cookies(HOST);
    assert_eq!(world.nginx(PAGE, &cookies, &[]).await.status(), 200);

    let front = Url::parse(front).expect("a URL");
    let authority = front[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
    for end in ["/application/o/token/", "/application/o/grafana/jwks/"] {
        let request = only(&world.authentik, end);
        assert_eq!(values(&request, "host"), [authority.as_str()], "{end}");
        assert_eq!(
            values(&request, "x-forwarded-proto"),
            [front.scheme()],
            "{end}"
        );
    }

    let answer = browser.sign_out(world, HOST).await;
    let end_session = front.join("/application/o/grafana/end-session/");
    let end_session = end_session.expect("a URL");
    assert_eq!(location(&answer), end_session.as_str());
    assert_eq!(world.nginx(PAGE, &cookies, &[]).await.status(), 401);
}

#[tokio::test]
async fn browsers_are_sent_to_authentik_host_browser() {
    for front in [
        BROWSER,
        "https://authentik.home.example:8443",
        "http://authentik.home.example",
    ] {
        let authentik = Standin::builder().browser_url(Url::parse(front).expect("a URL"));
        let authentik = authentik.start().await.expect("started");
        let more = [("AUTHENTIK_HOST_BROWSER", front)];
        let world = World::beside(authentik, vec![grafana()], &more).await;
        signs_in_and_out_at(&world, front).await;
        // The API, whose answers are made from the Host header, is asked under its own name.
        let own = world.authentik.addr().to_string();
        for request in world.authentik.requests() {
            if request.path.contains("/api/v3/") || request.path.contains("/ws/") {
                assert_eq!(values(&request, "host"), [own.as_str()], "{request:?}");
            }
        }
    }
}

#[tokio::test]
async fn authentik_host_browser_wins_over_what_authentik_says_of_itself() {
    let other = Url::parse("https://other.home.example").expect("a URL");
    let authentik = Standin::builder().browser_url(other);
    let authentik = authentik.start().await.expect("started");
    let more = [("AUTHENTIK_HOST_BROWSER", BROWSER)];
    let world = World::beside(authentik, vec![grafana()], &more).await;
    signs_in_and_out_at(&world, BROWSER).await;
}

#[tokio::test]
async fn the_embedded_outpost_sends_browsers_where_authentik_says() {
    let authentik = Standin::builder()
        .browser_url(browser_url())
        .managed_embedded();
    let authentik = authentik.start().await.expect("started");
    let world = World::beside(authentik, vec![grafana()], &[]).await;
    signs_in_and_out_at(&world, BROWSER).await;
}

#[tokio::test]
async fn without_authentik_host_browser_urls_are_used_as_given() {
    let authentik = Standin::builder().browser_url(browser_url());
    let authentik = authentik.start().await.expect("started");
    let world = World::beside(authentik, vec![grafana()], &[]).await;
    let mut browser = Browser::default();
    let start = "/outpost.goauthentik.io/start?rd=/";
    let answer = browser.open(&world, HOST, start).await;
    let own = world.authentik.url();
    assert!(location(&answer).starts_with(own.as_str()), "{answer:?}");
    // The token is issued in the name that authentik is configured with, and accepted.
    let callback = Browser::authorize(&world, &location(&answer));
    let answer = browser.open(&world, HOST, &callback).await;
    assert_eq!(location(&answer), "http://grafana.test/");
    let exchange = only(&world.authentik, "/token/");
    assert_eq!(values(&exchange, "host"), ["authentik.home.example"]);
}

#[tokio::test]
async fn the_environment_of_the_first_deployment_starts_the_program() {
    let id = "3f0970c5-d6a3-43b2-9a36-d74665c6b24e";
    let authentik = Standin::builder()
        .browser_url(browser_url())
        .outpost_id(id.parse().expect("an id"));
    let authentik = authentik.start().await.expect("started");
    // As at that site, the token lists the embedded outpost too.
    authentik.add_outpost("authentik Embedded Outpost");
    furnish(&authentik, vec![grafana()]);
    let token = authentik.token();
    let mut process = Process::start([
        ("AUTHENTIK_HOST", authentik.url().as_str()),
        ("AUTHENTIK_TOKEN", token.as_str()),
        ("AUTHENTIK_INSECURE", "false"),
        ("AUTHENTIK_HOST_BROWSER", BROWSER),
        ("AUTHENTIK_OUTPOST_ID", id),
        ("AUTHENTIK_LOG_LEVEL", "info"),
        ("AUTHENTIK_ERROR_REPORTING__ENABLED", "false"),
        ("AUTHENTIK_DISABLE_UPDATE_CHECK", "true"),
        ("AUTHENTIK_LISTEN__HTTP", "127.0.0.1:0"),
        ("AUTHENTIK_LISTEN__HTTPS", "127.0.0.1:0"),
        ("AUTHENTIK_LISTEN__METRICS", "127.0.0.1:0"),
        (
            "AUTHENTIK_REDIS__HOST",
            "redis.authentik-proxy.svc.cluster.local",
        ),
        ("AUTHENTIK_REDIS__PORT", "6379"),
        ("AUTHENTIK_REDIS__DB", "0"),
        // What Kubernetes adds for the Service in front of it.
        ("AUTHENTIK_PROXY_PORT", "tcp://10.96.0.9:9000"),
        ("AUTHENTIK_PROXY_PORT_9000_TCP_ADDR", "10.96.0.9"),
        ("AUTHENTIK_PROXY_SERVICE_HOST", "10.96.0.9"),
    ])
    .await;
    let line = process.wait_line("configuration loaded").await;
    assert_eq!(line["outpost"], "standin-outpost");
    within(authentik.wait_websocket()).await;
    for (path, status) in [("ping", 204), ("ready", 200)] {
        let path = format!("/outpost.goauthentik.io/{path}");
        let answer = get(process.address(), &path, "10.1.2.3:9000", &[]).await;
        assert_eq!(answer.status(), status);
    }
    let start = "/outpost.goauthentik.io/start?rd=/";
    let answer = get(process.address(), start, HOST, &[]).await;
    assert!(location(&answer).starts_with(BROWSER), "{answer:?}");
    process.stop().await;
}
