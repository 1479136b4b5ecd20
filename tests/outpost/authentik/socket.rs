//! authentik behind a Unix socket.

use std::path::{Path, PathBuf};

use authentik_standin::Standin;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener};

use super::hybrid::{BROWSER, browser_url, grafana, signs_in_and_out_at, values};
use crate::doctor::doctor;
use crate::operations::process::{Process, diagnostic};
use crate::support::World;

/// A proxy that nothing listens at, which has no part in requests over a socket.
const PROXY: (&str, &str) = ("HTTP_PROXY", "http://127.0.0.1:1");

/// A socket that leads to an authentik.
struct Socket(TempDir);

impl Socket {
    fn leading_to(authentik: &Standin) -> Self {
        let socket = Self(tempfile::tempdir().expect("a directory"));
        let listener = UnixListener::bind(socket.path()).expect("a socket");
        let address = authentik.addr();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(address).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        socket
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("authentik.sock")
    }
}

fn url(path: &Path) -> String {
    format!("unix://{}", path.display())
}

#[tokio::test]
async fn everything_for_authentik_goes_over_its_socket() {
    for browsers in [None, Some(("AUTHENTIK_HOST_BROWSER", BROWSER))] {
        let authentik = Standin::builder().browser_url(browser_url());
        let authentik = authentik.start().await.expect("started");
        let socket = Socket::leading_to(&authentik);
        let host = url(&socket.path());
        let more = [("AUTHENTIK_HOST", host.as_str()), PROXY];
        let more: Vec<_> = more.into_iter().chain(browsers).collect();
        let world = World::beside(authentik, vec![grafana()], &more).await;
        signs_in_and_out_at(&world, BROWSER).await;
        for request in world.authentik.requests() {
            if request.path.contains("/api/v3/") || request.path.contains("/ws/") {
                assert_eq!(values(&request, "host"), ["localhost"], "{request:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_doctor_examines_an_authentik_behind_a_socket() {
    let authentik = Standin::builder().browser_url(browser_url());
    let authentik = authentik.start().await.expect("started");
    authentik.add_provider(grafana());
    let socket = Socket::leading_to(&authentik);
    let host = url(&socket.path());
    let variables = [("AUTHENTIK_HOST", host.as_str()), PROXY];
    let (_, findings) = doctor(&authentik, &[], &variables).await;
    let failed: Vec<_> = findings
        .iter()
        .filter(|found| found["status"] == "failed")
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    let answers = format!("{host} answers");
    assert!(findings.iter().any(|found| found["found"] == answers));
}

#[tokio::test]
async fn a_socket_that_gives_no_connection_is_named_with_the_cause() {
    let authentik = Standin::builder().start().await.expect("started");
    let directory = tempfile::tempdir().expect("a directory");
    let absent = directory.path().join("absent.sock");
    let unused = directory.path().join("unused.sock");
    drop(UnixListener::bind(&unused).expect("a socket"));
    for (path, cause, hint) in [
        (&absent, "does not exist", "mounted here"),
        (&unused, "has no listener", "check that authentik runs"),
    ] {
        let host = url(path);
        let mut process = Process::beside(&authentik, &[("AUTHENTIK_HOST", &host)]).await;
        let event = diagnostic(&process.wait_line("configuration not loaded").await);
        let expected = format!("the socket {} {cause}", path.display());
        assert!(event.contains(&expected) && event.contains(hint), "{event}");
        let shown = format!("{:?}", process.lines());
        let reached = format!("over the socket {}", path.display());
        assert!(shown.contains(&reached), "{shown}");
        process.stop().await;
    }
}
