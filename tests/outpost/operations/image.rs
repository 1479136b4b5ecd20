//! The image: the program sees nothing but what `scripts/image.sh` laid out.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use authentik_standin::Provider;
use tokio::net::UdpSocket;
use tokio::process::Command;

use crate::authentik::tls::{AUTHENTIK, Authority};
use crate::doctor::{examine, found};
use crate::operations::process::Process;
use crate::support::settings;

/// Where the test command had it laid out.
fn image() -> PathBuf {
    assert!(rustix::process::geteuid().is_root(), "chroot(2) needs root");
    let root = std::env::var_os("IMAGE_ROOT");
    root.expect("IMAGE_ROOT is where scripts/image.sh laid out the image; scripts/test.sh sets it")
        .into()
}

/// The files below a directory, sorted.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = path.read_dir().expect("a directory");
            left.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else {
            let name = path.strip_prefix(directory).expect("below");
            found.push(name.to_str().expect("text").to_owned());
        }
    }
    found.sort();
    found
}

/// A DNS server that says of every name that it is 127.0.0.1. Resolvers ask at port 53 alone, but
/// loopback has many addresses.
async fn dns() -> Ipv4Addr {
    let [a, b, c, ..] = *uuid::Uuid::new_v4().as_bytes();
    let address = Ipv4Addr::new(127, a, b, c.clamp(2, 254));
    let socket = UdpSocket::bind(SocketAddr::from((address, 53)));
    let socket = socket.await.expect("a free address");
    tokio::spawn(async move {
        let mut question = [0; 512];
        while let Ok((length, asker)) = socket.recv_from(&mut question).await {
            let answer = answer(&question[..length]);
            let _ = socket.send_to(&answer, asker).await;
        }
    });
    address
}

/// The answer to one question (RFC 1035 section 4.1).
fn answer(question: &[u8]) -> Vec<u8> {
    const HEADER: usize = 12;
    let name = question[HEADER..].iter().position(|length| *length == 0);
    // The root's empty label, the type and the class end it.
    let end = HEADER + name.expect("a whole name") + 1 + 4;
    let is_a = question[end - 4..end - 2] == [0, 1];
    let mut answer = question[..end].to_vec();
    // No error; one question, with an address if it is for that.
    answer[2..HEADER].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    if is_a {
        // The name of the question, its type and class, a minute, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    answer
}

async fn run(command: &mut Command) {
    let status = command.status().await.expect("it runs");
    assert!(status.success(), "{command:?}");
}

#[tokio::test]
#[ignore = "needs root and the image that scripts/test.sh lays out"]
async fn the_image_is_all_that_the_program_needs() {
    let image = image();
    assert_eq!(
        files(&image),
        [
            "authentik",
            "etc/nsswitch.conf",
            "etc/ssl/certs/ca-certificates.crt",
            "proxy",
            "usr/local/bin/authentik-proxy",
            "usr/share/doc/authentik-proxy/LICENSE-APACHE",
            "usr/share/doc/authentik-proxy/LICENSE-MIT",
        ]
    );
    let root = tempfile::tempdir().expect("a directory");
    let mut copy = Command::new("cp");
    copy.args(["--recursive", "--no-target-directory"])
        .args([image.as_path(), root.path()]);
    run(&mut copy).await;
    // Everybody may look into the root of a container.
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(root.path(), everybody).expect("permitted");
    // What a container gets from its runtime, and an authority instead of all public ones.
    std::fs::create_dir(root.path().join("dev")).expect("created");
    for (name, minor) in [("dev/random", "8"), ("dev/urandom", "9")] {
        let mut device = Command::new("mknod");
        device
            .arg("--mode=666")
            .arg(root.path().join(name))
            .args(["c", "1", minor]);
        run(&mut device).await;
    }
    let resolv = format!("nameserver {}\n", dns().await);
    std::fs::write(root.path().join("etc/resolv.conf"), resolv).expect("written");
    let authority = Authority::new();
    let trusted = root.path().join("etc/ssl/certs/ca-certificates.crt");
    std::fs::copy(authority.file(), trusted).expect("copied");

    let authentik = authority.authentik().await;
    authentik.add_provider(Provider::forward_single("app", "https://app.test"));
    let mut host = authentik.url();
    host.set_host(Some(AUTHENTIK)).expect("a host");
    let in_image = |program: &str| {
        let mut command = Command::new("/usr/sbin/chroot");
        command.arg("--userspec=1000:1000").arg(root.path());
        command.arg(program);
        command
    };
    let program = in_image("/usr/local/bin/authentik-proxy");
    let environment = [("AUTHENTIK_HOST", host.as_str())];
    let (_, findings) = examine(program, &authentik, &[], &environment).await;
    let resolved = format!("{AUTHENTIK} is 127.0.0.1");
    assert_eq!(found(&findings, "dns"), [("ok", resolved.as_str())]);
    let [("ok", trusted)] = found(&findings, "tls")[..] else {
        panic!("one in {findings:?}");
    };
    assert!(trusted.contains("is trusted"), "{trusted}");
    assert_eq!(found(&findings, "token"), [("ok", "accepted")]);

    // What authentik's integrations for Docker and Kubernetes render (outposts/controllers), and run
    // in the container. Python writes the booleans.
    let mut serve = in_image("/authentik");
    serve.arg("proxy").envs(settings(&authentik, &[]));
    serve.envs([
        ("AUTHENTIK_HOST", host.as_str()),
        ("AUTHENTIK_HOST_BROWSER", ""),
        ("AUTHENTIK_INSECURE", "False"),
    ]);
    let process = Process::of(serve.kill_on_drop(true)).await;
    let metrics = process.metrics().to_string();
    for check in [
        &["/authentik", "healthcheck", "proxy"][..],
        &["/proxy", "healthcheck"],
    ] {
        let mut command = in_image(check[0]);
        command.args(&check[1..]);
        run(command.env("AUTHENTIK_LISTEN__METRICS", &metrics)).await;
    }
}
