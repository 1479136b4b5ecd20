//! The requests that arrived.

use std::collections::VecDeque;

/// Older requests are forgotten, so that a benchmark does not fill the memory.
const REMEMBERED: usize = 20_000;

/// One request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The method, in upper case.
    pub method: String,
    /// The path as sent, prefix included.
    pub path: String,
    /// The query without its question mark, if there was one.
    pub query: Option<String>,
    /// Name (in lower case) and value of each header, repeated ones repeated.
    pub headers: Vec<(String, String)>,
    /// The body; bytes that are not UTF-8 are replaced.
    pub body: String,
}

impl Recorded {
    /// The first value of the header `name`, compared without case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }
}

/// The log of requests.
#[derive(Debug, Default)]
pub(crate) struct Requests(pub(crate) VecDeque<Recorded>);

impl Requests {
    pub(crate) fn push(&mut self, request: Recorded) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(request);
    }
}
