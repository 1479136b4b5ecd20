//! A real nginx in front: the standalone configuration of authentik's documentation, and the
//! shape that ingress-nginx generates.

use authentik_standin::nginx::{Nginx, Shape, free_address};
use authentik_standin::{Provider, Standin};

use crate::support::{Browser, World, get, location, text};

#[tokio::test]
#[ignore = "needs nginx"]
async fn signs_in_through_nginx_in_every_shape_and_is_out_when_the_session_ends() {
    for shape in [
        Shape::Standalone,
        Shape::Ingress,
        Shape::IngressForwardedHost,
    ] {
        let address = free_address().expect("a port");
        let host = format!("grafana.localhost:{}", address.port());
        let authentik = Standin::builder().start().await.expect("started");
        let world = World::beside(
            authentik,
            vec![
                Provider::forward_single("grafana", &format!("http://{host}")),
                Provider::forward_single("other", "http://other.localhost"),
            ],
            &[],
        )
        .await;
        let nginx = Nginx::start(address, world.address(), shape)
            .await
            .expect("nginx is installed: apt-get install nginx-light");
        let page = "/d/x%2Fy?orgId=1&var=%20a+b";
        let mut browser = Browser::default();

        // Sent to sign in …
        let answer = get(nginx.address(), page, &host, &[]).await;
        assert_eq!(answer.status(), 302);
        let start = location(&answer);
        let start = start
            .strip_prefix(&format!("http://{host}"))
            .unwrap_or(&start);
        let start = start
            .split_once("/outpost")
            .map_or(start, |(before, _)| &start[before.len()..]);
        let answer = get(nginx.address(), start, &host, &[]).await;
        browser.keep(&host, answer.headers());
        let callback = Browser::authorize(&world, &location(&answer));
        let answer = get(
            nginx.address(),
            &callback,
            &host,
            &[("cookie", &browser.cookies(&host))],
        )
        .await;
        browser.keep(&host, answer.headers());
        assert_eq!(
            location(&answer),
            format!("http://{host}{page}"),
            "byte for byte"
        );

        // … let through with identity headers, whatever the client claims …
        let cookies = browser.cookies(&host);
        let forged = [
            ("cookie", cookies.as_str()),
            ("x-authentik-groups", "forged"),
        ];
        let answer = get(nginx.address(), page, &host, &forged).await;
        assert_eq!(answer.status(), 200);
        let body = text(&answer);
        let rows =
            "<th>username<td>alice<tr><th>groups<td>admins|users<tr><th>entitlements<td><tr>";
        assert!(body.contains(rows), "{body}");

        // … and out as soon as the session ends at authentik.
        world.authentik.end_sessions_of("alice");
        world.until(|world| world.outpost.store().is_empty()).await;
        assert_eq!(
            get(nginx.address(), page, &host, &forged).await.status(),
            302
        );
        nginx.stop().await.expect("stopped");
    }
}
