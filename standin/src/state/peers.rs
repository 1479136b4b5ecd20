//! Connected outposts.

use tokio::sync::mpsc;

use super::State;

const TRIGGER_UPDATE: &str = r#"{"instruction": 2, "args": {}}"#;

/// A connected outpost.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: u64,
    pub(crate) said_hello: bool,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
}

/// What the handle tells a connection to do.
#[derive(Debug)]
pub(crate) enum Command {
    Send(String),
    Drop,
}

impl State {
    /// Sends a text frame to every connected outpost; later connections never get it.
    pub(crate) fn send_to_outposts(&self, frame: &str) {
        for peer in &self.peers {
            // A connection that is just ending misses the frame, as on a real network.
            let _ = peer.commands.send(Command::Send(frame.to_owned()));
        }
    }

    pub(crate) fn trigger_update(&self, times: usize) {
        for _ in 0..times {
            self.send_to_outposts(TRIGGER_UPDATE);
        }
    }

    pub(crate) fn drop_peers(&self) {
        for peer in &self.peers {
            let _ = peer.commands.send(Command::Drop);
        }
    }
}
