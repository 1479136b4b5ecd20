//! Applications that do not answer, or only to some: what users, administrators and the log are
//! told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use authentik_standin::{Provider, Standin, User};
use bytes::Bytes;
use http::Response;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::authentik::tls::Authority;
use crate::operations::process::diagnostic;
use crate::support::upstream::{HOST, OK, Upstream, alice, provider, raw, world};
use crate::support::{Browser, PASSWORD, World, get, text, within};

/// Answers every connection in its own way, after the head of a request was read.
async fn misbehaving<F>(then: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Provider
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let then = Arc::new(then);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let then = Arc::clone(&then);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                then(stream).await;
            });
        }
    });
    provider(address)
}

fn internal(host: &str) -> Provider {
    Provider::proxy("app", "http://app.test", host)
}

/// Two users look at the same broken application: alice, and root, who administers authentik.
async fn seen<O: crate::support::Outpost>(world: &World<O>) -> (Response<Bytes>, Response<Bytes>) {
    world.authentik.add_user(User {
        is_superuser: true,
        ..User::new("root", PASSWORD)
    });
    let mut pages = Vec::new();
    for user in ["alice", "root"] {
        let cookies = Browser::default().log_in_as(world, HOST, user).await;
        let headers = [("cookie", cookies.as_str())];
        pages.push(within(get(world.address(), "/x?secret=1", HOST, &headers)).await);
    }
    let root = pages.pop().expect("two");
    (pages.pop().expect("two"), root)
}

#[tokio::test]
async fn problems_are_reported_to_administrators_and_in_the_log() {
    let free = authentik_standin::nginx::free_address().expect("a port");
    let authority = Authority::new();
    let secure = secure_upstream(authority.server(), OK).await;
    let silent = misbehaving(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let reset = misbehaving(|stream| async move {
        // What is unread makes it a reset.
        drop(stream);
    })
    .await;
    let half = misbehaving(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").await;
    })
    .await;
    let garbage = misbehaving(|mut stream| async move {
        let _ = stream.write_all(b"220 smtp.test ESMTP\r\n").await;
    })
    .await;
    let plain = plain_upstream().await;
    for (provider, status, reason, advice) in [
        (
            internal("http://no-such-service.invalid"),
            502,
            "could not be resolved",
            "correct the provider's internal host, or create the Service",
        ),
        (
            internal(&format!("http://{free}")),
            502,
            "refused",
            "check the port of the provider's internal host",
        ),
        (
            internal(&format!("https://{secure}")),
            502,
            "UnknownIssuer",
            "AUTHENTIK_PROXY_TLS__CA_FILE",
        ),
        (
            internal(&format!("https://{plain}")),
            502,
            "TLS failed",
            "http:// instead of https://",
        ),
        (
            silent,
            504,
            "no answer began within 1s",
            "AUTHENTIK_PROXY_UPSTREAM__RESPONSE_TIMEOUT",
        ),
        (
            reset,
            502,
            "ended without an answer",
            "application's own log",
        ),
        (
            half,
            502,
            "ended without an answer",
            "application's own log",
        ),
        (garbage, 502, "not valid HTTP", "port that serves HTTP"),
    ] {
        let address = provider.internal_host.clone();
        let authentik = Standin::builder().start().await.expect("started");
        let patience = ("AUTHENTIK_PROXY_UPSTREAM__RESPONSE_TIMEOUT", "1s");
        let mut world = World::running(authentik, vec![provider], &[patience]).await;
        let (alice, root) = seen(&world).await;
        for (answer, is_told) in [(&alice, false), (&root, true)] {
            assert_eq!(answer.status(), status, "{address}");
            let page = text(answer);
            assert!(
                page.contains("App · Request "),
                "the application is named: {page}"
            );
            for part in [address.as_str(), reason] {
                let part = part.replace('"', "&quot;");
                assert_eq!(page.contains(&part), is_told, "{part} in {page}");
            }
            assert!(!page.contains("secret"), "{page}");
        }
        let complaint = diagnostic(&world.outpost.wait_line(reason).await);
        for part in ["\"app\"", &address, advice] {
            assert!(complaint.contains(part), "{part} in {complaint}");
        }
        world.outpost.stop().await;
    }
}

/// What alice gets, byte for byte, from an application that answers with these header lines.
async fn answered(lines: String) -> String {
    let application = misbehaving(move |mut stream| {
        let answer = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok");
        async move {
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let world = world(application.await, &[]).await;
    let cookie = alice(&world).await;
    let request =
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
    let answer = raw(world.address(), request.as_bytes()).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn responses_with_odd_header_lines_are_repaired() {
    let many = "X-Line: 1\r\n".repeat(400);
    let odd = "Server : odd\r\nX-Folded: a\r\n\tb\r\nno header\r\nX-Last: c\r\n";
    let answer = answered(format!("{many}{odd}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(answer.matches("\r\nx-line: ").count(), 400);
    for line in ["server: odd", "x-folded: a b", "x-last: c"] {
        assert!(
            answer.contains(&format!("\r\n{line}\r\n")),
            "{line}: {answer}"
        );
    }
    assert!(!answer.contains("no header"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[tokio::test]
async fn responses_that_cannot_be_repaired_are_a_bad_gateway() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    let nul = format!("{OK}X-Nul: secret\0\r\n\r\n");
    let many = "Set-Cookie: secret\r\n".repeat(600);
    let padding = "secret".repeat(80_000);
    let cases = [
        (
            nul.clone(),
            "invalid HTTP header parsed: line 2 (x-nul) has a NUL byte at byte 14",
        ),
        (
            format!("{OK}X-Ok: 1\r\nX-Cr: secret\rsecret\r\n\r\n"),
            "invalid HTTP header parsed: line 3 (x-cr) has a CR without LF at byte 13",
        ),
        (
            format!("HTTP/1.1 103 Early Hints\r\nX-Ok: 1\r\n\r\n{OK}secret\0\r\n\r\n"),
            "invalid HTTP header parsed: line 2 has a NUL byte at byte 7",
        ),
        (
            "HTTP/1.1 200 secret\0\r\n\r\n".to_owned(),
            "invalid HTTP status-code parsed: line 1 has a NUL byte at byte 20",
        ),
        (
            format!("{OK}Content-Length: secret\r\n\r\n"),
            "invalid content-length parsed",
        ),
        (
            format!("{OK}{many}\r\n"),
            "bytes than are accepted: line 514 (set-cookie) is the first beyond 512",
        ),
        (
            format!("{OK}X-Ok: 1\r\nX-Long: {padding}\r\n\r\n"),
            "bytes than are accepted: the longest is line 3 (x-long), of ",
        ),
    ];
    let answers: Vec<_> = cases.iter().map(|(answer, _)| answer.clone()).collect();
    let application = Upstream::answering(move |request| {
        let line = String::from_utf8_lossy(&request.line);
        let case = line.split(['-', ' ']).nth(2).expect("a path");
        answers[case.parse::<usize>().expect("a case")]
            .clone()
            .into()
    })
    .await;
    let authority = Authority::new();
    let secure = secure_upstream(authority.server(), nul).await;
    let open = |mut provider: Provider| {
        provider.skip_path_regex = "^/".into();
        provider.internal_host_ssl_validation = false;
        provider
    };
    let plain = open(provider(application.address));
    let secure = open(Provider::proxy(
        "tls",
        "http://tls.test",
        &format!("https://{secure}"),
    ));
    let authentik = Standin::builder().start().await.expect("started");
    let mut world = World::running(authentik, vec![plain, secure], &[]).await;
    let paths = cases.iter().enumerate();
    let paths = paths.map(|(case, (_, expected))| (format!("/case-{case}"), HOST, *expected));
    let over_tls = ("/over-tls".to_owned(), "tls.test", cases[0].1);
    for (path, host, expected) in paths.chain([over_tls]) {
        let answer = get(world.address(), &path, host, &[]).await;
        assert_eq!(answer.status(), 502, "{path}");
        assert!(text(&answer).contains("cannot be read"), "{answer:?}");
        let line = world.outpost.wait_line(&path).await;
        let error = line["error"].as_str().expect("text");
        assert!(error.contains(expected), "{path}: {error}");
    }
    let log = format!("{:?}", world.outpost.lines());
    assert!(!log.contains("secret"), "{log}");
    world.outpost.stop().await;
}

#[tokio::test]
async fn a_connection_that_never_stands_is_given_up() {
    // Accepts, and never shakes hands.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let patience = ("AUTHENTIK_PROXY_UPSTREAM__CONNECT_TIMEOUT", "300ms");
    let world = world(internal(&format!("https://{address}")), &[patience]).await;
    let (_, root) = seen(&world).await;
    assert_eq!(root.status(), 504);
    assert!(
        text(&root).contains("AUTHENTIK_PROXY_UPSTREAM__CONNECT_TIMEOUT"),
        "{}",
        text(&root)
    );
    drop(listener);
}

/// An application without TLS, which does not understand who begins with it.
async fn plain_upstream() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 1024];
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    address
}

/// An application behind TLS that has one answer.
async fn secure_upstream(
    config: Arc<ServerConfig>,
    answer: impl Into<String>,
) -> std::net::SocketAddr {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let acceptor = TlsAcceptor::from(config);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                assert_eq!(stream.get_ref().1.alpn_protocol(), None);
                let mut head = [0; 8192];
                while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_self_signed_application_is_accepted_where_the_provider_says_so() {
    let authority = Authority::new();
    let secure = secure_upstream(authority.server(), OK).await;
    let strict = internal(&format!("https://{secure}"));
    let lax = Provider {
        internal_host_ssl_validation: false,
        ..Provider::proxy("lax", "http://lax.test", &format!("https://{secure}"))
    };
    let open = |mut provider: Provider| {
        provider.skip_path_regex = "^/$".into();
        provider
    };
    let authentik = Standin::builder().start().await.expect("started");
    let world = World::beside(authentik, vec![open(strict), open(lax)], &[]).await;
    for (host, status) in [("app.test", 502), ("lax.test", 200), ("app.test", 502)] {
        let answer = get(world.address(), "/", host, &[]).await;
        assert_eq!(answer.status(), status, "{host}");
    }

    // Or where its authority is trusted, as authentik's would be.
    let authentik = Standin::builder().start().await.expect("started");
    let strict = open(internal(&format!("https://{secure}")));
    let file = authority.file();
    let trusted = ("AUTHENTIK_PROXY_TLS__CA_FILE", file.as_str());
    let world = World::beside(authentik, vec![strict], &[trusted]).await;
    assert_eq!(get(world.address(), "/", HOST, &[]).await.status(), 200);
}

#[tokio::test]
#[ignore = "needs IPv6"]
async fn an_application_with_an_ipv6_address_is_reached() {
    let listener = TcpListener::bind("[::1]:0").await;
    let listener = listener.expect("this machine has IPv6");
    let mut upstream = Upstream::on(listener, |_| OK.into());
    let world = world(provider(upstream.address), &[]).await;
    let cookie = alice(&world).await;
    let answer = get(world.address(), "/x", HOST, &[("cookie", &cookie)]).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(upstream.next().await.one("host"), HOST);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_is_no_error() {
    // Each connection answers once and is closed at the second request, as if it had timed out.
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let mut provider = misbehaving(move |mut stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            let _ = stream.write_all(OK.as_bytes()).await;
            let mut more = [0; 1024];
            let _ = stream.read(&mut more).await;
        }
    })
    .await;
    provider.skip_path_regex = "^/".into();
    let world = world(provider, &[]).await;
    for expected in 1..=20 {
        let answer = get(world.address(), "/", HOST, &[]).await;
        assert_eq!(answer.status(), 200, "{expected}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn what_breaks_off_on_a_new_connection_is_not_asked_again() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let mut provider = misbehaving(move |stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { drop(stream) }
    })
    .await;
    provider.skip_path_regex = "^/".into();
    let world = world(provider, &[]).await;
    let answer = get(world.address(), "/dear", HOST, &[]).await;
    assert_eq!(answer.status(), 502);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_internal_host_that_is_none_leaves_the_others_alone() {
    let upstream = Upstream::start().await;
    let authentik = Standin::builder().start().await.expect("started");
    let mut good = provider(upstream.address);
    good.skip_path_regex = "^/".into();
    let bad = Provider::proxy("bad", "http://bad.test", "bad:80");
    let worse = Provider::proxy("worse", "http://worse.test", "");
    let mut world = World::running(authentik, vec![bad, good, worse], &[]).await;
    assert_eq!(get(world.address(), "/", HOST, &[]).await.status(), 200);
    for name in ["bad", "worse"] {
        let line = world
            .outpost
            .wait_line(&format!("provider \"{name}\" is invalid"))
            .await;
        let cause = line["error"].as_str().expect("text");
        assert!(cause.contains("internal host"), "{line}");
    }
    world.outpost.stop().await;
}
