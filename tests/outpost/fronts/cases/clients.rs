//! Clients that cannot sign in by a redirect: scripts, websockets, uploads, API clients.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Response, header};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::application::mark;
use super::{APP, Plan, Site, request, shown};
use crate::fronts::behind_each_server;
use crate::fronts::client::{Protocol, Stream, connect};
use crate::fronts::servers::Server;
use crate::support::{NAVIGATION, location, text, within};

/// What tells scripts from pages.
const SCRIPTS: [&[(&str, &str)]; 2] = [
    &[("x-requested-with", "XMLHttpRequest")],
    &[
        ("accept", "*/*"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-dest", "empty"),
    ],
];

/// `nginx` and `HAProxy` make a redirect of every 401 that the outpost answers.
fn redirects_401(server: Server) -> bool {
    matches!(
        server,
        Server::Nginx(_) | Server::Ingress | Server::HaProxy(_)
    )
}

behind_each_server!(a_script_gets_401_and_no_page_of_authentik);

async fn a_script_gets_401_and_no_page_of_authentik(server: Server) {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let plan = Plan {
            protocol,
            ..Plan::new(server)
        };
        let site = plan.start().await;
        for headers in SCRIPTS {
            let answer = site.followed(headers).await;
            assert_eq!(answer.status(), 401, "{headers:?} {answer:?}");
            assert!(!answer.headers().contains_key(header::SET_COOKIE));
        }
    }
}

impl Site {
    /// What a script gets in the end: the reverse proxy may send it to our page first, where the browser
    /// follows with the same headers.
    async fn followed(&self, headers: &[(&str, &str)]) -> Response<Bytes> {
        let answer = self.get(APP, "/api/items?page=2", headers).await;
        if answer.status() != 302 {
            return answer;
        }
        let target = location(&answer);
        let target = target
            .strip_prefix(&format!("https://{APP}"))
            .unwrap_or(&target);
        assert!(
            target.starts_with("/outpost.goauthentik.io/start?"),
            "{answer:?}"
        );
        self.get(APP, target, headers).await
    }

    pub(super) async fn websocket(
        &self,
        cookies: &str,
    ) -> Result<(WebSocketStream<Box<dyn Stream>>, Response<()>), Box<Error>> {
        let url = format!("wss://{APP}/socket?x=%20");
        let mut request = url.into_client_request().expect("a request");
        if !cookies.is_empty() {
            let cookies = cookies.parse().expect("a value");
            request.headers_mut().insert(header::COOKIE, cookies);
        }
        let origin = format!("https://{APP}").parse().expect("a value");
        request.headers_mut().insert(header::ORIGIN, origin);
        let stream = connect(&self.front, Protocol::Http1, APP)
            .await
            .expect("TLS");
        let (socket, response) = within(client_async(request, stream)).await?;
        Ok((socket, response.map(|_| ())))
    }
}

behind_each_server!(a_websocket_is_open_to_users_alone);

async fn a_websocket_is_open_to_users_alone(server: Server) {
    let site = Plan::new(server).start().await;
    let cookies = site.cookies(APP, "alice").await;
    let (mut socket, response) = site.websocket(&cookies).await.expect("a websocket");
    assert_eq!(response.headers()["x-user"], "alice");
    for message in ["hello", "again"] {
        socket.send(Message::text(message)).await.expect("sent");
        let echoed = within(socket.next())
            .await
            .expect("open")
            .expect("a message");
        assert_eq!(echoed, Message::text(message));
    }
    for cookies in ["", "authentik_proxy_12345678=forged"] {
        let refused = site.websocket(cookies).await.err().expect("refused");
        let Error::Http(answer) = *refused else {
            panic!("{refused}");
        };
        assert!(
            !answer.headers().contains_key(header::SET_COOKIE),
            "{answer:?}"
        );
        // No browser follows a redirect here.
        let expected = if redirects_401(server) { 302 } else { 401 };
        assert_eq!(answer.status(), expected, "{answer:?}");
    }
}

behind_each_server!(an_upload_arrives_whole_and_from_users_alone);

async fn an_upload_arrives_whole_and_from_users_alone(server: Server) {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let plan = Plan {
            protocol,
            ..Plan::new(server)
        };
        let site = plan.start().await;
        let cookies = site.cookies(APP, "alice").await;
        let body = Bytes::from(vec![b'x'; 8 << 20]);
        for (method, length) in [(Method::POST, 8 << 20), (Method::PUT, 0)] {
            let headers = [("cookie", cookies.as_str())];
            let sent = body.slice(..length);
            let answer = site
                .send(request(method, APP, "/upload", &headers, sent))
                .await;
            let page = text(&answer);
            assert!(page.starts_with(&mark(APP)), "{answer:?}");
            assert_eq!(shown(&page, "body"), [length.to_string()]);
        }
        let sent = body.slice(..4096);
        let answer = site
            .send(request(Method::POST, APP, "/upload", &[], sent))
            .await;
        assert!(matches!(answer.status().as_u16(), 302 | 401), "{answer:?}");
    }
}

behind_each_server!(a_form_and_a_program_are_told_that_they_are_not_signed_in);

async fn a_form_and_a_program_are_told_that_they_are_not_signed_in(server: Server) {
    let site = Plan::new(server).start().await;
    let body = Bytes::from_static(b"a=b");
    let page = format!("https://{APP}/edit");
    let form = [&NAVIGATION[..], &[("referer", page.as_str())]].concat();
    let answer = site
        .send(request(Method::POST, APP, "/save", &form, body))
        .await;
    if redirects_401(server) {
        assert_eq!(answer.status(), 302, "{answer:?}");
    } else {
        assert_eq!(answer.status(), 401, "{answer:?}");
        let shown = text(&answer);
        assert!(
            shown.contains("was not passed on") && shown.contains("%2Fedit"),
            "{shown}"
        );
    }
    let program = [("user-agent", "gvfs/1.50.3"), ("accept", "application/xml")];
    let answer = site.followed(&program).await;
    assert_eq!(answer.status(), 401, "{answer:?}");
    let challenges = answer.headers().get_all(header::WWW_AUTHENTICATE).iter();
    let challenges: Vec<_> = challenges
        .map(|value| value.to_str().expect("text"))
        .collect();
    assert!(
        challenges.iter().any(|value| value.starts_with("Basic ")),
        "{challenges:?}"
    );
}

behind_each_server!(an_api_client_gets_what_its_credentials_say);

async fn an_api_client_gets_what_its_credentials_say(server: Server) {
    let site = Plan::new(server).start().await;
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    let right = basic("robot:app-pass-1");
    let answer = site.followed(&[("authorization", &right)]).await;
    let page = text(&answer);
    assert!(page.starts_with(&mark(APP)), "{answer:?}");
    assert_eq!(shown(&page, "x-authentik-username"), ["robot"]);
    for wrong in [basic("robot:wrong"), "Bearer wrong".to_owned()] {
        let answer = site.followed(&[("authorization", &wrong)]).await;
        assert_eq!(answer.status(), 401, "{wrong} {answer:?}");
        assert!(!answer.headers().contains_key(header::SET_COOKIE));
        let page = text(&answer);
        assert!(
            page.contains("credentials of this request were refused"),
            "{page}"
        );
    }
}
