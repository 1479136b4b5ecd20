//! Published attacks on requests that pass through us; those on headers and bytes have files of
//! their own.

use authentik_standin::{Provider, Standin};

use crate::support::{Browser, World, raw};
use crate::upstream::{HOST, Upstream, alice, provider, world};

/// The answer to a request with further lines of its head, each with its line end.
async fn ask(world: &World, target: &str, lines: &[u8]) -> String {
    let line = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n");
    let request = [line.as_bytes(), lines, b"\r\n"].concat();
    raw(world.address(), &request).await
}

#[tokio::test]
async fn cve_2026_25748_malformed_cookies_reach_no_application() {
    let mut upstream = Upstream::start().await;
    let world = world(provider(upstream.address), &[]).await;
    let cookies = alice(&world).await;
    let mut pairs = cookies.split("; ").filter_map(|pair| pair.split_once('='));
    let session = pairs.find(|(name, _)| !name.ends_with("_login"));
    let (name, value) = session.expect("a session cookie");
    let (id, mac) = value.split_once('.').expect("a signed value");
    let good = format!("Cookie: {name}={value}\r\n");
    assert!(
        ask(&world, "/", good.as_bytes())
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    upstream.next().await;
    let mut sent: Vec<Vec<u8>> = [
        String::new(),
        value[1..].to_owned(),
        format!("{value}x"),
        value.to_uppercase(),
        id.to_owned(),
        format!("{id}.{}", "A".repeat(mac.len())),
        format!("{}.{mac}", "A".repeat(id.len())),
        "A".repeat(8192),
    ]
    .iter()
    .map(|bad| format!("Cookie: {name}={bad}\r\n").into_bytes())
    .collect();
    sent.push([b"Cookie: ", name.as_bytes(), b"=\xff\xfe\r\n"].concat());
    for lines in sent {
        let answer = ask(&world, "/", &lines).await;
        let lines = String::from_utf8_lossy(&lines);
        assert!(
            answer.starts_with("HTTP/1.1 302 "),
            "{lines:.200}: {answer}"
        );
        assert!(upstream.arrived().is_none(), "{lines:.200}");
    }
}

#[tokio::test]
async fn ghsa_3q34_rx83_r6mq_no_path_leads_into_another_application_of_the_host() {
    // One server behind two applications, as where only a part of it needs more than the rest.
    let mut upstream = Upstream::start().await;
    let internal = format!("http://{}", upstream.address);
    let authentik = Standin::builder().start().await.expect("started");
    let providers = vec![
        Provider::proxy("whole", &format!("http://{HOST}"), &internal),
        Provider::proxy("part", &format!("http://{HOST}/part/"), &internal),
    ];
    let world = World::beside(authentik, providers, &[]).await;
    for (home, targets) in [
        (
            "/part/x",
            [
                "/part/../private",
                "/part/%2e%2e%2fprivate",
                "/part/..;/private",
            ],
        ),
        (
            "/x",
            ["/x/../part/private", "//part/private", "/%70art/private"],
        ),
    ] {
        let mut browser = Browser::default();
        browser.log_in(&world, HOST, home).await;
        let line = format!("Cookie: {}\r\n", browser.cookies(HOST));
        let answer = ask(&world, home, line.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{home}: {answer}");
        upstream.next().await;
        for target in targets {
            let answer = ask(&world, target, line.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{target}: {answer}");
            assert!(upstream.arrived().is_none(), "{target}");
        }
    }
}

#[tokio::test]
async fn ghsa_5wcc_hf24_rf5h_and_cve_2026_34457_no_header_opens_anything() {
    let mut upstream = Upstream::start().await;
    let mut open = provider(upstream.address);
    open.skip_path_regex = "^/open$".into();
    let world = world(open, &[]).await;
    for line in [
        "X-Original-URI: /open",
        "X-Original-URL: http://app.test/open",
        "X-Forwarded-Uri: /open",
        "X-Forwarded-Prefix: /open",
        "X-Rewrite-URL: /open",
        "X-HTTP-Method-Override: OPTIONS",
        "User-Agent: kube-probe/1.30",
        "User-Agent: GoogleHC/1.0",
    ] {
        let answer = ask(&world, "/private", format!("{line}\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 302 "), "{line}: {answer}");
        assert!(upstream.arrived().is_none(), "{line}");
    }
}
