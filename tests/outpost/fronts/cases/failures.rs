//! An outpost that is down, and one that takes requests and answers none.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use super::application::mark;
use super::{APP, Plan};
use crate::fronts::behind_each_server;
use crate::fronts::servers::Server;
use crate::support::{text, within};

/// The status that users see while the outpost fails.
fn expected(server: Server) -> &'static [u16] {
    match server {
        // What auth_request makes of every failure.
        Server::Nginx(_) | Server::Ingress => &[500],
        Server::Caddy(_) => &[502, 504],
        Server::Traefik | Server::TraefikOfAuthentik => &[500, 502, 503, 504],
        Server::HaProxy(_) | Server::Envoy | Server::EnvoyGrpc => &[503],
    }
}

async fn fails(server: Server, outpost: SocketAddr, limit: Duration) {
    let plan = Plan {
        outpost: Some(outpost),
        ..Plan::new(server)
    };
    // Traefik has no address whose routers answer before they are there.
    let site = plan.start().await;
    let begun = Instant::now();
    for target in ["/", "/open"] {
        let answer = within(site.get(APP, target, &[])).await;
        let status = answer.status().as_u16();
        assert!(expected(server).contains(&status), "{answer:?}");
        assert!(!text(&answer).contains(&mark(APP)), "{answer:?}");
    }
    assert!(begun.elapsed() < limit, "{:?}", begun.elapsed());
}

behind_each_server!(an_outpost_that_is_down_opens_nothing);

async fn an_outpost_that_is_down_opens_nothing(server: Server) {
    let address = authentik_standin::nginx::free_address().expect("a port");
    fails(server, address, Duration::from_secs(20)).await;
}

behind_each_server!(an_outpost_that_hangs_opens_nothing);

async fn an_outpost_that_hangs_opens_nothing(server: Server) {
    if matches!(server, Server::Ingress | Server::Traefik) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            taken.push(stream);
        }
    });
    fails(server, address, Duration::from_secs(20)).await;
}
