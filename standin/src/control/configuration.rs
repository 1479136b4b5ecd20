//! What tests change while the stand-in runs.

use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::Standin;
use crate::fault::{Endpoint, Fault};
use crate::records::Entry;
use crate::records::keys::KeyPair;
use crate::records::provider::Provider;
use crate::records::user::User;
use crate::state::sessions::{Ended, sid_of};
use crate::state::{Account, Outpost};

/// How often one change of a provider is announced.
const ANNOUNCED: usize = 2;

/// Configuration.
impl Standin {
    /// Adds a provider to the outpost and returns its number. Connected outposts are told, twice
    /// as by a real server.
    #[expect(
        clippy::must_use_candidate,
        reason = "most tests never need the number"
    )]
    pub fn add_provider(&self, provider: Provider) -> i64 {
        let mut state = self.shared().lock();
        state.last_pk += 1;
        let pk = state.last_pk;
        state.providers.push(Entry::new(pk, provider));
        state.trigger_update(ANNOUNCED);
        pk
    }

    /// Merges fields into the wire record of the provider added as `name`; connected outposts are
    /// told twice. `null` is written as a value. Patched credentials, hosts, lifetimes and slugs
    /// hold for the `OpenID` endpoints too.
    ///
    /// # Panics
    ///
    /// If there is no such provider.
    pub fn patch_provider(&self, name: &str, patch: Value) {
        self.patch_provider_silently(name, patch);
        self.shared().lock().trigger_update(ANNOUNCED);
    }

    /// As [`patch_provider`](Self::patch_provider), but outposts are not told: what a real server
    /// does when an application is renamed.
    ///
    /// # Panics
    ///
    /// If there is no such provider.
    pub fn patch_provider_silently(&self, name: &str, patch: Value) {
        let mut state = self.shared().lock();
        let entry = state.providers.iter_mut().find(|entry| entry.name == name);
        entry
            .unwrap_or_else(|| panic!("there is no provider {name}"))
            .patch(patch);
    }

    /// Removes the provider added as `name`; connected outposts are told twice.
    pub fn remove_provider(&self, name: &str) {
        let mut state = self.shared().lock();
        state.providers.retain(|entry| entry.name != name);
        state.trigger_update(ANNOUNCED);
    }

    /// Takes the provider added as `name` off the outpost, or puts it on again; connected outposts are
    /// told twice. Its application, its secrets and its tokens stay.
    ///
    /// # Panics
    ///
    /// If there is no such provider.
    pub fn attach_provider(&self, name: &str, attached: bool) {
        let mut state = self.shared().lock();
        let entry = state.providers.iter_mut().find(|entry| entry.name == name);
        entry
            .unwrap_or_else(|| panic!("there is no provider {name}"))
            .is_attached = attached;
        state.trigger_update(ANNOUNCED);
    }

    /// Lists `record` among the providers as it is, however broken. Outposts are not told.
    pub fn raw_provider(&self, record: Value) {
        self.shared().lock().raw_providers.push(record);
    }

    /// Makes a self-signed key pair for the host `name`, to be named by a provider's
    /// `certificate`.
    #[must_use]
    pub fn add_keypair(&self, name: &str) -> Uuid {
        let id = Uuid::new_v4();
        self.shared()
            .lock()
            .keypairs
            .insert(id, KeyPair::self_signed(name));
        id
    }

    /// Gives the key pair `id` a new key and certificate; connected outposts are told once.
    ///
    /// # Panics
    ///
    /// If there is no such key pair.
    pub fn renew_keypair(&self, id: Uuid) {
        let mut state = self.shared().lock();
        let pair = state.keypairs.get_mut(&id).expect("the key pair exists");
        *pair = KeyPair::self_signed(&pair.name);
        state.trigger_update(1);
    }

    /// Replaces the claims that are merged into the tokens of a user from now on.
    pub fn set_extra_claims(&self, username: &str, claims: &Value) {
        self.change_user(username, |user| user.extra_claims.clone_from(claims));
    }

    /// Adds someone who can sign in.
    pub fn add_user(&self, user: User) {
        self.shared()
            .lock()
            .accounts
            .push(Account { user, active: true });
    }

    /// Changes which groups may use the application of the provider added as `name`; `None` admits
    /// everyone. Outposts are not told, and tokens stay as they are, as after a change of a policy.
    ///
    /// # Panics
    ///
    /// If there is no such provider.
    pub fn restrict_provider(&self, name: &str, groups: Option<&[&str]>) {
        let groups = groups.map(|groups| groups.iter().map(|&group| group.to_owned()).collect());
        let mut state = self.shared().lock();
        let entry = state.providers.iter_mut().find(|entry| entry.name == name);
        entry
            .unwrap_or_else(|| panic!("there is no provider {name}"))
            .allowed_groups = groups;
    }

    /// Replaces the groups of a user. Outposts are not told, and tokens stay as they are.
    pub fn set_groups(&self, username: &str, groups: &[&str]) {
        self.change_user(username, |user| {
            user.groups = groups.iter().map(|&group| group.to_owned()).collect();
        });
    }

    /// Replaces the password of a user. Outposts are not told; sessions and tokens stay as they are.
    pub fn set_password(&self, username: &str, password: &str) {
        self.change_user(username, |user| password.clone_into(&mut user.password));
    }

    fn change_user(&self, username: &str, change: impl Fn(&mut User)) {
        let mut state = self.shared().lock();
        let accounts = state.accounts.iter_mut();
        for account in accounts.filter(|account| account.user.username == username) {
            change(&mut account.user);
        }
    }

    /// Adds an outpost without providers that the token lists too, after those that exist.
    #[expect(clippy::must_use_candidate, reason = "most tests never need the id")]
    pub fn add_outpost(&self, name: &str) -> Uuid {
        let id = Uuid::new_v4();
        let outpost = Outpost {
            id,
            name: name.to_owned(),
            main: false,
        };
        self.shared().lock().outposts.push(outpost);
        id
    }

    /// Makes the token one that belongs to no outpost.
    pub fn clear_outposts(&self) {
        self.shared().lock().outposts.clear();
    }

    /// Replaces the API token. The old one is refused from now on; open websockets stay.
    pub fn rotate_token(&self, token: &str) {
        token.clone_into(&mut self.shared().lock().token);
    }

    /// The version the server reports, after an upgrade.
    pub fn set_version(&self, version: &str) {
        version.clone_into(&mut self.shared().lock().version);
    }
}

/// Sessions of users at authentik.
impl Standin {
    /// Signs a user in who came with this authorization request; returns where the browser is
    /// sent: path and query of the outpost's callback.
    ///
    /// # Panics
    /// If it is no authorization request of an outpost.
    #[must_use]
    pub fn authorize(&self, request: &str, username: &str) -> String {
        let request = Url::parse(request).expect("a URL");
        let value = |name: &str| {
            let found = request.query_pairs().find(|(key, _)| key == name);
            found.map_or_else(
                || panic!("{name} in {request}"),
                |(_, value)| value.into_owned(),
            )
        };
        let redirect = value("redirect_uri");
        let (nonce, challenge) = (value("nonce"), value("code_challenge"));
        let client = value("client_id");
        let code = self.issue_code(&client, username, &redirect, Some(&nonce), Some(&challenge));
        let mut redirect = Url::parse(&redirect).expect("a URL");
        redirect
            .query_pairs_mut()
            .append_pair("code", &code)
            .append_pair("state", &value("state"));
        redirect[url::Position::BeforePath..].to_owned()
    }

    /// Ends the session with this `sid` claim as its browser would by signing out: its tokens
    /// become inactive and connected outposts are told (2025.6: twice, 2026.2: once).
    pub fn end_session(&self, sid: &str) {
        let keys = self
            .shared()
            .lock()
            .session_keys(|key, _| sid_of(key) == sid);
        for key in keys {
            self.shared().end_session(&key, Ended::SignedOut);
        }
    }

    /// Deletes all sessions of a user, as an administrator does; outposts are told of each once.
    pub fn end_sessions_of(&self, username: &str) {
        let keys = self.shared().lock().sessions_of(username);
        for key in keys {
            self.shared().end_session(&key, Ended::Deleted);
        }
    }

    /// Makes a user inactive and ends their sessions.
    pub fn deactivate(&self, username: &str) {
        for account in &mut self.shared().lock().accounts {
            account.active &= account.user.username != username;
        }
        self.end_sessions_of(username);
    }

    /// Deletes a user with all sessions and tokens; outposts are told of each session once.
    pub fn delete_user(&self, username: &str) {
        self.end_sessions_of(username);
        let mut state = self.shared().lock();
        state
            .accounts
            .retain(|account| account.user.username != username);
    }

    /// The `sid` claims of a user's sessions, in no particular order.
    #[must_use]
    pub fn sids_of(&self, username: &str) -> Vec<String> {
        self.shared()
            .lock()
            .sessions_of(username)
            .iter()
            .map(|key| sid_of(key))
            .collect()
    }
}

/// The websocket.
impl Standin {
    /// Sends a text frame to every websocket.
    pub fn send_frame(&self, text: &str) {
        self.shared().lock().send_to_outposts(text);
    }

    /// Tells every websocket once to fetch the configuration.
    pub fn trigger_update(&self) {
        self.shared().lock().trigger_update(1);
    }

    /// Ends every websocket's connection without a close frame.
    pub fn drop_websockets(&self) {
        self.shared().lock().drop_peers();
    }

    /// Whether websocket handshakes are answered with 403 from now on.
    pub fn refuse_websockets(&self, refuse: bool) {
        self.shared().lock().refuse_websockets = refuse;
    }

    /// Whether hellos are left unanswered from now on, as where a proxy passes no frames on.
    pub fn ignore_hellos(&self, ignore: bool) {
        self.shared().lock().ignore_hellos = ignore;
    }
}

/// Faults.
impl Standin {
    /// Answers requests to `endpoint` with this fault until another is set for it or
    /// [`clear_faults`](Self::clear_faults). A fault for [`Endpoint::Any`] yields to one that
    /// names the endpoint.
    pub fn fault(&self, endpoint: Endpoint, fault: Fault) {
        self.shared().lock().faults.insert(endpoint, fault);
        self.shared().announce_change();
    }

    /// Answers properly again.
    pub fn clear_faults(&self) {
        self.shared().lock().faults.clear();
        self.shared().announce_change();
    }
}
