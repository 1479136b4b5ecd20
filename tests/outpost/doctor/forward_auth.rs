//! What reverse proxies ask a running server, and how.

use authentik_standin::{Provider, Standin};

use super::{doctor, found, says};
use crate::support::World;

const NGINX: &str = "/outpost.goauthentik.io/auth/nginx";

#[tokio::test]
async fn ap_2026_01_the_doctor_names_who_does_not_show_the_host() {
    let authentik = Standin::builder().start().await.expect("started");
    let [grafana, wiki] = ["grafana", "wiki"]
        .map(|slug| Provider::forward_single(slug, &format!("https://{slug}.test")));
    let mut world = World::running(authentik, vec![grafana, wiki], &[]).await;
    let metrics = world.outpost.metrics().to_string();
    let environment = [("AUTHENTIK_LISTEN__METRICS", metrics.as_str())];
    let (_, findings) = doctor(&world.authentik, &[], &environment).await;
    assert!(
        found(&findings, "forward auth").is_empty(),
        "nothing is known yet"
    );

    let ingress = ("x-sent-from", "nginx-ingress-controller");
    let parameter = format!("{NGINX}?host=wiki.test");
    for (path, host, url, more) in [
        (NGINX, "grafana.test", "https://grafana.test/", &[][..]),
        (NGINX, "outpost:9000", "https://grafana.test/", &[ingress]),
        (&parameter, "outpost:9000", "https://wiki.test/", &[ingress]),
    ] {
        let headers = [&[("x-original-url", url)], more].concat();
        assert_eq!(world.get(path, host, &headers).await.status(), 401);
    }
    let (code, findings) = doctor(&world.authentik, &[], &environment).await;
    assert_eq!(code, 0, "{findings:?}");
    let used = "nginx,ingress-nginx; if no others are, AUTHENTIK_PROXY_FORWARD_AUTH__DIALECTS=nginx,ingress-nginx switches off traefik,caddy,envoy";
    says(&findings, "forward auth", "ok", used, "");
    says(
        &findings,
        "grafana: routed host",
        "warning",
        "1 of 1 authorization requests (ingress-nginx)",
        "?host=$host",
    );
    assert!(found(&findings, "wiki: routed host").is_empty());
    world.outpost.stop().await;
}
