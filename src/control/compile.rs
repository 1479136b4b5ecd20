//! From what authentik sends to what the data plane serves. A provider that cannot be understood
//! fails alone, and keeps its last good form.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::certificates::{self, Certificates};
use super::{Context, Reloadable, wire};
use crate::config::Policies;
use crate::model::{
    Allowlist, Application, Backend, BackendError, BasicAuth, CookieDomain, CookieDomainError,
    Diagnostic, ExternalUrl, ExternalUrlError, Hint, HintText, Mode, OAuthClient, Outpost,
};
use crate::oidc::{ClientError, Endpoints, EndpointsError, RelyingParty};
use crate::route::{Refused, Site, Table};
use crate::telemetry::CHECKED;
use crate::tls::CertifiedKey;

/// What is known of each provider: its record and the site made of it.
pub(super) type Known = HashMap<String, (Value, Arc<Site>)>;

pub(super) struct Compiler<'a> {
    pub(super) control: &'a Context,
    pub(super) settings: &'a Reloadable,
    pub(super) outpost: &'a Outpost,
    pub(super) certificates: &'a Certificates,
    /// Whether outpost and settings are as they were, so that unchanged records need no new site.
    pub(super) reuse: bool,
}

/// What tells a provider from others: its primary key, which a release once left out, or its name.
pub(super) fn key(record: &Value) -> String {
    let field = |name| record.get(name).filter(|value| !value.is_null());
    let found = field("pk").or_else(|| field("name"));
    found.map(Value::to_string).unwrap_or_default()
}

/// Why no site can be made of a provider's record.
#[derive(Debug, thiserror::Error)]
enum CompileError {
    #[error(transparent)]
    Record(#[from] serde_json::Error),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("mode {0:?} is unknown")]
    Mode(String),
    #[error(transparent)]
    External(#[from] ExternalUrlError),
    #[error(transparent)]
    CookieDomain(#[from] CookieDomainError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Endpoints(#[from] EndpointsError),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Hint for CompileError {
    fn hint(&self) -> Option<HintText> {
        match self {
            Self::External(error) => error.hint(),
            Self::CookieDomain(error) => error.hint(),
            Self::Backend(error) => error.hint(),
            Self::Record(_)
            | Self::Missing(_)
            | Self::Mode(_)
            | Self::Endpoints(_)
            | Self::Client(_) => Some("correct the provider in authentik".into()),
        }
    }
}

impl Compiler<'_> {
    /// The routing table of all providers, reusing the sites whose record did not change.
    pub(super) fn table(&self, records: &[Value], known: &Known) -> (Table, Vec<Refused>, Known) {
        let (mut table, mut sites) = (Table::default(), Known::new());
        let mut refused = Vec::new();
        for record in records {
            let key = key(record);
            let before = known.get(&key);
            let site = match before {
                Some((same, site))
                    if self.reuse && same == record && self.is_current(site, record) =>
                {
                    Arc::clone(site)
                }
                _ => match (self.site(record), before) {
                    (Ok(site), _) => Arc::new(site),
                    (Err(error), before) => {
                        let text = |field| record.get(field).and_then(Value::as_str);
                        let name = text("name").unwrap_or("without name");
                        let effect = if before.is_some() {
                            "serving its last good configuration"
                        } else {
                            "not served"
                        };
                        tracing::error!(
                            name: CHECKED,
                            %error,
                            hint = error.hint().as_deref(),
                            "provider {name:?} is invalid, {effect}"
                        );
                        refused.push(Refused {
                            provider: name.to_owned(),
                            slug: text("assigned_application_slug")
                                .unwrap_or_default()
                                .to_owned(),
                            diagnostic: Diagnostic::caused_by(effect, &error),
                            kept: before.is_some(),
                        });
                        let Some((_, site)) = before else { continue };
                        Arc::clone(site)
                    }
                },
            };
            sites.insert(key, (record.clone(), Arc::clone(&site)));
            table.add(site);
        }
        self.check_policies(&table);
        (table, refused, sites)
    }

    /// Whether a site shows the certificate that its provider has now.
    fn is_current(&self, site: &Site, record: &Value) -> bool {
        let shown = site.certificate.as_ref().map(Arc::as_ptr);
        shown == self.certificate(record).as_ref().map(Arc::as_ptr)
    }

    fn certificate(&self, record: &Value) -> Option<Arc<CertifiedKey>> {
        let found = self.certificates.get(&certificates::id_of(record)?)?;
        Some(Arc::clone(&found.key))
    }

    /// Tells of settings for an application that is not there: a misspelled slug would leave it
    /// without its rules.
    fn check_policies(&self, table: &Table) {
        let known: Vec<_> = table
            .sites()
            .iter()
            .map(|site| site.application.slug.as_str())
            .collect();
        for slug in self.settings.policies.keys() {
            if !known.contains(&slug.as_str()) {
                tracing::warn!(
                    error = format!("the outpost has {}", known.join(", ")),
                    hint = "correct the slug, or assign the application to the outpost",
                    "applications.{slug} in the configuration file has no effect: there is no such application",
                );
            }
        }
    }

    fn site(&self, record: &Value) -> Result<Site, CompileError> {
        let provider: wire::Provider = serde_json::from_value(record.clone())?;
        for (name, value) in [
            ("client_id", &provider.client_id),
            ("client_secret", &provider.client_secret),
            ("cookie_secret", &provider.cookie_secret),
        ] {
            if value.is_empty() {
                return Err(CompileError::Missing(name));
            }
        }
        let urls = &provider.oidc_configuration;
        let endpoints = Endpoints::new(
            urls,
            self.control.settings.host_browser.as_ref(),
            self.outpost.authentik_host.as_ref(),
            self.outpost.embedded || self.control.settings.is_socket,
        )?;
        let algorithms = urls
            .id_token_signing_alg_values_supported
            .clone()
            .unwrap_or_default();
        let mut application = application(provider, &self.settings.policies)?;
        let interval = &mut application.policy.reauthorize_interval;
        *interval = interval.or(self.settings.reauthorize_interval);
        *interval = interval.filter(|interval| !interval.is_zero());
        let identity = &mut application.policy.identity;
        identity.send_jwt.get_or_insert(self.settings.send_jwt);
        let back_channel = self.control.back_channel.clone();
        let relying_party = RelyingParty::new(&application, endpoints, &algorithms, back_channel)?;
        let mut site = Site::new(
            application,
            relying_party,
            self.outpost,
            &self.settings.header_files,
            &self.control.metrics,
        );
        site.certificate = self.certificate(record);
        Ok(site)
    }
}

fn application(provider: wire::Provider, policies: &Policies) -> Result<Application, CompileError> {
    let external = ExternalUrl::parse(&provider.external_host)?;
    let mode = match provider.mode.as_str() {
        // The vendor's outpost takes an absent mode for proxy, too.
        "proxy" | "" => Mode::Proxy,
        "forward_single" => Mode::ForwardSingle,
        "forward_domain" => Mode::ForwardDomain(CookieDomain::parse(&provider.cookie_domain)?),
        other => return Err(CompileError::Mode(other.to_owned())),
    };
    if let Mode::ForwardDomain(domain) = &mode
        && let Some(reason) = domain.refused_from(external.host())
    {
        tracing::warn!(
            name: CHECKED,
            error = reason,
            hint = "correct its cookie domain or external host in authentik",
            "provider {:?} cannot share its sessions within its cookie domain",
            provider.name
        );
    }
    let backend = match mode {
        Mode::Proxy => Some(Backend::parse(&provider.internal_host)?),
        Mode::ForwardSingle | Mode::ForwardDomain(_) => None,
    };
    if backend.as_ref().is_some_and(Backend::has_path) {
        tracing::warn!(
            hint = "remove the path",
            "provider {:?}: the path of its internal host has no effect, requests keep their own",
            provider.name
        );
    }
    let full_url = matches!(mode, Mode::ForwardDomain(_));
    let allowlist = Allowlist::compile(&provider.skip_path_regex, full_url);
    for (line, reason) in allowlist.refused() {
        tracing::warn!(
            name: CHECKED,
            error = reason,
            hint = "correct the provider's unauthenticated paths in authentik (RE2 syntax)",
            "provider {:?}: unauthenticated path {line:?} is skipped",
            provider.name
        );
    }
    let title = [provider.assigned_application_name, provider.name.clone()];
    let slug = &provider.assigned_application_slug;
    let policy = policies.get(slug).cloned().unwrap_or_default();
    Ok(Application {
        id: provider.pk,
        policy,
        slug: provider.assigned_application_slug,
        title: title
            .into_iter()
            .find(|title| !title.is_empty())
            .unwrap_or_default(),
        name: provider.name,
        mode,
        external,
        backend,
        backend_insecure: !provider.internal_host_ssl_validation.unwrap_or(true),
        client: OAuthClient {
            id: provider.client_id,
            secret: provider.client_secret.into(),
            cookie_secret: provider.cookie_secret.into(),
            scopes: provider.scopes_to_request,
        },
        allowlist,
        intercept_header_auth: provider.intercept_header_auth.unwrap_or(true),
        basic_auth: provider.basic_auth_enabled.then_some(BasicAuth {
            user_attribute: provider.basic_auth_user_attribute,
            password_attribute: provider.basic_auth_password_attribute,
        }),
    })
}
