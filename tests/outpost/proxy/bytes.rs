//! What reaches an application is what the client sent, byte for byte, compared with a real nginx;
//! and nothing that only one of the two would take for a request.

use std::net::SocketAddr;

use authentik_standin::nginx::{Nginx, free_address};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::upstream::{HOST, Recorded, Upstream, alice, provider, raw, status, world};
use crate::support::within;

const PATHS: [&str; 34] = [
    "/",
    "//",
    "/a//b",
    "/a/./b",
    "/a/b/../c",
    "/a%2Fb",
    "/a%2fb%2F",
    "/%2e%2e/x",
    "/a;b=c/d;e",
    "/a%00b",
    "/a%20b",
    "/a+b",
    "/a%0d%0aX:%20y",
    "/caf%C3%A9",
    "/caf\u{e9}",
    "/\u{65e5}\u{672c}",
    "/{a}|b\"c",
    "/~user/!$&'()*+,;=:@",
    "/a%zz%",
    "/%",
    "/a\\b",
    "/[::1]",
    "/^x^",
    "/a=b&c",
    "/A/B/c",
    "/a.b.c..",
    "/...",
    "/a/",
    "/a/%2e",
    "/http://other.test/x",
    "/a@b:c",
    "/a%23b",
    "/a%3Fb",
    "/index.php/x",
];

const QUERIES: [&str; 22] = [
    "",
    "?",
    "??",
    "?a",
    "?a=",
    "?a=1&a=2&&b",
    "?q=%20+%2B",
    "?q=a%26b%3Dc",
    "?u=https://other.test/x?y=z",
    "?u=//other.test",
    "?q=caf%C3%A9&r=caf\u{e9}",
    "?q={a:%22b%22}|c",
    "?q=[1,2]",
    "?q=a;b",
    "?q='x'",
    "?q=`x`",
    "?q=%",
    "?q=%zz",
    "?q=../../etc/passwd",
    "?query=sum(rate(http_requests_total{job=%22a%22,code=~%225..%22}[5m]))&time=1.5",
    "?q=%0d%0a",
    "?q=\\x",
];

const METHODS: [&str; 9] = [
    "GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "M-SEARCH", "REPORT",
];

/// Header lines, each with an empty line in place of what is not sent.
const HEADERS: [&str; 16] = [
    "",
    "X-Empty:\r\n",
    "X-Spaces:   a  b   \r\n",
    "X-Twice: 1\r\nX-Twice: 2\r\n",
    "Accept: text/html, */*;q=0.8\r\nAccept-Language: de,en;q=0.5\r\n",
    "X-Bytes: caf\u{e9}\r\n",
    "X-Tab: a\tb\r\n",
    "If-None-Match: W/\"x,y\"\r\nIf-Modified-Since: Sat, 29 Oct 1994 19:43:31 GMT\r\n",
    "Range: bytes=0-1,5-\r\n",
    "Origin: https://other.test\r\nReferer: https://other.test/a?b\r\n",
    "Authorization: Custom a=\"b\", c=d\r\n",
    "X-UPPER-Case: V\r\n",
    "X-Requested-With: XMLHttpRequest\r\n",
    "Cookie: a=1; b=\"2\"; c=x=y\r\n",
    "User-Agent: curl/8\r\nX-Quote: \"a\\\"b\"\r\n",
    "X_Under_Score: 1\r\n",
];

const BODIES: [(&str, &str); 5] = [
    ("", ""),
    ("Content-Length: 5\r\n", "hello"),
    ("Content-Length: 0\r\n", ""),
    (
        "Transfer-Encoding: chunked\r\n",
        "5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n",
    ),
    (
        "Content-Length: 6\r\nContent-Type: application/octet-stream\r\n",
        "\0\r\n\r\n\u{1}",
    ),
];

/// About two hundred requests: each path and each query at least once, everything else in turns.
fn cases() -> Vec<(String, String)> {
    let mut cases = Vec::new();
    for number in 0..210 {
        let path = PATHS[number % PATHS.len()];
        let query = QUERIES[(number / 2) % QUERIES.len()];
        let method = METHODS[(number / 3) % METHODS.len()];
        let headers = HEADERS[(number / 5) % HEADERS.len()];
        let (framing, body) = BODIES[(number / 7) % BODIES.len()];
        let head = format!("{method} {path}{query} HTTP/1.1\r\nHost: {HOST}\r\n{headers}{framing}");
        cases.push((head, body.to_owned()));
    }
    cases
}

/// What is compared: not what describes the way.
fn told(recorded: &Recorded) -> Recorded {
    let mut headers = recorded.headers.clone();
    headers.retain(|(name, _)| {
        let own = ["x-authentik-", "x-forwarded-"];
        let way = [
            "connection",
            "content-length",
            "transfer-encoding",
            "x-request-id",
        ];
        !own.iter().any(|own| name.starts_with(own)) && !way.contains(&name.as_str())
    });
    headers.sort();
    Recorded {
        headers,
        ..recorded.clone()
    }
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn what_arrives_is_what_nginx_would_pass_on() {
    let mut upstream = Upstream::start().await;
    let world = world(provider(upstream.address), &[]).await;
    let cookie = alice(&world).await;
    let nginx = free_address().expect("a port");
    let nginx = Nginx::passing(nginx, upstream.address)
        .await
        .expect("nginx is installed: apt-get install nginx-light");
    let mut compared = 0;
    for (head, body) in cases() {
        let sent = |address: SocketAddr, lines: &str| {
            let request = format!("{head}{lines}Connection: close\r\n\r\n{body}");
            async move { raw(address, request.as_bytes()).await }
        };
        // A cookie line of its own, so that the client's other cookies have to be joined.
        let answer = sent(world.address(), &format!("Cookie: {cookie}\r\n")).await;
        assert_eq!(
            status(&answer),
            200,
            "{head}: {}",
            String::from_utf8_lossy(&answer)
        );
        let ours = upstream.next().await;
        let line = head.split("\r\n").next().expect("a line");
        assert_eq!(String::from_utf8_lossy(&ours.line), line);
        // nginx refuses paths that climb above the root.
        if status(&sent(nginx.address(), "").await) == 200 {
            assert_eq!(told(&ours), told(&upstream.next().await), "{head}");
            compared += 1;
        }
    }
    assert!(compared > 180, "{compared}");
    nginx.stop().await.expect("stopped");
}

#[tokio::test]
async fn targets_that_are_no_path_are_refused() {
    let mut upstream = Upstream::start().await;
    let world = world(provider(upstream.address), &[]).await;
    let cookie = alice(&world).await;
    for (line, expected) in [
        ("OPTIONS * HTTP/1.1", 405),
        ("CONNECT other.test:443 HTTP/1.1", 405),
        ("TRACE / HTTP/1.1", 405),
        ("GET a HTTP/1.1", 400),
        ("GET /<x> HTTP/1.1", 400),
        ("GET /?a<b HTTP/1.1", 400),
        ("GET /?a=\"b\" HTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        ("GET /a\x01 HTTP/1.1", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET / HTTP/2.0", 400),
        ("G@T@: / HTTP/1.1", 400),
    ] {
        let request =
            format!("{line}\r\nHost: {HOST}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
        let answer = raw(world.address(), request.as_bytes()).await;
        assert_eq!(status(&answer), expected, "{line}");
        assert!(upstream.arrived().is_none(), "{line}");
    }
    // What browsers never send, and proxies do: the path counts.
    let request = format!(
        "GET http://{HOST}/a?b HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(status(&raw(world.address(), request.as_bytes()).await), 200);
    assert_eq!(upstream.next().await.line, b"GET /a?b HTTP/1.1");
}

#[tokio::test]
async fn head_options_and_odd_answers_come_back_as_they_are() {
    let upstream = Upstream::answering(|recorded| {
        let line = String::from_utf8_lossy(&recorded.line).into_owned();
        match line.split(' ').nth(1).expect("a target") {
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-A: 1\r\n\r\n",
            "/options" => "HTTP/1.1 204 No Content\r\nAllow: GET, PUT\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
            "/reason" => "HTTP/1.1 299 My Own Words\r\nContent-Length: 0\r\nX-Powered-By: app\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n",
            "/hop" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x-hop, close\r\nX-Hop: 1\r\nKeep-Alive: x\r\nX-Kept: caf\u{e9}\r\n\r\nok",
            "/old" => "HTTP/1.0 200 OK\r\n\r\nuntil the end",
            "/early" => "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "/both" => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        }
        .into()
    })
    .await;
    let world = world(provider(upstream.address), &[]).await;
    let cookie = alice(&world).await;
    for (request, expected, unexpected) in [
        (
            "HEAD /head",
            vec!["200 OK", "content-length: 1000", "x-a: 1"],
            vec![],
        ),
        (
            "OPTIONS /options",
            vec!["204 No Content", "allow: GET, PUT"],
            vec!["x-powered-by"],
        ),
        (
            "GET /304",
            vec!["304 Not Modified", "etag: \"x\""],
            vec!["content-length"],
        ),
        (
            "GET /reason",
            vec!["299 My Own Words", "x-powered-by: app\r\n", "a=1", "b=2"],
            vec!["authentik_proxy2"],
        ),
        (
            "GET /hop",
            vec!["x-kept: caf\u{e9}", "\r\n\r\nok"],
            vec!["x-hop", "keep-alive"],
        ),
        (
            "GET /early",
            vec!["200 OK", "\r\n\r\nok"],
            vec!["103 Early"],
        ),
        (
            "GET /both",
            vec!["transfer-encoding: chunked", "\r\n5\r\nhello\r\n0\r\n"],
            vec!["content-length"],
        ),
        (
            "GET /chunks",
            vec!["transfer-encoding: chunked", "hello"],
            vec!["content-length"],
        ),
    ] {
        let request = format!(
            "{request} HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(world.address(), request.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        for part in expected {
            assert!(answer.contains(part), "{request}: {part} in {answer}");
        }
        for part in unexpected {
            assert!(!answer.contains(part), "{request}: {part} in {answer}");
        }
    }
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let mut upstream = Upstream::answering(|_| {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n".into()
    })
    .await;
    let world = world(provider(upstream.address), &[]).await;
    let cookie = alice(&world).await;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\nConnection: close, TE\r\nTE: trailers\r\nTrailer: X-Check, X-Note, X_Note, X-authentik-username, X_authentik_groups, Authorization\r\nX-Note: n\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Check: 5\r\nX-Note: changed\r\nX_Note: changed\r\nX-authentik-username: admin\r\nX_authentik_groups: admins\r\nAuthorization: forged\r\n\r\n"
    );
    let answer = raw(world.address(), request.as_bytes()).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.ends_with("0\r\nx-sum: 7\r\n\r\n"), "{answer}");
    let recorded = upstream.next().await;
    assert_eq!(recorded.trailers.to_lowercase(), "x-check: 5");
    assert_eq!(recorded.one("te"), "trailers");
}

#[tokio::test]
async fn a_client_that_waits_for_100_is_told_to_go_on_only_if_it_may() {
    let mut upstream = Upstream::start().await;
    let world = world(provider(upstream.address), &[]).await;
    let cookie = alice(&world).await;
    let head = |cookie: &str| {
        format!(
            "PUT /x HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
        )
    };
    let mut stream = TcpStream::connect(world.address())
        .await
        .expect("a connection");
    stream
        .write_all(head(&cookie).as_bytes())
        .await
        .expect("written");
    let mut told = [0; 25];
    within(stream.read_exact(&mut told)).await.expect("told");
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.expect("written");
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.expect("read");
    assert_eq!(status(&answer), 200);
    let recorded = upstream.next().await;
    assert_eq!(
        (recorded.body.as_slice(), recorded.one("expect").as_str()),
        (b"hello".as_slice(), "")
    );

    let answer = raw(world.address(), head("").as_bytes()).await;
    assert_eq!(status(&answer), 401, "{}", String::from_utf8_lossy(&answer));
    assert!(upstream.arrived().is_none());
}

#[tokio::test]
async fn request_smuggling_nothing_hidden_reaches_an_application() {
    let upstream = Upstream::start().await;
    let mut open = provider(upstream.address);
    open.skip_path_regex = "^/open$".into();
    let world = world(open, &[]).await;
    let cookie = alice(&world).await;
    let hidden =
        format!("GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\nX-authentik-username: admin\r\n\r\n");
    let chunked = format!("0\r\n\r\n{hidden}");
    let length = format!("Content-Length: {}", hidden.len());
    let of_chunks = format!("Content-Length: {}", chunked.len());
    // Statuses of all that is answered on the connection, and the body that arrives with the first
    // request. Both framings at once are the chunks', and the last request on the connection
    // (RFC 9112 section 6.1).
    let (chunks, whole, none) = (("200", Some("")), Some(chunked.as_str()), ("400", None));
    // No coding but chunks, and that once.
    let coded = ("501", None);
    let corpus = vec![
        (format!("{of_chunks}\r\nTransfer-Encoding: chunked"), &chunked, chunks),
        (format!("Transfer-Encoding: chunked\r\n{of_chunks}"), &chunked, chunks),
        (format!("{of_chunks}\r\nTransfer-Encoding : chunked"), &chunked, none),
        (format!("{of_chunks}\r\nTransfer-Encoding: xchunked"), &chunked, none),
        (format!("{of_chunks}\r\nTransfer-Encoding:\tchunked"), &chunked, chunks),
        (format!("{of_chunks}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity"), &chunked, none),
        (format!("{of_chunks}\r\nTransfer_Encoding: chunked"), &chunked, ("200 302", whole)),
        (format!("{of_chunks}\r\nTransfer-Encoding: identity, chunked"), &chunked, coded),
        (format!("{of_chunks}\r\nTransfer-Encoding: gzip, chunked"), &chunked, coded),
        ("Transfer-Encoding: gzip, chunked".into(), &chunked, coded),
        ("Transfer-Encoding: chunked, chunked".into(), &chunked, coded),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked".into(), &chunked, coded),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked".into(), &chunked, coded),
        ("Transfer-Encoding: ,chunked".into(), &chunked, coded),
        ("Transfer-Encoding: Chunked ".into(), &chunked, ("200 302 302", Some(""))),
        (format!("Content-Length: 0\r\n{length}"), &hidden, none),
        (format!("{length}\r\nContent-Length: 0"), &hidden, none),
        (format!("Connection: Content-Length\r\n{length}"), &hidden, ("200 302", Some(&hidden))),
        (format!("Connection: Transfer-Encoding\r\n{of_chunks}\r\nTransfer-Encoding: chunked"), &chunked, chunks),
        ("Content-Length: 0".into(), &hidden, ("200 302 302", Some(""))),
        ("Content-Length: 0\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQ".into(), &hidden, ("200 302 302", Some(""))),
        ("Content-Length: 0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 99".into(), &hidden, ("200 302 302", Some(""))),
        (format!("Expect: 100-continue\r\n{length}"), &hidden, ("100 200 302", Some(&hidden))),
        (format!("X-A: a\r\n {length}"), &hidden, none),
        (format!("X-A: a\n{length}"), &hidden, ("200 302", Some(&hidden))),
    ];
    let mut expected = Vec::new();
    for path in ["/open", "/private"] {
        for (lines, body, (statuses, arrives)) in &corpus {
            for method in ["POST", "GET"] {
                let request = format!(
                    "{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Row: {lines:?}\r\nCookie: {cookie}\r\n{lines}\r\n\r\n{body}GET /last HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
                );
                let answers = raw(world.address(), request.as_bytes()).await;
                let answers = String::from_utf8_lossy(&answers).into_owned();
                let answers = answers.split("HTTP/1.1 ").skip(1);
                let told: Vec<_> = answers.map(|answer| &answer[..3]).collect();
                assert_eq!(told.join(" "), *statuses, "{method} {path} {lines:?}");
                let line = format!("{method} {path} HTTP/1.1");
                let arrives = arrives.map(str::to_owned);
                expected.extend(arrives.map(|body| (format!("{lines:?}"), line, body)));
            }
        }
    }
    world.outpost.stop().await;
    let arrived = upstream.finish().await.into_iter().map(|seen| {
        let recorded = seen.expect("requests and nothing else");
        assert_ne!(recorded.one("x-authentik-username"), "admin");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (
            recorded.one("x-row"),
            text(recorded.line),
            text(recorded.body),
        )
    });
    let mut arrived: Vec<_> = arrived.collect();
    // Connections end in any order.
    arrived.sort_unstable();
    expected.sort_unstable();
    assert_eq!(arrived, expected);
}
