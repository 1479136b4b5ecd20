//! Pages for browsers: self-contained, without scripts, light and dark.

use http::StatusCode;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #16181d; --paper: #eef0f4; --card: #fff; --line: #c3c8d2;
  --accent: #b3360b; --bad: #a3122a; }
@media (prefers-color-scheme: dark) { :root { --ink: #eceef2; --paper: #14161a; --card: #1f2228;
  --line: #454b57; --accent: #ff8a5c; --bad: #ff8597; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem;
  background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { width: min(24rem, 100%); padding: 2rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .75rem; }
h1 { margin: 0 0 .5rem; font-size: 1.4rem; }
p { margin: .5rem 0; }
label { display: block; margin-top: 1rem; font-weight: 600; }
input { width: 100%; margin-top: .25rem; padding: .6rem; font: inherit; color: inherit;
  background: transparent; border: 1px solid var(--line); border-radius: .4rem; }
button { width: 100%; margin-top: 1.5rem; padding: .7rem; font: inherit; font-weight: 600;
  color: var(--card); background: var(--accent); border: 0; border-radius: .4rem; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.bad { color: var(--bad); font-weight: 600; }
.what { margin-top: 1.5rem; font-size: .85rem; opacity: .8; }
";

/// The sign-in form. `application` is where the user wants to go, `refused` the user name of an
/// attempt that failed.
pub(crate) fn login(application: Option<&str>, refused: Option<&str>) -> Markup {
    page(
        "Sign in",
        &html! {
            @if let Some(application) = application { p { "to continue to " b { (application) } } }
            @if refused.is_some() {
                p.bad role="alert" id="problem" { "That user name or password is wrong." }
            }
            form method="post" {
                label for="username" { "User name" }
                input id="username" name="username" autocomplete="username" autocapitalize="none"
                    spellcheck="false" required autofocus value=(refused.unwrap_or_default())
                    aria-describedby=[refused.map(|_| "problem")];
                label for="password" { "Password" }
                input id="password" name="password" type="password"
                    autocomplete="current-password" required;
                button type="submit" { "Sign in" }
            }
        },
    )
}

/// The refusal by an application's policy.
pub(crate) fn denied(application: &str) -> Markup {
    page(
        "Permission denied",
        &html! { p { "You may not use " b { (application) } "." } },
    )
}

/// An application's end-session page, with the way to end more.
pub(crate) fn end_session(application: &str, external_host: &str, prefix: &str) -> Markup {
    page(
        &format!("You've logged out of {application}."),
        &html! {
            p { "You are still signed in to authentik." }
            p { a href=(format!("{prefix}flows/-/default/invalidation/")) { "Sign out of authentik" } }
            p { a href=(external_host) { "Back to " (application) } }
        },
    )
}

/// After signing out.
pub(crate) fn signed_out() -> Markup {
    page(
        "Signed out",
        &html! { p { "Your session at authentik has ended." } },
    )
}

/// The start page.
pub(crate) fn home(username: Option<&str>) -> Markup {
    page(
        "authentik stand-in",
        &html! {
            @if let Some(username) = username {
                p { "Signed in as " b { (username) } "." }
                p { a href="flows/-/default/invalidation/" { "Sign out of authentik" } }
            } @else {
                p { a href="if/flow/default-authentication-flow/" { "Sign in" } }
            }
        },
    )
}

/// An authorize request that cannot be answered with a redirect.
pub(crate) fn bad_request(reason: &str) -> Markup {
    page("Bad Request", &html! { p { (reason) } })
}

/// A page for a status.
pub(crate) fn error(status: StatusCode) -> Markup {
    page(
        status.canonical_reason().unwrap_or("Error"),
        &html! { p { (status.as_u16()) } },
    )
}

/// What something other than authentik might answer.
pub(crate) fn captive_portal() -> Markup {
    page(
        "Welcome to the network",
        &html! { p { "Please accept the terms of use." } },
    )
}

fn page(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " - authentik stand-in" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    (content)
                    p.what { "authentik stand-in, for tests and demonstrations only" }
                }
            }
        }
    }
}
