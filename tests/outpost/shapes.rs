//! What Traefik and Envoy send, byte for byte as their documentation and sources have it, and the
//! configurations for them in `deploy/recipes`. nginx, Caddy and `HAProxy` run for real elsewhere.

use authentik_proxy::web::identity::{META, PERSON};
use authentik_standin::{Provider, Standin};
use serde_json::Value;

use crate::process::Process;
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

/// A question, given the method and the cookies of the person.
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
    // The person's address is in the log, not the reverse proxy's.
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

fn recipe(file: &str) -> Value {
    let path = format!("{}/deploy/recipes/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("text");
    serde_saphyr::from_str(&text).expect("YAML")
}

/// The items of a list, by what is picked from each.
fn texts<'a>(list: &'a Value, pick: impl Fn(&'a Value) -> &'a Value) -> Vec<&'a str> {
    let list = list.as_array().expect("a list").iter();
    list.filter_map(|item| pick(item).as_str()).collect()
}

#[test]
fn the_recipe_for_traefik_asks_us_and_lets_no_client_name_itself() {
    let recipe = recipe("traefik/dynamic.yaml");
    let (middlewares, services) = (&recipe["http"]["middlewares"], &recipe["http"]["services"]);
    let ask = &middlewares["authentik"]["forwardAuth"];
    let address = ask["address"].as_str().expect("an address");
    assert!(address.ends_with("/outpost.goauthentik.io/auth/traefik"));
    assert_eq!(ask["trustForwardHeader"], false);
    let removed = ask["authResponseHeadersRegex"].as_str().expect("text");
    let removed = regex::Regex::new(removed).expect("an expression");
    for name in PERSON.iter().chain(&META) {
        for spelling in [name.as_str(), &name.as_str().replace('-', "_")] {
            assert!(removed.is_match(spelling), "{spelling}");
        }
    }
    let routers = &recipe["http"]["routers"];
    assert_eq!(
        texts(&routers["app"]["middlewares"], |name| name),
        ["authentik"]
    );
    let own = &routers["outpost"];
    assert!(
        own.get("middlewares").is_none(),
        "nobody is asked at our own pages"
    );
    let rule = own["rule"].as_str().expect("a rule");
    assert!(
        rule.ends_with("!PathPrefix(`/outpost.goauthentik.io/auth/`)"),
        "{rule}"
    );
    for router in ["app", "outpost"] {
        let service = routers[router]["service"].as_str().expect("a service");
        assert!(services.get(service).is_some(), "{service}");
    }
}

#[test]
fn the_recipe_for_envoy_asks_us_and_lets_no_client_name_itself() {
    let recipe = recipe("envoy/static.yaml");
    let resources = &recipe["static_resources"];
    let chain = &resources["listeners"][0]["filter_chains"][0]["filters"][0];
    let manager = &chain["typed_config"];
    let early = &manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"];
    assert_eq!(
        early[0]["remove_on_match"]["key_matcher"]["prefix"],
        "x-authentik-"
    );
    let underscores = &manager["common_http_protocol_options"]["headers_with_underscores_action"];
    assert_eq!(underscores, "DROP_HEADER");
    let ask = &manager["http_filters"][0]["typed_config"];
    assert_eq!(ask["failure_mode_allow"], false);
    let sent = texts(
        &ask["allowed_headers"]["patterns"],
        |pattern| &pattern["exact"],
    );
    assert!(
        sent.contains(&"cookie") && sent.contains(&"x-forwarded-proto"),
        "{sent:?}"
    );
    assert!(!sent.contains(&"x-forwarded-host"));
    let service = &ask["http_service"];
    assert_eq!(service["path_prefix"], "/outpost.goauthentik.io/auth/envoy");
    let copied = &service["authorization_response"]["allowed_upstream_headers"]["patterns"];
    assert_eq!(
        texts(copied, |pattern| &pattern["prefix"]),
        ["x-authentik-"]
    );
    let routes = &manager["route_config"]["virtual_hosts"][0]["routes"];
    let prefixes = texts(routes, |route| &route["match"]["prefix"]);
    assert_eq!(
        prefixes,
        [
            "/outpost.goauthentik.io/auth/",
            "/outpost.goauthentik.io/",
            "/"
        ]
    );
    assert_eq!(routes[0]["direct_response"]["status"], 404);
    let filters = texts(&manager["http_filters"], |filter| &filter["name"]);
    assert_eq!(
        filters,
        ["envoy.filters.http.ext_authz", "envoy.filters.http.router"]
    );
}
