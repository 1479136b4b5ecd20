//! What an administrator reads and writes: proxy providers, applications, outposts, flows. These
//! records are apart from those that the outpost is served.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{ApiAnswer, no_match, outposts, paging};
use crate::message::Incoming;
use crate::random;
use crate::state::admin::Admin;
use crate::state::{Outpost, Shared, State};

/// Slugs that it refuses.
const RESERVED_SLUGS: [&str; 6] = [
    "authorize",
    "device",
    "introspect",
    "revoke",
    "token",
    "userinfo",
];

/// Answers a request with the administrator's token; `path` are the segments after `api/v3`.
pub(super) fn answer(
    shared: &Shared,
    state: &mut State,
    request: &Incoming,
    path: &[&str],
) -> ApiAnswer {
    let action = match request.method {
        Method::POST => "add",
        Method::PATCH => "change",
        Method::DELETE => "delete",
        _ => "view",
    };
    let model = match path {
        ["providers", "proxy", ..] => "authentik_providers_proxy.{}_proxyprovider",
        ["core", "applications", ..] => "authentik_core.{}_application",
        ["outposts", "instances", ..] => "authentik_outposts.{}_outpost",
        ["core", "users", "me", ..] | ["admin", ..] => "",
        _ => "authentik_flows.{}_flow",
    };
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    if path == ["admin", "version", ""] {
        return (StatusCode::OK, super::version(state));
    }
    let max_slug_chars = shared.settings.dialect.max_slug_chars();
    let Some(admin) = &mut state.admin else {
        return no_match("Admin");
    };
    if admin.denied.contains(&model.replace("{}", action)) {
        return super::denied("You do not have permission to perform this action.");
    }
    match (&request.method, path) {
        (&Method::GET, ["providers", "proxy", ""]) => {
            let name = request.query.get("name__iexact").map(str::to_lowercase);
            let is_listed = |record: &Value| {
                let own = record["name"].as_str().map(str::to_lowercase);
                name.is_none() || own == name
            };
            let found = admin
                .providers
                .iter()
                .filter(|(_, record)| is_listed(record));
            let records = admin.list_providers(found.map(|(pk, _)| *pk));
            paging::page(shared.settings.dialect, &request.query, &records)
        }
        (&Method::POST, ["providers", "proxy", ""]) => create_provider(admin, body),
        (method, ["providers", "proxy", pk, ""]) => match pk.parse() {
            Ok(pk) if admin.providers.contains_key(&pk) => provider(admin, method, pk, body),
            _ => no_match("ProxyProvider"),
        },
        (&Method::GET, ["core", "users", "me", ""]) => me(admin.is_superuser),
        // Others are listed what they may open, which is no application here.
        (&Method::GET, ["core", "applications", ""]) => {
            let records: Vec<_> = if admin.is_superuser {
                admin.applications.values().cloned().collect()
            } else {
                Vec::new()
            };
            paging::page(shared.settings.dialect, &request.query, &records)
        }
        (&Method::POST, ["core", "applications", ""]) => {
            create_application(admin, max_slug_chars, body)
        }
        (method, ["core", "applications", slug, ""]) => {
            application(admin, max_slug_chars, method, slug, body)
        }
        (&Method::GET, ["flows", "instances", slug, ""]) => match admin.flows.get(slug) {
            Some(pk) => (
                StatusCode::OK,
                json!({"pk": pk, "slug": slug, "name": slug}),
            ),
            None => no_match("Flow"),
        },
        (&Method::GET, ["outposts", "instances", ""]) => {
            let records = [false, true].map(|embedded| outpost(shared, state, embedded));
            paging::page(shared.settings.dialect, &request.query, &records)
        }
        (method, ["outposts", "instances", id, ""]) => {
            let id = Uuid::parse_str(id).unwrap_or_default();
            let embedded = id == admin.embedded;
            if !embedded && id != shared.settings.outpost_id {
                return no_match("Outpost");
            }
            if method == Method::PATCH {
                let providers: Vec<i64> =
                    serde_json::from_value(body["providers"].clone()).unwrap_or_default();
                if providers.is_empty() && !embedded {
                    return invalid("providers", "This list may not be empty.");
                }
                admin.assigned[usize::from(embedded)] = providers;
            }
            (StatusCode::OK, outpost(shared, state, embedded))
        }
        _ => (
            StatusCode::METHOD_NOT_ALLOWED,
            json!({"detail": "Method not allowed."}),
        ),
    }
}

/// The user of the token, as far as it matters; any user may ask.
pub(super) fn me(is_superuser: bool) -> ApiAnswer {
    let user =
        json!({"pk": 1, "username": "user", "is_active": true, "is_superuser": is_superuser});
    (StatusCode::OK, json!({"user": user}))
}

fn invalid(field: &str, text: &str) -> ApiAnswer {
    (StatusCode::BAD_REQUEST, json!({field: [text]}))
}

/// The same check for creating and changing: an absent mode counts as "proxy" either way.
fn check_provider(admin: &Admin, pk: Option<i64>, body: &Value) -> Option<ApiAnswer> {
    let mut others = admin
        .providers
        .iter()
        .filter(|(other, _)| Some(**other) != pk);
    if others.any(|(_, other)| other["name"] == body["name"]) {
        return Some(invalid("name", "provider with this name already exists."));
    }
    let proxied = body["mode"].as_str().unwrap_or("proxy") == "proxy";
    if proxied
        && body["internal_host"]
            .as_str()
            .unwrap_or_default()
            .is_empty()
    {
        let text = "Internal host cannot be empty when forward auth is disabled.";
        return Some(invalid("internal_host", text));
    }
    None
}

pub(crate) fn create_provider(admin: &mut Admin, body: Value) -> ApiAnswer {
    for field in [
        "name",
        "authorization_flow",
        "invalidation_flow",
        "external_host",
    ] {
        if body[field].is_null() {
            return invalid(field, "This field is required.");
        }
    }
    if let Some(refused) = check_provider(admin, None, &body) {
        return refused;
    }
    admin.last_pk += 1;
    let pk = admin.last_pk;
    let mut record = json!({
        "pk": pk,
        "authentication_flow": null,
        "property_mappings": [],
        "component": "ak-provider-proxy-form",
        "verbose_name": "Proxy Provider",
        "verbose_name_plural": "Proxy Providers",
        "meta_model_name": "authentik_providers_proxy.proxyprovider",
        "client_id": random::alphanumeric(40),
        "internal_host": "",
        "internal_host_ssl_validation": true,
        "certificate": null,
        "skip_path_regex": "",
        "basic_auth_enabled": false,
        "basic_auth_password_attribute": "",
        "basic_auth_user_attribute": "",
        "mode": "proxy",
        "intercept_header_auth": true,
        "cookie_domain": "",
        "access_token_validity": "hours=1",
        "refresh_token_validity": "days=30",
    });
    merge(&mut record, body);
    admin.providers.insert(pk, record);
    (StatusCode::CREATED, admin.provider(pk))
}

fn provider(admin: &mut Admin, method: &Method, pk: i64, body: Value) -> ApiAnswer {
    match *method {
        Method::PATCH => {
            if let Some(refused) = check_provider(admin, Some(pk), &body) {
                return refused;
            }
            if let Some(record) = admin.providers.get_mut(&pk) {
                merge(record, body);
            }
        }
        Method::DELETE => {
            admin.providers.remove(&pk);
            for assigned in &mut admin.assigned {
                assigned.retain(|other| *other != pk);
            }
            for application in admin.applications.values_mut() {
                if application["provider"] == pk {
                    application["provider"] = Value::Null;
                }
            }
            return (StatusCode::NO_CONTENT, Value::Null);
        }
        _ => {}
    }
    (StatusCode::OK, admin.provider(pk))
}

/// The same check for creating and changing.
fn check_slug(admin: &Admin, max_chars: Option<usize>, slug: &str) -> Option<ApiAnswer> {
    let text = if let Some(max) = max_chars.filter(|max| slug.chars().count() > *max) {
        format!("Ensure this field has no more than {max} characters.")
    } else if RESERVED_SLUGS.contains(&slug) {
        format!("The slug '{slug}' is reserved and cannot be used for applications.")
    } else if admin.applications.contains_key(slug) {
        "Application with this slug already exists.".to_owned()
    } else {
        return None;
    };
    Some(invalid("slug", &text))
}

pub(crate) fn create_application(
    admin: &mut Admin,
    max_slug_chars: Option<usize>,
    body: Value,
) -> ApiAnswer {
    let slug = body["slug"].as_str().unwrap_or_default().to_owned();
    if let Some(refused) = check_slug(admin, max_slug_chars, &slug) {
        return refused;
    }
    let taken =
        |other: &Value| !body["provider"].is_null() && other["provider"] == body["provider"];
    if admin.applications.values().any(taken) {
        return invalid("provider", "Application with this provider already exists.");
    }
    let mut record = json!({
        "pk": Uuid::new_v4(),
        "provider": null,
        "backchannel_providers": [],
        "open_in_new_tab": false,
        "meta_launch_url": "",
        "meta_icon": null,
        "meta_description": "",
        "meta_publisher": "",
        "policy_engine_mode": "any",
        "group": "",
    });
    merge(&mut record, body);
    admin.applications.insert(slug, record.clone());
    (StatusCode::CREATED, record)
}

fn application(
    admin: &mut Admin,
    max_slug_chars: Option<usize>,
    method: &Method,
    slug: &str,
    body: Value,
) -> ApiAnswer {
    let Some(mut record) = admin.applications.get(slug).cloned() else {
        return no_match("Application");
    };
    match *method {
        Method::PATCH => {
            let now = body["slug"].as_str().unwrap_or(slug).to_owned();
            if now != slug
                && let Some(refused) = check_slug(admin, max_slug_chars, &now)
            {
                return refused;
            }
            merge(&mut record, body);
            admin.applications.remove(slug);
            admin.applications.insert(now, record.clone());
            (StatusCode::OK, record)
        }
        Method::DELETE => {
            admin.applications.remove(slug);
            (StatusCode::NO_CONTENT, Value::Null)
        }
        _ => (StatusCode::OK, record),
    }
}

fn outpost(shared: &Shared, state: &State, embedded: bool) -> Value {
    let admin = state.admin.as_ref().expect("only administrators ask");
    let shown = Outpost {
        id: if embedded {
            admin.embedded
        } else {
            shared.settings.outpost_id
        },
        name: if embedded {
            "authentik Embedded Outpost"
        } else {
            "standin-outpost"
        }
        .to_owned(),
        main: false,
    };
    let mut record = outposts::record(&shared.settings, state, &shown);
    let assigned = &admin.assigned[usize::from(embedded)];
    record["providers"] = json!(assigned);
    record["providers_obj"] = admin.list_providers(assigned.iter().copied()).into();
    if embedded {
        record["managed"] = outposts::EMBEDDED.into();
    }
    record
}

fn merge(record: &mut Value, body: Value) {
    if let (Value::Object(record), Value::Object(body)) = (record, body) {
        record.extend(body);
    }
}
