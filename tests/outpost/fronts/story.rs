//! In, around and out again, behind each reverse proxy.

use authentik_standin::caddy;
use authentik_standin::nginx::{Nginx, Release, free_address};
use tokio::process::Command;

use super::servers::{Behind, Server, deploy};
use super::{PUBLIC, Scene, behind_each_server, mark};
use crate::support::{Browser, NAVIGATION, SIGN_OUT, location, text, within};

const FORGED: [(&str, &str); 6] = [
    ("x-authentik-username", "forged"),
    // alice has none: our answer has the header, empty.
    ("x-authentik-entitlements", "forged"),
    ("x-authentik-uid", "forged"),
    ("x_authentik_groups", "forged"),
    ("x-authentik_name", "forged"),
    ("X_AUTHENTIK_EMAIL", "forged"),
];

behind_each_server!(cve_2026_30851_and_go_2026_5346_nothing_forged_is_seen_and_sessions_end);

async fn cve_2026_30851_and_go_2026_5346_nothing_forged_is_seen_and_sessions_end(server: Server) {
    let scene = Scene::start(server, &[]).await;
    let page = "/d/x%2Fy?orgId=1&var=%20a+b";
    // Envoy refuses encoded slashes.
    let page = match server {
        Server::Envoy | Server::EnvoyGrpc => "/d/x?orgId=1&var=%20a+b",
        _ => page,
    };
    let get = async |target: &str, cookies: &str| {
        let mut headers = FORGED.to_vec();
        headers.push(("cookie", cookies));
        scene.get(PUBLIC, target, &headers).await
    };
    let mut browser = Browser::default();
    let landing = scene.sign_in(&mut browser, PUBLIC, page).await;
    assert_eq!(landing, format!("http://{PUBLIC}{page}"), "byte for byte");

    // The application sees the person, and nothing that the client made up.
    let cookies = browser.cookies(PUBLIC);
    let answer = get(page, &cookies).await;
    assert_eq!(answer.status(), 200);
    let seen = text(&answer);
    for line in [
        "x-authentik-username: alice\n",
        "x-authentik-groups: admins|users\n",
    ] {
        assert!(seen.contains(line), "{line} in {seen}");
    }
    assert!(!seen.contains("forged"), "{seen}");
    // Not where everybody passes either …
    let seen = text(&get("/open", "").await);
    assert!(seen.starts_with(&mark(PUBLIC)), "{seen}");
    assert!(
        !seen.contains("forged") && !seen.contains("alice"),
        "{seen}"
    );
    // … and what nobody may see is not shown.
    let denied = get("/never", &cookies).await;
    assert_eq!(denied.status(), 403);
    assert!(!text(&denied).contains(&mark(PUBLIC)), "{denied:?}");

    // Out by the person's own wish, and then by authentik's.
    let headers = [&NAVIGATION[..], &FORGED, &[("cookie", &*cookies)]].concat();
    let answer = scene.get(PUBLIC, SIGN_OUT, &headers).await;
    assert!(location(&answer).contains("/end-session/"), "{answer:?}");
    assert_eq!(get(page, &cookies).await.status(), 302);
    browser.forget();
    scene.sign_in(&mut browser, PUBLIC, page).await;
    let cookies = browser.cookies(PUBLIC);
    assert_eq!(get(page, &cookies).await.status(), 200);
    scene.world.authentik.end_sessions_of("alice");
    let ended = |world: &crate::support::World| world.outpost.store().is_empty();
    scene.world.until(ended).await;
    assert_eq!(get(page, &cookies).await.status(), 302);

    // Neither the application nor a redirect when the outpost is gone.
    let Scene { front, world, .. } = scene;
    world.outpost.stop().await;
    let answer = crate::support::get(front.address, "/open", PUBLIC, &[]).await;
    assert!(
        answer.status().is_server_error() || answer.status() == 403,
        "{answer:?}"
    );
    assert!(!text(&answer).contains(&mark(PUBLIC)));
}

/// The one constant of the recipe for applications that are opened with a port.
#[tokio::test]
#[ignore = "needs nginx"]
async fn nginx_asks_about_a_port_that_the_recipe_names() {
    let scene = Scene::start(Server::Nginx(Release::Installed), &[]).await;
    let address = free_address().expect("a port");
    let application = super::application(PUBLIC).await;
    let behind = Behind {
        sites: &[(PUBLIC, application)],
        outpost: scene.world.address(),
        grpc: address,
        certificate: None,
        impatient: false,
    };
    let blocks = super::servers::nginx_blocks(&behind, address, free_address().expect("a port"));
    let constant = "set $public_host $host;";
    assert!(blocks.contains(constant));
    let blocks = blocks.replace(constant, "set $public_host $host:8443;");
    let nginx = Nginx::serving(Release::Installed, address, &blocks).await;
    let nginx = nginx.expect("nginx is installed: apt-get install nginx-light");
    for host in [PUBLIC, "public.localhost:81"] {
        let answer = crate::support::get(nginx.address(), "/x", host, &[]).await;
        let expected = "/outpost.goauthentik.io/start?rd=http://public.localhost:8443/x";
        assert_eq!(location(&answer), expected);
        let seen = text(&crate::support::get(nginx.address(), "/open", host, &[]).await);
        assert!(seen.contains("\nhost: public.localhost:8443\n"), "{seen}");
    }
}

#[tokio::test]
#[ignore = "needs Caddy 2.11"]
async fn the_caddyfile_is_valid_as_it_stands() {
    let releases = [caddy::Release::Installed, caddy::Release::Latest];
    for program in releases.map(caddy::Release::program) {
        let mut caddy = Command::new(program);
        caddy.env("PATH", authentik_standin::nginx::search_path());
        caddy.args(["validate", "--adapter", "caddyfile", "--config"]);
        let directory = tempfile::tempdir().expect("a directory");
        let output = caddy
            .arg(deploy("recipes/caddy/Caddyfile"))
            .env("XDG_DATA_HOME", directory.path())
            .env("XDG_CONFIG_HOME", directory.path())
            .output();
        let output = within(output).await.expect("Caddy is installed");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaints}");
        assert!(!complaints.contains("not formatted"), "{complaints}");
    }
}
