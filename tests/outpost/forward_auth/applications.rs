//! What our own configuration file sets for an application, seen from outside.

use authentik_standin::{Provider, Standin, User};
use bytes::Bytes;
use http::{Method, Response, header};
use http_body_util::Full;
use serde_json::json;

use crate::forward_auth::dialects::{ALL, Surface};
use crate::support::{Browser, PASSWORD, World, send, text, within};

const HOST: &str = "grafana.test";

async fn world(file: &str) -> World {
    let authentik = Standin::builder().start().await.expect("started");
    let grafana = Provider::forward_single("grafana", "http://grafana.test");
    World::with_file(authentik, vec![grafana], file, &[]).await
}

/// Asks as the surface does about a request of a client.
async fn ask(
    surface: Surface,
    world: &World,
    method: Method,
    target: &str,
    headers: &[(&str, &str)],
) -> Response<Bytes> {
    let request = surface.request(method, HOST, target);
    let with = |request: http::request::Builder, (name, value): &(&str, &str)| {
        request.header(*name, *value)
    };
    let request = headers.iter().fold(request, with);
    let request = request.body(Full::default()).expect("a request");
    send(world.address(), request).await
}

async fn signed_in(world: &World) -> String {
    let mut browser = Browser::default();
    browser.log_in(world, HOST, "/").await;
    browser.cookies(HOST)
}

#[tokio::test]
async fn issue_7989_trusted_networks_need_no_login_and_rules_still_restrict_them() {
    let file = "
applications:
  grafana:
    trusted_networks: [198.51.100.0/24, '2001:db8::/32']
    rules:
      - {path: ^/admin, action: require, groups: [admins]}
      - {path: ^/never, action: deny}
";
    let world = world(file).await;
    for surface in ALL {
        let login = surface.login();
        for (client, target, status) in [
            ("198.51.100.7", "/", 200),
            ("2001:db8::1", "/deep?x=1", 200),
            ("203.0.113.7", "/", login),
            ("198.51.101.7", "/", login),
            ("198.51.100.7", "/admin/x", login),
            ("198.51.100.7", "/never", 403),
            // The method that the application will act on is unknown.
            ("198.51.100.7", "/x/../never", 403),
            ("198.51.100.7", "/x/%2e%2e/admin", 403),
            // These are for members of the group at any server that takes them for /admin.
            ("198.51.100.7", "/%61dmin", login),
            ("198.51.100.7", "//admin", login),
        ] {
            let headers = [("x-forwarded-for", client)];
            let answer = surface.ask(&world, HOST, target, &headers).await;
            assert_eq!(answer.status(), status, "{surface:?} {client} {target}");
            if status == 200 {
                assert_eq!(answer.headers()["x-authentik-username"], "");
            }
        }
    }
    // Who is signed in is known there, too.
    let cookies = signed_in(&world).await;
    for surface in ALL {
        let headers = [
            ("x-forwarded-for", "198.51.100.7"),
            ("cookie", cookies.as_str()),
        ];
        for target in ["/", "/admin/x"] {
            let answer = surface.ask(&world, HOST, target, &headers).await;
            assert_eq!(answer.status(), 200, "{surface:?} {target}");
            assert_eq!(answer.headers()["x-authentik-username"], "alice");
        }
    }
}

#[tokio::test]
async fn issue_5925_rules_hold_path_by_path() {
    let file = "
applications:
  grafana:
    original_method: true
    rules:
      - {path: ^/hook$, methods: [POST], action: allow}
      - {path: ^/admin/open$, action: allow}
      - {path: ^/admin, action: require, groups: [admins, root]}
      - {path: ^/root, action: require, groups: [root]}
      - {path: ^/never, action: deny}
";
    let world = world(file).await;
    let cookies = signed_in(&world).await;
    for surface in ALL {
        let login = surface.login();
        for (method, target, anonymous, alice) in [
            (Method::GET, "/", login, 200),
            (Method::GET, "/admin", login, 200),
            (Method::GET, "/admin/open", 200, 200),
            (Method::GET, "/admin/open/x", login, 200),
            (Method::GET, "/root", login, 403),
            (Method::GET, "/never", 403, 403),
            (Method::GET, "/hook", login, 200),
            (Method::POST, "/hook", 200, 200),
            (Method::GET, "/admin/open?/never", 200, 200),
            (Method::GET, "/admin/open/../../root", 403, 403),
        ] {
            for (cookies, status) in [("", anonymous), (cookies.as_str(), alice)] {
                let headers = [("cookie", cookies)];
                let answer = ask(surface, &world, method.clone(), target, &headers).await;
                assert_eq!(answer.status(), status, "{surface:?} {method} {target}");
                if status == 403 && surface.redirects() {
                    assert!(text(&answer).contains("Access denied"));
                }
                if status == 403 {
                    assert!(!answer.headers().contains_key("x-authentik-jwt"));
                }
            }
        }
    }
}

#[tokio::test]
async fn cors_preflight_requests_pass_where_they_may_and_nothing_else_does() {
    let preflight = [
        ("origin", "http://other.test"),
        ("access-control-request-method", "POST"),
    ];
    for (file, passes) in [
        (
            "applications: {grafana: {cors_preflight: true, original_method: true}}",
            true,
        ),
        ("applications: {grafana: {cors_preflight: false}}", false),
        ("applications: {other: {cors_preflight: true}}", false),
    ] {
        let world = world(file).await;
        for surface in ALL {
            let whole = ask(surface, &world, Method::OPTIONS, "/api", &preflight).await;
            assert_eq!(whole.status() == 200, passes, "{surface:?} {file}");
            // Less than a preflight request is none.
            for (method, headers) in [
                (Method::OPTIONS, &preflight[..1]),
                (Method::OPTIONS, &preflight[1..]),
                (Method::POST, &preflight),
                (Method::GET, &preflight),
            ] {
                let answer = ask(surface, &world, method.clone(), "/api", headers).await;
                let status = answer.status().as_u16();
                assert!(
                    [401, 302].contains(&status),
                    "{surface:?} {method}: {status}"
                );
            }
        }
    }
}

#[tokio::test]
async fn issue_10057_redirect_scripts_restores_the_vendors_redirects() {
    let world = world("applications: {grafana: {redirect_scripts: true}}").await;
    for surface in ALL {
        for script in [
            ("sec-fetch-mode", "cors"),
            ("x-requested-with", "XMLHttpRequest"),
            ("upgrade", "websocket"),
        ] {
            let answer = surface.ask(&world, HOST, "/api", &[script]).await;
            assert_eq!(answer.status(), surface.login(), "{surface:?} {script:?}");
        }
    }
    let start = "/outpost.goauthentik.io/start?rd=/x";
    let answer = world.get(start, HOST, &[("sec-fetch-mode", "cors")]).await;
    assert_eq!(answer.status(), 302);
}

#[tokio::test]
async fn ap_2026_06_one_setting_keeps_the_token_from_all_applications() {
    const KEEP: (&str, &str) = ("AUTHENTIK_PROXY_IDENTITY__SEND_JWT", "false");
    let one = "applications: {grafana: {send_jwt: true}}";
    let other = "applications: {grafana: {send_jwt: false}}";
    for (file, more, gets) in [
        ("", &[][..], [true, true]),
        ("", &[KEEP], [false, false]),
        (one, &[KEEP], [true, false]),
        (other, &[], [false, true]),
    ] {
        let authentik = Standin::builder().start().await.expect("started");
        let providers = [HOST, "wiki.test"].map(|host| {
            let slug = host.split('.').next().expect("a slug");
            Provider::forward_single(slug, &format!("http://{host}"))
        });
        let world = World::with_file(authentik, providers.to_vec(), file, more).await;
        for (host, gets) in [HOST, "wiki.test"].into_iter().zip(gets) {
            let mut browser = Browser::default();
            browser.log_in(&world, host, "/").await;
            let cookies = browser.cookies(host);
            for surface in ALL {
                let headers = [("cookie", cookies.as_str())];
                let answer = surface.ask(&world, host, "/", &headers).await;
                assert_eq!(answer.headers()["x-authentik-username"], "alice");
                let token = answer.headers()["x-authentik-jwt"].as_bytes();
                assert_eq!(!token.is_empty(), gets, "{host} {file:?} {more:?}");
            }
        }
    }
}

#[tokio::test]
async fn issue_24156_names_go_out_as_utf_8_or_percent_encoded() {
    for (file, name, note) in [
        ("", "D\u{e4}vid 100% \u{6d4b}\u{8bd5}", "gr\u{fc}n"),
        (
            "applications: {grafana: {header_encoding: percent, send_jwt: false}}",
            "D%C3%A4vid 100%25 %E6%B5%8B%E8%AF%95",
            "gr%C3%BCn",
        ),
    ] {
        let authentik = Standin::builder().start().await.expect("started");
        authentik.add_user(User {
            name: "D\u{e4}vid 100% \u{6d4b}\u{8bd5}".into(),
            app_password: Some("app-pass-1".into()),
            attributes: json!({"additionalHeaders": {"X-Note": "gr\u{fc}n", "X-Bad": "a\nb"}}),
            ..User::new("david", PASSWORD)
        });
        let grafana = Provider::forward_single("grafana", "http://grafana.test");
        let world = World::with_file(authentik, vec![grafana], file, &[]).await;
        let basic = [("authorization", "Basic ZGF2aWQ6YXBwLXBhc3MtMQ==")];
        for surface in ALL {
            let answer = surface.ask(&world, HOST, "/", &basic).await;
            assert_eq!(answer.status(), 200, "{surface:?}");
            let bytes = |name: &str| answer.headers()[name].as_bytes();
            assert_eq!(bytes("x-authentik-name"), name.as_bytes());
            assert_eq!(bytes("x-note"), note.as_bytes());
            assert!(!answer.headers().contains_key("x-bad"));
            assert_eq!(bytes("x-authentik-jwt").is_empty(), !file.is_empty());
        }
    }
}

#[tokio::test]
async fn what_identity_headers_names_is_on_every_positive_answer() {
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_user(User {
        attributes: json!({"additionalHeaders": {"X-Remote-User": "rob"}}),
        ..User::new("rob", PASSWORD)
    });
    let mut grafana = Provider::forward_single("grafana", "http://grafana.test");
    grafana.skip_path_regex = "^/open$".into();
    let file = "applications: {grafana: {identity_headers: [X-Remote-User]}}";
    let world = World::with_file(authentik, vec![grafana], file, &[]).await;
    let rob = Browser::default().log_in_as(&world, HOST, "rob").await;
    let alice = signed_in(&world).await;
    for surface in ALL {
        for (target, cookies, expected) in [
            ("/", &rob, "rob"),
            ("/", &alice, ""),
            ("/open", &String::new(), ""),
        ] {
            let headers = [("cookie", cookies.as_str()), ("x-remote-user", "root")];
            let answer = surface.ask(&world, HOST, target, &headers).await;
            assert_eq!(answer.status(), 200, "{surface:?} {target}");
            assert_eq!(
                answer.headers()["x-remote-user"],
                expected,
                "{surface:?} {target}"
            );
        }
    }
}

#[tokio::test]
async fn headers_come_from_the_file_and_from_files_that_change() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "first\n").expect("written");
    let file = format!(
        "
applications:
  grafana:
    headers:
      X-Scope-OrgID: '7'
      Authorization: {{file: {}, prefix: 'Bearer '}}
      X-Authentik-Uid: fixed
",
        token.display()
    );
    let world = world(&file).await;
    let cookies = signed_in(&world).await;
    let headers = [("cookie", cookies.as_str()), ("x-scope-orgid", "8")];
    for surface in ALL {
        let answer = surface.ask(&world, HOST, "/", &headers).await;
        assert_eq!(answer.status(), 200);
        for (name, value) in [
            ("x-scope-orgid", "7"),
            ("authorization", "Bearer first"),
            ("x-authentik-uid", "fixed"),
        ] {
            let values: Vec<_> = answer.headers().get_all(name).iter().collect();
            assert_eq!(values, [value], "{surface:?} {name}");
        }
        // They are the application's, not anybody's who is not let in.
        let answer = surface.ask(&world, HOST, "/", &[]).await;
        assert!(!answer.headers().contains_key(header::AUTHORIZATION));
    }
    std::fs::write(&token, "second\n").expect("written");
    let replaced = async {
        loop {
            let answer = Surface::Nginx.ask(&world, HOST, "/", &headers).await;
            if answer.headers()["authorization"] == "Bearer second" {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    within(replaced).await;
}

#[tokio::test]
async fn nginxs_method_header_decides_nothing_where_nginx_may_not_have_set_it() {
    let file = "
applications:
  grafana:
    cors_preflight: true
    rules:
      - {path: ^/public/, methods: [GET], action: allow}
      - {path: ^/never, methods: [DELETE], action: deny}
";
    let world = world(file).await;
    let forged = [
        ("x-original-method", "OPTIONS"),
        ("origin", "http://other.test"),
        ("access-control-request-method", "GET"),
    ];
    let page = |path: &str| format!("http://{HOST}{path}");
    assert_eq!(world.nginx(&page("/api"), "", &forged).await.status(), 401);
    let get = [("x-original-method", "GET")];
    assert_eq!(
        world.nginx(&page("/public/x"), "", &get).await.status(),
        401
    );
    assert_eq!(world.nginx(&page("/never"), "", &get).await.status(), 403);
}

#[tokio::test]
async fn a_network_rule_counts_only_where_the_client_address_is_known() {
    let world = world("applications: {grafana: {trusted_networks: [127.0.0.0/8]}}").await;
    let answer = world.nginx(&format!("http://{HOST}/"), "", &[]).await;
    assert_eq!(
        answer.status(),
        401,
        "it is nginx that is near, not the client"
    );
}
