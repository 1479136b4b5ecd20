//! The records that an administrator reads and writes, as tests see and change them.

use serde_json::{Value, json};
use uuid::Uuid;

use super::Standin;
use crate::api::admin::{create_application, create_provider};
use crate::state::admin::Admin;

impl Standin {
    /// Lets an administrator in, with this token.
    ///
    /// Their records are apart from the providers that the outpost is served.
    pub fn admit_admin(&self, token: &str) {
        self.shared().lock().admin = Some(Admin::new(token));
    }

    /// Gives the administrator another token in place of the one before.
    pub fn rotate_admin_token(&self, token: &str) {
        self.admin(|admin| token.clone_into(&mut admin.token));
    }

    /// Takes a permission away, such as `authentik_core.add_application`.
    pub fn deny_admin(&self, permission: &str) {
        self.admin(|admin| admin.denied.extend([permission.to_owned()]));
    }

    /// Makes the administrator a superuser.
    pub fn promote_admin(&self) {
        self.admin(|admin| admin.is_superuser = true);
    }

    /// Gives all permissions back.
    pub fn allow_admin(&self) {
        self.admin(|admin| admin.denied.clear());
    }

    /// An application of another owner with its provider, assigned to the embedded outpost; returns
    /// the provider's number.
    #[expect(
        clippy::must_use_candidate,
        reason = "most tests never need the number"
    )]
    pub fn add_admin_application(&self, slug: &str, external_host: &str) -> i64 {
        self.admin(|admin| {
            let flow = Uuid::nil();
            let (_, provider) = create_provider(
                admin,
                json!({
                    "name": slug,
                    "external_host": external_host,
                    "mode": "forward_single",
                    "authorization_flow": flow,
                    "invalidation_flow": flow,
                }),
            );
            let pk = provider["pk"].as_i64().unwrap_or_default();
            let application = json!({"slug": slug, "name": slug, "provider": pk});
            create_application(admin, None, application);
            admin.assigned[1].push(pk);
            pk
        })
    }

    /// The records of providers, by number.
    #[must_use]
    pub fn admin_providers(&self) -> Vec<Value> {
        self.admin(|admin| admin.list_providers(admin.providers.keys().copied()))
    }

    /// Renames a provider.
    pub fn rename_admin_provider(&self, pk: i64, name: &str) {
        self.admin(|admin| {
            if let Some(record) = admin.providers.get_mut(&pk) {
                record["name"] = name.into();
            }
        });
    }

    /// The records of applications, by slug.
    #[must_use]
    pub fn admin_applications(&self) -> Vec<Value> {
        self.admin(|admin| admin.applications.values().cloned().collect())
    }

    /// The numbers of the providers of the outpost, and of the embedded one.
    #[must_use]
    pub fn admin_assigned(&self) -> [Vec<i64>; 2] {
        self.admin(|admin| admin.assigned.clone())
    }

    /// Moves a provider to the embedded outpost.
    pub fn assign_to_embedded(&self, pk: i64) {
        self.admin(|admin| {
            admin.assigned[0].retain(|other| *other != pk);
            admin.assigned[1].push(pk);
        });
    }

    fn admin<T>(&self, change: impl FnOnce(&mut Admin) -> T) -> T {
        let mut state = self.shared().lock();
        change(state.admin.as_mut().expect("an administrator was admitted"))
    }
}
