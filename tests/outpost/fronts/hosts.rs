//! The host that a reverse proxy routes by is the one that it asks about: two applications behind the
//! same reverse proxy, and requests that name both.

use http::StatusCode;

use super::servers::{Behind, Server};
use super::{INTERNAL, PUBLIC, Scene, application, behind_each_server, mark};
use crate::support::{raw, text};

/// Targets and lines of headers that name both hosts, or one of them in another way. `{a}` stands
/// for the host with an open path, `{b}` for the one without, `{B}` for that in upper case, `{x}` for
/// the path.
const REQUESTS: [(&str, &str); 36] = [
    // RFC 9112, section 3.2.2: the request line's host counts.
    ("http://{b}{x}", "Host: {a}"),
    ("http://{a}{x}", "Host: {b}"),
    ("http://{b}{x}", "Host: {a}:80"),
    ("http://{b}:80{x}", "Host: {a}"),
    ("http://{b}:81{x}", "Host: {a}:81"),
    ("http://{B}{x}", "Host: {a}"),
    ("HTTP://{b}{x}", "Host: {a}"),
    ("https://{b}{x}", "Host: {a}"),
    ("http://{b}.{x}", "Host: {a}"),
    ("http://{a}@{b}{x}", "Host: {a}"),
    ("http://{b}@{a}{x}", "Host: {b}"),
    ("http://{a}:80@{b}{x}", "Host: {a}"),
    ("//{b}{x}", "Host: {a}"),
    ("http:///{b}{x}", "Host: {a}"),
    ("http://{b}#@{a}{x}", "Host: {a}"),
    ("http://{b}\\@{a}{x}", "Host: {a}"),
    // Two lines, RFC 9110 section 7.2: 400.
    ("{x}", "Host: {a}\r\nHost: {b}"),
    ("{x}", "Host: {b}\r\nHost: {a}"),
    ("http://{b}{x}", "Host: {a}\r\nHost: {b}"),
    ("{x}", "Host: {a}, {b}"),
    ("{x}", "Host: {b}, {a}"),
    ("{x}", "Host: {a}\r\n {b}"),
    ("{x}", "Host: {b}\r\n\t{a}"),
    // One host in other ways.
    ("{x}", "Host: {b}"),
    ("{x}", "Host: {b}:81"),
    ("{x}", "Host: {B}"),
    ("{x}", "Host: {b}."),
    ("{x}", "Host: {b}.:80"),
    ("{x}", "Host: {a}@{b}"),
    ("{x}", "Host: {b}@{a}"),
    ("{x}", "Host: {b}/{a}"),
    // Headers by which some reverse proxies and outposts are told.
    ("{x}", "Host: {b}\r\nX-Forwarded-Host: {a}"),
    (
        "{x}",
        "Host: {b}\r\nX-Forwarded-Host: {a}\r\nX-Forwarded-Uri: {x}\r\nX-Forwarded-Proto: http",
    ),
    (
        "{x}",
        "Host: {b}\r\nX-Original-URL: http://{a}{x}\r\nX-Original-URI: {x}",
    ),
    ("{x}", "Host: {b}\r\nForwarded: host={a};proto=http"),
    ("{x}?host={a}", "Host: {b}"),
];

fn filled(template: &str, path: &str) -> String {
    let upper = INTERNAL.to_uppercase();
    let values = [
        ("{a}", PUBLIC),
        ("{b}", INTERNAL),
        ("{B}", &upper),
        ("{x}", path),
    ];
    let fill = |text: String, (key, value): (&str, &str)| text.replace(key, value);
    values.into_iter().fold(template.to_owned(), fill)
}

behind_each_server!(ap_2026_01_no_request_that_names_two_hosts_shows_the_protected_application);

async fn ap_2026_01_no_request_that_names_two_hosts_shows_the_protected_application(
    server: Server,
) {
    let scene = Scene::start(server, &[]).await;
    let public = scene.cookies(PUBLIC).await;
    let protected = mark(INTERNAL);

    // Each application is shown to whoever may see it.
    let own = scene.cookies(INTERNAL).await;
    let answer = scene.get(INTERNAL, "/page", &[("cookie", &own)]).await;
    assert!(text(&answer).starts_with(&protected), "{answer:?}");
    let answer = scene.get(PUBLIC, "/open", &[]).await;
    assert!(text(&answer).starts_with(&mark(PUBLIC)), "{answer:?}");
    let answer = scene.http2(INTERNAL, "/page", &[("cookie", &own)]).await;
    let answer = answer.expect("an answer");
    assert!(text(&answer).starts_with(&protected), "{answer:?}");

    let mut seen = 0;
    for cookie in ["", &public] {
        for path in ["/open", "/page"] {
            for (target, hosts) in REQUESTS {
                let (target, hosts) = (filled(target, path), filled(hosts, path));
                let request = format!(
                    "GET {target} HTTP/1.1\r\n{hosts}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
                );
                let answer = raw(scene.front.address, request.as_bytes()).await;
                assert!(!answer.contains(&protected), "{request}{answer}");
                seen += usize::from(answer.contains(&mark(PUBLIC)));
            }
            for (authority, host) in [
                (INTERNAL, PUBLIC),
                (PUBLIC, INTERNAL),
                ("INTERNAL.localhost", PUBLIC),
                ("internal.localhost:81", PUBLIC),
                ("internal.localhost.", PUBLIC),
                ("public.localhost@internal.localhost", PUBLIC),
                (INTERNAL, INTERNAL),
            ] {
                let headers = [("host", host), ("cookie", cookie)];
                if let Some(answer) = scene.http2(authority, path, &headers).await {
                    let shown = text(&answer).contains(&protected);
                    assert!(!shown, "{authority} {host} {path} {cookie:?}: {answer:?}");
                    assert_ne!(answer.status(), StatusCode::CONTINUE);
                }
            }
        }
    }
    assert!(seen > 0, "requests that name the other host reach it");
}

behind_each_server!(ap_2026_01_a_host_that_is_served_elsewhere_shows_no_page_of_this_one);

/// The only application of a reverse proxy is no default for the hosts of others.
async fn ap_2026_01_a_host_that_is_served_elsewhere_shows_no_page_of_this_one(server: Server) {
    let scene = Scene::start(server, &[]).await;
    let public = scene.cookies(PUBLIC).await;
    let own = scene.cookies(INTERNAL).await;
    let behind = Behind {
        sites: &[(INTERNAL, application(INTERNAL).await)],
        outpost: scene.world.address(),
        grpc: scene.grpc,
        certificate: None,
        impatient: false,
    };
    let front = server.start(&behind).await;
    let scene = Scene { front, ..scene };
    let protected = mark(INTERNAL);
    let answer = scene.get(INTERNAL, "/page", &[("cookie", &own)]).await;
    assert!(text(&answer).starts_with(&protected), "{answer:?}");
    for cookie in ["", &public] {
        for path in ["/open", "/page"] {
            for host in [
                PUBLIC,
                "public.localhost:80",
                "PUBLIC.localhost",
                "public.localhost.",
            ] {
                let headers = [("cookie", cookie)];
                let answer = scene.get(host, path, &headers).await;
                assert!(!text(&answer).contains(&protected), "{host} {answer:?}");
                if let Some(answer) = scene.http2(host, path, &headers).await {
                    assert!(!text(&answer).contains(&protected), "{host} {answer:?}");
                }
            }
        }
    }
}
