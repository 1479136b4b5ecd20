//! Sessions that authentik authorizes again: with its policies of now, a change of which it does not announce.

use authentik_standin::{Provider, Standin, User};
use http::{Method, Request};
use http_body_util::Full;
use tokio::io::AsyncReadExt as _;

use crate::forward_auth::dialects::{ALL, Surface};
use crate::login::person::{Headers, Person, SCRIPT, at_authentik, visit};
use crate::proxy::sessions::endless;
use crate::proxy::streams::{ask, head};
use crate::redis::replicas::replica_with;
use crate::redis::server::Server;
use crate::support::upstream::HOST as APP;
use crate::support::{NAVIGATION, PASSWORD, World, furnish, location, send, text, within};

const HOST: &str = "grafana.test";
const PAGE: &str = "http://grafana.test/d/x";
pub(crate) const INTERVAL: (&str, &str) = ("AUTHENTIK_PROXY_SESSION__REAUTHORIZE_INTERVAL", "1m");
/// Ages of a session that has to be authorized again, and of one that is suspended, in seconds.
pub(crate) const DUE: i64 = 120;
const SUSPENDED: i64 = 3600;

const WEBSOCKET: [(&str, &str); 2] = [("accept", "*/*"), ("sec-fetch-mode", "websocket")];
/// A form, as behind nginx, which does not pass the method on.
const FORM: [(&str, &str); 4] = [
    NAVIGATION[0],
    NAVIGATION[2],
    ("origin", "http://grafana.test"),
    ("content-type", "application/x-www-form-urlencoded"),
];

async fn world_with(providers: Vec<Provider>, settings: Headers<'_>) -> World {
    let authentik = Standin::builder().start().await.expect("started");
    let world = World::beside(authentik, providers, settings).await;
    is_connected(&world).await;
    world
}

async fn is_connected(world: &World) {
    world
        .until(|world| world.outpost.live().health().is_connected())
        .await;
}

fn grafana() -> Vec<Provider> {
    vec![Provider::forward_single("grafana", "http://grafana.test")]
}

#[tokio::test]
async fn the_next_navigation_of_a_due_session_leads_through_authentik() {
    let world = world_with(grafana(), &[INTERVAL]).await;
    let mut alice = Person::signed_in(&world, HOST, "alice", DUE).await;
    for surface in ALL {
        for background in [&SCRIPT[..], &WEBSOCKET, &FORM[..3]] {
            let passed = alice.asks(&world, surface, background).await;
            let is_get = background.len() == 3 && surface != Surface::Nginx;
            let expected = if is_get { 302 } else { 200 };
            assert_eq!(passed.status(), expected, "{surface:?} {background:?}");
        }
        let cookies = alice.browser.cookies(HOST);
        let prefetch = [
            &NAVIGATION[..],
            &[("sec-purpose", "prefetch"), ("cookie", &cookies)],
        ];
        let passed = surface.ask(&world, HOST, "/d/x", &prefetch.concat()).await;
        assert_eq!(passed.status(), 200, "{surface:?}: a prefetch");
        let answer = alice.asks(&world, surface, &NAVIGATION).await;
        assert_eq!(answer.status(), surface.login(), "{surface:?}");
        if surface.redirects() {
            assert!(location(&answer).contains("/application/o/authorize/"));
        }
    }
    let form = alice.asks(&world, Surface::Nginx, &FORM).await;
    assert_eq!(form.status(), 200, "what it carries would be lost");

    // The same session goes on, with the user's groups of now.
    let before = alice.browser.cookies(HOST);
    world.authentik.set_groups("alice", &["guests"]);
    let landed = alice.start(&world, HOST).await;
    assert_eq!(location(&landed), PAGE);
    let session = |cookies: &str| {
        let mut cookies = cookies.split("; ").map(str::to_owned);
        cookies.find(|cookie| !cookie.contains("login"))
    };
    assert_eq!(session(&before), session(&alice.browser.cookies(HOST)));
    assert_eq!(world.outpost.store().len(), 1);
    for surface in ALL {
        let answer = alice.asks(&world, surface, &NAVIGATION).await;
        assert_eq!(answer.status(), 200, "{surface:?}");
        assert_eq!(answer.headers()["x-authentik-groups"], "guests");
    }
}

#[tokio::test]
async fn a_user_whom_authentik_denies_gets_no_page_and_then_nothing() {
    for (change, name) in [
        (
            (|authentik| authentik.restrict_provider("grafana", Some(&["others"]))) as fn(&Standin),
            "a policy changed",
        ),
        (
            |authentik| {
                authentik.restrict_provider("grafana", Some(&["users"]));
                authentik.set_groups("alice", &[]);
            },
            "a group was taken away",
        ),
    ] {
        let world = world_with(grafana(), &[INTERVAL]).await;
        let mut alice = Person::signed_in(&world, HOST, "alice", DUE).await;
        change(&world.authentik);
        for _ in 0..2 {
            assert_eq!(alice.navigates(&world).await, 401, "{name}");
            let denied = alice.start(&world, HOST).await;
            assert_eq!(denied.status(), 200, "{name}: authentik's own page");
            assert!(text(&denied).contains("Permission denied"), "{name}");
            assert_eq!(alice.fetches(&world).await, 200, "{name}: for a while");
        }
        world.authentik.restrict_provider("grafana", None);
        alice.start(&world, HOST).await;
        assert_eq!(alice.navigates(&world).await, 200, "{name}: allowed again");

        let late = Person::signed_in(&world, HOST, "alice", SUSPENDED).await;
        assert_eq!(late.navigates(&world).await, 401, "{name}");
        assert_eq!(late.fetches(&world).await, 401, "{name}");
        let form = late.asks(&world, Surface::Envoy, &FORM).await;
        assert_eq!(form.status(), 302, "{name}");
    }
}

#[tokio::test]
async fn a_suspended_session_goes_on_after_a_new_authorization() {
    let world = world_with(grafana(), &[INTERVAL]).await;
    let mut alice = Person::signed_in(&world, HOST, "alice", SUSPENDED).await;
    assert_eq!(alice.fetches(&world).await, 401);
    let before = alice.browser.cookies(HOST);
    assert_eq!(location(&alice.start(&world, HOST).await), PAGE);
    assert_eq!(alice.fetches(&world).await, 200);
    let old = world.nginx(PAGE, &before, &SCRIPT).await;
    assert_eq!(old.status(), 200, "it is the same session");
    // The user can sign out of a suspended one as well.
    let mut late = Person::signed_in(&world, HOST, "alice", SUSPENDED).await;
    let out = late.browser.sign_out(&world, HOST).await;
    assert!(location(&out).ends_with("/end-session/"));
    assert_eq!(world.outpost.store().len(), 0);
}

#[tokio::test]
async fn another_user_who_comes_back_gets_a_session_of_their_own() {
    let world = world_with(grafana(), &[INTERVAL]).await;
    world.authentik.add_user(User::new("bob", PASSWORD));
    let mut alice = Person::signed_in(&world, HOST, "alice", DUE).await;
    let before = alice.browser.cookies(HOST);
    alice.at_authentik = at_authentik(&world.authentik, "bob").await;
    alice.start(&world, HOST).await;
    let answer = alice.asks(&world, Surface::Nginx, &NAVIGATION).await;
    assert_eq!(answer.headers()["x-authentik-username"], "bob");
    let old = world.nginx(PAGE, &before, &SCRIPT).await;
    assert_eq!(old.status(), 401, "alice's session ended");
    // The same user in another session at authentik, too: the old one may end by itself.
    alice.at_authentik = at_authentik(&world.authentik, "bob").await;
    let before = alice.browser.cookies(HOST);
    alice.start(&world, HOST).await;
    assert_eq!(world.nginx(PAGE, &before, &SCRIPT).await.status(), 401);
    assert_eq!(alice.fetches(&world).await, 200);
    assert_eq!(world.outpost.store().len(), 1);
}

#[tokio::test]
async fn tabs_that_become_due_together_all_arrive() {
    let world = world_with(grafana(), &[INTERVAL]).await;
    let mut alice = Person::signed_in(&world, HOST, "alice", DUE).await;
    let mut urls = Vec::new();
    for tab in 0..5 {
        let start = format!("/outpost.goauthentik.io/start?rd=/tab/{tab}");
        urls.push(location(&alice.browser.open(&world, HOST, &start).await));
    }
    for (tab, url) in urls.iter().enumerate() {
        let landed = alice.authorize(&world, HOST, url).await;
        assert_eq!(location(&landed), format!("http://grafana.test/tab/{tab}"));
    }
    assert_eq!(alice.navigates(&world).await, 200);
    assert_eq!(world.outpost.store().len(), 1);
    // Back to a callback that was used: the session is current, so the page opens.
    let query = location(
        &visit(
            &world.authentik,
            Method::GET,
            &urls[0],
            &[("cookie", &alice.at_authentik)],
            "",
        )
        .await,
    );
    let callback = query.split_once(HOST).expect("the callback").1;
    for _ in 0..2 {
        let landed = alice.browser.open(&world, HOST, callback).await;
        assert_eq!(location(&landed), "http://grafana.test/tab/0");
    }
}

#[tokio::test]
async fn it_is_off_unless_it_is_set_and_applications_differ() {
    let world = world_with(grafana(), &[]).await;
    let alice = Person::signed_in(&world, HOST, "alice", SUSPENDED).await;
    assert_eq!(alice.navigates(&world).await, 200, "off by default");

    let wiki = Provider::forward_single("wiki", "http://wiki.test");
    let providers = [grafana(), vec![wiki]].concat();
    let authentik = Standin::builder().start().await.expect("started");
    let file =
        "applications: {grafana: {reauthorize_interval: 0}, wiki: {reauthorize_interval: 5m}}";
    let world = World::with_file(authentik, providers, file, &[INTERVAL]).await;
    is_connected(&world).await;
    let alice = Person::signed_in(&world, HOST, "alice", SUSPENDED).await;
    assert_eq!(alice.navigates(&world).await, 200, "off for grafana");
    for (age, expected) in [(DUE, 200), (400, 401)] {
        let alice = Person::signed_in(&world, "wiki.test", "alice", age).await;
        let cookies = alice.browser.cookies("wiki.test");
        let answer = world
            .nginx("http://wiki.test/", &cookies, &NAVIGATION)
            .await;
        assert_eq!(answer.status(), expected, "{age}");
    }
}

#[tokio::test]
async fn while_authentik_is_away_navigations_go_on_for_the_grace_period() {
    let world = world_with(grafana(), &[INTERVAL]).await;
    let due = Person::signed_in(&world, HOST, "alice", DUE).await;
    let late = Person::signed_in(&world, HOST, "alice", SUSPENDED).await;
    assert_eq!(due.navigates(&world).await, 401);
    world.authentik.refuse_websockets(true);
    world.authentik.drop_websockets();
    world
        .until(|world| !world.outpost.live().health().is_connected())
        .await;
    assert_eq!(due.navigates(&world).await, 200);
    assert_eq!(late.navigates(&world).await, 401);
}

#[tokio::test]
async fn in_proxy_mode_a_form_is_passed_on_until_the_session_is_suspended() {
    let provider = crate::proxy::streams::application(|mut stream| async move {
        use tokio::io::AsyncWriteExt as _;
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        stream.write_all(ok.as_bytes()).await
    })
    .await;
    let provider = Provider {
        skip_path_regex: "^/public/".to_owned(),
        ..provider
    };
    let world = world_with(vec![provider], &[INTERVAL]).await;
    let ask = async |method: &str, path: &str, user: &Person| {
        let cookies = user.browser.cookies(APP);
        let headers = [&NAVIGATION[..], &[("cookie", &cookies)]].concat();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", APP);
        let with = |request: http::request::Builder, (name, value): &(&str, &str)| {
            request.header(*name, *value)
        };
        let request = headers.iter().fold(request, with);
        let request = request.body(Full::default()).expect("a request");
        send(world.address(), request).await
    };
    let due = Person::signed_in(&world, APP, "alice", DUE).await;
    let late = Person::signed_in(&world, APP, "alice", SUSPENDED).await;
    for (method, path, user, expected) in [
        ("GET", "/x", &due, 302),
        ("HEAD", "/x", &due, 200),
        ("POST", "/x", &due, 200),
        ("GET", "/public/x", &due, 200),
        ("GET", "/x", &late, 302),
        ("POST", "/x", &late, 401),
        ("GET", "/public/x", &late, 200),
    ] {
        let answer = ask(method, path, user).await;
        assert_eq!(answer.status(), expected, "{method} {path}");
    }
    let lost = text(&ask("POST", "/x", &late).await);
    assert!(lost.contains("What you sent was not passed on"), "{lost}");
}

#[tokio::test]
async fn a_stream_goes_on_over_an_authorization_and_ends_when_it_is_suspended() {
    let settings = [
        INTERVAL,
        ("AUTHENTIK_PROXY_SESSION__REAUTHORIZE_GRACE_PERIOD", "10s"),
    ];
    let world = world_with(vec![endless().await], &settings).await;
    let mut streams = Vec::new();
    let mut alices = Vec::new();
    for _ in 0..2 {
        // Due at once, suspended ten seconds later.
        let alice = Person::signed_in(&world, APP, "alice", 60).await;
        let cookies = alice.browser.cookies(APP);
        let line = format!("GET /events HTTP/1.1\r\nCookie: {cookies}");
        let mut stream = ask(world.address(), &line).await;
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        let mut chunk = [0; 6];
        within(stream.read_exact(&mut chunk))
            .await
            .expect("a chunk");
        streams.push(stream);
        alices.push(alice);
    }
    let landed = alices[1].start(&world, APP).await;
    assert_eq!(landed.status(), 302, "{landed:?}");
    let mut rest = Vec::new();
    let _ = within(streams[0].read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
    let nothing = streams[1]
        .try_read(&mut [0; 1])
        .map_err(|error| error.kind());
    assert_eq!(nothing, Err(std::io::ErrorKind::WouldBlock), "it goes on");
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn an_authorization_at_one_replica_counts_at_all() {
    let (authentik, redis) = (Standin::builder().start().await, Server::start(&[]).await);
    let authentik = authentik.expect("started");
    furnish(&authentik, grafana());
    let here = replica_with(&authentik, &redis, &[INTERVAL]).await;
    let there = replica_with(&authentik, &redis, &[INTERVAL]).await;
    is_connected(&here).await;
    is_connected(&there).await;
    for age in [DUE, SUSPENDED] {
        let mut alice = Person::signed_in(&here, HOST, "alice", age).await;
        for replica in [&here, &there] {
            assert_eq!(alice.navigates(replica).await, 401, "{age}");
        }
        alice.start(&there, HOST).await;
        for replica in [&there, &here] {
            assert_eq!(alice.navigates(replica).await, 200, "{age}");
            assert_eq!(alice.fetches(replica).await, 200, "{age}");
        }
    }
}
