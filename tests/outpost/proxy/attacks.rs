//! Published attacks on requests that pass through us; those on headers and bytes have files of
//! their own.

use authentik_standin::{Provider, Standin, User};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::forward_auth::dialects::{ALL, Surface};
use crate::support::upstream::{HOST, Upstream, alice, provider, world};
use crate::support::{Browser, PASSWORD, World, raw, text, within};

/// The answer to a request with further lines of its head, each with its line end.
async fn ask(world: &World, target: &str, lines: &[u8]) -> String {
    let line = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n");
    let request = [line.as_bytes(), lines, b"\r\n"].concat();
    raw(world.address(), &request).await
}

/// The headers of an answer that are for applications alone.
fn shown(answer: &Response<Bytes>) -> Vec<&str> {
    let names = answer.headers().keys().map(HeaderName::as_str);
    let is_ours = |name: &&str| {
        matches!(*name, "authorization" | "x-own" | "x-remote-user")
            || (name.starts_with("x-authentik-") && *name != "x-authentik-proxy-error")
    };
    names.filter(is_ours).collect()
}

#[tokio::test]
async fn a_host_in_proxy_mode_answers_no_question_of_reverse_proxies() {
    const OUTPOST: &str = "outpost:9000";
    const GRAFANA: &str = "grafana.test";
    let mut upstream = Upstream::start().await;
    let mut app = provider(upstream.address);
    let mut grafana = Provider::forward_single("grafana", "http://grafana.test");
    for provider in [&mut app, &mut grafana] {
        provider.skip_path_regex = "^/open$".into();
        provider.basic_auth_enabled = true;
        provider.basic_auth_password_attribute = "secret".into();
    }
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_user(User {
        attributes: json!({"secret": "p", "additionalHeaders": {"X-Remote-User": "rob"}}),
        ..User::new("rob", PASSWORD)
    });
    let headers = "{headers: {Authorization: Bearer service, X-Own: service}}";
    let file = format!("applications: {{app: {headers}, grafana: {headers}}}");
    let world = World::with_file(authentik, vec![app, grafana], &file, &[]).await;
    let mut browser = Browser::default();
    let mut cookies = browser.log_in_as(&world, HOST, "rob").await;
    cookies = format!(
        "{cookies}; {}",
        browser.log_in_as(&world, GRAFANA, "rob").await
    );
    let questions = [
        ("/open", vec![]),
        ("/private", vec![("cookie", cookies.as_str())]),
        ("/x", vec![("authorization", "Bearer nonsense")]),
    ];
    for surface in ALL {
        // Without a host of its own Envoy's question is about nothing.
        let is_envoy = surface == Surface::Envoy;
        for (at, host, forwarded, expected) in [
            (HOST, HOST, None, 404),
            (OUTPOST, HOST, None, if is_envoy { 400 } else { 404 }),
            (HOST, GRAFANA, None, 404),
            ("APP.test:80", GRAFANA, None, 404),
            (GRAFANA, HOST, None, if is_envoy { 200 } else { 404 }),
            (GRAFANA, GRAFANA, None, 200),
            (OUTPOST, GRAFANA, None, if is_envoy { 400 } else { 200 }),
            (GRAFANA, GRAFANA, Some(("x-forwarded-host", HOST)), 404),
        ] {
            if forwarded.is_some() && !matches!(surface, Surface::Nginx | Surface::Envoy) {
                continue;
            }
            for (target, own) in &questions {
                if expected == 200 && *target == "/x" {
                    continue;
                }
                let headers: Vec<_> = own.iter().copied().chain(forwarded).collect();
                let answer = surface.ask_at(&world, at, host, target, &headers).await;
                let which = format!("{surface:?} at {at} about {host}{target} {forwarded:?}");
                assert_eq!(answer.status(), expected, "{which}");
                let shown = shown(&answer);
                assert_eq!(shown.is_empty(), expected != 200, "{which}: {shown:?}");
                assert!(!text(&answer).contains("service"), "{which}");
            }
        }
    }
    assert!(upstream.arrived().is_none());
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

/// An HTTP/2 frame on stream 1, or on the connection (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let head = [kind, flags, 0, 0, 0, stream];
    [&length[1..], &head, payload].concat()
}

/// Header fields as they are, without indexing (RFC 7541 section 6.2.2).
fn fields(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "one byte says the length");
            // A prefix of seven bits, none of which is for Huffman's code.
            bytes.push(u8::try_from(text.len()).expect("short"));
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// Sends one request over HTTP/2 and waits until it is answered, reset, or the connection over;
/// whether the answer is 200.
async fn over_http2(world: &World, pairs: &[(&str, &str)], body: &[u8]) -> bool {
    /// `:status: 200` in the static table (RFC 7541 appendix A).
    const STATUS_200: u8 = 0x88;
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const GOAWAY: u8 = 7;
    let mut stream = TcpStream::connect(world.address())
        .await
        .expect("a connection");
    let request = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(HEADERS, 4, 1, &fields(pairs)),
        frame(DATA, 1, 1, body),
    ]
    .concat();
    stream.write_all(&request).await.expect("written");
    let ended = async {
        let (mut head, mut is_ok) = ([0; 9], false);
        while stream.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).expect("it fits")];
            if stream.read_exact(&mut payload).await.is_err() {
                return false;
            }
            is_ok |= head[3] == HEADERS && payload.first() == Some(&STATUS_200);
            let is_last = matches!(head[3], DATA | HEADERS) && head[4] & 1 == 1;
            if is_last || matches!(head[3], RST_STREAM | GOAWAY) {
                return is_last && is_ok;
            }
        }
        false
    };
    within(ended).await
}

#[tokio::test]
async fn request_smuggling_nothing_hides_in_http_2_on_its_way_to_http_1_1() {
    const HIDDEN: &str =
        "GET /smuggled HTTP/1.1\r\nHost: app.test\r\nX-authentik-username: admin\r\n\r\n";
    let mut upstream = Upstream::start().await;
    let mut open = provider(upstream.address);
    open.skip_path_regex = "^/open$".into();
    let world = world(open, &[]).await;
    let good = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", HOST),
        (":path", "/open"),
    ];
    let chunked = format!("0\r\n\r\n{HIDDEN}");
    over_http2(&world, &good, chunked.as_bytes()).await;
    assert_eq!(upstream.next().await.body, chunked.as_bytes());

    let split = format!("/open HTTP/1.1\r\nHost: {HOST}\r\n\r\n{HIDDEN}");
    let method = format!("GET /open HTTP/1.1\r\nHost: {HOST}\r\n\r\n{HIDDEN}GET");
    let value = format!("a\r\n\r\n{HIDDEN}");
    let length = HIDDEN.len().to_string();
    let mut expected = Vec::new();
    // What says that it has no body is a whole request, before it is known that more comes.
    let mut may_arrive = Vec::new();
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("Transfer-Encoding", "chunked"),
        ("transfer_encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("content-length", "0"),
        ("content-length", "1"),
        ("content-length", "+5"),
        ("content-length", "999"),
        ("content-length", &length),
        ("connection", "transfer-encoding, x-authentik-username"),
        ("upgrade", "h2c"),
        ("te", "chunked"),
        ("expect", "100-continue"),
        ("x-a", &value),
        ("x-a\r\ntransfer-encoding", "chunked"),
        ("x-a: b\r\ntransfer-encoding: chunked\r\nx-b", "c"),
        ("host", "app.test\r\nTransfer-Encoding: chunked"),
        (":path", &split),
        (":path", "/open?\r\nx: y"),
        (":path", "open"),
        (":path", "*"),
        (":method", &method),
        (":authority", "app.test\r\nx: y"),
        (":scheme", "http://app.test/open?"),
    ] {
        let mut pairs: Vec<_> = good.to_vec();
        match pairs.iter_mut().find(|(other, _)| *other == name) {
            Some(pair) => pair.1 = value,
            None => pairs.push((name, value)),
        }
        for body in ["", HIDDEN, &chunked] {
            // What means nothing to HTTP/2, or is true.
            let passes = match name {
                "transfer_encoding" | "expect" => true,
                "content-length" => value.parse() == Ok(body.len()),
                _ => false,
            } && !value.starts_with('+');
            let mut row = format!("{} bytes, {name:?}: {value:?}", body.len());
            row.truncate(100);
            let pairs = [&pairs[..], &[("x-row", &row)]].concat();
            let is_ok = over_http2(&world, &pairs, body.as_bytes()).await;
            assert_eq!(is_ok, passes, "{row}");
            if passes {
                expected.push((row, body.to_owned()));
            } else if value == "0" {
                may_arrive.push((row, String::new()));
            }
        }
    }
    // Nothing is left in a connection that is kept.
    assert!(over_http2(&world, &good, b"last").await);
    expected.push((String::new(), "last".to_owned()));
    world.outpost.stop().await;
    let arrived = upstream.finish().await.into_iter().map(|seen| {
        let recorded = seen.expect("requests and nothing else");
        assert_eq!(recorded.line, b"POST /open HTTP/1.1");
        assert_eq!(recorded.one("x-authentik-username"), "");
        let body = String::from_utf8(recorded.body.clone()).expect("text");
        (recorded.one("x-row"), body)
    });
    let mut arrived: Vec<_> = arrived.collect();
    arrived.retain(|seen| !may_arrive.contains(seen));
    // Connections end in any order.
    arrived.sort_unstable();
    expected.sort_unstable();
    assert_eq!(arrived, expected);
}

#[tokio::test]
async fn a_request_that_names_two_hosts_reaches_the_target_s_or_none() {
    let mut upstream = Upstream::start().await;
    let address = format!("http://{}", upstream.address);
    let mut open = provider(upstream.address);
    open.skip_path_regex = "^/open$".into();
    let private = Provider::proxy("other", "http://other.test", &address);
    let authentik = Standin::builder().start().await.expect("started");
    let world = World::beside(authentik, vec![open, private], &[]).await;

    let stream = TcpStream::connect(world.address())
        .await
        .expect("a connection");
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = within(handshake).await.expect("a handshake");
    tokio::spawn(connection);
    let envoy = "/outpost.goauthentik.io/auth/envoy/open";
    for (authority, hosts, path, expected) in [
        (HOST, [].as_slice(), "/open", 200),
        (HOST, &[HOST], "/open", 200),
        (HOST, &["APP.test"], "/open", 200),
        (HOST, &["other.test"], "/open", 400),
        ("other.test", &[HOST], "/open", 400),
        (HOST, &["app.test:1"], "/open", 400),
        (HOST, &[HOST, "other.test"], "/open", 400),
        (HOST, &[""], "/open", 400),
        (HOST, &[HOST], envoy, 404),
        ("other.test", &[HOST], envoy, 400),
    ] {
        let mut request = Request::get(format!("http://{authority}{path}"));
        for host in hosts {
            request = request.header("host", *host);
        }
        let request = request.body(Body::empty()).expect("a request");
        let answer = within(sender.send_request(request))
            .await
            .expect("an answer");
        assert_eq!(answer.status(), expected, "{authority} {hosts:?} {path}");
        match upstream.arrived() {
            Some(recorded) => {
                assert_eq!(expected, 200, "{authority} {hosts:?}");
                assert_eq!(recorded.one("host"), authority, "{hosts:?}");
                assert_eq!(recorded.one("x-forwarded-host"), authority, "{hosts:?}");
            }
            None => assert_ne!(expected, 200, "{authority} {hosts:?}"),
        }
    }

    // HTTP/1.1 has the target's count (RFC 9112 section 3.2.2).
    for (target, host, status) in [
        ("http://app.test/open", "other.test", "200"),
        ("http://app.test/open", "app.test", "200"),
        ("http://other.test/open", "app.test", "302"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw(world.address(), request.as_bytes()).await;
        let wanted = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&wanted), "{target} {host}: {answer}");
        let arrived = upstream.arrived();
        assert_eq!(arrived.is_some(), status == "200", "{target} {host}");
        if let Some(recorded) = arrived {
            assert_eq!(recorded.one("host"), HOST, "{target} {host}");
            assert_eq!(recorded.one("x-forwarded-host"), HOST, "{target} {host}");
        }
    }
}
