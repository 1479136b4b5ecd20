//! The commands of docs/reverse-proxies print what the pages say.

use tokio::process::Command;

use super::Plan;
use crate::fronts::behind_each_server;
use crate::fronts::servers::Server;
use crate::support::within;

/// The page of a server.
fn page(server: Server) -> &'static str {
    match server {
        Server::Nginx(_) => "nginx",
        Server::Ingress => "ingress-nginx",
        Server::Caddy(_) => "caddy",
        Server::Traefik | Server::TraefikOfAuthentik => "traefik",
        Server::HaProxy(_) => "haproxy",
        Server::Envoy | Server::EnvoyGrpc => "envoy",
    }
}

/// The commands of a page, each with what it prints.
fn commands(page: &str) -> Vec<(String, String)> {
    let path = format!(
        "{}/docs/reverse-proxies/{page}.md",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (_, block) = text.split_once("```console\n").expect("commands");
    let (block, _) = block.split_once("```").expect("an end");
    let commands = block.split("$ ").filter(|command| !command.is_empty());
    let split = |command: &str| {
        let (command, printed) = command.split_once('\n').expect("a line");
        (command.to_owned(), printed.to_owned())
    };
    commands.map(split).collect()
}

behind_each_server!(the_commands_of_its_page_print_what_the_page_says);

async fn the_commands_of_its_page_print_what_the_page_says(server: Server) {
    let site = Plan::new(server).start().await;
    let commands = commands(page(server));
    assert_eq!(commands.len(), 3);
    for (command, expected) in commands {
        // Whatever the host, the connection leads to the reverse proxy.
        let curl = format!(
            "curl() {{ command curl --insecure --connect-to ::{} \"$@\"; }}; {command}",
            site.front.address
        );
        let output = within(Command::new("sh").args(["-c", &curl]).output()).await;
        let output = output.expect("a shell");
        assert!(output.status.success(), "{command}: {output:?}");
        let expected = expected.replace(
            "https://authentik.example.com/",
            site.world.authentik.url().as_str(),
        );
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(printed, expected, "{command}");
    }
}
