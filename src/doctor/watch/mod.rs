//! `doctor --watch`: follows the next login at the running server.

mod follow;

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixStream;

use crate::clock::Clock;
use crate::gateway::{Event, Line};
use crate::model::{Hint, HintText};
use follow::{Follower, Outcome};

/// How often the time since the last step is looked at.
const OVERDUE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Which logins are followed.
#[derive(Debug, Default)]
pub struct Filter {
    /// The slug of the application.
    pub application: Option<String>,
    /// The host that the user opens.
    pub host: Option<String>,
}

impl Filter {
    fn contains(&self, event: &Event) -> bool {
        let host = event.host.split(':').next().unwrap_or_default();
        let is_host = |wanted: &String| {
            wanted.eq_ignore_ascii_case(host) || wanted.eq_ignore_ascii_case(&event.host)
        };
        let is_application = |wanted| event.application.as_ref() == Some(wanted);
        self.application.as_ref().is_none_or(is_application)
            && self.host.as_ref().is_none_or(is_host)
    }
}

/// Why logins cannot be watched. The text says the cause, [`Hint`] what to do.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No socket is configured.
    #[error("listen.watch_socket is not set, so that the server has no socket for it")]
    NotConfigured,
    /// No connection.
    #[error("the socket {0} of the server cannot be connected to: {1}")]
    Connect(PathBuf, io::Error),
    /// The socket is another user's.
    #[error("the socket {0} belongs to the user {1}, who is not the one that runs this command")]
    Untrusted(PathBuf, u32),
    /// The server sends no events.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// The server sends what is no event.
    #[error("the server sends a line that cannot be read: {0}")]
    Line(#[from] serde_json::Error),
    /// The connection ended.
    #[error("the server closed the connection: it stopped, or this command was too slow")]
    Closed,
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Hint for WatchError {
    fn hint(&self) -> Option<HintText> {
        let hint = match self {
            Self::NotConfigured => {
                "set AUTHENTIK_PROXY_LISTEN__WATCH_SOCKET for the server and for this command, for example to /tmp/authentik-proxy/watch.sock, and restart the server"
            }
            Self::Connect(_, error) if error.kind() == ErrorKind::PermissionDenied => {
                "run this command as the user that the server runs as"
            }
            Self::Connect(..) => {
                "run this command where the server runs, in its container, with the same AUTHENTIK_PROXY_LISTEN__WATCH_SOCKET; the server's log says if it cannot make the socket"
            }
            Self::Untrusted(..) => "run this command as the user that the server runs as",
            Self::Line(_) => "use the program of the server's version",
            Self::Closed => "watch again, and look at the server's log",
            Self::Refused(_) | Self::Io(_) => return None,
        };
        Some(hint.into())
    }
}

/// Prints the steps of logins until one has ended; returns whether it worked.
pub async fn next_login(
    socket: Option<&Path>,
    filter: Filter,
    json: bool,
    out: &mut impl Write,
) -> Result<bool, WatchError> {
    let socket = socket.ok_or(WatchError::NotConfigured)?;
    let stream = connect(socket).await?;
    let mut lines = BufReader::new(stream).lines();
    let mut overdue = tokio::time::interval(OVERDUE_CHECK_INTERVAL);
    let clock = Clock::system();
    let mut follower = Follower::new(filter.host.is_some());
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?.ok_or(WatchError::Closed)?,
            _ = overdue.tick() => {
                let told = follower.overdue(clock.now());
                told.iter().filter(|_| !json).try_for_each(|told| writeln!(out, "{told}"))?;
                continue;
            }
        };
        let parsed = serde_json::from_str(&line)?;
        if matches!(&parsed, Line::Event(event) if !filter.contains(event)) {
            continue;
        }
        if json {
            writeln!(out, "{line}")?;
        }
        let told = match parsed {
            Line::Refused(reason) => return Err(WatchError::Refused(reason)),
            Line::Watching { version } => follow::introduction(&version),
            Line::Missed(missed) => follow::missed(missed),
            Line::Event(event) => {
                let (told, outcome) = follower.observe(event);
                if !json {
                    writeln!(out, "{told}")?;
                }
                match outcome {
                    Outcome::Open => continue,
                    Outcome::SignedIn => return Ok(true),
                    Outcome::Failed => return Ok(false),
                }
            }
        };
        if !json {
            writeln!(out, "{told}")?;
        }
    }
}

/// Connects to the server. What another user's process says is not believed.
async fn connect(socket: &Path) -> Result<UnixStream, WatchError> {
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(|error| WatchError::Connect(socket.into(), error))?;
    let (server, own) = (stream.peer_cred()?.uid(), rustix::process::geteuid());
    if !is_believed(server, own.as_raw()) {
        return Err(WatchError::Untrusted(socket.into(), server));
    }
    Ok(stream)
}

/// Whether a command of the user `own` believes a server of the user `server`. Root may watch the server
/// of any user.
fn is_believed(server: u32, own: u32) -> bool {
    server == 0 || server == own || own == 0
}

#[cfg(test)]
mod tests {
    use super::is_believed;

    #[test]
    fn a_socket_of_the_own_user_or_of_root_is_believed() {
        for (server, own, expected) in [
            (1000, 1000, true),
            (0, 1000, true),
            (1000, 0, true),
            (1001, 1000, false),
        ] {
            assert_eq!(is_believed(server, own), expected, "{server} by {own}");
        }
    }
}
