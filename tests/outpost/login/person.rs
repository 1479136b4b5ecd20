//! Users with a session at authentik, which authorizes them again.

use authentik_standin::Standin;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;

use crate::forward_auth::dialects::Surface;
use crate::login::refresh::age_tokens;
use crate::support::{Browser, NAVIGATION, Outpost, PASSWORD, World, location, send};

const HOST: &str = "grafana.test";
/// What scripts send.
pub(crate) const SCRIPT: [(&str, &str); 2] = [("accept", "*/*"), ("sec-fetch-mode", "cors")];

pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

/// A user's browser, with its session at authentik.
pub(crate) struct Person {
    pub(crate) browser: Browser,
    pub(crate) at_authentik: String,
}

impl Person {
    /// Signs in at authentik, and with that at the outpost; the session there is `age` seconds old.
    pub(crate) async fn signed_in<O: Outpost>(
        world: &World<O>,
        host: &str,
        name: &str,
        age: i64,
    ) -> Self {
        let authentik = &world.authentik;
        let mut user = Self {
            browser: Browser::default(),
            at_authentik: at_authentik(authentik, name).await,
        };
        age_tokens(authentik, age);
        let landed = user.start(world, host).await;
        assert_eq!(landed.status(), 302, "{landed:?}");
        age_tokens(authentik, 0);
        user
    }

    /// Begins a login at the outpost. Returns the response of the callback, or authentik's own page.
    pub(crate) async fn start<O: Outpost>(
        &mut self,
        world: &World<O>,
        host: &str,
    ) -> Response<Bytes> {
        let start = "/outpost.goauthentik.io/start?rd=/d/x";
        let answer = self.browser.open(world, host, start).await;
        self.authorize(world, host, &location(&answer)).await
    }

    /// Follows a redirect to authentik, and back from there if it leads back.
    pub(crate) async fn authorize<O: Outpost>(
        &mut self,
        world: &World<O>,
        host: &str,
        url: &str,
    ) -> Response<Bytes> {
        let cookie = [("cookie", self.at_authentik.as_str())];
        let answer = visit(&world.authentik, Method::GET, url, &cookie, "").await;
        if answer.status() != StatusCode::FOUND {
            return answer;
        }
        let callback = location(&answer);
        let callback = callback.split_once(host).expect("the callback").1;
        self.browser.open(world, host, callback).await
    }

    pub(crate) async fn asks<O: Outpost>(
        &self,
        world: &World<O>,
        surface: Surface,
        headers: Headers<'_>,
    ) -> Response<Bytes> {
        let cookies = self.browser.cookies(HOST);
        let headers = [headers, &[("cookie", &cookies)]].concat();
        surface.ask(world, HOST, "/d/x", &headers).await
    }

    pub(crate) async fn navigates<O: Outpost>(&self, world: &World<O>) -> u16 {
        let answer = self.asks(world, Surface::Nginx, &NAVIGATION).await;
        answer.status().as_u16()
    }

    pub(crate) async fn fetches<O: Outpost>(&self, world: &World<O>) -> u16 {
        let answer = self.asks(world, Surface::Nginx, &SCRIPT).await;
        answer.status().as_u16()
    }
}

/// A request to authentik.
pub(crate) async fn visit(
    authentik: &Standin,
    method: Method,
    url: &str,
    headers: Headers<'_>,
    body: &str,
) -> Response<Bytes> {
    let base = authentik.url();
    let address = base.socket_addrs(|| None).expect("an address")[0];
    let url = base.join(url).expect("a URL");
    let request = Request::builder()
        .method(method)
        .uri(&url[url::Position::BeforePath..])
        .header(header::HOST, address.to_string());
    let with = |request: http::request::Builder, (name, value): &(&str, &str)| {
        request.header(*name, *value)
    };
    let request = headers.iter().fold(request, with);
    let request = request.body(Full::from(body.to_owned()));
    send(address, request.expect("a request")).await
}

/// The cookie of a user who signs in at authentik.
pub(crate) async fn at_authentik(authentik: &Standin, name: &str) -> String {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("username={name}&password={PASSWORD}");
    let page = "if/flow/default-authentication-flow/?next=/";
    let answer = visit(authentik, Method::POST, page, &form, &body).await;
    let cookie = answer.headers()[header::SET_COOKIE].to_str();
    let cookie = cookie.expect("text").split(';').next();
    cookie.expect("a cookie").to_owned()
}
