//! `skip_path_regex`: paths that are allowed without a session, if they are unambiguous.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};

use crate::model::RequestedUrl;
use crate::model::path::unambiguous;

/// Compiled size of one expression, in bytes. authentik's administrators write these, so the bound
/// only guards against accidents.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// The expressions of one application for paths that are allowed without a session.
///
/// The syntax is RE2's, unanchored, one expression a line, as authentik documents it.
#[derive(Debug, Default)]
pub struct Allowlist {
    rules: Vec<Regex>,
    /// Lines that do not compile, with the reason.
    refused: Vec<(String, String)>,
    /// `forward_domain` applications match `scheme://host/path`, the others the path.
    full_url: bool,
}

impl Allowlist {
    /// Compiles one expression per non-empty line. Lines that do not compile are skipped, so that
    /// one typing error does not open or close everything else.
    #[must_use]
    pub fn compile(lines: &str, full_url: bool) -> Self {
        let mut rules = Vec::new();
        let mut refused = Vec::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match RegexBuilder::new(line)
                .size_limit(MAX_COMPILED_BYTES)
                .build()
            {
                Ok(rule) => rules.push(rule),
                Err(error) => refused.push((line.to_owned(), error.to_string())),
            }
        }
        Self {
            rules,
            refused,
            full_url,
        }
    }

    /// The expressions.
    pub fn expressions(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(Regex::as_str)
    }

    /// The lines that do not compile, with the reason.
    #[must_use]
    pub fn refused(&self) -> &[(String, String)] {
        &self.refused
    }

    /// The expression by which `url` is allowed without a session.
    ///
    /// The query is never considered (CVE-2025-54576), and a path that the application's server could
    /// read differently (dot segments, doubled or encoded slashes, `;`, encoded backslashes) never
    /// matches: the raw and the decoded path must both match, with the origin in front if the
    /// expressions are for full URLs. The time is linear in the path for each expression.
    #[must_use]
    pub fn matching(&self, url: &RequestedUrl<'_>) -> Option<&str> {
        if self.rules.is_empty() {
            return None;
        }
        let mut written = Cow::Borrowed(url.path());
        let mut decoded = unambiguous(url.path())?;
        if self.full_url {
            let origin = format!("{}://{}", url.scheme().as_str(), url.authority());
            written = Cow::Owned(format!("{origin}{written}"));
            decoded = Cow::Owned(format!("{origin}{decoded}"));
        }
        let mut rules = self.rules.iter();
        let found = rules.find(|rule| rule.is_match(&written) && rule.is_match(&decoded));
        found.map(Regex::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::{Allowlist, RequestedUrl};

    fn allows(rules: &str, full_url: bool, url: &str) -> bool {
        let list = Allowlist::compile(rules, full_url);
        assert!(list.refused().is_empty(), "{list:?}");
        list.matching(&RequestedUrl::parse(url).expect(url))
            .is_some()
    }

    #[test]
    fn matches_paths_unanchored() {
        for (rules, path, expected) in [
            ("^/api/.*", "/api/states", true),
            ("^/api/.*", "/apix", false),
            ("/health$\n^/metrics$", "/deep/health", true),
            ("/health$\n\n  ^/metrics$  ", "/metrics", true),
            ("", "/", false),
            ("^/caf\u{e9}$", "/caf%C3%A9", false),
            ("^/a b$|^/a%20b$", "/a%20b", true),
        ] {
            assert_eq!(
                allows(rules, false, &format!("https://a.example{path}")),
                expected,
                "{rules} {path}"
            );
        }
    }

    #[test]
    fn cve_2025_54576_never_looks_at_the_query() {
        for (rules, full_url) in [("/health", false), ("/health", true), ("/public/", true)] {
            for target in [
                "/admin?x=/health",
                "/admin?x=https://a.example/public/",
                "/admin?/health",
            ] {
                assert!(
                    !allows(rules, full_url, &format!("https://a.example{target}")),
                    "{target}"
                );
            }
        }
    }

    #[test]
    fn ghsa_3q34_rx83_r6mq_and_kin_ambiguous_paths_never_pass() {
        for path in [
            "/public/../admin",
            "/public/%2e%2e/admin",
            "/public/%2e%2e%2fadmin",
            "/public//admin",
            "/public/;/admin",
            "/public/..;/admin",
            "/public/%5c..%5cadmin",
            "/public/%252e%252e/admin",
            "/public/%00",
            "/public/.",
            "/public/%3b",
            "/public/%ff",
            "//public/",
            "/public/x%2fy",
            "/public/\\admin",
            "/public/%3fx",
            "/public/%0d",
        ] {
            assert!(
                !allows(
                    "^/public/|public",
                    false,
                    &format!("https://a.example{path}")
                ),
                "{path}"
            );
        }
        assert!(allows("^/public/", false, "https://a.example/public/x"));
        assert!(!allows("^/admin$", false, "https://a.example/%61dmin"));
    }

    #[test]
    fn forward_domain_matches_the_full_url_without_query() {
        assert!(allows(
            "^https://a\\.example/open",
            true,
            "https://a.example/open/x?y=1"
        ));
        assert!(!allows(
            "^https://a\\.example/open",
            true,
            "https://b.example/open/x"
        ));
    }

    #[test]
    fn a_line_that_does_not_compile_is_reported_and_skipped() {
        let list = Allowlist::compile("(\n^/ok$\n(?=x)", false);
        assert_eq!(list.refused().len(), 2);
        let url = RequestedUrl::parse("https://a.example/ok").expect("a URL");
        assert_eq!(list.matching(&url), Some("^/ok$"));
    }
}
