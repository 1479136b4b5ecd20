//! Faults that tests inject into answers.

use std::time::Duration;

use serde_json::{Map, Value};

/// A group of requests that a [`Fault`] applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Every request that no other fault is set for, pages for browsers included.
    Any,
    /// The list of outposts and a single outpost.
    Outposts,
    /// The list of proxy providers.
    Providers,
    /// The server's version.
    Version,
    /// The server's configuration.
    Config,
    /// The health of an outpost's instances.
    Health,
    /// Event creation.
    Events,
    /// The authorization endpoint.
    Authorize,
    /// The token endpoint.
    Token,
    /// The introspection endpoint.
    Introspect,
    /// The discovery document of an application.
    Discovery,
    /// The key set of a provider.
    Jwks,
    /// The handshake of the outpost websocket.
    Websocket,
    /// The end-session page of an application.
    EndSession,
}

impl Endpoint {
    /// Which endpoint a path (below the prefix, without a leading slash) belongs to.
    pub(crate) fn of(path: &str) -> Self {
        let segments: Vec<&str> = path.split('/').collect();
        match segments.as_slice() {
            ["ws", ..] => Self::Websocket,
            ["api", "v3", "outposts", "instances", _, "health", ..] => Self::Health,
            ["api", "v3", "outposts", "instances", ..] => Self::Outposts,
            ["api", "v3", "outposts", "proxy", ..] => Self::Providers,
            ["api", "v3", "admin", "version", ..] => Self::Version,
            ["api", "v3", "root", "config", ..] => Self::Config,
            ["api", "v3", "events", ..] => Self::Events,
            ["application", "o", "authorize", ..] => Self::Authorize,
            ["application", "o", "token", ..] => Self::Token,
            ["application", "o", "introspect", ..] => Self::Introspect,
            ["application", "o", _, ".well-known", ..] => Self::Discovery,
            ["application", "o", _, "jwks", ..] => Self::Jwks,
            ["application", "o", _, "end-session", ..] => Self::EndSession,
            _ => Self::Any,
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status with a short HTML page instead of the answer.
    Status(u16),
    /// 200 with an HTML page, as a captive portal or a wrong host answers.
    Html,
    /// 200 with valid JSON of an unexpected shape.
    WrongJson,
    /// The announced length, half of the body, then the end of the connection.
    Truncated,
    /// The right answer after this time.
    Slow(Duration),
    /// No answer for as long as this fault is set; the connection stays open.
    Hang,
    /// The connection is closed without an answer.
    Reset,
    /// Unknown fields in every object of the answer, as a newer server may send.
    ExtraFields,
    /// This field is absent from every object of the answer.
    MissingField(String),
    /// The right answer of a clock that is ahead by so many seconds, or behind if negative. Only
    /// its `Date` tells: tokens are issued by the right time.
    ClockAhead(i64),
}

/// Adds an unknown field to every object in `value`.
pub(crate) fn add_fields(value: &mut Value) {
    for_each_object(value, &mut |object| {
        object.insert("field_of_the_future".to_owned(), Value::from(vec![1, 2, 3]));
    });
}

/// Removes the field `name` from every object in `value`.
pub(crate) fn remove_field(value: &mut Value, name: &str) {
    for_each_object(value, &mut |object| {
        object.remove(name);
    });
}

fn for_each_object(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| for_each_object(item, change)),
        Value::Object(object) => {
            change(object);
            object
                .values_mut()
                .for_each(|field| for_each_object(field, change));
        }
        _ => {}
    }
}
