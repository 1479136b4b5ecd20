//! What Traefik and Envoy send, byte for byte as their documentation and sources have it. Both run for
//! real in `fronts`, with the configurations in `deploy/recipes`.

use authentik_standin::{Provider, Standin};

use crate::operations::process::Process;
use crate::support::{Browser, World, raw};

const HOST: &str = "grafana.test";

/// Traefik's forwardAuth: the client's headers as Go writes them (sorted, after `Host` and
/// `User-Agent`), hop-by-hop ones removed, its own X-Forwarded-* set.
fn traefik(method: &str, cookie: &str) -> String {
    let cookie = if cookie.is_empty() {
        String::new()
    } else {
        format!("Cookie: {cookie}\r\n")
    };
    format!(
        "GET /outpost.goauthentik.io/auth/traefik HTTP/1.1\r\n\
         Host: outpost:9000\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
         Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n\
         Accept-Encoding: gzip, deflate, br\r\n\
         {cookie}\
         X-Forwarded-For: 203.0.113.7\r\n\
         X-Forwarded-Host: grafana.test\r\n\
         X-Forwarded-Method: {method}\r\n\
         X-Forwarded-Port: 443\r\n\
         X-Forwarded-Proto: https\r\n\
         X-Forwarded-Server: traefik-5d8f\r\n\
         X-Forwarded-Uri: /d/x%2Fy?orgId=1&var=%20a+b\r\n\
         X-Real-Ip: 203.0.113.7\r\n\r\n"
    )
}

/// Envoy's `ext_authz`: the client's method, host and path behind the prefix, a length of 0, the
/// headers that are allowed, and what its client for such questions adds: its own address.
fn envoy(method: &str, cookie: &str) -> String {
    let cookie = if cookie.is_empty() {
        String::new()
    } else {
        format!("cookie: {cookie}\r\n")
    };
    format!(
        "{method} /outpost.goauthentik.io/auth/envoy/d/x%2Fy?orgId=1&var=%20a+b HTTP/1.1\r\n\
         host: grafana.test\r\n\
         content-length: 0\r\n\
         {cookie}\
         x-forwarded-proto: https\r\n\
         x-envoy-internal: true\r\n\
         x-forwarded-for: 203.0.113.7,127.0.0.1\r\n\
         x-envoy-expected-rq-timeout-ms: 10000\r\n\r\n"
    )
}

/// The same question from a connection that ends with the answer.
fn once(question: &str) -> Vec<u8> {
    let end = question.len() - 2;
    format!("{}Connection: close\r\n\r\n", &question[..end]).into_bytes()
}

/// The value of a header in a raw answer.
fn value<'a>(answer: &'a str, name: &str) -> &'a str {
    let head = answer.split("\r\n\r\n").next().expect("a head");
    let line = head.split("\r\n").find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found == name).then(|| value.trim())
    });
    line.unwrap_or_else(|| panic!("{name} in {answer}"))
}

/// An authorization request, given the method and the cookies of the client.
type Shape = fn(&str, &str) -> String;

async fn is_understood(shape: Shape) {
    let authentik = Standin::builder().start().await.expect("started");
    let grafana = Provider::forward_single("grafana", "https://grafana.test");
    let mut world = World::<Process>::running(authentik, vec![grafana], &[]).await;
    let asked = raw(world.address(), &once(&shape("GET", ""))).await;
    assert!(asked.starts_with("HTTP/1.1 302 Found\r\n"), "{asked}");
    let (login, _) = value(&asked, "set-cookie")
        .split_once(';')
        .expect("a cookie");
    let callback = Browser::authorize(&world, value(&asked, "location"));
    let answer = world.get(&callback, HOST, &[("cookie", login)]).await;
    let landing = "https://grafana.test/d/x%2Fy?orgId=1&var=%20a+b";
    assert_eq!(answer.headers()["location"], landing);
    let mut browser = Browser::default();
    browser.keep(HOST, answer.headers());
    let cookies = browser.cookies(HOST);
    for method in ["GET", "POST", "DELETE"] {
        let answer = raw(world.address(), &once(&shape(method, &cookies))).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n"),
            "{method} {answer}"
        );
        assert_eq!(value(&answer, "x-authentik-username"), "alice");
        assert_eq!(value(&answer, "content-length"), "0");
        let question = shape(method, "").replace("text/html,application/xhtml+xml,", "");
        let answer = raw(world.address(), &once(&question)).await;
        let status = if method == "GET" { 302 } else { 401 };
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{method} {answer}"
        );
    }
    // Reverse proxies keep their connections: two questions, two answers.
    let two = [shape("GET", &cookies).into_bytes(), once(&shape("GET", ""))].concat();
    let answers = raw(world.address(), &two).await;
    assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
    world.outpost.stop().await;
    // The client's address is in the log, not the reverse proxy's.
    let lines = world.outpost.lines();
    let asked = lines.iter().filter(|line| line["status"] == 302);
    let remotes: Vec<_> = asked.filter_map(|line| line["remote"].as_str()).collect();
    assert!(remotes.contains(&"203.0.113.7"), "{remotes:?}");
}

#[tokio::test]
async fn traefiks_forward_auth_is_understood_as_it_is_sent() {
    is_understood(traefik).await;
}

#[tokio::test]
async fn envoys_ext_authz_is_understood_as_it_is_sent() {
    is_understood(envoy).await;
}
