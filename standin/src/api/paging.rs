//! Pages of a list.

use http::StatusCode;
use serde_json::{Value, json};

use super::ApiAnswer;
use crate::dialect::Dialect;
use crate::message::Form;

const DEFAULT_SIZE: usize = 20;
const LARGEST_SIZE: usize = 100;

/// The page of `items` that `query` asks for, 404 when there is no such page.
pub(super) fn page(dialect: Dialect, query: &Form, items: &[Value]) -> ApiAnswer {
    let number = |name: &str| query.get(name).map(str::parse::<usize>);
    let size = match number("page_size") {
        Some(Ok(size @ 1..)) => size.min(LARGEST_SIZE),
        _ => DEFAULT_SIZE,
    };
    let pages = items.len().div_ceil(size).max(1);
    let current = match number("page") {
        None => 1,
        Some(Ok(page)) if (1..=pages).contains(&page) => page,
        Some(_) => return (StatusCode::NOT_FOUND, json!({"detail": "Invalid page."})),
    };
    let start = (current - 1) * size;
    let end = items.len().min(start + size);
    let mut body = json!({
        "pagination": {
            "next": if current < pages { current + 1 } else { 0 },
            "previous": current - 1,
            "count": items.len(),
            "current": current,
            "total_pages": pages,
            "start_index": if items.is_empty() { 0 } else { start + 1 },
            "end_index": end,
        },
        "results": items[start..end],
    });
    if dialect == Dialect::V2026_2 {
        body["autocomplete"] = json!({});
    }
    (StatusCode::OK, body)
}
