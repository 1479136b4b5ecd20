//! The way to the Kubernetes API through a forward proxy.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::{World, finish};

/// A proxy that finds every host at 127.0.0.1, and the heads of its requests.
async fn forward_proxy() -> (SocketAddr, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tell, heads) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.ok()?);
                }
                let head = String::from_utf8(head).ok()?;
                let target = head.strip_prefix("CONNECT ")?.split(' ').next()?;
                let (_, port) = target.rsplit_once(':')?;
                let address = ("127.0.0.1", port.parse().ok()?);
                let mut server = TcpStream::connect(address).await.ok()?;
                tell.send(head).ok()?;
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
                copy_bidirectional(&mut client, &mut server).await.ok()
            });
        }
    });
    (address, heads)
}

/// Changes the only cluster of a kubeconfig. Its API server has a name that only a proxy knows.
fn rename(kubeconfig: &Path, proxy_url: Option<&str>) {
    let file = std::fs::read(kubeconfig).expect("it is there");
    let mut file: Value = serde_json::from_slice(&file).expect("JSON");
    let cluster = &mut file["clusters"][0]["cluster"];
    let server = cluster["server"].as_str().expect("text");
    cluster["server"] = server.replace("127.0.0.1", "kubernetes.test").into();
    if let Some(url) = proxy_url {
        cluster["proxy-url"] = url.into();
    }
    std::fs::write(kubeconfig, file.to_string()).expect("written");
}

#[tokio::test]
async fn the_kubernetes_api_is_reached_through_the_proxy_of_the_environment() {
    let world = World::furnished().await;
    rename(&world.cluster.kubeconfig(), None);
    let (address, mut heads) = forward_proxy().await;
    let proxy = format!("http://robot:hunter2@{address}");
    for arguments in [[].as_slice(), &["--context", "standin"]] {
        let mut command = world.command(arguments);
        command.env("HTTP_PROXY", &proxy);
        let said = finish(command).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.out.contains("grafana"), "{said:?}");
        let head = heads.try_recv().expect("a tunnel");
        assert!(head.starts_with("CONNECT kubernetes.test:"), "{head}");
        assert!(
            head.to_lowercase().contains("proxy-authorization: basic"),
            "{head}"
        );
        while heads.try_recv().is_ok() {}
    }
    // The scheme of the API's URL selects the variable, and NO_PROXY has exceptions.
    for variables in [
        [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", "")],
        [("HTTP_PROXY", &proxy), ("NO_PROXY", "kubernetes.test")],
    ] {
        let mut command = world.command(&[]);
        command.envs(variables);
        let said = finish(command).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        let cause = "the Kubernetes API cannot be reached: the connection failed: ";
        assert!(said.complaints.contains(cause), "{said:?}");
        assert!(heads.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_for_the_kubernetes_api_does_not_matter() {
    let world = World::furnished().await;
    for variable in ["HTTPS_PROXY", "HTTP_PROXY"] {
        let mut command = world.command(&[]);
        // The stand-in is on loopback.
        command.env(variable, "http://robot:hunter2@proxy.invalid:1");
        let said = finish(command).await;
        assert_eq!(said.code, Some(0), "{said:?}");
    }
}

#[tokio::test]
async fn the_proxy_of_the_kubeconfig_counts_before_those_of_the_environment() {
    let world = World::furnished().await;
    let (address, mut heads) = forward_proxy().await;
    rename(
        &world.cluster.kubeconfig(),
        Some(&format!("http://{address}")),
    );
    let mut command = world.command(&[]);
    command.env("HTTP_PROXY", "http://proxy.invalid:1");
    command.env("NO_PROXY", "kubernetes.test,");
    let said = finish(command).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let head = heads.try_recv().expect("a tunnel");
    assert!(head.starts_with("CONNECT kubernetes.test:"), "{head}");
}

#[tokio::test]
async fn a_proxy_to_the_kubernetes_api_that_fails_is_named_without_its_password() {
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    for (scheme, expected) in [
        (
            "http",
            format!(
                "the Kubernetes API cannot be reached: the proxy http://{address} (proxy-url) cannot be reached: the connection was refused"
            ),
        ),
        (
            "socks5",
            "proxy-url in the kubeconfig is not the URL of an HTTP proxy".to_owned(),
        ),
    ] {
        let world = World::new().await;
        let url = format!("{scheme}://robot:hunter2@{address}");
        rename(&world.cluster.kubeconfig(), Some(&url));
        let said = world.run(&[]).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.complaints.contains(&expected), "{said:?}");
        assert!(!said.complaints.contains("hunter2"), "{said:?}");
    }
}
