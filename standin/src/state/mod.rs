//! What the server knows, shared by its connections and the handle.

pub(crate) mod admin;
pub(crate) mod health;
pub(crate) mod peers;
pub(crate) mod requests;
pub(crate) mod sessions;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;
use url::Url;
use uuid::Uuid;

use self::admin::Admin;
use self::health::HealthRecord;
use self::peers::Peer;
use self::requests::Requests;
use self::sessions::{Grants, Session};
use crate::builder::Builder;
use crate::dialect::Dialect;
use crate::fault::{Endpoint, Fault};
use crate::random;
use crate::records::Entry;
use crate::records::keys::KeyPair;
use crate::records::user::User;

/// What never changes while the server lives.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) dialect: Dialect,
    /// `/` or `/…/`.
    pub(crate) prefix: String,
    pub(crate) addr: SocketAddr,
    pub(crate) https: bool,
    pub(crate) browser_url: Option<Url>,
    pub(crate) embedded: bool,
    pub(crate) outpost_id: Uuid,
    pub(crate) refresh_interval_s: i64,
    pub(crate) log_level: String,
    /// Signs the session cookies.
    pub(crate) cookie_key: String,
}

impl Settings {
    fn new(builder: Builder, addr: SocketAddr) -> Self {
        Self {
            dialect: builder.dialect,
            prefix: builder.prefix,
            addr,
            https: builder.tls.is_some(),
            browser_url: builder.browser_url,
            embedded: builder.embedded,
            outpost_id: builder.outpost_id,
            refresh_interval_s: builder.refresh_interval_s,
            log_level: builder.log_level,
            cookie_key: random::alphanumeric(50),
        }
    }

    /// The scheme of the server's own URL.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The server's own URL.
    pub(crate) fn url(&self) -> Url {
        Url::parse(&format!("{}://{}{}", self.scheme(), self.addr, self.prefix))
            .expect("an address and a path make a URL")
    }

    /// Where the outpost's configuration says that browsers find the server.
    pub(crate) fn authentik_host(&self) -> Url {
        self.browser_url.clone().unwrap_or_else(|| self.url())
    }
}

/// An outpost that the token lists.
#[derive(Debug)]
pub(crate) struct Outpost {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    /// Whether this is the one that serves the providers.
    pub(crate) main: bool,
}

/// A user and whether an administrator lets them in.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) user: User,
    pub(crate) active: bool,
}

/// What changes.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) token: String,
    pub(crate) version: String,
    pub(crate) outposts: Vec<Outpost>,
    pub(crate) providers: Vec<Entry>,
    /// Broken records, served as they are.
    pub(crate) raw_providers: Vec<Value>,
    pub(crate) last_pk: i64,
    pub(crate) keypairs: HashMap<Uuid, KeyPair>,
    pub(crate) accounts: Vec<Account>,
    /// By session key.
    pub(crate) sessions: HashMap<String, Session>,
    pub(crate) grants: Grants,
    pub(crate) peers: Vec<Peer>,
    pub(crate) last_peer: u64,
    pub(crate) refuse_websockets: bool,
    pub(crate) ignore_hellos: bool,
    pub(crate) hellos: Vec<Value>,
    /// The codes of the close frames that arrived.
    pub(crate) closes: Vec<Option<u16>>,
    pub(crate) health: Vec<HealthRecord>,
    pub(crate) faults: HashMap<Endpoint, Fault>,
    pub(crate) requests: Requests,
    pub(crate) events: Vec<Value>,
    /// What an administrator has, if there is one.
    pub(crate) admin: Option<Admin>,
}

impl State {
    /// What goes wrong with requests to `endpoint`.
    pub(crate) fn fault(&self, endpoint: Endpoint) -> Option<Fault> {
        let faults = &self.faults;
        let fault = faults.get(&endpoint).or_else(|| faults.get(&Endpoint::Any));
        fault.cloned()
    }

    /// The account of `username` if it exists and is active.
    pub(crate) fn active_user(&self, username: &str) -> Option<&User> {
        self.accounts
            .iter()
            .find(|account| account.active && account.user.username == username)
            .map(|account| &account.user)
    }

    pub(crate) fn provider_by_client(&self, client_id: &str) -> Option<&Entry> {
        self.providers
            .iter()
            .find(|entry| entry.text("client_id") == client_id)
    }

    pub(crate) fn provider_by_slug(&self, slug: &str) -> Option<&Entry> {
        self.providers.iter().find(|entry| entry.slug() == slug)
    }
}

/// Settings, state and the means to wait for a change of it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Shared {
    pub(crate) fn new(builder: Builder, addr: SocketAddr) -> Self {
        let state = State {
            token: builder.token.clone(),
            version: builder.dialect.version().to_owned(),
            outposts: vec![Outpost {
                id: builder.outpost_id,
                name: "standin-outpost".to_owned(),
                main: true,
            }],
            providers: Vec::new(),
            raw_providers: Vec::new(),
            last_pk: 0,
            keypairs: HashMap::new(),
            accounts: Vec::new(),
            sessions: HashMap::new(),
            grants: Grants::default(),
            peers: Vec::new(),
            last_peer: 0,
            refuse_websockets: false,
            ignore_hellos: false,
            hellos: Vec::new(),
            closes: Vec::new(),
            health: Vec::new(),
            faults: HashMap::new(),
            requests: Requests::default(),
            events: Vec::new(),
            admin: None,
        };
        Self {
            settings: Settings::new(builder, addr),
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
        }
    }

    /// The state. A test that panicked while it held the lock does not stop the server.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who wait for a change of what arrived, the websockets or the faults.
    pub(crate) fn announce_change(&self) {
        self.changed.send_replace(());
    }

    /// Waits until `condition` holds.
    pub(crate) async fn wait_until(&self, condition: impl Fn(&State) -> bool) {
        let mut changes = self.changed.subscribe();
        // Subscribed before the first look, so that no change is missed in between. The sender
        // lives in `self`: `changed` cannot fail.
        while !condition(&self.lock()) {
            changes.changed().await.expect("the sender is alive");
        }
    }
}
