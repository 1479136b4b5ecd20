//! The Unix socket that `doctor --watch` reads the steps of logins from.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::gateway::{Line, LoginReader, LoginWatch, MAX_READERS};
use crate::tasks::Tasks;

/// Timeout for writing a line to a reader.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a connection that could not be accepted.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Listens on the socket of the configuration. Without one, or where it cannot be made, logins cannot be
/// watched; they work all the same.
pub(super) async fn listen(config: &Config, clock: &Clock, tasks: &Tasks) -> LoginWatch {
    let Some(path) = config.listen.watch_socket.clone() else {
        return LoginWatch::default();
    };
    match bind(&path).await {
        Ok(listener) => {
            let watch = LoginWatch::new(clock.clone());
            let (readers, watched) = (tasks.clone(), watch.clone());
            tasks.spawn(|stop| serve(listener, path, watched, readers, stop));
            watch
        }
        Err(error) => {
            tracing::warn!(
                path = %path.display(),
                %error,
                hint = "set AUTHENTIK_PROXY_LISTEN__WATCH_SOCKET to a path in a directory that the server may write to",
                "the socket for doctor --watch cannot be made: logins cannot be watched",
            );
            LoginWatch::default()
        }
    }
}

/// Binds the socket, in the place of one that a server left behind.
async fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_stale(path).await => {
            fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Whether a path is a socket that no process listens on.
async fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(path).await.is_err_and(refused)
}

async fn serve(
    listener: UnixListener,
    path: PathBuf,
    watch: LoginWatch,
    readers: Tasks,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let watch = watch.clone();
                readers.spawn(|stop| async move {
                    tokio::select! {
                        () = answer(stream, &watch) => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a reader of logins could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
    }
    // The next server replaces one that stays.
    let _ = fs::remove_file(path);
}

/// Sends a reader events until it leaves.
async fn answer(mut stream: UnixStream, watch: &LoginWatch) {
    let own = rustix::process::geteuid().as_raw();
    let peer = stream.peer_cred().ok();
    let uid = peer.map(|peer| peer.uid());
    let refusal = if !uid.is_some_and(|uid| may_read(uid, own)) {
        tracing::warn!(uid, "a reader of logins was refused: it is another user's");
        "only the user that the server runs as, or root, may watch logins".to_owned()
    } else if let Some(reader) = watch.read() {
        let pid = peer.and_then(|peer| peer.pid());
        tracing::info!(uid, pid, "logins are being watched");
        // An error is the end of the reader.
        let _ = send_events(stream, reader).await;
        return;
    } else {
        format!("{MAX_READERS} readers watch logins already")
    };
    let _ = write(&mut stream, &Line::Refused(refusal).to_json()).await;
}

/// Whether a process of the user `peer` may read from a server of the user `own`.
fn may_read(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

async fn send_events(stream: UnixStream, mut reader: LoginReader) -> io::Result<()> {
    let (mut closed, mut stream) = stream.into_split();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    write(&mut stream, &Line::Watching { version }.to_json()).await?;
    loop {
        tokio::select! {
            line = reader.next() => match line {
                Some(line) => write(&mut stream, &line).await?,
                None => return Ok(()),
            },
            // Readers send nothing.
            _ = closed.read_u8() => return Ok(()),
        }
    }
}

async fn write(stream: &mut (impl tokio::io::AsyncWrite + Unpin), line: &str) -> io::Result<()> {
    tokio::time::timeout(WRITE_TIMEOUT, stream.write_all(line.as_bytes())).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_user_and_root_may_read() {
        for (peer, own, expected) in [
            (1000, 1000, true),
            (0, 1000, true),
            (0, 0, true),
            (1001, 1000, false),
            (1000, 0, false),
            (65534, 1000, false),
        ] {
            assert_eq!(may_read(peer, own), expected, "{peer} from {own}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_no_other_file_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("run/watch.sock");
        let mode =
            |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
        let first = bind(&path).await.expect("bound, and the directory made");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("a directory")), 0o700);
        let error = bind(&path).await.expect_err("a process listens");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        drop(first);
        let again = bind(&path).await.expect("nothing listens any more");
        let connected = UnixStream::connect(&path).await;
        assert!(connected.is_ok());
        drop(again);
        let file = directory.path().join("file");
        fs::write(&file, "kept").expect("written");
        bind(&file).await.expect_err("it is a file");
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "kept");
    }
}
