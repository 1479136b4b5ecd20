//! What a labelled Service or Ingress asks for.

use std::collections::BTreeMap;
use std::fmt;

use regex::Regex;
use serde::Serialize;

use crate::discover::desired::address::{Host, external, of_ingress};
use crate::discover::desired::ports::Ports;
use crate::discover::desired::slug;
use crate::discover::ownership_marker::{Kind, Source};
use crate::model::ExternalUrl;

/// The label of objects to read.
pub const LABEL: &str = "authentik.io/proxy";
/// Its value for those that want to be an application.
const ENABLED: &str = "enabled";
/// Its values for those that do not, yet.
const DISABLED: [&str; 2] = ["disabled", "false"];
/// How the names of our annotations begin.
const PREFIX: &str = "authentik.io/";

/// The annotations, without [`PREFIX`].
const EXTERNAL_HOST: &str = "external-host";
const SLUG: &str = "slug";
const NAME: &str = "service-name";
const DESCRIPTION: &str = "description";
const PUBLISHER: &str = "publisher";
const MODE: &str = "mode";
const INTERNAL_PORT: &str = "internal-port";
const INTERNAL_SCHEME: &str = "internal-scheme";
const INTERNAL_TLS_VERIFY: &str = "internal-tls-verify";
const SKIP_PATH_REGEX: &str = "skip-path-regex";
const INTERCEPT: &str = "intercept-header-auth";
const ALL: [&str; 11] = [
    EXTERNAL_HOST,
    SLUG,
    NAME,
    DESCRIPTION,
    PUBLISHER,
    MODE,
    INTERNAL_PORT,
    INTERNAL_SCHEME,
    INTERNAL_TLS_VERIFY,
    SKIP_PATH_REGEX,
    INTERCEPT,
];

/// A labelled object as Kubernetes has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// Which one it is.
    pub source: Source,
    /// The value of [`LABEL`].
    pub label: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// What depends on its kind.
    pub spec: Spec,
}

impl Labelled {
    /// The value of an annotation; an empty one counts as absent.
    fn text(&self, key: &str) -> Option<&str> {
        let value = self.annotations.get(&format!("{PREFIX}{key}"))?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }

    /// The slug that it asks for, valid or not.
    #[must_use]
    pub fn slug(&self) -> &str {
        self.text(SLUG).unwrap_or(&self.source.name)
    }
}

/// What a labelled object leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// A Service, with its ports.
    Service(Ports),
    /// An Ingress, with the hosts of its rules.
    Ingress(Vec<Host>),
}

/// An application as it should be at authentik.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredApplication {
    /// Who asks for it.
    pub source: Source,
    /// Slug of the application.
    pub slug: String,
    /// Name of the application.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its publisher.
    pub publisher: String,
    /// Settings of its provider.
    pub provider: Provider,
}

/// The fields of a proxy provider that annotations decide about, as authentik has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Provider {
    /// The external address of the application; without a slash at the end of a bare host.
    pub external_host: String,
    /// Where the outpost finds it; empty with forward auth.
    #[serde(default)]
    pub internal_host: String,
    /// `proxy` or `forward_single`, or what only others set.
    pub mode: String,
    /// Whether the outpost verifies the certificate of `internal_host`.
    pub internal_host_ssl_validation: bool,
    /// Expressions of paths that need no login, one a line.
    #[serde(default)]
    pub skip_path_regex: String,
    /// Whether the outpost looks at `Authorization`.
    pub intercept_header_auth: bool,
}

impl Provider {
    /// The address as requests are routed by it; what is no address, as it is.
    pub(in crate::discover) fn address(&self) -> String {
        routed(&self.external_host)
    }
}

fn routed(external_host: &str) -> String {
    let url = ExternalUrl::parse(external_host);
    url.map_or_else(|_| external_host.to_owned(), |url| url.routed())
}

/// Something wrong with the annotations of an object, or odd about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    key: &'static str,
    text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, text } = self;
        if *key == LABEL {
            write!(f, "label {LABEL} {text}")
        } else {
            write!(f, "annotation {PREFIX}{key} {text}")
        }
    }
}

/// What the reading of annotations depends on besides the object.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// DNS domain of the cluster's Services.
    pub cluster_domain: &'a str,
    /// Longest slug that authentik accepts, in characters, if there is a limit.
    pub max_slug_chars: Option<usize>,
}

/// What an object asks for: an application, nothing, or something that cannot be.
pub fn desired_application(
    labelled: &Labelled,
    rules: Rules<'_>,
) -> Result<Option<DesiredApplication>, Vec<Problem>> {
    match labelled.label.as_str() {
        ENABLED => {}
        label if DISABLED.contains(&label) => return Ok(None),
        label => {
            let text = format!("is {label:?}; expected {ENABLED:?} or {:?}", DISABLED[0]);
            return Err(vec![Problem { key: LABEL, text }]);
        }
    }
    let mut reader = Reader::new(labelled, rules);
    let wanted = reader.wanted();
    if reader.problems.is_empty() {
        Ok(wanted)
    } else {
        Err(reader.problems)
    }
}

/// What an object asks for that only one can have, as far as it can be read; whatever else may be
/// wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Slug of the application.
    pub slug: Option<String>,
    /// Its external host, by which requests are routed.
    pub address: Option<String>,
}

/// Reads [`Claim`].
#[must_use]
pub fn claim(labelled: &Labelled, rules: Rules<'_>) -> Claim {
    let mut reader = Reader::new(labelled, rules);
    Claim {
        slug: reader.slug(),
        address: reader.external_host().map(|host| routed(&host)),
    }
}

/// Annotations in our name that mean nothing, each with what was probably meant.
#[must_use]
pub fn unknown(labelled: &Labelled) -> Vec<String> {
    let names = labelled.annotations.keys();
    let known = names.filter_map(|name| name.strip_prefix(PREFIX));
    known
        .filter(|name| !ALL.contains(name))
        .map(|name| {
            let near = ALL
                .iter()
                .map(|known| (strsim::osa_distance(name, known), known));
            let near = near.filter(|(distance, _)| *distance <= 3).min();
            let hint = near.map_or_else(String::new, |(_, known)| {
                format!("; did you mean {PREFIX}{known}?")
            });
            format!("annotation {PREFIX}{name} is unknown and has no effect{hint}")
        })
        .collect()
}

/// Reads annotations and keeps what is wrong with them.
struct Reader<'a> {
    labelled: &'a Labelled,
    rules: Rules<'a>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn new(labelled: &'a Labelled, rules: Rules<'a>) -> Self {
        Self {
            labelled,
            rules,
            problems: Vec::new(),
        }
    }

    /// `None` only if a problem was recorded.
    fn wanted(&mut self) -> Option<DesiredApplication> {
        let labelled = self.labelled;
        let name = &labelled.source.name;
        let text = |key| self.text(key).unwrap_or_default().to_owned();
        let (description, publisher) = (text(DESCRIPTION), text(PUBLISHER));
        let title = self.text(NAME).unwrap_or(name).to_owned();
        let slug = self.slug();
        let external_host = self.external_host();
        let proxied = self.is_proxied();
        let internal_host = match &labelled.spec {
            Spec::Service(ports) if proxied => self.internal_host(ports),
            _ => Some(String::new()),
        };
        let verify = self.flag(INTERNAL_TLS_VERIFY);
        let intercept_header_auth = self.flag(INTERCEPT);
        let skip_path_regex = self.skip_path_regex();
        Some(DesiredApplication {
            source: labelled.source.clone(),
            slug: slug?,
            name: title,
            description,
            publisher,
            provider: Provider {
                external_host: external_host?,
                internal_host: internal_host?,
                mode: if proxied { "proxy" } else { "forward_single" }.to_owned(),
                internal_host_ssl_validation: verify,
                skip_path_regex,
                intercept_header_auth,
            },
        })
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.labelled.text(key)
    }

    fn problem(&mut self, key: &'static str, text: impl Into<String>) {
        let text = text.into();
        self.problems.push(Problem { key, text });
    }

    fn slug(&mut self) -> Option<String> {
        let slug = self.labelled.slug().to_owned();
        let checked = slug::check(&slug, self.rules.max_slug_chars);
        checked.map_err(|text| self.problem(SLUG, text)).ok()?;
        Some(slug)
    }

    fn flag(&mut self, key: &'static str) -> bool {
        match self.text(key) {
            None | Some("true") => true,
            Some("false") => false,
            Some(other) => {
                let text = format!("is {other:?}; expected \"true\" or \"false\"");
                self.problem(key, text);
                true
            }
        }
    }

    /// Whether requests go through the outpost.
    fn is_proxied(&mut self) -> bool {
        let is_service = self.labelled.source.kind == Kind::Service;
        match self.text(MODE) {
            None => is_service,
            Some("proxy") if is_service => true,
            Some("forward_single") => false,
            Some("proxy") => {
                self.problem(
                    MODE,
                    "is \"proxy\", for which there has to be a Service: label that instead",
                );
                false
            }
            Some(other) => {
                let text = format!("is {other:?}; expected \"proxy\" or \"forward_single\"");
                self.problem(MODE, text);
                is_service
            }
        }
    }

    fn external_host(&mut self) -> Option<String> {
        let found = match (self.text(EXTERNAL_HOST), &self.labelled.spec) {
            (Some(text), _) => external(text),
            (None, Spec::Service(_)) => Err(
                "is missing; expected the URL that users open, for example https://app.example.com"
                    .to_owned(),
            ),
            (None, Spec::Ingress(hosts)) => of_ingress(hosts),
        };
        found.map_err(|text| self.problem(EXTERNAL_HOST, text)).ok()
    }

    fn internal_host(&mut self, ports: &Ports) -> Option<String> {
        let Source {
            namespace, name, ..
        } = &self.labelled.source;
        let scheme = match self.text(INTERNAL_SCHEME) {
            None => "http",
            Some(scheme @ ("http" | "https")) => scheme,
            Some(other) => {
                let text = format!("is {other:?}; expected \"http\" or \"https\"");
                self.problem(INTERNAL_SCHEME, text);
                return None;
            }
        };
        match ports.choose(self.text(INTERNAL_PORT)) {
            Ok(port) => Some(format!(
                "{scheme}://{name}.{namespace}.svc.{}:{port}",
                self.rules.cluster_domain
            )),
            Err(text) => {
                self.problem(INTERNAL_PORT, text);
                None
            }
        }
    }

    /// Every line has to be an expression: the outpost would leave out one that is not.
    fn skip_path_regex(&mut self) -> String {
        let text = self.text(SKIP_PATH_REGEX).unwrap_or_default();
        let lines: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        let text = lines.join("\n");
        let wrong = lines.into_iter().find(|line| Regex::new(line).is_err());
        if let Some(wrong) = wrong {
            let wrong = format!("{wrong:?} is not a regular expression");
            self.problem(SKIP_PATH_REGEX, wrong);
        }
        text
    }
}

#[cfg(test)]
#[path = "labels_tests.rs"]
mod tests;
