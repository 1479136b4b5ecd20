//! Clients that cannot sign in by a page.

use http::{Method, header};

use super::WAYS;
use crate::support::NAVIGATION;

/// The report, the method and the headers of a request without a session.
type Report = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

const REPORTS: [Report; 11] = [
    (
        "bitly/oauth2_proxy#449: a script over plain http",
        "GET",
        &[("accept", "application/json")],
    ),
    (
        "deployKF/deployKF#96: axios in the background, a cookie for each login that starts",
        "GET",
        &[("accept", "application/json, text/plain, */*")],
    ),
    (
        "anomalyco/opencode#50481: an event stream that reconnects each second",
        "GET",
        &[
            ("accept", "text/event-stream"),
            ("cache-control", "no-cache"),
        ],
    ),
    (
        "thomseddon/traefik-forward-auth#426: the icon of a page over plain http",
        "GET",
        &[(
            "accept",
            "image/avif,image/webp,image/apng,image/*,*/*;q=0.8",
        )],
    ),
    (
        "ggml-org/llama.cpp#24531: the script of a service worker, which must not be redirected",
        "GET",
        &[
            ("accept", "*/*"),
            ("service-worker", "script"),
            ("sec-fetch-mode", "same-origin"),
            ("sec-fetch-dest", "serviceworker"),
        ],
    ),
    (
        "netalertx/NetAlertX#780: a web app's manifest, fetched without cookies",
        "GET",
        &[
            ("accept", "*/*"),
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-dest", "manifest"),
        ],
    ),
    (
        "bitly/oauth2_proxy#471: a preflight, which must not be redirected",
        "OPTIONS",
        &[
            ("accept", "*/*"),
            ("origin", "https://other.test"),
            ("access-control-request-method", "POST"),
            ("sec-fetch-mode", "cors"),
        ],
    ),
    (
        "argoproj/argo-cd#2019: gRPC-Web of a command line",
        "POST",
        &[
            ("content-type", "application/grpc-web+proto"),
            ("accept", "application/grpc-web+proto"),
        ],
    ),
    (
        "authelia/authelia#4905: WebDAV",
        "PROPFIND",
        &[("depth", "1"), ("user-agent", "gvfs/1.50.3")],
    ),
    (
        "home-assistant/android#1438: an app's request",
        "POST",
        &[
            ("content-type", "application/json"),
            ("user-agent", "okhttp/4.12"),
        ],
    ),
    (
        "authelia/authelia#3221: a page that goes on when its session has ended",
        "GET",
        &[("accept", "*/*"), ("x-requested-with", "XMLHttpRequest")],
    ),
];

#[tokio::test]
async fn clients_that_cannot_sign_in_get_401_and_no_cookie() {
    for way in WAYS {
        let (world, _application) = way.world().await;
        for (report, method, headers) in REPORTS {
            let method: Method = method.parse().expect("a method");
            let answer = way.send(&world, &method, "/api/items", headers).await;
            assert_eq!(answer.status(), 401, "{way:?} {report}");
            for name in [header::LOCATION, header::SET_COOKIE] {
                assert!(!answer.headers().contains_key(name), "{way:?} {report}");
            }
        }
        let answer = way.send(&world, &Method::GET, "/", &NAVIGATION).await;
        assert_eq!(answer.status(), way.login(), "{way:?}");
    }
}
