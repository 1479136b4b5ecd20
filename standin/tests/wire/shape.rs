//! Comparison of answers by their fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

type Shape = BTreeMap<String, BTreeSet<&'static str>>;

/// Both have the same fields, and ours have no type that the recorded ones never have.
pub(crate) fn assert_same(ours: &Value, recorded: &Value) {
    let (ours, recorded) = (shape(ours), shape(recorded));
    let names = |shape: &Shape| shape.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&recorded));
    for (field, types) in ours {
        let known = &recorded[&field];
        assert!(types.is_subset(known), "{field}: {types:?}, not {known:?}");
    }
}

fn shape(value: &Value) -> Shape {
    let mut shape = Shape::new();
    collect(value, "", &mut shape);
    shape
}

fn collect(value: &Value, path: &str, shape: &mut Shape) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    shape.entry(path.to_owned()).or_default().insert(kind);
    match value {
        Value::Array(items) => {
            for item in items.iter().filter(|item| item.is_object()) {
                collect(item, &format!("{path}[]"), shape);
            }
        }
        // Which attributes a user has is no matter of the protocol.
        Value::Object(fields) if !path.ends_with(".user_attributes") => {
            for (name, field) in fields {
                collect(field, &format!("{path}.{name}"), shape);
            }
        }
        _ => {}
    }
}
