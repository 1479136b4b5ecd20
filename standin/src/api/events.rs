//! Event creation.

use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::ApiAnswer;
use super::health::rfc3339_ago;
use crate::state::State;

/// Keeps a posted event unless its client address is none.
pub(super) fn create(state: &mut State, body: &[u8]) -> ApiAnswer {
    let Ok(event) = serde_json::from_slice::<Value>(body) else {
        return (
            StatusCode::BAD_REQUEST,
            json!({"detail": "JSON parse error"}),
        );
    };
    let mut errors = json!({});
    for field in ["action", "app"] {
        if !event[field].is_string() {
            errors[field] = json!(["This field is required."]);
        }
    }
    if event["client_ip"]
        .as_str()
        .is_some_and(|ip| ip.parse::<IpAddr>().is_err())
    {
        errors["client_ip"] = json!(["Enter a valid IPv4 or IPv6 address."]);
    }
    if errors != json!({}) {
        return (StatusCode::BAD_REQUEST, errors);
    }
    let now = rfc3339_ago(Duration::ZERO);
    let answer = json!({
        "pk": Uuid::new_v4(),
        "user": {},
        "action": event["action"],
        "app": event["app"],
        "context": event["context"],
        "client_ip": event["client_ip"],
        "created": now,
        "expires": now,
        "brand": {
            "app": "authentik_brands",
            "model_name": "brand",
            "pk": Uuid::nil().simple(),
            "name": "Brand fallback",
        },
    });
    state.events.push(event);
    (StatusCode::CREATED, answer)
}
