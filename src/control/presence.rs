//! Since when each provider is on the outpost, so that a session from before its removal does not come
//! back with it. Kept where other replicas and later processes find it.
//!
//! Only a list that authentik sent as a whole counts: a refresh that fails changes nothing here. A
//! provider that is deleted and created again, or whose cookie secret changed, is another provider.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::compile::{self, Known};
use super::last_good::{KeepError, Place};
use super::{Context, Signals};
use crate::model::Hint as _;
use crate::route::Site;
use crate::store::seal::{KeyedHash, Seal};
use crate::telemetry::Throttle;

/// Binds what is sealed to its form; another form would have another context.
const CONTEXT: &[u8] = b"providers of the outpost, form 1";
/// An unchanged list is written again at this interval, so that it does not expire.
const REWRITE_INTERVAL_SECONDS: i64 = 3600;

/// A provider, as a keyed hash: what is kept tells nothing of its secrets.
type Identity = String;

/// The providers of the outpost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Presence {
    /// When authentik was asked for the list in which the last change was seen, Unix seconds.
    changed_at: i64,
    /// When each was added, Unix seconds; 0 if it was there when the list began.
    since: BTreeMap<Identity, i64>,
}

impl Presence {
    /// The list after authentik was asked at `now` (Unix seconds) and listed these providers. Where
    /// nothing is known from `before`, no provider counts as added.
    fn next(before: Option<&Self>, listed: impl IntoIterator<Item = Identity>, now: i64) -> Self {
        let added = |identity: &Identity| match before {
            None => 0,
            Some(before) => before.since.get(identity).copied().unwrap_or(now),
        };
        let listed = listed.into_iter();
        let since = listed.map(|identity| (added(&identity), identity));
        let since = since.map(|(since, identity)| (identity, since)).collect();
        let same = before.filter(|before| before.since == since);
        Self {
            changed_at: same.map_or(now, |before| before.changed_at),
            since,
        }
    }

    /// What two replicas know together: the providers that the later of them saw, each with the last
    /// time at which it was added.
    fn merged(self, other: Self) -> Self {
        let (mut later, earlier) = if self.changed_at > other.changed_at {
            (self, other)
        } else {
            (other, self)
        };
        for (identity, since) in &mut later.since {
            let before = earlier.since.get(identity);
            *since = before.map_or(*since, |before| (*since).max(*before));
        }
        later
    }
}

/// Keeps the list. See the module.
pub(super) struct PresenceKeeper {
    place: Place,
    seal: Seal,
    hash: KeyedHash,
    /// As of the last refresh; `None` before the kept list could be read.
    known: Option<Presence>,
    /// Unix seconds.
    written_at: i64,
    throttle: Throttle,
}

impl PresenceKeeper {
    pub(super) fn new(control: &Context) -> Self {
        let file = control.settings.cache_file.as_ref();
        let file = file.filter(|_| !control.store.is_shared()).map(|path| {
            let mut beside = path.as_os_str().to_owned();
            beside.push(".providers");
            PathBuf::from(beside)
        });
        let place = Place::of(control, "providers", CONTEXT, file);
        Self::at(place, &control.reloadable().token)
    }

    /// The same for a token that has changed. What is kept is named and sealed by the token, so that
    /// other replicas find it under the new one.
    pub(super) fn renewed(&self, control: &Context, records: &[Value], sites: &Known) -> Self {
        let mut renewed = Self::new(control);
        renewed.known = self.known.as_ref().map(|known| {
            let before = self.identities(records, sites).into_iter();
            let same = before.zip(renewed.identities(records, sites));
            let since = same.filter_map(|(old, new)| Some((new, *known.since.get(&old)?)));
            Presence {
                changed_at: known.changed_at,
                since: since.collect(),
            }
        });
        renewed
    }

    fn at(place: Place, token: &SecretString) -> Self {
        let token = token.expose_secret().as_bytes();
        Self {
            place,
            seal: Seal::derive(b"providers of the outpost", &[token]),
            hash: KeyedHash::new(token),
            known: None,
            written_at: 0,
            throttle: Throttle::default(),
        }
    }

    /// Tells the sites since when their providers are on the outpost. `asked_at` is when authentik was
    /// asked for `records` (Unix seconds); `None` if they are not its answer. Returns whether a provider
    /// was removed or added, so that sessions have ended.
    pub(super) async fn update(
        &mut self,
        records: &[Value],
        sites: &Known,
        asked_at: Option<i64>,
    ) -> bool {
        let kept = match self.read().await {
            Ok(kept) => Some(kept),
            Err(error) => {
                self.log(&error, "providers of the outpost could not be read");
                None
            }
        };
        let before = match (self.known.clone(), kept.clone().flatten()) {
            (Some(known), Some(kept)) => Some(known.merged(kept)),
            (known, kept) => known.or(kept),
        };
        if kept.is_none() && before.is_none() {
            // What is not known to be there before must not count as added.
            return false;
        }
        let now = asked_at.unwrap_or(i64::MIN);
        let after = match before {
            // Another replica has seen a later list.
            Some(before) if before.changed_at > now => before,
            None if asked_at.is_none() => return false,
            before => Presence::next(before.as_ref(), self.identities(records, sites), now),
        };
        if let Some(now) = asked_at
            && (kept.flatten().as_ref() != Some(&after)
                || now - self.written_at >= REWRITE_INTERVAL_SECONDS)
        {
            match self.write(&after).await {
                Ok(()) => self.written_at = now,
                Err(error) => self.log(&error, "providers of the outpost could not be saved"),
            }
        }
        for (_, site) in sites.values() {
            let since = after.since.get(&self.identity_of(site));
            site.set_added_at(since.copied().unwrap_or_default());
        }
        let known = self.known.as_ref();
        let has_changed = known.is_some_and(|known| known.since != after.since);
        self.known = Some(after);
        has_changed
    }

    /// The providers of these records; of an invalid one as it was last valid.
    fn identities(&self, records: &[Value], sites: &Known) -> Vec<Identity> {
        let text = |record: &Value, field| record[field].as_str().unwrap_or_default().to_owned();
        let identity = |record: &Value| match sites.get(&compile::key(record)) {
            Some((_, site)) => self.identity_of(site),
            None => self.identity(&text(record, "client_id"), &text(record, "cookie_secret")),
        };
        records.iter().map(identity).collect()
    }

    fn identity_of(&self, site: &Site) -> Identity {
        let client = &site.application.client;
        self.identity(&client.id, client.cookie_secret.expose_secret())
    }

    fn identity(&self, client_id: &str, cookie_secret: &str) -> Identity {
        let text = format!("authentik-proxy/provider/{cookie_secret}/{client_id}");
        URL_SAFE_NO_PAD.encode(self.hash.of(text.as_bytes()))
    }

    async fn read(&self) -> Result<Option<Presence>, KeepError> {
        let Some(found) = self.place.read().await? else {
            return Ok(None);
        };
        let plain = self.seal.open(CONTEXT, &found).ok_or(KeepError::Sealed)?;
        Ok(Some(serde_json::from_slice(&plain)?))
    }

    async fn write(&self, presence: &Presence) -> Result<(), KeepError> {
        let plain = serde_json::to_vec(presence)?;
        self.place.write(self.seal.seal(CONTEXT, &plain)).await
    }

    /// The store logs its own errors.
    fn log(&self, error: &KeepError, event: &'static str) {
        if !matches!(error, KeepError::Store(_)) && self.throttle.should_log(&error.to_string()) {
            tracing::warn!(%error, hint = error.hint().as_deref(), "{event}");
        }
    }
}

/// Ends the sessions of removed providers until `stop`.
pub(super) async fn run(control: &Context, signals: &Signals, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = signals.presence.notified() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = end_sessions(control) => {}
        }
    }
}

async fn end_sessions(control: &Context) {
    let snapshot = control.live.load_full();
    let sites = snapshot.table.sites().iter();
    let sites: HashMap<_, _> = sites
        .map(|site| (site.application.client.id.as_str(), site))
        .collect();
    let mut ended = 0;
    for (key, session) in control.store.sweep() {
        let site = sites.get(&*session.client_id);
        if !site.is_some_and(|site| site.accepts(&session)) {
            control.store.revoke(&key).await;
            ended += 1;
        }
    }
    if ended > 0 {
        tracing::info!(
            sessions = ended,
            "sessions ended: their provider was removed from the outpost, or its cookie secret changed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(changed_at: i64, since: &[(&str, i64)]) -> Presence {
        let since = since
            .iter()
            .map(|(name, since)| ((*name).to_owned(), *since));
        Presence {
            changed_at,
            since: since.collect(),
        }
    }

    #[test]
    fn a_provider_is_added_when_it_was_not_there_before() {
        let before = presence(10, &[("a", 0), ("b", 10)]);
        let next = |before, listed: &[&str]| {
            Presence::next(before, listed.iter().map(|name| (*name).to_owned()), 20)
        };
        assert_eq!(
            next(None, &["a"]),
            presence(20, &[("a", 0)]),
            "the first list"
        );
        assert_eq!(next(Some(&before), &["b", "a"]), before, "unchanged");
        let removed = next(Some(&before), &["a"]);
        assert_eq!(removed, presence(20, &[("a", 0)]));
        let again = next(Some(&removed), &["a", "b"]);
        assert_eq!(again, presence(20, &[("a", 0), ("b", 20)]));
        assert_eq!(
            next(Some(&before), &[]),
            presence(20, &[]),
            "all are removed"
        );
    }

    #[test]
    fn two_replicas_know_more_than_one() {
        for (own, other, expected) in [
            // The other one saw a provider removed, or removed and added again.
            (
                presence(10, &[("a", 0), ("b", 0)]),
                presence(20, &[("a", 0)]),
                presence(20, &[("a", 0)]),
            ),
            (
                presence(10, &[("a", 0)]),
                presence(20, &[("a", 20)]),
                presence(20, &[("a", 20)]),
            ),
            // It read the kept list late, and took all providers for old ones.
            (
                presence(20, &[("a", 15)]),
                presence(30, &[("a", 0), ("b", 30)]),
                presence(30, &[("a", 15), ("b", 30)]),
            ),
        ] {
            assert_eq!(own.clone().merged(other.clone()), expected);
            assert_eq!(other.merged(own), expected, "whichever asks");
        }
    }
}
