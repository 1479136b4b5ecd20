//! The file's section `applications`: what is set for single applications, by their slug.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;

use super::error::Problems;
use super::file::node::Node;
use super::settings;
use super::suggest::{did_you_mean, nearest};
use crate::model::{
    Action, Diagnostic, HeaderEncoding, HeaderSource, HintText, IdentityOptions, PathPattern,
    Policy, Rule, UpstreamProtocol, is_framing_header,
};

/// The name of the section.
pub(super) const SECTION: &str = "applications";

const KEYS: [&str; 11] = [
    "cors_preflight",
    "header_encoding",
    "headers",
    "identity_headers",
    "original_method",
    "reauthorize_interval",
    "redirect_scripts",
    "rules",
    "send_jwt",
    "trusted_networks",
    "upstream_protocol",
];
const RULE_KEYS: [&str; 5] = ["action", "groups", "methods", "networks", "path"];
const HEADER_KEYS: [&str; 2] = ["file", "prefix"];

/// The minimum of `session.reauthorize_interval`.
const MIN_REAUTHORIZE_INTERVAL: Duration = Duration::from_mins(1);

/// Settings by application slug.
pub type Policies = HashMap<String, Policy>;

/// Reads the section; what cannot be read is a problem.
pub(super) fn read(section: Node, problems: &mut Problems) -> Policies {
    let mut policies = Policies::new();
    let mut reader = Reader { problems };
    for (slug, settings) in reader.map(SECTION, section) {
        let policy = reader.policy(&format!("{SECTION}.{slug}"), settings);
        policies.insert(slug, policy);
    }
    policies
}

struct Reader<'a> {
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn policy(&mut self, at: &str, settings: Node) -> Policy {
        let mut policy = Policy {
            identity: IdentityOptions::default(),
            ..Policy::default()
        };
        let mut trusted = None;
        for (key, node) in self.map(at, settings) {
            let at = format!("{at}.{key}");
            match key.as_str() {
                "cors_preflight" => policy.cors_preflight = self.flag(&at, node),
                "original_method" => policy.original_method = self.flag(&at, node),
                "reauthorize_interval" => policy.reauthorize_interval = self.interval(&at, node),
                "redirect_scripts" => policy.redirect_scripts = self.flag(&at, node),
                "send_jwt" => policy.identity.send_jwt = Some(self.flag(&at, node)),
                "header_encoding" => policy.identity.encoding = self.encoding(&at, node),
                "headers" => policy.headers = self.headers(&at, node),
                "identity_headers" => policy.identity_headers = self.names(&at, node),
                "rules" => policy.rules = self.rules(&at, node),
                "trusted_networks" => trusted = Some(self.networks(&at, node)),
                "upstream_protocol" => policy.upstream_protocol = self.protocol(&at, node),
                _ => self.unknown(&at, &key, &KEYS),
            }
        }
        // After the rules, so that these can still restrict.
        policy.rules.extend(
            trusted
                .filter(|nets| !nets.is_empty())
                .map(|networks| Rule {
                    path: None,
                    networks,
                    methods: Vec::new(),
                    action: Action::Allow,
                }),
        );
        policy
    }

    fn rules(&mut self, at: &str, node: Node) -> Vec<Rule> {
        let Node::List(items) = node else {
            self.problem(at, "is not a list of rules");
            return Vec::new();
        };
        let numbered = items.into_iter().enumerate();
        numbered
            .filter_map(|(index, item)| self.rule(&format!("{at}[{}]", index + 1), item))
            .collect()
    }

    fn rule(&mut self, at: &str, node: Node) -> Option<Rule> {
        let (mut action, mut groups) = (None, Vec::new());
        let (mut path, mut networks, mut methods) = (None, Vec::new(), Vec::new());
        for (key, node) in self.map(at, node) {
            let at = format!("{at}.{key}");
            match key.as_str() {
                "action" => action = self.text(&at, node),
                "groups" => groups = self.texts(&at, node),
                "networks" => networks = self.networks(&at, node),
                "methods" => methods = self.methods(&at, node),
                "path" => {
                    let text = self.text(&at, node)?;
                    // The last line of the error tells; those above draw it.
                    let compiled = PathPattern::new(&text).map_err(|error| {
                        let text = error.to_string();
                        text.lines().last().unwrap_or_default().to_owned()
                    });
                    path = self.parsed(&at, compiled);
                    path.as_ref()?;
                }
                _ => self.unknown(&at, &key, &RULE_KEYS),
            }
        }
        let action = match (action.as_deref(), groups.is_empty()) {
            (Some("allow"), true) => Action::Allow,
            (Some("deny"), true) => Action::Deny,
            (Some("require"), false) => Action::Require(groups),
            (Some("require"), true) => {
                self.problem_with_hint(at, "requires no group", "name some in `groups`");
                return None;
            }
            (Some("allow" | "deny"), false) => {
                self.problem(
                    at,
                    "has `groups`, which only the action \"require\" looks at",
                );
                return None;
            }
            _ => {
                self.problem(at, "needs an action: allow, deny or require");
                return None;
            }
        };
        Some(Rule {
            path,
            networks,
            methods,
            action,
        })
    }

    fn headers(&mut self, at: &str, node: Node) -> Vec<(HeaderName, HeaderSource)> {
        let mut headers = Vec::new();
        for (name, node) in self.map(at, node) {
            let at = format!("{at}.{name}");
            let name = self.parsed(&at, HeaderName::try_from(name.as_str()));
            let source = match node {
                node @ (Node::Text(_) | Node::Unquoted(_)) => {
                    let text = self.text(&at, node);
                    let value = text.and_then(|text| self.parsed(&at, HeaderValue::try_from(text)));
                    value.map(|mut value| {
                        value.set_sensitive(true);
                        HeaderSource::Value(value)
                    })
                }
                node => self.file(&at, node),
            };
            headers.extend(name.zip(source));
        }
        headers
    }

    fn names(&mut self, at: &str, node: Node) -> Vec<HeaderName> {
        let texts = self.texts(at, node).into_iter();
        let mut names: Vec<_> = texts
            .filter_map(|text| self.parsed(at, HeaderName::try_from(text)))
            .collect();
        names.retain(|name| {
            let frames = is_framing_header(name);
            if frames {
                self.problem(at, &format!("{name} is not an identity header"));
            }
            !frames
        });
        names
    }

    fn file(&mut self, at: &str, node: Node) -> Option<HeaderSource> {
        let (mut path, mut prefix) = (None, String::new());
        for (key, node) in self.map(at, node) {
            let at = format!("{at}.{key}");
            match key.as_str() {
                "file" => path = self.text(&at, node),
                "prefix" => prefix = self.text(&at, node)?,
                _ => self.unknown(&at, &key, &HEADER_KEYS),
            }
        }
        if path.is_none() {
            self.problem(at, "needs a value, or the name of a `file` that holds it");
        }
        let path = path?.into();
        Some(HeaderSource::File { path, prefix })
    }

    fn encoding(&mut self, at: &str, node: Node) -> HeaderEncoding {
        match self.text(at, node).as_deref() {
            Some("percent") => HeaderEncoding::Percent,
            Some("utf-8") | None => HeaderEncoding::Utf8,
            Some(_) => {
                self.problem(at, "is neither \"utf-8\" nor \"percent\"");
                HeaderEncoding::Utf8
            }
        }
    }

    fn protocol(&mut self, at: &str, node: Node) -> UpstreamProtocol {
        match self.text(at, node).as_deref() {
            Some("http2") => UpstreamProtocol::Http2,
            Some("http1") | None => UpstreamProtocol::Http1,
            Some(_) => {
                self.problem(at, "is neither \"http1\" nor \"http2\"");
                UpstreamProtocol::Http1
            }
        }
    }

    fn flag(&mut self, at: &str, node: Node) -> bool {
        let text = self.text(at, node).unwrap_or_default();
        settings::flag(&text).unwrap_or_else(|error| {
            self.problem(at, &error.reason);
            false
        })
    }

    /// An interval for [`Session::reauthorize_interval`](super::Session); 0 turns it off.
    fn interval(&mut self, at: &str, node: Node) -> Option<Duration> {
        let text = self.text(at, node)?;
        let minimum = match settings::duration(Duration::ZERO)(&text) {
            Ok(Duration::ZERO) => return Some(Duration::ZERO),
            _ => MIN_REAUTHORIZE_INTERVAL,
        };
        let interval = settings::duration(minimum)(&text);
        interval
            .map_err(|error| self.problem(at, &error.reason))
            .ok()
    }

    fn networks(&mut self, at: &str, node: Node) -> Vec<IpNet> {
        let texts = self.texts(at, node).join(",");
        settings::networks(&texts).unwrap_or_else(|error| {
            self.problem(at, &error.reason);
            Vec::new()
        })
    }

    fn methods(&mut self, at: &str, node: Node) -> Vec<Method> {
        let texts = self.texts(at, node).into_iter();
        let methods = texts.filter_map(|text| {
            let upper = text.to_ascii_uppercase();
            if text != upper {
                // Methods are case-sensitive (RFC 9110 section 9.1), and no client sends this one.
                let reason = format!("{text:?} is not an HTTP method");
                self.problem_with_hint(at, &reason, format!("write {upper}"));
                return None;
            }
            self.parsed(at, Method::from_bytes(text.as_bytes()))
        });
        methods.collect()
    }

    fn map(&mut self, at: &str, node: Node) -> Vec<(String, Node)> {
        match node {
            Node::Map(entries) => entries,
            Node::Nothing => Vec::new(),
            _ => {
                self.problem(at, "is a section, not a value");
                Vec::new()
            }
        }
    }

    fn texts(&mut self, at: &str, node: Node) -> Vec<String> {
        let items = match node {
            Node::List(items) => items,
            node => vec![node],
        };
        items
            .into_iter()
            .filter_map(|item| self.text(at, item))
            .collect()
    }

    fn text(&mut self, at: &str, node: Node) -> Option<String> {
        let text = node.into_item();
        match &text {
            None => self.problem(at, "is not a value"),
            Some(text) if text.starts_with("env://") || text.starts_with("file://") => {
                self.problem_with_hint(
                    at,
                    "env:// and file:// are not followed here",
                    "write the value, or for a header {file: /the/path}",
                );
            }
            Some(_) => {}
        }
        text
    }

    fn parsed<T, E: std::fmt::Display>(&mut self, at: &str, parsed: Result<T, E>) -> Option<T> {
        parsed
            .map_err(|error| self.problem(at, &format!("is not usable: {error}")))
            .ok()
    }

    fn unknown(&mut self, at: &str, key: &str, known: &[&'static str]) {
        let meant = nearest(key, known.iter().copied(), 2);
        self.problems.push(Diagnostic {
            hint: did_you_mean(meant),
            ..format!("{at}: unknown key").into()
        });
    }

    fn problem(&mut self, at: &str, reason: &str) {
        self.problems.push(format!("{at}: {reason}"));
    }

    fn problem_with_hint(&mut self, at: &str, reason: &str, hint: impl Into<HintText>) {
        self.problems
            .push(Diagnostic::new(format!("{at}: {reason}")).hinting(hint));
    }
}

#[cfg(test)]
mod tests;
