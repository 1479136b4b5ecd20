//! Browsers reach the pages of a login and nothing else of ours: no spelling leads a request to the
//! questions of reverse proxies, whose answers hold the person's token and our configured headers.

use super::servers::Server;
use super::{PUBLIC, SERVICE_KEY, Scene, behind_each_server, mark};
use crate::support::{location, raw, text};

/// Names that only the answer to a question has, of those that the application does not show.
pub(super) const SECRET_NAMES: [&str; 3] =
    ["x-authentik-jwt", "x-authentik-meta-jwks", "x-service-key"];

/// `~` stands for our own path.
const TARGETS: [&str; 40] = [
    // Those of the issue, through the recipes of the time.
    "~/auth/envoy/..%2f..%2fauth%5Cenvoy%5Cz%2f..%2fstart",
    "/OUTPOST.goauthentik.io~/auth/envoy/x",
    "/outpost%2egoauthentik.io~/auth/nginx",
    "/outpost%2egoauthentik.io/start~/auth/envoy/x",
    // As they are.
    "~/auth/nginx",
    "~/auth/traefik",
    "~/auth/caddy",
    "~/auth/envoy",
    "~/auth/envoy/open",
    "~/auth/envoy/page",
    // Below a page, and behind one.
    "~/start/../auth/envoy/open",
    "~/start/%2e%2e/auth/envoy/open",
    "~/start%2f..%2fauth%2fnginx",
    "~/start/..;/auth/nginx",
    "~/callback~/auth/envoy/open",
    "~/sign_out~/auth/envoy/open",
    "~/start~/auth/nginx",
    "~/start%00/auth/nginx",
    "~/start?/../auth/nginx",
    "~/start%3f/../auth/nginx",
    "~/start#/../auth/nginx",
    "~/auth/envoy/../../start",
    "~/auth/envoy/..%5c..%5cstart",
    "~/auth/envoy/%2e%2e/%2e%2e~/start",
    // Other spellings.
    "/OUTPOST.GOAUTHENTIK.IO/auth/envoy/open",
    "/Outpost.goauthentik.io/auth/nginx",
    "/outpost%2egoauthentik.io/auth/envoy/open",
    "/outpost%2Egoauthentik.io/auth/nginx",
    "/%6futpost.goauthentik.io/auth/envoy/open",
    "~/%61uth/envoy/open",
    "~/auth%2fenvoy/open",
    "~%2fauth%2fenvoy%2fopen",
    "~/AUTH/envoy/open",
    "/~/auth/envoy/open",
    "//~//auth//envoy//open",
    "/./outpost.goauthentik.io/./auth/./envoy/open",
    "/x/..~/auth/envoy/open",
    "/open~/auth/envoy/open",
    "/open/..~/auth/envoy/open",
    "\\outpost.goauthentik.io\\auth\\envoy\\open",
];

behind_each_server!(ap_2026_02_the_answer_to_a_question_reaches_no_browser);

async fn ap_2026_02_the_answer_to_a_question_reaches_no_browser(server: Server) {
    let scene = Scene::start(server, &[]).await;
    let cookies = scene.cookies(PUBLIC).await;

    // That is what there is to be seen.
    for cookie in ["", &cookies] {
        let url = format!("http://{PUBLIC}/open");
        let answer = scene.world.nginx(&url, cookie, &[]).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["x-service-key"], SERVICE_KEY);
        assert!(answer.headers().contains_key("x-authentik-jwt"));
    }
    // Pages of a login are reached.
    let answer = scene
        .get(PUBLIC, "/outpost.goauthentik.io/start?rd=/page", &[])
        .await;
    assert!(location(&answer).contains("/application/o/authorize/"));

    // An application that leads nginx there; ingress-nginx follows it: docs/SECURITY.md.
    if server != Server::Ingress {
        let answer = scene.get(PUBLIC, "/accel", &[("cookie", &cookies)]).await;
        assert_eq!(answer.status(), 200);
        holds_nothing("/accel", &format!("{:?}", answer.headers()));
        assert!(text(&answer).starts_with(&mark(PUBLIC)), "{answer:?}");
    }

    for target in TARGETS {
        let target = target.replace('~', "/outpost.goauthentik.io");
        for cookie in ["", &cookies] {
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: {PUBLIC}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
            );
            let answer = raw(scene.front.address, request.as_bytes()).await;
            holds_nothing(&request, &answer);
            let answer = scene.http2(PUBLIC, &target, &[("cookie", cookie)]).await;
            if let Some(answer) = answer {
                holds_nothing(
                    &target,
                    &format!("{:?} {:?}", answer.headers(), answer.body()),
                );
            }
        }
    }
}

fn holds_nothing(request: &str, answer: &str) {
    let lower = answer.to_lowercase();
    for secret in SECRET_NAMES.iter().chain(&[SERVICE_KEY]) {
        assert!(
            !lower.contains(secret),
            "{secret} after {request}: {answer}"
        );
    }
}
