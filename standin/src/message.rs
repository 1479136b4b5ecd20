//! Requests as handlers see them and the answers they give.

use std::io;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, LOCATION, PRAGMA};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use maud::Markup;
use serde_json::Value;

use crate::pages;
use crate::state::Settings;

/// What goes to the client; it can fail on purpose.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// What handlers make, before faults are applied.
pub(crate) type Answer = Response<Bytes>;

/// A request with its body.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) method: Method,
    /// The path below the prefix, without a leading slash.
    pub(crate) path: String,
    pub(crate) raw_query: String,
    pub(crate) query: Form,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Scheme, host and prefix that the client (or the header that speaks for it) used.
    pub(crate) base: String,
}

impl Incoming {
    /// The base URL of a request: its `Host`, and `X-Forwarded-Proto` if a proxy set it.
    pub(crate) fn base_of(headers: &HeaderMap, settings: &Settings) -> String {
        let scheme = text(headers, "x-forwarded-proto").unwrap_or(settings.scheme());
        let own = settings.addr.to_string();
        let host = text(headers, HOST.as_str()).unwrap_or(&own);
        format!("{scheme}://{host}{}", settings.prefix)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        text(&self.headers, name)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.base.starts_with("https:")
    }

    /// The body as a form.
    pub(crate) fn form(&self) -> Form {
        Form::parse(&self.body)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Decoded pairs of a form or a query.
#[derive(Debug)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// An answer with a body of that content type.
pub(crate) fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// JSON as the OAuth endpoints send it.
pub(crate) fn json(status: StatusCode, value: &Value) -> Answer {
    answer(status, "application/json", value.to_string().into())
}

/// JSON that must not be cached.
pub(crate) fn uncached_json(status: StatusCode, value: &Value) -> Answer {
    let mut answer = json(status, value);
    answer
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
        .headers_mut()
        .insert(PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}

/// A page for browsers.
pub(crate) fn html(status: StatusCode, page: Markup) -> Answer {
    answer(
        status,
        "text/html; charset=utf-8",
        page.into_string().into(),
    )
}

/// The page for paths that do not exist.
pub(crate) fn not_found() -> Answer {
    html(StatusCode::NOT_FOUND, pages::error(StatusCode::NOT_FOUND))
}

/// An answer with the content type of pages and no body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    answer(status, "text/html; charset=utf-8", Bytes::new())
}

/// A temporary redirect.
pub(crate) fn redirect(location: &str) -> Answer {
    let mut answer = empty(StatusCode::FOUND);
    let location = HeaderValue::from_str(location).expect("locations are built percent-encoded");
    answer.headers_mut().insert(LOCATION, location);
    answer
}
