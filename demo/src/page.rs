//! The page of every application: the identity headers that it received.

use http::{HeaderMap, Uri};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::applications::{Application, Front};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #16181d; --paper: #eef0f4; --card: #fff; --line: #c3c8d2;
  --accent: #b3360b; }
@media (prefers-color-scheme: dark) { :root { --ink: #eceef2; --paper: #14161a; --card: #1f2228;
  --line: #454b57; --accent: #ff8a5c; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: 2rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .75rem; }
h1 { margin: 0; text-transform: capitalize; }
h2 { margin: 2rem 0 .5rem; font-size: 1.1rem; }
p { margin: .5rem 0; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
th { padding-right: 1rem; white-space: nowrap; font-weight: 400; font-family: ui-monospace, monospace; }
ul { margin: .5rem 0; padding-left: 1.25rem; }
a { color: var(--accent); }
.who { font-size: 1.25rem; }
";

/// Prefix of the identity headers.
const IDENTITY: &str = "x-authentik-";
/// The token is for the application and is not shown.
const TOKEN: &str = "x-authentik-jwt";

/// The links of the page.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    /// The applications, with their URLs.
    pub(crate) applications: Vec<(&'static Application, String)>,
    /// The outpost's metrics.
    pub(crate) metrics: String,
    /// The URL that ends the session at authentik.
    pub(crate) invalidation: String,
    /// The server in front of the applications.
    pub(crate) front: Front,
}

/// The page of the application that a request is for.
pub(crate) fn page(uri: &Uri, headers: &HeaderMap, links: &Links) -> Markup {
    let text = |name: &str| {
        let value = headers.get(name).map(http::HeaderValue::as_bytes);
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    let host = text("host");
    let application = links.applications.iter().find(|(application, _)| {
        let rest = host.strip_prefix(application.name);
        rest.is_some_and(|rest| rest.starts_with(".localhost"))
    });
    let (name, about) = application.map_or(("somewhere", ""), |(of, _)| (of.name, of.about));
    let proxied = application.is_some_and(|(of, _)| of.proxied);
    let way = match links.front {
        Front::Nginx if !proxied => "behind nginx, which asks the outpost (forward auth)",
        Front::Nginx | Front::Outpost => {
            "behind the outpost, through which all requests pass (mode proxy)"
        }
    };
    let mut identity: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
    identity.retain(|name| name.starts_with(IDENTITY));
    identity.sort_unstable();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (name) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (name) }
                    p { (about) " \u{b7} " (way) }
                    p.who {
                        "Signed in as " b id="user" { (text("x-authentik-username")) }
                        ", " (text("x-authentik-email"))
                    }
                    p { a href="/outpost.goauthentik.io/sign_out" { "Sign out" } " of this application, or "
                        a href=(links.invalidation) { "end the session at authentik" }
                        ", which ends it at all applications at once." }
                    h2 { "Other applications" }
                    ul {
                        @for (other, url) in &links.applications {
                            @if other.name != name {
                                li { a href=(url) { (other.name) } ": " (other.about) }
                            }
                        }
                        li { a href=(links.metrics) { "metrics" } " of the outpost" }
                    }
                    h2 { "Identity headers" }
                    p { "The application received these for " code { (uri.to_string()) } ". No client can set them:" }
                    table id="identity" {
                        @for name in identity {
                            tr {
                                th scope="row" { (name) }
                                td {
                                    @if name == TOKEN {
                                        i { "a signed token of " (text(name).len()) " bytes" }
                                    } @else { (text(name)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
