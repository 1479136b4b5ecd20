//! The way to authentik through a forward proxy.

use std::sync::{Arc, Mutex};

use authentik_standin::{Provider, Standin};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::tls::Authority;
use crate::doctor::doctor;
use crate::operations::process::{Process, diagnostic, run};
use crate::support::{Browser, World, furnish};

const HOST: &str = "grafana.test";

/// A proxy on loopback that finds every host at 127.0.0.1, with `CONNECT` and with whole URLs. With
/// credentials, it demands them.
struct ForwardProxy {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    async fn start(credentials: Option<&'static str>, refusal: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, Arc::clone(&seen), credentials, refusal));
            }
        });
        Self { port, heads }
    }

    fn url(&self, credentials: &str) -> String {
        format!("http://{credentials}127.0.0.1:{}", self.port)
    }

    /// The heads of requests so far that begin with a text.
    fn requests(&self, beginning: &str) -> Vec<String> {
        let heads = self.heads.lock().expect("no panic");
        let found = heads.iter().filter(|head| head.starts_with(beginning));
        found.cloned().collect()
    }
}

async fn serve(
    mut client: TcpStream,
    seen: Arc<Mutex<Vec<String>>>,
    credentials: Option<&'static str>,
    refusal: Option<&'static str>,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        (client.read_buf(&mut head).await.ok()? > 0).then_some(())?;
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    seen.lock().expect("no panic").push(text.clone());
    let expected = credentials.map(|pair| format!("Basic {}", STANDARD.encode(pair)));
    let refused = match (refusal, expected) {
        (Some(refusal), _) => Some(refusal),
        (None, Some(expected)) if !text.contains(&expected) => {
            Some("407 Proxy Authentication Required")
        }
        _ => None,
    };
    if let Some(status) = refused {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        client.write_all(answer.as_bytes()).await.ok()?;
        return None;
    }
    let target = text.split(' ').nth(1)?;
    let is_tunnel = text.starts_with("CONNECT ");
    let authority = target.trim_start_matches("http://").split('/').next()?;
    let (_, port) = authority.rsplit_once(':')?;
    let mut server = TcpStream::connect(("127.0.0.1", port.parse().ok()?))
        .await
        .ok()?;
    if is_tunnel {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    } else {
        // The stand-in takes a whole URL, as any server does (RFC 9112 section 3.2.2).
        server.write_all(&head).await.ok()?;
    }
    copy_bidirectional(&mut client, &mut server).await.ok()?;
    Some(())
}

/// authentik's URL with a name that only the proxy knows.
fn named(authentik: &Standin) -> String {
    let mut url = authentik.url();
    url.set_host(Some("authentik.test")).expect("a host");
    url.to_string()
}

fn grafana() -> Provider {
    Provider::forward_single("grafana", "http://grafana.test")
}

fn providers() -> Vec<Provider> {
    vec![
        grafana(),
        Provider {
            skip_path_regex: "^/".to_owned(),
            ..Provider::proxy("app", "http://app.test", "http://app.invalid")
        },
    ]
}

/// Signs in, and asks for an application that does not exist.
async fn sign_in(world: &World<Process>) {
    let mut browser = Browser::default();
    browser.log_in(world, HOST, "/").await;
    let cookies = browser.cookies(HOST);
    let answer = world.nginx("http://grafana.test/", &cookies, &[]).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(world.get("/", "app.test", &[]).await.status(), 502);
}

#[tokio::test]
async fn over_https_all_requests_to_authentik_go_through_tunnels_and_no_others() {
    let authority = Authority::new();
    let authentik = authority.authentik().await;
    let proxy = ForwardProxy::start(Some("robot:open sesame"), None).await;
    let (host, browsers) = (named(&authentik), authentik.url().to_string());
    let (at_proxy, file) = (proxy.url("robot:open%20sesame@"), authority.file());
    let variables = [
        ("AUTHENTIK_HOST", host.as_str()),
        ("AUTHENTIK_HOST_BROWSER", &browsers),
        ("AUTHENTIK_PROXY_TLS__CA_FILE", &file),
        ("HTTPS_PROXY", &at_proxy),
        ("HTTP_PROXY", &at_proxy),
    ];
    let mut world = World::<Process>::running(authentik, providers(), &variables).await;
    sign_in(&world).await;
    let tunnels = proxy.requests("CONNECT authentik.test:");
    assert!(tunnels.len() >= 2, "also the websocket: {tunnels:?}");
    assert_eq!(proxy.requests(""), tunnels);
    let shown = format!("{:?}", world.outpost.lines());
    let way = format!(
        "through the proxy http://127.0.0.1:{} (HTTPS_PROXY)",
        proxy.port
    );
    assert!(shown.contains(&way), "{shown}");
    let encoded = STANDARD.encode("robot:open sesame");
    for secret in ["sesame", "robot", &encoded] {
        assert!(!shown.contains(secret), "{shown}");
    }
    world.outpost.stop().await;
}

#[tokio::test]
async fn a_certificate_of_authentik_that_is_not_trusted_is_refused_behind_a_proxy_too() {
    let authority = Authority::new();
    let authentik = authority.authentik().await;
    let proxy = ForwardProxy::start(None, None).await;
    let (host, at_proxy) = (named(&authentik), proxy.url(""));
    let variables = [
        ("AUTHENTIK_HOST", host.as_str()),
        ("HTTPS_PROXY", &at_proxy),
    ];
    let (_, findings) = doctor(&authentik, &[], &variables).await;
    let tls = findings.iter().find(|finding| finding["check"] == "tls");
    let tls = tls.expect("a finding").to_string();
    for part in ["failed", "TLS failed", "the server shows", "authentik.test"] {
        assert!(tls.contains(part), "{part} in {tls}");
    }
}

#[tokio::test]
async fn over_http_a_proxy_forwards_requests_unless_they_need_a_host_of_their_own() {
    let authentik = Standin::builder().start().await.expect("started");
    let proxy = ForwardProxy::start(Some("robot:secret"), None).await;
    let (host, browsers) = (named(&authentik), authentik.url().to_string());
    let at_proxy = proxy.url("robot:secret@");
    let variables = [
        ("AUTHENTIK_HOST", host.as_str()),
        ("AUTHENTIK_HOST_BROWSER", &browsers),
        ("http_proxy", &at_proxy),
    ];
    let mut world = World::<Process>::running(authentik, providers(), &variables).await;
    let tunnels = || proxy.requests("CONNECT authentik.test:").len();
    assert_eq!(tunnels(), 1, "the websocket");
    sign_in(&world).await;
    assert!(tunnels() > 1, "the token, with the host of browsers");
    let forwarded = proxy.requests(&format!("GET {host}api/v3/"));
    assert!(!forwarded.is_empty(), "{:?}", proxy.requests(""));
    assert!(proxy.requests("POST").is_empty(), "no token request");
    assert!(proxy.requests("GET http://app.invalid").is_empty());
    world.outpost.stop().await;
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_with_the_fix_and_without_its_password() {
    let authentik = Standin::builder().start().await.expect("started");
    furnish(&authentik, providers());
    let plain = named(&authentik);
    let tls = plain.replace("http:", "https:");
    let credentials = "user and password in the URL of the proxy";
    for (host, variable, refusal, cause, hint) in [
        (&tls, "HTTPS_PROXY", None, "(407)", credentials),
        (&plain, "HTTP_PROXY", None, "(407)", credentials),
        (
            &tls,
            "HTTPS_PROXY",
            Some("403 Forbidden"),
            "403 Forbidden",
            "permit CONNECT",
        ),
    ] {
        let proxy = ForwardProxy::start(Some("robot:secret"), refusal).await;
        let at_proxy = proxy.url("robot:hunter2@");
        let variables = [("AUTHENTIK_HOST", host.as_str()), (variable, &at_proxy)];
        let mut process = Process::beside(&authentik, &variables).await;
        let line = process.wait_line("configuration not loaded").await;
        let event = diagnostic(&line);
        let name = format!("http://127.0.0.1:{} ({variable})", proxy.port);
        for part in [cause, hint, &name] {
            assert!(event.contains(part), "{part} in {event}");
        }
        let shown = format!("{:?}", process.lines());
        assert!(!shown.contains("hunter2"), "{shown}");
        process.stop().await;
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_reached_is_named() {
    let authentik = Standin::builder().start().await.expect("started");
    let host = named(&authentik).replace("http:", "https:");
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let refusing = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    let ending = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mute = format!("http://{}", ending.local_addr().expect("an address"));
    tokio::spawn(async move { while ending.accept().await.is_ok() {} });
    for (at_proxy, cause) in [
        (refusing, "the connection was refused"),
        (mute, "the connection failed: "),
    ] {
        let variables = [
            ("AUTHENTIK_HOST", host.as_str()),
            ("HTTPS_PROXY", &at_proxy),
        ];
        let mut process = Process::beside(&authentik, &variables).await;
        let line = process.wait_line("configuration not loaded").await;
        let error = line["error"].as_str().expect("text");
        let expected = format!("the proxy {at_proxy} (HTTPS_PROXY) cannot be reached: {cause}");
        assert!(error.contains(&expected), "{error}");
        // The cause may be part of the text of another kind of error.
        let hint = line["hint"].as_str().expect("text");
        assert!(
            hint.starts_with("check HTTP_PROXY and HTTPS_PROXY"),
            "{hint}"
        );
        process.stop().await;
    }
}

#[tokio::test]
async fn the_doctor_tells_the_way_to_authentik() {
    let authentik = Standin::builder().start().await.expect("started");
    furnish(&authentik, vec![grafana()]);
    let proxy = ForwardProxy::start(None, None).await;
    let (host, at_proxy) = (named(&authentik), proxy.url("robot:hunter2@"));
    let through = format!(
        "through the proxy http://127.0.0.1:{} (HTTP_PROXY)",
        proxy.port
    );
    let loopback = authentik.url().to_string();
    for (host, expected) in [(&host, through.as_str()), (&loopback, "directly")] {
        let variables = [("AUTHENTIK_HOST", host.as_str()), ("HTTP_PROXY", &at_proxy)];
        let (_, findings) = doctor(&authentik, &[], &variables).await;
        let found = format!("{findings:?}");
        assert!(found.contains(expected), "{expected} in {found}");
        assert!(!found.contains("hunter2"), "{found}");
        let failed = findings.iter().find(|found| found["status"] == "failed");
        assert!(failed.is_none(), "{failed:?}");
    }
}

#[tokio::test]
async fn a_proxy_of_another_kind_is_an_error_at_start() {
    let variables = [
        ("AUTHENTIK_HOST", "https://authentik.test"),
        ("AUTHENTIK_TOKEN", "token"),
        ("HTTPS_PROXY", "socks5://robot:hunter2@127.0.0.1:1080"),
    ];
    let (status, _, complaints) = run(&[], &variables).await;
    assert_eq!(status.code(), Some(2));
    let expected = "HTTPS_PROXY: not the URL of an HTTP proxy";
    assert!(complaints.contains(expected), "{complaints}");
    assert!(!complaints.contains("hunter2"), "{complaints}");
}
