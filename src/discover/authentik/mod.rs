//! authentik's API, as far as applications are read and written.

mod error;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use secrecy::SecretString;
use serde::Deserialize as _;
use serde_json::{Value, json};
use url::form_urlencoded;
use uuid::Uuid;

pub use error::AuthentikError;
use error::{found_or_none, gone, to};
use wire::{ApplicationRecord, Created, Flow, Me, OutpostRecord, ProviderRecord, Version};

use super::actual::{Actual, ActualProvider, Application, Outpost};
use super::ownership_marker::{OwnershipMarker, Source};
use crate::config::Discovery;
use crate::discover::desired::labels::DesiredApplication;
use crate::web::client::BackChannel;
use crate::web::client::rest::{PRODUCT, Rest, RestError};

/// What marks the outpost inside of authentik's server.
const EMBEDDED: &str = "goauthentik.io/outposts/embedded";

/// Requests for single applications at a time.
const READS_AT_ONCE: usize = 8;

/// The flows of new providers.
#[derive(Debug, Clone, Copy)]
pub struct Flows {
    authorization: Uuid,
    invalidation: Uuid,
}

/// A client of the API.
pub struct Authentik<'a> {
    rest: Rest<'a>,
    settings: &'a Discovery,
}

impl<'a> Authentik<'a> {
    /// A client with this token.
    #[must_use]
    pub fn new(
        settings: &'a Discovery,
        token: &'a SecretString,
        back_channel: &'a BackChannel,
    ) -> Self {
        let rest = Rest::new(&settings.host, token, PRODUCT.to_owned(), back_channel);
        Self { rest, settings }
    }

    fn owner(&self) -> &str {
        &self.settings.discover.owner
    }

    /// What is there, with the applications that have one of `slugs`.
    pub async fn read(&self, slugs: impl Iterator<Item = &str>) -> Result<Actual, AuthentikError> {
        let (outpost, embedded) = self.outposts().await?;
        // Applications before providers: an application that is created meanwhile, from the
        // same object, comes with a provider that is then in the list.
        let mut applications = if self.is_superuser().await {
            self.all_applications().await?
        } else {
            self.applications(slugs.map(str::to_owned)).await?
        };
        let providers = self.providers(None).await?;
        let owned = providers
            .iter()
            .filter(|provider| OwnershipMarker::read(&provider.name, self.owner()).is_some());
        let more = owned.filter_map(|provider| provider.application.clone());
        let more: BTreeSet<_> = more
            .filter(|slug| !applications.contains_key(slug))
            .collect();
        applications.extend(self.applications(more).await?);
        Ok(Actual {
            providers,
            applications,
            outpost,
            embedded,
        })
    }

    /// The server's version, if it tells; any user may ask.
    pub async fn version(&self) -> Option<String> {
        let version = self.rest.get::<Version>("admin/version/").await;
        let version = version.inspect_err(|error| {
            tracing::debug!(%error, "version of authentik is unknown");
        });
        Some(version.ok()?.version_current)
    }

    /// Whether the token's user is a superuser. What else is wrong shows with the next request.
    async fn is_superuser(&self) -> bool {
        let me = self.rest.get::<Me>("core/users/me/").await;
        me.is_ok_and(|me| me.user.is_superuser)
    }

    /// All applications, for a superuser: to others, authentik before 2026.8 lists what they may
    /// open, from a cache of a day.
    async fn all_applications(&self) -> Result<BTreeMap<String, Application>, AuthentikError> {
        let attempt = to("list applications", "authentik_core.view_application");
        let path = "core/applications/?superuser_full_list=true";
        let records = self.rest.list(path).await;
        let records = records.map_err(|error| attempt.failed(error))?;
        let decode = |record: Value| {
            let slug = record["slug"].as_str()?.to_owned();
            let application = ApplicationRecord::deserialize(record).ok()?;
            Some((slug, application.into()))
        };
        Ok(records.into_iter().filter_map(decode).collect())
    }

    /// Applications by their slugs, some at a time.
    async fn applications(
        &self,
        slugs: impl IntoIterator<Item = String>,
    ) -> Result<BTreeMap<String, Application>, AuthentikError> {
        let read = async |slug: String| {
            let found = self.application(&slug).await?;
            Ok(found.map(|application| (slug, application)))
        };
        let found = stream::iter(slugs).map(read).buffered(READS_AT_ONCE);
        found
            .try_filter_map(async |found| Ok(found))
            .try_collect()
            .await
    }

    async fn outposts(&self) -> Result<(Outpost, Option<Outpost>), AuthentikError> {
        let attempt = to("list outposts", "authentik_outposts.view_outpost");
        let records = self.rest.list("outposts/instances/").await;
        let records = records.map_err(|error| attempt.failed(error))?;
        let proxies = records
            .into_iter()
            .filter_map(|record| serde_json::from_value::<OutpostRecord>(record).ok())
            .filter(|outpost| outpost.kind == "proxy");
        let (embedded, others): (Vec<_>, Vec<_>) =
            proxies.partition(|outpost| outpost.managed.as_deref() == Some(EMBEDDED));
        let embedded = embedded.into_iter().next().map(Outpost::from);
        Ok((self.choose(others)?, embedded))
    }

    fn choose(&self, outposts: Vec<OutpostRecord>) -> Result<Outpost, AuthentikError> {
        let listed: Vec<_> = outposts
            .iter()
            .map(|outpost| format!("{:?} ({})", outpost.name, outpost.pk))
            .collect();
        let listed = listed.join(", ");
        let mut found = outposts
            .into_iter()
            .filter(|outpost| self.settings.outpost_id.is_none_or(|id| id == outpost.pk));
        let problem = match (found.next(), found.next()) {
            (Some(outpost), None) => return Ok(outpost.into()),
            (Some(_), Some(_)) => format!(
                "authentik has several outposts of type \"proxy\": {listed}; set AUTHENTIK_OUTPOST_ID to choose"
            ),
            (None, _) if listed.is_empty() => "authentik has no outpost of type \"proxy\" but the embedded one, or the token may not see it; create one under Applications, Outposts".to_owned(),
            (None, _) => format!(
                "AUTHENTIK_OUTPOST_ID is no outpost of type \"proxy\" that is not embedded; those are {listed}"
            ),
        };
        Err(AuthentikError::Outpost(problem))
    }

    /// All providers, or those of that name in any case.
    async fn providers(&self, name: Option<&str>) -> Result<Vec<ActualProvider>, AuthentikError> {
        let attempt = to(
            "list proxy providers",
            "authentik_providers_proxy.view_proxyprovider",
        );
        let path = name.map_or_else(
            || "providers/proxy/".to_owned(),
            |name| {
                let mut query = form_urlencoded::Serializer::new(String::new());
                query.append_pair("name__iexact", name);
                format!("providers/proxy/?{}", query.finish())
            },
        );
        let records = self.rest.list(&path).await;
        let records = records.map_err(|error| attempt.failed(error))?;
        let is_ours = |record: &Value| {
            let name = record["name"].as_str().unwrap_or_default();
            OwnershipMarker::read(name, self.owner()).is_some()
        };
        let decode = |record: Value| match ProviderRecord::deserialize(&record) {
            Ok(provider) => Some(Ok(provider.into())),
            Err(error) if is_ours(&record) => Some(Err(RestError::Shape {
                url: "providers/proxy/".to_owned(),
                reason: error.to_string(),
            })),
            // What others made need not be understood.
            Err(_) => None,
        };
        let providers: Result<_, RestError> = records.into_iter().filter_map(decode).collect();
        providers.map_err(AuthentikError::Rest)
    }

    async fn application(&self, slug: &str) -> Result<Option<Application>, AuthentikError> {
        let attempt = to("read applications", "authentik_core.view_application");
        let path = format!("core/applications/{slug}/");
        let found = self.rest.get::<ApplicationRecord>(&path).await;
        found_or_none(found, attempt).map(|found| found.map(Application::from))
    }

    /// The flows of new providers.
    pub async fn flows(&self) -> Result<Flows, AuthentikError> {
        let settings = &self.settings.discover;
        Ok(Flows {
            authorization: self
                .flow(
                    &settings.authorization_flow,
                    "AUTHENTIK_PROXY_DISCOVER__AUTHORIZATION_FLOW",
                )
                .await?,
            invalidation: self
                .flow(
                    &settings.invalidation_flow,
                    "AUTHENTIK_PROXY_DISCOVER__INVALIDATION_FLOW",
                )
                .await?,
        })
    }

    async fn flow(&self, slug: &str, variable: &'static str) -> Result<Uuid, AuthentikError> {
        let attempt = to("read flows", "authentik_flows.view_flow");
        let path = format!("flows/instances/{slug}/");
        let found = self.rest.get::<Flow>(&path).await;
        let found = found_or_none(found, attempt)?.ok_or_else(|| AuthentikError::NoFlow {
            slug: slug.to_owned(),
            variable,
        })?;
        Ok(found.pk)
    }

    /// Creates a provider. One that another run has created meanwhile is as good.
    pub async fn create_provider(
        &self,
        desired: &DesiredApplication,
        flows: Flows,
    ) -> Result<i64, AuthentikError> {
        let attempt = to(
            "create proxy providers",
            "authentik_providers_proxy.add_proxyprovider",
        );
        let mut body = self.provider_body(desired);
        body["authorization_flow"] = json!(flows.authorization);
        body["invalidation_flow"] = json!(flows.invalidation);
        let error = match self.rest.post::<Created>("providers/proxy/", &body).await {
            Ok(created) => return Ok(created.pk),
            Err(error) => attempt.failed(error),
        };
        if matches!(error, AuthentikError::Invalid { .. }) {
            let name = OwnershipMarker::name(&desired.slug, self.owner(), &desired.source);
            let mut now = self.providers(Some(&name)).await?.into_iter();
            if let Some(same) = now.find(|provider| provider.name == name) {
                return Ok(same.pk);
            }
        }
        Err(error)
    }

    /// Changes a provider to what is desired.
    pub async fn update_provider(
        &self,
        pk: i64,
        desired: &DesiredApplication,
    ) -> Result<(), AuthentikError> {
        let attempt = to(
            "change proxy providers",
            "authentik_providers_proxy.change_proxyprovider",
        );
        // All fields: authentik takes an absent `mode` for "proxy", and then misses the
        // `internal_host`.
        let body = self.provider_body(desired);
        let path = format!("providers/proxy/{pk}/");
        let changed = self.rest.patch(&path, &body).await;
        changed.map_err(|error| attempt.failed(error))
    }

    fn provider_body(&self, desired: &DesiredApplication) -> Value {
        let mut body = json!(desired.provider);
        body["name"] = OwnershipMarker::name(&desired.slug, self.owner(), &desired.source).into();
        body
    }

    /// Creates an application for a provider. One that another run has created for it meanwhile is
    /// as good.
    pub async fn create_application(
        &self,
        desired: &DesiredApplication,
        provider: i64,
    ) -> Result<(), AuthentikError> {
        let attempt = to("create applications", "authentik_core.add_application");
        let mut body = application_body(desired);
        body["provider"] = provider.into();
        let error = match self.rest.post::<Value>("core/applications/", &body).await {
            Ok(_) => return Ok(()),
            Err(error) => attempt.failed(error),
        };
        if matches!(error, AuthentikError::Invalid { .. }) {
            let now = self.application(&desired.slug).await?;
            if now.is_some_and(|now| now.provider == Some(provider)) {
                return Ok(());
            }
        }
        Err(error)
    }

    /// Changes the application that has `slug` now.
    pub async fn update_application(
        &self,
        slug: &str,
        desired: &DesiredApplication,
    ) -> Result<(), AuthentikError> {
        let attempt = to("change applications", "authentik_core.change_application");
        let path = format!("core/applications/{slug}/");
        let changed = self.rest.patch(&path, &application_body(desired)).await;
        changed.map_err(|error| attempt.failed(error))
    }

    /// Deletes an application, if it still belongs to `provider`.
    pub async fn delete_application(
        &self,
        slug: &str,
        provider: i64,
    ) -> Result<(), AuthentikError> {
        let attempt = to("delete applications", "authentik_core.delete_application");
        let now = self.application(slug).await?;
        if now.is_none_or(|now| now.provider != Some(provider)) {
            return Ok(());
        }
        gone(
            self.rest
                .delete(&format!("core/applications/{slug}/"))
                .await,
            attempt,
        )
    }

    /// Whether a provider is there and has the mark of `source`.
    pub async fn is_made_from(&self, pk: i64, source: &Source) -> Result<bool, AuthentikError> {
        Ok(self.provider_of(pk, source).await?.is_some())
    }

    /// The provider, if it is there and has the mark of `source`.
    async fn provider_of(
        &self,
        pk: i64,
        source: &Source,
    ) -> Result<Option<ActualProvider>, AuthentikError> {
        let attempt = to(
            "list proxy providers",
            "authentik_providers_proxy.view_proxyprovider",
        );
        let path = format!("providers/proxy/{pk}/");
        let found = self.rest.get::<ProviderRecord>(&path).await;
        let now = found_or_none(found, attempt)?.map(ActualProvider::from);
        Ok(now.filter(|now| {
            let mark = OwnershipMarker::read(&now.name, self.owner());
            mark.is_some_and(|mark| mark.source == *source)
        }))
    }

    /// Deletes a provider, if it still has the mark of `source`.
    pub async fn delete_provider(&self, pk: i64, source: &Source) -> Result<(), AuthentikError> {
        match self.provider_of(pk, source).await? {
            Some(provider) => self.delete(&provider).await,
            None => Ok(()),
        }
    }

    /// Deletes a provider that was created for an object, unless an application uses it: another run
    /// may have found it meanwhile. Returns whether it did.
    pub async fn delete_unused_provider(
        &self,
        pk: i64,
        source: &Source,
    ) -> Result<bool, AuthentikError> {
        match self.provider_of(pk, source).await? {
            Some(provider) if provider.application.is_none() => {
                self.delete(&provider).await.map(|()| true)
            }
            _ => Ok(false),
        }
    }

    async fn delete(&self, provider: &ActualProvider) -> Result<(), AuthentikError> {
        let attempt = to(
            "delete proxy providers",
            "authentik_providers_proxy.delete_proxyprovider",
        );
        let path = format!("providers/proxy/{}/", provider.pk);
        gone(self.rest.delete(&path).await, attempt)
    }

    /// Changes what an outpost serves: reads it, and writes if that differs. authentik takes whole
    /// lists only, so the time in between is kept short.
    pub async fn reassign(
        &self,
        outpost: Uuid,
        change: impl FnOnce(&mut Outpost),
    ) -> Result<(), AuthentikError> {
        let attempt = to("change outposts", "authentik_outposts.change_outpost");
        let path = format!("outposts/instances/{outpost}/");
        let read = self.rest.get::<OutpostRecord>(&path).await;
        let before: Outpost = read.map_err(|error| attempt.failed(error))?.into();
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Ok(());
        }
        // Without the type, authentik does not know which kind of provider to expect.
        let body = json!({"type": "proxy", "providers": after.providers});
        let changed = self.rest.patch(&path, &body).await;
        changed.map_err(|error| attempt.failed(error))
    }
}

fn application_body(desired: &DesiredApplication) -> Value {
    json!({
        "name": desired.name,
        "slug": desired.slug,
        "meta_description": desired.description,
        "meta_publisher": desired.publisher,
    })
}
