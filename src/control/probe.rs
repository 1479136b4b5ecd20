//! Requests to authentik step by step, for `authentik-proxy doctor`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header;
use secrecy::SecretString;
use serde::Deserialize as _;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::api::{Api, ApiError};
use super::{Context, LoadError, Refresher, Signals, WebsocketError, events, wire};
use crate::model::Outpost;
use crate::route::Snapshot;
use crate::store::{MemoryPolicy, StoreError, StoreKind};
use crate::web::client::FetchError;
use crate::web::client::trust::Trust;

/// Asks authentik. Changes nothing there, but for a hello on the websocket.
pub struct Probe {
    control: Context,
    trust: Trust,
}

/// An outpost that the token lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its primary key.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Whether it is authentik's embedded outpost.
    pub embedded: bool,
    /// Whether it serves proxy providers, as far as known.
    pub proxies: bool,
    /// The names of its providers.
    pub providers: Vec<String>,
    /// The names of those that have no application, which authentik does not serve to outposts.
    pub without_application: Vec<String>,
}

impl Listed {
    /// Reads authentik's record; what it does not tell is left out.
    fn read(record: &Value) -> Option<Self> {
        let outpost = wire::Outpost::deserialize(record).ok()?;
        let providers = record["providers_obj"].as_array();
        let names = |only: fn(&Value) -> bool| {
            let providers = providers.into_iter().flatten();
            let names = providers
                .filter(|it| only(it))
                .filter_map(|it| it["name"].as_str());
            names.map(str::to_owned).collect()
        };
        Some(Self {
            id: outpost.pk,
            embedded: outpost.is_embedded(),
            name: outpost.name,
            proxies: record["type"].as_str().is_none_or(|kind| kind == "proxy"),
            providers: names(|_| true),
            without_application: names(|provider| provider["assigned_application_slug"] == ""),
        })
    }
}

/// What is known of the session store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// Sessions are in the memory of each process.
    Memory,
    /// Browsers have their sessions in cookies.
    Cookies,
    /// They are at Redis, which can be written and read.
    Shared {
        /// How much it may keep.
        memory: MemoryPolicy,
    },
}

impl LoadError {
    /// Whether authentik refuses the token.
    #[must_use]
    pub fn refuses_token(&self) -> bool {
        matches!(self.0, ApiError::Token { .. })
    }
}

impl Probe {
    /// A probe of the authentik that `control` leads to over connections that `trust` allows.
    #[must_use]
    pub fn new(control: Context, trust: Trust) -> Self {
        Self { control, trust }
    }

    /// The certificates that are trusted.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Seconds by which authentik's clock (the `Date` of its response) is ahead of this host's.
    pub async fn clock_ahead(&self) -> Result<Option<i64>, FetchError> {
        let host = &self.control.settings.host;
        let url = format!("{host}-/health/live/");
        let answer = self.control.back_channel.get(&url).await?;
        let date = answer.headers().get(header::DATE);
        let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let seconds = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        };
        Ok(date.map(|date| seconds(date) - self.control.clock.now()))
    }

    /// The outposts that the token lists.
    pub async fn outposts(&self) -> Result<Vec<Listed>, LoadError> {
        self.outposts_of(&self.control.reloadable().token).await
    }

    /// authentik's embedded outpost, if this token lists it.
    pub async fn embedded(&self, token: &SecretString) -> Result<Option<Listed>, LoadError> {
        let listed = self.outposts_of(token).await?;
        Ok(listed.into_iter().find(|outpost| outpost.embedded))
    }

    async fn outposts_of(&self, token: &SecretString) -> Result<Vec<Listed>, LoadError> {
        let api = Api::new(&self.control.settings, token, &self.control.back_channel);
        let records = api.outposts().await?;
        Ok(records.iter().filter_map(Listed::read).collect())
    }

    /// The configuration as the server would load it.
    pub async fn load(&self) -> Result<Arc<Snapshot>, LoadError> {
        Refresher::new(&self.control)
            .fetch(&Signals::default())
            .await?;
        Ok(self.control.live.load_full())
    }

    /// Writes something to the session store and reads it back; returns what is known of it.
    pub async fn store(&self) -> Result<Stored, StoreError> {
        let store = &self.control.store;
        match store.kind() {
            StoreKind::Memory => return Ok(Stored::Memory),
            StoreKind::Cookie => return Ok(Stored::Cookies),
            StoreKind::Redis => {}
        }
        let stop = CancellationToken::new();
        let running = tokio::spawn(store.clone().run(stop.clone()));
        let exchange = async {
            store.put_blob("doctor", b"well").await?;
            store.blob("doctor").await?;
            Ok(Stored::Shared {
                memory: store.memory_policy().await,
            })
        };
        let found = exchange.await;
        stop.cancel();
        // It stops by itself; what it did meanwhile is of no interest.
        let _ = running.await;
        found
    }

    /// Connects the websocket, says hello, waits for the acknowledgement, and leaves.
    pub async fn websocket(&self, outpost: &Outpost) -> Result<(), WebsocketError> {
        events::greet(&self.control, outpost).await
    }
}
