//! Client for authentik's REST API: authentication, JSON and pagination.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::{BackChannel, FetchError};
use crate::model::{Hint, HintText};

/// `User-Agent` of everything but the outpost's own requests, which name its protocol version.
pub const PRODUCT: &str = concat!("authentik-proxy/", env!("CARGO_PKG_VERSION"));
/// Entries per page; what the vendor's outpost asks for.
const PAGE_SIZE: u32 = 100;
/// Maximum number of pages of a list.
const MAX_PAGES: u32 = 1000;
/// Attempts to read a list whose length changes between two pages.
const MAX_LIST_ATTEMPTS: u32 = 3;
/// Maximum length of the part of a response that an error keeps.
const MAX_DETAIL_CHARS: usize = 300;

/// Why the API gave no usable response. The text says the cause, [`Hint`] what to do.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// No response.
    #[error("authentik cannot be reached at {url}: {source}")]
    Unreachable {
        /// The path of the request.
        url: String,
        /// Why.
        source: FetchError,
    },
    /// An unexpected status.
    #[error("{url} answered with {status}")]
    Status {
        /// The path of the request.
        url: String,
        /// The status.
        status: StatusCode,
        /// authentik's description, on one line, shortened.
        detail: String,
    },
    /// The response is not JSON.
    #[error("{url} answered with {kind} instead of JSON")]
    NotJson {
        /// The path of the request.
        url: String,
        /// Its content type.
        kind: String,
    },
    /// The response is JSON of another form.
    #[error("the response of {url} cannot be decoded: {reason}")]
    Shape {
        /// The path of the request.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Hint for RestError {
    fn hint(&self) -> Option<HintText> {
        let hint = match self {
            Self::Unreachable { source, .. } => source.hint_for_authentik(),
            Self::Status { .. } => {
                "check that AUTHENTIK_HOST is authentik's address with its path prefix, and authentik's own log"
            }
            Self::NotJson { .. } => {
                "AUTHENTIK_HOST leads to something other than authentik, such as an ingress or a login page: inside a cluster use the Service, for example http://authentik-server.authentik.svc.cluster.local"
            }
            Self::Shape { .. } => {
                "check that AUTHENTIK_HOST leads to authentik itself, and that its version is not newer than this program knows"
            }
        };
        Some(hint.into())
    }
}

/// One page of a list. The entries are decoded one by one, so that a bad one fails alone.
#[derive(Debug, Deserialize)]
struct Page {
    pagination: Option<Pagination>,
    results: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Pagination {
    /// Number of the next page, 0 on the last one.
    next: Option<f64>,
    /// Number of entries on all pages.
    count: Option<f64>,
}

impl Page {
    fn next(&self) -> f64 {
        let pagination = self.pagination.as_ref();
        pagination.and_then(|page| page.next).unwrap_or_default()
    }

    fn count(&self) -> Option<f64> {
        self.pagination.as_ref()?.count
    }
}

/// A client of the API below `api/v3/`.
pub struct Rest<'a> {
    host: &'a Url,
    token: &'a SecretString,
    user_agent: String,
    back_channel: &'a BackChannel,
}

impl<'a> Rest<'a> {
    /// A client for authentik at `host` with this token and user agent.
    #[must_use]
    pub fn new(
        host: &'a Url,
        token: &'a SecretString,
        user_agent: String,
        back_channel: &'a BackChannel,
    ) -> Self {
        Self {
            host,
            token,
            user_agent,
            back_channel,
        }
    }

    /// Reads an object.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RestError> {
        let answer = self
            .exchange(Method::GET, path, None, StatusCode::OK)
            .await?;
        json(self.url(path), &answer)
    }

    /// Reads a list, all its pages. One that is incomplete is read again: pages are numbered, so that the
    /// removal of an entry while the list is read moves another one to a page that was read before.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>, RestError> {
        for _ in 0..MAX_LIST_ATTEMPTS {
            if let Some(entries) = self.complete_list(path).await? {
                return Ok(entries);
            }
        }
        Err(RestError::Shape {
            url: self.url(path),
            reason: "the list is incomplete, or changes while it is read".to_owned(),
        })
    }

    /// `None` if the number of entries changes from page to page, or is not that of the pages.
    async fn complete_list(&self, path: &str) -> Result<Option<Vec<Value>>, RestError> {
        let (mut entries, mut count) = (Vec::new(), None);
        for number in 1..=MAX_PAGES {
            let query = if path.contains('?') { '&' } else { '?' };
            let page: Page = self
                .get(&format!("{path}{query}page={number}&page_size={PAGE_SIZE}"))
                .await?;
            let (next, counted) = (page.next(), page.count());
            if count.replace(counted).is_some_and(|count| count != counted) {
                return Ok(None);
            }
            entries.extend(page.results);
            if next <= f64::from(number) {
                break;
            }
        }
        let length = f64::from(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        let is_complete = match count.flatten() {
            Some(count) => length >= count,
            // A full page without a word of the next one.
            None => length < f64::from(PAGE_SIZE),
        };
        Ok(is_complete.then_some(entries))
    }

    /// Creates an object.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<T, RestError> {
        let answer = self
            .exchange(Method::POST, path, Some(body), StatusCode::CREATED)
            .await?;
        json(self.url(path), &answer)
    }

    /// Changes the fields that `body` has.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<(), RestError> {
        self.exchange(Method::PATCH, path, Some(body), StatusCode::OK)
            .await
            .map(drop)
    }

    /// Deletes an object.
    pub async fn delete(&self, path: &str) -> Result<(), RestError> {
        self.exchange(Method::DELETE, path, None, StatusCode::NO_CONTENT)
            .await
            .map(drop)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        expected: StatusCode,
    ) -> Result<Response<Bytes>, RestError> {
        let url = self.url(path);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}api/v3/{path}", self.host))
            .header(
                header::AUTHORIZATION,
                format!("Bearer {}", self.token.expose_secret()),
            )
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, &self.user_agent);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Full::default, |body| Full::from(body.to_string()));
        let request = request.body(body).map_err(|error| RestError::Shape {
            url: url.clone(),
            reason: error.to_string(),
        })?;
        let answer = match self.back_channel.fetch(request).await {
            Ok(answer) => answer,
            Err(source) => return Err(RestError::Unreachable { url, source }),
        };
        let status = answer.status();
        if status == expected {
            return Ok(answer);
        }
        let detail = detail(answer.body());
        Err(RestError::Status {
            url,
            status,
            detail,
        })
    }

    fn url(&self, path: &str) -> String {
        let path = path.split('?').next().unwrap_or_default();
        format!("{}api/v3/{path}", self.host)
    }
}

fn json<T: DeserializeOwned>(url: String, answer: &Response<Bytes>) -> Result<T, RestError> {
    let kind = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("application/json")) {
        let kind = kind.unwrap_or("no content type").to_owned();
        return Err(RestError::NotJson { url, kind });
    }
    serde_json::from_slice(answer.body()).map_err(|error| RestError::Shape {
        url,
        reason: error.to_string(),
    })
}

/// The description of an error: authentik's `detail`, or the errors of the fields.
fn detail(body: &[u8]) -> String {
    let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
        return String::new();
    };
    let detail = body.iter().map(|(field, value)| {
        let texts = match value {
            Value::Array(texts) => texts.as_slice(),
            other => std::slice::from_ref(other),
        };
        let texts: Vec<_> = texts.iter().map(plain).collect();
        match field.as_str() {
            "detail" | "non_field_errors" => texts.join(" "),
            field => format!("{field}: {}", texts.join(" ")),
        }
    });
    let detail = detail.collect::<Vec<_>>().join("; ");
    let shortened = detail.chars().take(MAX_DETAIL_CHARS);
    shortened
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::config::Egress;
    use crate::replay::Replay;
    use crate::web::client::trust::Trust;

    #[tokio::test]
    async fn a_list_counts_as_a_whole_only() {
        let page = |next: u32, count: Option<u32>, entries: std::ops::Range<u32>| {
            let mut pagination = json!({"next": next});
            if let Some(count) = count {
                pagination["count"] = count.into();
            }
            let body = json!({"pagination": pagination, "results": entries.collect::<Vec<_>>()});
            json!({"status": 200, "content_type": "application/json", "body": body})
        };
        let bare = |entries: std::ops::Range<u32>| {
            let body = json!({"results": entries.collect::<Vec<_>>()});
            json!({"status": 200, "content_type": "application/json", "body": body})
        };
        // An entry of the first page is removed: the 101st moves there.
        let moved = [page(2, Some(102), 0..100), page(0, Some(101), 101..102)];
        let whole = [page(2, Some(101), 1..101), page(0, Some(101), 101..102)];
        for (answers, expected) in [
            (vec![page(0, Some(2), 0..2)], Some(2)),
            (vec![page(0, Some(0), 0..0)], Some(0)),
            (vec![bare(0..2)], Some(2)),
            (whole.to_vec(), Some(101)),
            ([moved.clone(), whole].concat(), Some(101)),
            ([moved.clone(), moved.clone(), moved].concat(), None),
            (vec![page(0, Some(2), 0..1); 3], None),
            (vec![bare(0..100); 3], None),
        ] {
            let server = Replay::start().await;
            server.plays(&answers);
            let (host, token) = (format!("{}/", server.base), "token".into());
            let host = Url::parse(&host).expect("a URL");
            let trust = Trust::load(None).expect("usable");
            let channel =
                BackChannel::over(&trust, false, Duration::from_mins(1), &Egress::default());
            let rest = Rest::new(&host, &token, String::new(), &channel);
            let found = rest.list("outposts/proxy/").await;
            assert_eq!(found.ok().map(|found| found.len()), expected);
            assert_eq!(server.asked().len(), answers.len());
        }
    }

    #[test]
    fn failures_are_formatted_in_one_line() {
        for (body, expected) in [
            (
                r#"{"detail":"Token invalid/expired"}"#,
                "Token invalid/expired",
            ),
            (
                r#"{"name":["This field must be unique."],"slug":["Enter a valid slug.","Too long."]}"#,
                "name: This field must be unique.; slug: Enter a valid slug. Too long.",
            ),
            (r#"{"non_field_errors":["a\nb"]}"#, "a b"),
            (r#"{"code":7}"#, "code: 7"),
            ("<html>", ""),
            ("[]", ""),
        ] {
            assert_eq!(detail(body.as_bytes()), expected, "{body}");
        }
        let long = format!(r#"{{"detail":"{}"}}"#, "x".repeat(1000));
        assert_eq!(detail(long.as_bytes()).len(), MAX_DETAIL_CHARS);
    }
}
