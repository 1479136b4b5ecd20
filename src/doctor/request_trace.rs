//! The trace of a request to one application: rules, login, cookie, headers, address.

use crate::config::Config;
use crate::model::{Action, Mode, Rule, UpstreamProtocol};
use crate::route::Site;
use crate::web::header::identity::{META, USER};

use super::report::Report;

/// Tells what becomes of a request: rules, sign-in, cookie, headers, and where it goes.
pub(super) async fn tell(config: &Config, site: &Site, report: &mut Report) {
    let slug = &site.application.slug;
    let mut say = |what: &str, found: String| report.ok(format!("{slug}: {what}"), found);
    let policy = &site.application.policy;
    for (rule, number) in policy.rules.iter().zip(1..) {
        let action = match &rule.action {
            Action::Allow => "all requests are allowed".to_owned(),
            Action::Deny => "all requests are denied".to_owned(),
            Action::Require(groups) => format!("members of {} are allowed", groups.join(", ")),
        };
        say(
            &format!("rule {number}"),
            format!("{}: {action}", conditions(rule)),
        );
    }
    say("otherwise", "signed-in users are allowed".into());
    say("sign-in", sign_in(site));
    say("cookie", cookie(config, site));
    say("headers", headers(site));
    if let Some(address) = address(site).await {
        say("address", address);
    }
}

/// What has to be so for a rule to decide.
pub(super) fn conditions(rule: &Rule) -> String {
    let list = |name: &str, values: Vec<String>| {
        (!values.is_empty()).then(|| format!("{name} {}", values.join(", ")))
    };
    let path = rule.path.as_ref().map(|path| path.as_str().to_owned());
    let networks = rule.networks.iter().map(ToString::to_string);
    let methods = rule.methods.iter().map(ToString::to_string);
    let conditions = [
        Some(path.unwrap_or_else(|| "any path".into())),
        list("from", networks.collect()),
        list("with", methods.collect()),
    ];
    let conditions: Vec<_> = conditions.into_iter().flatten().collect();
    conditions.join(" ")
}

fn sign_in(site: &Site) -> String {
    let client = &site.application.client;
    let mut page = site.relying_party.endpoints().authorization.clone();
    page.set_query(None);
    format!(
        "browsers go to {page} as client {} for {}, and come back to {}",
        client.id,
        client.scopes.join(" "),
        site.application.redirect_uri()
    )
}

fn cookie(config: &Config, site: &Site) -> String {
    let application = &site.application;
    let external = &application.external;
    let hosts = match &application.mode {
        Mode::ForwardDomain(domain) => format!("{} and all hosts below", domain.as_str()),
        Mode::Proxy | Mode::ForwardSingle => format!("{} alone", external.host()),
    };
    let secure = if external.is_https() {
        "Secure"
    } else {
        "not Secure, since the external host is http"
    };
    format!(
        "{} for {hosts}, {secure}, for {:?} at most",
        site.cookies
            .in_form(config.session.cookie_prefix.into())
            .1
            .session,
        config.session.absolute_lifetime
    )
}

/// Names only: the values are about users.
fn headers(site: &Site) -> String {
    let application = &site.application;
    let mut names: Vec<_> = USER.iter().chain(&META).map(ToString::to_string).collect();
    if application.basic_auth.is_some() {
        names.push("authorization (from the user's attributes)".into());
    }
    for (name, value) in &site.extra {
        let empty = value.current().is_empty();
        names.push(format!("{name}{}", if empty { " (empty now)" } else { "" }));
    }
    names.join(", ")
}

/// Where requests are passed on to, if they are.
async fn address(site: &Site) -> Option<String> {
    let backend = site.application.backend.as_ref()?;
    let authority = backend.authority();
    let usual = if backend.scheme().as_str() == "https" {
        443
    } else {
        80
    };
    let host = authority.host().trim_matches(['[', ']']);
    let port = authority.port_u16().unwrap_or(usual);
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<_> = found
        .into_iter()
        .flatten()
        .map(|address| address.ip().to_string())
        .collect();
    let version = match site.application.policy.upstream_protocol {
        UpstreamProtocol::Http1 => "HTTP/1.1",
        UpstreamProtocol::Http2 => "HTTP/2",
    };
    let found = if found.is_empty() {
        "no address".to_owned()
    } else {
        found.join(", ")
    };
    Some(format!(
        "{backend} by {version}, which is {found}, port {port}"
    ))
}
