//! Outposts and the providers they serve.

use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ApiAnswer, no_match, paging};
use crate::dialect::Dialect;
use crate::message::Incoming;
use crate::records::Entry;
use crate::state::{Outpost, Settings, Shared, State};

pub(super) const EMBEDDED: &str = "goauthentik.io/outposts/embedded";

pub(super) fn list(shared: &Shared, state: &State, request: &Incoming) -> ApiAnswer {
    let settings = &shared.settings;
    let managed = request.query.get("managed__iexact");
    let records: Vec<Value> = state
        .outposts
        .iter()
        .map(|outpost| record(settings, state, outpost))
        .filter(|record| managed.is_none_or(|wanted| record["managed"] == wanted))
        .collect();
    paging::page(settings.dialect, &request.query, &records)
}

pub(super) fn detail(shared: &Shared, state: &State, id: &str) -> ApiAnswer {
    match find(state, id) {
        Some(outpost) => (StatusCode::OK, record(&shared.settings, state, outpost)),
        None => no_match("Outpost"),
    }
}

/// The outpost with that id among those of the token.
pub(super) fn find<'a>(state: &'a State, id: &str) -> Option<&'a Outpost> {
    let id = Uuid::parse_str(id).ok()?;
    state.outposts.iter().find(|outpost| outpost.id == id)
}

/// The providers, by name; broken records without a name come first.
pub(super) fn providers(shared: &Shared, state: &State, request: &Incoming) -> ApiAnswer {
    let dialect = shared.settings.dialect;
    let mut records: Vec<Value> = if state.outposts.is_empty() {
        Vec::new()
    } else {
        // Those without an application are only in the outpost's record.
        let served = state
            .providers
            .iter()
            .filter(|entry| entry.is_attached && !entry.slug().is_empty());
        let proper = served.map(|entry| entry.wire(dialect, &request.base));
        proper.chain(state.raw_providers.iter().cloned()).collect()
    };
    if let Some(name) = request.query.get("name") {
        records.retain(|record| record["name"] == name);
    }
    records.sort_by_cached_key(|record| record["name"].as_str().unwrap_or_default().to_owned());
    paging::page(dialect, &request.query, &records)
}

pub(super) fn record(settings: &Settings, state: &State, outpost: &Outpost) -> Value {
    let serves: Vec<&Entry> = state
        .providers
        .iter()
        .filter(|entry| outpost.main && entry.is_attached)
        .collect();
    json!({
        "pk": outpost.id,
        "name": outpost.name,
        "type": "proxy",
        "providers": serves.iter().map(|entry| entry.pk).collect::<Vec<_>>(),
        "providers_obj": serves.iter().copied().map(|entry| summary(settings, entry)).collect::<Vec<_>>(),
        "service_connection": null,
        "service_connection_obj": null,
        "refresh_interval_s": settings.refresh_interval_s,
        "token_identifier": format!("ak-outpost-{}-api", outpost.id),
        "config": config(settings),
        "managed": (outpost.main && settings.embedded).then_some(EMBEDDED),
    })
}

fn summary(settings: &Settings, entry: &Entry) -> Value {
    let mut summary = json!({
        "pk": entry.pk,
        "name": entry.name,
        "authentication_flow": null,
        "authorization_flow": Uuid::nil(),
        "invalidation_flow": Uuid::nil(),
        "property_mappings": [],
        "component": "",
        "assigned_application_slug": entry.slug(),
        "assigned_application_name": entry.application_name(),
        "verbose_name": "provider",
        "verbose_name_plural": "providers",
        "meta_model_name": "authentik_core.provider",
    });
    if settings.dialect == Dialect::V2026_2 {
        summary["assigned_backchannel_application_slug"] = Value::Null;
        summary["assigned_backchannel_application_name"] = Value::Null;
    }
    summary
}

fn config(settings: &Settings) -> Value {
    let mut config = json!({
        "log_level": settings.log_level,
        "docker_labels": null,
        "authentik_host": settings.authentik_host().as_str(),
        "docker_network": null,
        "container_image": null,
        "docker_map_ports": true,
        "refresh_interval": format!("seconds={}", settings.refresh_interval_s),
        "kubernetes_replicas": 1,
        "kubernetes_namespace": "default",
        "authentik_host_browser": "",
        "object_naming_template": "ak-outpost-%(name)s",
        "authentik_host_insecure": false,
        "kubernetes_json_patches": null,
        "kubernetes_service_type": "ClusterIP",
        "kubernetes_image_pull_secrets": [],
        "kubernetes_ingress_class_name": null,
        "kubernetes_disabled_components": [],
        "kubernetes_ingress_annotations": {},
        "kubernetes_ingress_secret_name": "authentik-outpost-tls",
        "kubernetes_httproute_annotations": {},
        "kubernetes_httproute_parent_refs": [],
    });
    if settings.dialect == Dialect::V2026_2 {
        config["kubernetes_ingress_path_type"] = Value::Null;
    }
    config
}
