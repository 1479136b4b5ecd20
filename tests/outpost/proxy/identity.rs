//! AP-2026-05 and AP-2026-06 in mode `proxy`: what clients say under names that applications take
//! for ours, and cookies of our name that applications set.

use authentik_standin::{Provider, Standin, User};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::header;

use crate::support::upstream::{HOST, Recorded, Upstream, alice, provider, raw, status, websocket};
use crate::support::{PASSWORD, World, get};

/// Every byte that a name may have and that is no letter, digit or `-` (RFC 9110 section 5.6.2).
const SEPARATORS: &str = "!#$%&'*+.^_`|~";

/// The names by which an application reads what is ours to say; `?` is a separator.
const OURS: [&str; 22] = [
    "x?authentik?username",
    "x?authentik?jwt",
    "x?authentik?meta?app",
    "x?authentik?new",
    "x?forwarded?for",
    "x?forwarded?host",
    "x?forwarded?proto",
    "x?forwarded?user",
    "x?forwarded?prefix",
    "x?real?ip",
    "x?original?url",
    "x?rewrite?url",
    "x?http?method?override",
    "x?remote?user",
    "remote?user",
    "x?webauth?user",
    "x?auth?request?user",
    "x?own?user",
    "content?length",
    "transfer?encoding",
    "proxy?authorization",
    "x?request?id",
];

const RULES: &str = "
applications:
  app:
    identity_headers: [X-Own-User]
    rules:
      - {path: ^/api, methods: [GET], action: allow}
      - {path: ^/things, methods: [DELETE], action: require, groups: [nobody-has-it]}
";

/// What lighttpd makes of a name for CGI programs, and others before it: every byte but letters and
/// digits is `_`.
fn variable(name: &str) -> String {
    let letter = |c: char| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
        _ => '_',
    };
    name.chars().map(letter).collect()
}

async fn world(upstream: &Upstream, more: &[(&str, &str)]) -> World {
    let mut open = provider(upstream.address);
    open.skip_path_regex = "^/open".into();
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_user(User {
        app_password: Some("app-pass".into()),
        ..User::new("robot", PASSWORD)
    });
    World::with_file(authentik, vec![open], RULES, more).await
}

/// What arrives of a request for an open path with these header lines.
async fn arrives(upstream: &mut Upstream, world: &World, lines: &str) -> Recorded {
    let request = format!("GET /open HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{lines}\r\n");
    let answer = raw(world.address(), request.as_bytes()).await;
    assert_eq!(status(&answer), 200, "{lines}");
    upstream.next().await
}

#[tokio::test]
async fn ap_2026_05_no_name_that_reads_like_an_identity_header_is_passed_on() {
    let mut upstream = Upstream::start().await;
    let world = world(&upstream, &[]).await;
    for separator in SEPARATORS.chars() {
        let mut lines = String::from("X-Kept: 1\r\n");
        for name in OURS {
            let all = name.replace('?', &separator.to_string());
            // Only the last one, too.
            let (start, end) = name.rsplit_once('?').expect("a separator");
            let last = format!("{}{separator}{end}", start.replace('?', "-"));
            for name in [all, last] {
                lines.extend([&name, ": forged\r\n"]);
            }
        }
        let other = format!("x{separator}other");
        lines.extend([&other, ": kept\r\n"]);
        let recorded = arrives(&mut upstream, &world, &lines).await;
        let mut names: Vec<_> = recorded.headers.iter().map(|(n, _)| variable(n)).collect();
        for (name, value) in &recorded.headers {
            assert_ne!(value, b"forged", "{name}");
        }
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(all, names.len(), "two headers of one variable: {names:?}");
        assert_eq!(recorded.one(&other), "kept");
        assert_eq!(recorded.one("x-kept"), "1");
    }
}

#[tokio::test]
async fn ap_2026_05_no_trailer_that_reads_like_an_identity_header_is_passed_on() {
    let mut upstream = Upstream::start().await;
    let world = world(&upstream, &[]).await;
    for separator in SEPARATORS.chars() {
        let trailers: Vec<_> = OURS
            .iter()
            .map(|name| name.replace('?', &separator.to_string()))
            .collect();
        let listed = trailers.join(", ");
        let lines = trailers.join(": forged\r\n") + ": forged\r\n";
        let request = format!(
            "POST /open HTTP/1.1\r\nHost: {HOST}\r\nConnection: close, TE\r\nTE: trailers\r\nTrailer: {listed}, X-Note\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{lines}X-Note: kept\r\n\r\n"
        );
        assert_eq!(status(&raw(world.address(), request.as_bytes()).await), 200);
        let seen = upstream.next().await.trailers.to_lowercase();
        assert_eq!(seen, "x-note: kept", "{separator}");
    }
}

/// From an untrusted peer and through a trusted reverse proxy, which passes on what it does not set.
#[tokio::test]
async fn ap_2026_05_what_clients_say_of_users_addresses_and_paths() {
    // The header, and what arrives of it from a peer that is not trusted, and from one that is.
    const TABLE: &[(&str, &str, &str)] = &[
        ("X-Forwarded-User", "", ""),
        ("X-Forwarded-Email", "", ""),
        ("X-Forwarded-Groups", "", ""),
        ("X-Forwarded-Preferred-Username", "", ""),
        ("X-Forwarded-Access-Token", "", ""),
        ("X-Remote-User", "", ""),
        ("X-Remote-Group", "", ""),
        ("Remote-User", "", ""),
        ("Remote-Groups", "", ""),
        ("X-WebAuth-User", "", ""),
        ("X-Auth-Request-User", "", ""),
        ("X-authentik-username", "", ""),
        ("Proxy", "", ""),
        ("X-Real-IP", "", "198.51.100.7"),
        ("Forwarded", "", ""),
        ("X-Original-URL", "", ""),
        ("X-Original-URI", "", ""),
        ("X-Rewrite-URL", "", ""),
        ("X-Override-URL", "", ""),
        ("X-Envoy-Original-Path", "", ""),
        ("X-Forwarded-Prefix", "", ""),
        ("X-Forwarded-Path", "", ""),
        ("X-Forwarded-Uri", "", ""),
        ("X-Forwarded-Port", "", "/forged"),
        (
            "X-Forwarded-For",
            "127.0.0.1",
            "203.0.113.9, 198.51.100.7, 127.0.0.1",
        ),
        ("X-HTTP-Method-Override", "/forged", "/forged"),
        ("X-HTTP-Method", "/forged", "/forged"),
        ("X-Method-Override", "/forged", "/forged"),
        ("Remote-Address", "/forged", "/forged"),
        ("X-Other", "/forged", "/forged"),
    ];
    let no_proxy = ("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", "none");
    for more in [&[no_proxy][..], &[]] {
        let mut upstream = Upstream::start().await;
        let world = world(&upstream, more).await;
        let mut lines = String::new();
        for (name, ..) in TABLE {
            let value = match *name {
                // What the client sent, and what its reverse proxy added.
                "X-Forwarded-For" => "203.0.113.9, 198.51.100.7",
                "X-Real-IP" => "203.0.113.9",
                _ => "/forged",
            };
            lines.extend([name, ": ", value, "\r\n"]);
        }
        let recorded = arrives(&mut upstream, &world, &lines).await;
        for (name, untrusted, trusted) in TABLE {
            let expected = if more.is_empty() { trusted } else { untrusted };
            assert_eq!(&recorded.one(&name.to_lowercase()), expected, "{name}");
        }
    }
    // A reverse proxy that says the address in `X-Real-IP` alone is believed.
    let mut upstream = Upstream::start().await;
    let world = world(&upstream, &[]).await;
    let recorded = arrives(&mut upstream, &world, "X-Real-IP: 198.51.100.7\r\n").await;
    assert_eq!(recorded.one("x-real-ip"), "198.51.100.7");
}

/// Many frameworks act by the method that such a header names, so a rule that opens one method must
/// not open the others, and one that restricts must hold.
#[tokio::test]
async fn ap_2026_05_rules_by_method_hold_whatever_method_the_client_names() {
    let upstream = Upstream::start().await;
    let world = world(&upstream, &[]).await;
    let cookie = alice(&world).await;
    let answer = get(world.address(), "/api", HOST, &[]).await;
    assert_eq!(answer.status(), 200);
    let signed_in = ("cookie", cookie.as_str());
    let answer = get(world.address(), "/things", HOST, &[signed_in]).await;
    assert_eq!(answer.status(), 200);
    for name in [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x_http_method_override",
        "x!http!method",
        "x.method.override",
    ] {
        let named = (name, "DELETE");
        let answer = get(world.address(), "/api", HOST, &[named]).await;
        assert_eq!(answer.status(), 302, "{name} opens nothing");
        let answer = get(world.address(), "/things", HOST, &[named, signed_in]).await;
        assert_eq!(answer.status(), 403, "{name} walks around nothing");
    }
}

/// A trusted peer that says two hosts: it may have chosen the route by the one that the client did
/// not write.
#[tokio::test]
async fn ap_2026_05_two_hosts_of_two_applications_are_refused() {
    let upstream = Upstream::start().await;
    let open = |slug: &str, host: &str| Provider {
        skip_path_regex: if slug == "app" { "^/open" } else { "^/" }.into(),
        ..Provider::proxy(
            slug,
            &format!("http://{host}"),
            &format!("http://{}", upstream.address),
        )
    };
    let providers = || vec![open("app", HOST), open("other", "other.test")];
    for (trusted, host, forwarded, expected) in [
        ("127.0.0.0/8", "other.test", HOST, 400),
        ("127.0.0.0/8", HOST, "other.test", 400),
        ("127.0.0.0/8", HOST, "OTHER.test:9000", 400),
        ("127.0.0.0/8", "outpost:9000", "other.test", 200),
        ("127.0.0.0/8", "10.0.0.7", "other.test", 200),
        ("127.0.0.0/8", "other.test", "other.test", 200),
        ("127.0.0.0/8", "OTHER.test.:9000", "other.test", 200),
        // Not believed.
        ("none", "other.test", HOST, 200),
        ("none", HOST, "other.test", 302),
    ] {
        let authentik = Standin::builder().start().await.expect("started");
        let trust = ("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", trusted);
        let world = World::beside(authentik, providers(), &[trust]).await;
        let headers = [("x-forwarded-host", forwarded)];
        let answer = get(world.address(), "/private", host, &headers).await;
        assert_eq!(answer.status(), expected, "{host} {forwarded}");
    }
}

/// What an application sets, and what of it may reach browsers.
const SET: [(&str, bool); 9] = [
    ("a=1; Path=/", true),
    ("authentik_proxy_948fe603=x; Path=/", false),
    ("__Host-authentik_proxy_948fe603=x; Path=/; Secure", false),
    ("=authentik_proxy_948fe603=x; Path=/", false),
    (" \t__host-authentik_proxy_948fe603_login=x", false),
    ("xauthentik_proxy_1=2", true),
    ("b=authentik_proxy_948fe603=x", true),
    ("Authentik_Proxy_948fe603=x", false),
    ("c=3; Domain=app.test", true),
];

fn head(status: &str) -> String {
    let lines = SET.map(|(cookie, _)| format!("Set-Cookie:{cookie}\r\n"));
    format!("HTTP/1.1 {status}\r\n{}", lines.concat())
}

fn kept() -> Vec<&'static str> {
    let kept = SET.into_iter().filter(|(_, kept)| *kept);
    kept.map(|(cookie, _)| cookie).collect()
}

fn set(headers: &http::HeaderMap) -> Vec<&str> {
    let lines = headers.get_all(header::SET_COOKIE).into_iter();
    lines.map(|line| line.to_str().expect("text")).collect()
}

#[tokio::test]
async fn ap_2026_06_applications_set_no_cookie_of_the_outposts() {
    let upstream = Upstream::answering(|recorded| {
        if recorded.one("upgrade").is_empty() {
            (head("200 OK") + "Content-Length: 2\r\n\r\nok").into()
        } else {
            let key = recorded.one("sec-websocket-key");
            let accepted =
                tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
            let upgrade = format!(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accepted}\r\n\r\n"
            );
            (head("101 Switching Protocols") + &upgrade).into()
        }
    })
    .await;
    let world = world(&upstream, &[]).await;
    let answer = get(world.address(), "/open", HOST, &[]).await;
    assert_eq!(set(answer.headers()), kept());
    let (_, answer) = websocket(&world, "/open", &[]).await.expect("a websocket");
    assert_eq!(set(answer.headers()), kept());
    // Ours is set all the same.
    let robot = format!("Basic {}", STANDARD.encode("robot:app-pass"));
    let headers = [("authorization", robot.as_str())];
    let answer = get(world.address(), "/", HOST, &headers).await;
    let all = set(answer.headers());
    let (own, others) = all.split_last().expect("cookies");
    assert_eq!(others, kept());
    assert!(own.starts_with("authentik_proxy_"), "{own}");
}
