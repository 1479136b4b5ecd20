//! AP-2026-05: identity that is not ours. Cookies that another host of the domain sets in a browser,
//! and what applications behind a reverse proxy get to see of ours.

use authentik_proxy::model::SessionId;
use authentik_proxy::web::cookie::{self, Form};
use authentik_standin::{Provider, Standin, User};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::header;

use super::{HOST, modes, session_cookie, signed_in, worlds};
use crate::forward_auth::dialects::{ALL, Surface};
use crate::support::{Browser, PASSWORD, World, location};

const HOST_PREFIX: (&str, &str) = ("AUTHENTIK_PROXY_SESSION__COOKIE_PREFIX", "host");
const ECHO: (&str, &str) = ("AUTHENTIK_PROXY_SESSION__ECHO_CREDENTIALS", "true");
const START: &str = "/outpost.goauthentik.io/start?rd=/";

/// An application that browsers reach over TLS.
async fn over_tls(more: &[(&str, &str)]) -> World {
    let authentik = Standin::builder().start().await.expect("started");
    authentik.add_user(User::new("mallory", PASSWORD));
    let provider = Provider::forward_single("grafana", &format!("https://{HOST}"));
    World::beside(authentik, vec![provider], more).await
}

/// The cookie of the same session in the other form, as only we can make it.
fn in_form(world: &World, value: &str, form: Form) -> String {
    let snapshot = world.outpost.live().load();
    let site = &snapshot.table.sites()[0];
    let text = &value.as_bytes()[..SessionId::TEXT_LENGTH];
    let id = SessionId::parse(text).expect("an id");
    let (_, names) = site.cookies.in_form(form);
    let value = cookie::sign(&site.keys.session, &id, form);
    format!("{}={value}", names.session)
}

async fn user(world: &World, cookies: &str) -> Option<String> {
    let answer = world.nginx(&format!("https://{HOST}/"), cookies, &[]).await;
    let name = answer.headers().get("x-authentik-username")?;
    Some(name.to_str().expect("text").to_owned())
}

/// Another host of the domain can set cookies for all of them, with a path so that browsers send
/// them first.
#[tokio::test]
async fn ap_2026_05_junk_before_the_right_cookie_hides_no_session() {
    for world in worlds().await {
        let cookies = signed_in(&world).await;
        let (name, value) = session_cookie(&cookies);
        // Of the right shape, so that each has to be verified.
        let junk = |n: usize| format!("{name}={}{n:03}", &value[..value.len() - 3]);
        let junk: Vec<_> = (0..120).map(junk).chain([format!("{name}=")]).collect();
        let sent = format!("{}; {cookies}", junk.join("; "));
        for surface in ALL {
            let headers = [("cookie", sent.as_str())];
            let answer = surface.ask(&world, HOST, "/private", &headers).await;
            assert_eq!(answer.status(), 200, "{surface:?}");
        }
    }
}

/// The login cookie of another host that counts too many starts.
#[tokio::test]
async fn ap_2026_05_a_tossed_login_cookie_locks_no_user_out() {
    let world = World::with_grafana().await;
    let mut browser = Browser::default();
    browser.sign_in(&world, HOST, "/").await;
    let own = browser.cookies(HOST);
    let (name, value) = own.split_once('=').expect("a cookie");
    let fields: Vec<_> = value.split('.').collect();
    let [id, _, since, target, _] = fields[..] else {
        panic!("five fields: {value}");
    };
    let tossed = format!("{name}={id}.200.{since}.{target}.1; {own}");
    let answer = world.get(START, HOST, &[("cookie", &tossed)]).await;
    assert_eq!(answer.status(), 302, "{answer:?}");
}

#[tokio::test]
async fn ap_2026_05_both_names_are_read_and_one_is_written() {
    for (more, written, other) in [
        (&[][..], Form::Plain, Form::Host),
        (&[HOST_PREFIX], Form::Host, Form::Plain),
    ] {
        let world = over_tls(more).await;
        let mut browser = Browser::default();
        let answer = browser.open(&world, HOST, START).await;
        let callback = Browser::authorize(&world, &location(&answer));
        let answer = browser.open(&world, HOST, &callback).await;
        for line in answer.headers().get_all(header::SET_COOKIE) {
            let line = line.to_str().expect("text");
            assert_eq!(line.starts_with("__Host-"), written == Form::Host, "{line}");
            // Without these three browsers refuse the prefix (RFC 6265bis section 4.1.3.2).
            assert!(
                line.contains("; Secure") && line.contains("; Path=/;"),
                "{line}"
            );
            assert!(!line.contains("Domain"), "{line}");
        }
        let cookies = browser.cookies(HOST);
        assert_eq!(user(&world, &cookies).await.as_deref(), Some("alice"));
        let (_, value) = session_cookie(&cookies);
        let previous = in_form(&world, value, other);
        assert_eq!(user(&world, &previous).await.as_deref(), Some("alice"));

        // Signing out takes both away.
        let both = format!("{cookies}; {previous}");
        let sign_out = "/outpost.goauthentik.io/sign_out";
        let page = [
            ("cookie", both.as_str()),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
            ("sec-fetch-site", "none"),
        ];
        let answer = world.get(sign_out, HOST, &page).await;
        let removed = answer.headers().get_all(header::SET_COOKIE).into_iter();
        let removed = removed.filter(|line| line.to_str().is_ok_and(|l| l.contains("Max-Age=0")));
        assert_eq!(removed.count(), 2, "{answer:?}");
    }
}

/// Browsers accept `__Host-` neither for a domain nor without TLS.
#[tokio::test]
async fn the_prefix_is_left_out_where_browsers_refuse_it() {
    for provider in modes() {
        let authentik = Standin::builder().start().await.expect("started");
        let world = World::beside(authentik, vec![provider], &[HOST_PREFIX]).await;
        let cookies = signed_in(&world).await;
        assert!(!cookies.contains("__Host-"), "{cookies}");
        let (name, value) = session_cookie(&cookies);
        let headers = [("cookie", &*format!("__Host-{name}={value}"))];
        let answer = Surface::Nginx.ask(&world, HOST, "/private", &headers).await;
        assert_eq!(answer.status(), 401, "a name that we never gave");
    }
}

/// Someone else's session in a cookie that another host has set.
#[tokio::test]
async fn ap_2026_05_a_session_that_another_host_sets_is_none() {
    let world = over_tls(&[HOST_PREFIX]).await;
    let mut browser = Browser::default();
    let mallory = browser.log_in_as(&world, HOST, "mallory").await;
    let (name, value) = session_cookie(&mallory);
    let plain = name.strip_prefix("__Host-").expect("the prefix");
    let tossed = format!("{plain}={value}");
    assert_eq!(user(&world, &tossed).await, None);
    let renamed = format!(
        "{name}={}",
        in_form(&world, value, Form::Plain)
            .split_once('=')
            .expect("a cookie")
            .1
    );
    assert_eq!(
        user(&world, &renamed).await,
        None,
        "nor the other way round"
    );

    // One of the time before the prefix counts, and less than that of the host itself.
    let before = in_form(&world, value, Form::Plain);
    let alice = signed_in(&world).await;
    assert_eq!(user(&world, &before).await.as_deref(), Some("mallory"));
    for sent in [format!("{before}; {alice}"), format!("{alice}; {before}")] {
        assert_eq!(user(&world, &sent).await.as_deref(), Some("alice"));
    }
}

/// Login CSRF: the victim's browser is to finish a login that someone else began, with the login
/// cookie that another host has set.
#[tokio::test]
async fn ap_2026_05_a_login_cookie_that_another_host_sets_finishes_no_login() {
    let world = over_tls(&[HOST_PREFIX]).await;
    let mut attacker = Browser::default();
    let answer = attacker.open(&world, HOST, START).await;
    let callback = Browser::authorize_as(&world, &location(&answer), "mallory");
    let own = attacker.cookies(HOST);
    let tossed = own.strip_prefix("__Host-").expect("the prefix");
    let answer = world.get(&callback, HOST, &[("cookie", tossed)]).await;
    assert!(
        location(&answer).contains("/application/o/authorize/"),
        "{answer:?}"
    );
    assert!(world.outpost.store().is_empty());
    // In the browser that began it, it does.
    let answer = world.get(&callback, HOST, &[("cookie", &own)]).await;
    assert_eq!(location(&answer), format!("https://{HOST}/"));
}

/// Replicas that write different names serve side by side: a login that begins at one ends at the
/// other.
#[tokio::test]
async fn ap_2026_05_a_login_begins_under_one_name_and_ends_under_the_other() {
    let plain = over_tls(&[]).await;
    let host = crate::support::start(&plain.authentik, &[HOST_PREFIX]).await;
    while host.live().load().outpost.is_none() {
        tokio::task::yield_now().await;
    }
    let addresses = [plain.address(), crate::support::Outpost::address(&host)];
    for [first, second] in [addresses, [addresses[1], addresses[0]]] {
        let mut browser = Browser::default();
        let answer = crate::support::get(first, START, HOST, &[]).await;
        browser.keep(HOST, answer.headers());
        let callback = Browser::authorize(&plain, &location(&answer));
        let cookies = browser.cookies(HOST);
        let headers = [("cookie", cookies.as_str())];
        let answer = crate::support::get(second, &callback, HOST, &headers).await;
        assert_eq!(location(&answer), format!("https://{HOST}/"));
    }
}

/// What a reverse proxy can put in place of the client's, so that applications see neither our
/// cookie nor credentials that were for us.
#[tokio::test]
async fn ap_2026_05_positive_answers_tell_what_the_application_should_see() {
    for more in [&[][..], &[ECHO]] {
        let authentik = Standin::builder().start().await.expect("started");
        authentik.add_user(User {
            app_password: Some("app-pass".into()),
            ..User::new("robot", PASSWORD)
        });
        let [single, _] = modes();
        let world = World::beside(authentik, vec![single], more).await;
        let own = signed_in(&world).await;
        let robot = format!("Basic {}", STANDARD.encode("robot:app-pass"));
        let token = "Bearer the-applications-own";
        for (cookies, authorization_sent, seen, passed) in [
            (own.clone(), None, None, None),
            (format!("a=1; {own}; b=2"), None, Some("a=1; b=2"), None),
            (format!("a=1; {own}"), Some(token), Some("a=1"), Some(token)),
            ("c=3".into(), Some(&*robot), Some("c=3"), None),
            (format!("a=1; {own}"), Some(&*robot), Some("a=1"), None),
            (own.clone(), Some(&*robot), None, None),
        ] {
            let mut headers = vec![("cookie", cookies.as_str())];
            headers.extend(authorization_sent.map(|value| ("authorization", value)));
            for surface in ALL {
                let answer = surface.ask(&world, HOST, "/private", &headers).await;
                assert_eq!(answer.status(), 200, "{surface:?} {headers:?}");
                let told = |name: &str| {
                    let value = answer.headers().get(name);
                    value.map(|value| value.to_str().expect("text"))
                };
                let is_ours = cookies.contains("authentik_proxy_");
                let (cookie, authorization) = match (more.is_empty(), surface) {
                    (false, _) => (seen, passed),
                    // Envoy keeps the client's where it is not told otherwise.
                    (true, Surface::Envoy) => (seen.filter(|_| is_ours), None),
                    (true, _) => (None, None),
                };
                let told_both = (told("cookie"), told("authorization"));
                assert_eq!(
                    told_both,
                    (cookie, authorization),
                    "{surface:?} {headers:?}"
                );
                let consumed = authorization_sent.is_some() && passed.is_none();
                let removed = match (is_ours && seen.is_none(), consumed) {
                    _ if surface != Surface::Envoy => None,
                    (true, true) => Some("cookie,authorization"),
                    (true, false) => Some("cookie"),
                    (false, true) => Some("authorization"),
                    (false, false) => None,
                };
                assert_eq!(told("x-envoy-auth-headers-to-remove"), removed);
            }
        }
        // Nothing of it in any other answer.
        let headers = [("cookie", "a=1"), ("authorization", token)];
        for surface in ALL {
            let answer = surface.ask(&world, HOST, "/private", &headers).await;
            assert_ne!(answer.status(), 200, "{surface:?}");
            for name in ["cookie", "authorization", "x-envoy-auth-headers-to-remove"] {
                assert!(!answer.headers().contains_key(name), "{surface:?} {name}");
            }
        }
    }
}

/// In forward auth we cannot remove a header of the client's, so that rules have to know of it.
#[tokio::test]
async fn ap_2026_05_rules_by_method_hold_in_every_dialect() {
    const RULES: &str = "
applications:
  grafana:
    original_method: true
    cors_preflight: true
    rules:
      - {path: ^/api, methods: [GET, HEAD], action: allow}
      - {path: ^/things, methods: [DELETE], action: require, groups: [nobody-has-it]}
";
    let authentik = Standin::builder().start().await.expect("started");
    let grafana = Provider::forward_single("grafana", &format!("http://{HOST}"));
    let world = World::with_file(authentik, vec![grafana], RULES, &[]).await;
    let cookies = signed_in(&world).await;
    let signed_in = ("cookie", cookies.as_str());
    for surface in ALL {
        let asked = async |target: &str, headers: &[(&str, &str)]| {
            surface
                .ask(&world, HOST, target, headers)
                .await
                .status()
                .as_u16()
        };
        assert_eq!(asked("/api", &[]).await, 200, "{surface:?}");
        assert_eq!(asked("/things", &[signed_in]).await, 200, "{surface:?}");
        for name in [
            "x-http-method-override",
            "x-http-method",
            "X_Method!Override",
        ] {
            let named = (name, "DELETE");
            assert_eq!(
                asked("/api", &[named]).await,
                surface.login(),
                "{surface:?} {name}"
            );
            let status = asked("/things", &[named, signed_in]).await;
            assert_eq!(status, 403, "{surface:?} {name}");
        }
        // Browsers ask for nothing else in a preflight request.
        for (named, passes) in [(None, true), (Some("x-http-method"), false)] {
            let mut request = surface
                .request(http::Method::OPTIONS, HOST, "/private")
                .header("origin", "http://other.test")
                .header("access-control-request-method", "PUT");
            if let Some(name) = named {
                request = request.header(name, "GET");
            }
            let request = request.body(http_body_util::Full::default());
            let request = request.expect("a request");
            let answer = crate::support::send(world.address(), request).await;
            assert_eq!(answer.status() == 200, passes, "{surface:?} {named:?}");
        }
    }
}
