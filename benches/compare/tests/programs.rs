//! The programs run as processes of their own, and end with the one that started them.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use authentik_standin::nginx::free_address;

const PROGRAM: &str = env!("CARGO_BIN_EXE_authentik-proxy-compare");
const REQUEST: &str = "GET /256B HTTP/1.1\r\nHost: app.localhost\r\n\r\n";

/// Starts a server, and waits until it listens.
fn server(name: &str, arguments: &[&str]) -> (Child, SocketAddr) {
    let address = free_address().expect("a port");
    let mut child = Command::new(PROGRAM)
        .arg(name)
        .arg(address.to_string())
        .args(arguments)
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts");
    while TcpStream::connect(address).is_err() {
        let ended = child.try_wait().expect("its state");
        assert_eq!(ended, None, "{name} ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    (child, address)
}

/// Output of the load generator.
fn load(address: SocketAddr) -> String {
    let mut child = Command::new(PROGRAM)
        .args(["load", &address.to_string(), "2", "100", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(REQUEST.as_bytes()).expect("written");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "every response is 2xx");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_request_passes_the_bare_proxy_and_servers_end_with_their_input() {
    let directory = tempfile::tempdir().expect("a directory");
    let headers = directory.path().join("headers");
    std::fs::write(&headers, "x-authentik-username: alice\n").expect("written");
    let headers = headers.to_str().expect("text");
    let (application, behind) = server("application", &[]);
    let (proxy, before) = server("proxy", &[&behind.to_string(), headers]);
    let (bare, alone) = server("server", &[headers]);
    for address in [behind, before, alone] {
        let result = load(address);
        assert!(result.contains("\"p99.9\":"), "{result}");
    }
    for mut child in [application, proxy, bare] {
        drop(child.stdin.take());
        assert!(child.wait().expect("its state").success());
    }
}
