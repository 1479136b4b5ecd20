//! What reaches an application behind each reverse proxy: our identity headers and nobody else's, the
//! application's own cookies and credentials without ours, the address that the server has seen.

use authentik_standin::User;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::servers::Server;
use super::{INTERNAL, PUBLIC, Scene, behind_each_server, mark};
use crate::support::{PASSWORD, raw, text};

/// Names that a CGI or WSGI server makes the same variable of as of ours: whatever is no letter or
/// digit becomes `_`.
const LOOKALIKES: [&str; 12] = [
    "X-Authentik-Username",
    "X_Authentik_Username",
    "X-authentik_username",
    "X.authentik.username",
    "X.Authentik-Groups",
    "x!authentik!groups",
    "x~authentik~email",
    "x'authentik'name",
    "X-Authentik.Uid",
    "X|authentik|entitlements",
    "x+authentik+meta+app",
    "X$AUTHENTIK$NAME",
];

/// Names by which some applications take another path or method than that of the request line.
const OVERRIDES: [&str; 7] = [
    "X-Original-URL",
    "X-Original-URI",
    "X-Rewrite-URL",
    "X-Forwarded-Prefix",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
];

behind_each_server!(ap_2026_05_no_lookalike_of_an_identity_header_reaches_an_application);

async fn ap_2026_05_no_lookalike_of_an_identity_header_reaches_an_application(server: Server) {
    let scene = Scene::start(server, ECHO).await;
    let cookies = scene.cookies(PUBLIC).await;
    // Where somebody is signed in, and where everybody passes.
    for (cookie, path) in [(cookies.as_str(), "/page"), ("", "/open")] {
        let mut seen = false;
        // ingress-nginx removes none of these: docs/SECURITY.md.
        let overrides = if server == Server::Ingress {
            &[]
        } else {
            &OVERRIDES[..]
        };
        // Servers refuse requests for some names: one in each request.
        for name in LOOKALIKES.iter().chain(overrides) {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {PUBLIC}\r\nCookie: {cookie}\r\n{name}: forged\r\nConnection: close\r\n\r\n"
            );
            let answer = raw(scene.front.address, request.as_bytes()).await;
            assert!(!answer.contains("forged"), "{request}{answer}");
            seen |= answer.contains(&mark(PUBLIC));
        }
        assert!(seen, "the application answers");
        // Names in HTTP/2 are in lower case.
        for name in LOOKALIKES {
            let name = name.to_lowercase();
            let headers = [("cookie", cookie), (name.as_str(), "forged")];
            if let Some(answer) = scene.http2(PUBLIC, path, &headers).await {
                assert!(!text(&answer).contains("forged"), "{name}: {answer:?}");
            }
        }
    }
}

/// Positive answers say what an application's `Cookie` and `Authorization` should be.
const ECHO: &[(&str, &str)] = &[("AUTHENTIK_PROXY_SESSION__ECHO_CREDENTIALS", "true")];

behind_each_server!(
    ap_2026_05_an_application_gets_its_own_cookies_and_credentials_and_none_of_the_outposts
);

async fn ap_2026_05_an_application_gets_its_own_cookies_and_credentials_and_none_of_the_outposts(
    server: Server,
) {
    let scene = Scene::start(server, ECHO).await;
    scene.world.authentik.add_user(User {
        app_password: Some("app-pass-1".into()),
        ..User::new("robot", PASSWORD)
    });
    let ours = scene.cookies(PUBLIC).await;
    let shown = async |path: &str, headers: &[(&str, &str)]| {
        let answer = scene.get(PUBLIC, path, headers).await;
        let first = text(&answer);
        assert!(first.starts_with(&mark(PUBLIC)), "{answer:?}");
        assert!(!first.contains("authentik_proxy_"), "{first}");
        let second = scene.http2(PUBLIC, path, headers).await;
        let second = text(&second.expect("an answer"));
        assert!(second.starts_with(&mark(PUBLIC)), "{second}");
        assert!(!second.contains("authentik_proxy_"), "{second}");
        first
    };
    let own = "Bearer of-the-application";
    let prefixed = ours.replace("authentik_proxy_", "__Host-authentik_proxy_");
    for cookies in [
        ours.clone(),
        format!("first=1; {ours}; second=2"),
        format!("{ours};first=1;second=2"),
        format!("first=1;second=2;  {ours}"),
        format!("first=1; {prefixed}; {ours}; second=2; {prefixed}"),
        format!("first=1; authentik_proxy_junk=1; {ours}; authentik_proxy_=; second=2"),
    ] {
        let headers = [("cookie", cookies.as_str()), ("authorization", own)];
        let seen = shown("/page", &headers).await;
        assert!(seen.contains("x-authentik-username: alice\n"), "{seen}");
        // The application's own, such as Home Assistant's tokens.
        assert!(seen.contains(&format!("authorization: {own}\n")), "{seen}");
        let kept = ["first=1", "second=2"].map(|pair| seen.contains(pair));
        assert_eq!(kept, [cookies.contains("first=1"); 2], "{cookies}: {seen}");
    }
    // Where everybody passes.
    let cookies = format!("first=1; {ours}");
    let headers = [("cookie", cookies.as_str()), ("authorization", own)];
    let page = shown("/open", &headers).await;
    assert!(page.contains(&format!("authorization: {own}\n")), "{page}");
    assert!(page.contains("first=1"), "{page}");

    // Credentials that were for us are not for the application.
    let basic = format!("Basic {}", STANDARD.encode("robot:app-pass-1"));
    for headers in [
        vec![("authorization", basic.as_str())],
        vec![("authorization", basic.as_str()), ("cookie", "first=1")],
    ] {
        let page = shown("/page", &headers).await;
        assert!(page.contains("x-authentik-username: robot\n"), "{page}");
        assert_eq!(page.contains("first=1"), headers.len() > 1, "{page}");
        // Caddy 2.6 to 2.11.1 cannot take it away: docs/SECURITY.md.
        let cannot = server == Server::Caddy(authentik_standin::caddy::Release::Installed);
        assert!(cannot || !page.contains("authorization: "), "{page}");
    }
}

behind_each_server!(ap_2026_05_no_client_claims_an_address_of_a_trusted_network);

async fn ap_2026_05_no_client_claims_an_address_of_a_trusted_network(server: Server) {
    let file = "applications: {internal: {trusted_networks: [10.9.8.0/24]}}";
    let scene = Scene::with_file(server, file, &[]).await;
    let asked = async |lines: &str| {
        let request =
            format!("GET /page HTTP/1.1\r\nHost: {INTERNAL}\r\n{lines}Connection: close\r\n\r\n");
        raw(scene.front.address, request.as_bytes()).await
    };
    // That is who passes.
    let url = format!("http://{INTERNAL}/page");
    let headers = [("x-forwarded-for", "10.9.8.7")];
    assert_eq!(scene.world.nginx(&url, "", &headers).await.status(), 200);
    for lines in [
        "",
        "X-Forwarded-For: 10.9.8.7\r\n",
        "X-Forwarded-For: 10.9.8.7, 127.0.0.1\r\n",
        "X-Forwarded-For: 10.9.8.7\r\nX-Forwarded-For: 10.0.0.1\r\n",
        "X-Real-IP: 10.9.8.7\r\nForwarded: for=10.9.8.7\r\nX-Envoy-External-Address: 10.9.8.7\r\n",
        "X_Forwarded_For: 10.9.8.7\r\n",
    ] {
        let answer = asked(lines).await;
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        assert!(!answer.contains(&mark(INTERNAL)), "{lines}{answer}");
    }
}
