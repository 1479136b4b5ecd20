//! The steps of logins in words, and how a login ended. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::gateway::{Event, SessionCookie, Step, StepResponse};

/// Logins that are followed at once; the one without a step for the longest time is dropped.
const MAX_LOGINS: usize = 64;

/// How a login stands after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// More steps follow.
    Open,
    /// Every step worked.
    SignedIn,
    /// A step failed.
    Failed,
}

/// Follows the logins of all clients.
pub(super) struct Follower {
    logins: Vec<Login>,
    /// Whether a failure without an application ends the watch: unknown hosts are requested by anyone.
    is_host_wanted: bool,
}

/// A login: of one client, at one application.
struct Login {
    steps: u32,
    last: Event,
    is_overdue_told: bool,
}

/// The line that says that events follow.
pub(super) fn introduction(version: &str) -> String {
    printable(&format!(
        "watching the server (version {version}): open the application in a browser and sign in; Ctrl-C ends\n\
         times are in UTC"
    ))
}

/// The line that says that events are missing.
pub(super) fn missed(count: u64) -> String {
    format!("{count} steps are missing here: they came faster than they were read")
}

impl Follower {
    pub(super) fn new(is_host_wanted: bool) -> Self {
        Self {
            logins: Vec::new(),
            is_host_wanted,
        }
    }

    /// The lines about a step, and how its login stands.
    pub(super) fn observe(&mut self, event: Event) -> (String, Outcome) {
        let known = self.logins.iter().position(|login| login.is_of(&event));
        let before = known.map(|known| self.logins.remove(known));
        let number = before.as_ref().map_or(1, |login| login.steps + 1);
        let mut text = format!(
            "{number}. {} {}{}: {}",
            time(event.time),
            event.host,
            party(&event),
            words(&event.step)
        );
        let last = before.as_ref().map(|login| &login.last);
        let failure = failure(last, &event);
        let outcome = match (&event.step, &failure) {
            (Step::Accepted | Step::AlreadySignedIn { .. }, _) => {
                // Writing to a string cannot fail.
                let _ = write!(text, "\nsigned in: every step worked");
                Outcome::SignedIn
            }
            (_, Some(failure)) => {
                let Failure { at, cause, hint } = failure;
                let _ = write!(text, "\nFAILED at step {number}, {at}: {cause}");
                if let Some(hint) = hint {
                    let _ = write!(text, "\n   -> {hint}");
                }
                if event.application.is_some() || self.is_host_wanted {
                    Outcome::Failed
                } else {
                    Outcome::Open
                }
            }
            _ => Outcome::Open,
        };
        if outcome == Outcome::Open {
            if self.logins.len() == MAX_LOGINS {
                self.logins.remove(0);
            }
            self.logins.push(Login {
                steps: number,
                last: event,
                is_overdue_told: false,
            });
        }
        (printable(&text), outcome)
    }

    /// What to look at for each login whose next step does not come; told once a step. `now` is in
    /// Unix seconds.
    pub(super) fn overdue(&mut self, now: i64) -> Vec<String> {
        let mut told = Vec::new();
        for login in self
            .logins
            .iter_mut()
            .filter(|login| !login.is_overdue_told)
        {
            let Some((limit, missing)) = next(&login.last.step) else {
                continue;
            };
            if now - login.last.time >= limit {
                login.is_overdue_told = true;
                let (host, party) = (&login.last.host, party(&login.last));
                told.push(printable(&format!(
                    "after step {}, {} {host}{party}: nothing for {limit} s\n   -> {missing}",
                    login.steps,
                    time(login.last.time),
                )));
            }
        }
        told
    }
}

impl Login {
    fn is_of(&self, event: &Event) -> bool {
        self.last.client == event.client && self.last.application == event.application
    }
}

/// A step in words.
fn words(step: &Step) -> String {
    match step {
        Step::NoSession {
            mode,
            cookie,
            response,
        } => {
            let cookie = match cookie {
                SessionCookie::Missing => "the browser sent no session cookie",
                SessionCookie::Invalid => "the session cookie is not this server's",
                SessionCookie::Ended => "the session of the cookie has ended",
            };
            let response = match response {
                StepResponse::Authentik => "a login starts",
                StepResponse::Start => "sent to /outpost.goauthentik.io/start",
                StepResponse::Unauthorized => "answered 401",
            };
            format!("no session ({mode}): {cookie}; {response}")
        }
        Step::Redirected { to, attempt: 1 } => format!("sent to authentik at {to}"),
        Step::Redirected { to, attempt } => {
            format!("sent to authentik at {to}, attempt {attempt}")
        }
        Step::Callback { problem: None } => {
            "back from authentik: state and login cookie are valid".to_owned()
        }
        Step::Callback {
            problem: Some(problem),
        } => format!("back from authentik: {problem}"),
        Step::CodeExchanged { milliseconds } => {
            format!("code exchanged in {milliseconds} ms, tokens verified")
        }
        Step::SignedIn { secure, domain } => {
            let domain = domain.as_deref().unwrap_or("this host");
            let secure = if *secure { ", Secure" } else { "" };
            format!("session stored, cookie for {domain}{secure}; sent back to the application")
        }
        Step::StartedOver { reason } => format!("the login starts over: {reason}"),
        Step::AlreadySignedIn { reason } => {
            format!("the browser has a session already; sent back to the application ({reason})")
        }
        Step::Accepted => "first request with the new session: accepted".to_owned(),
        Step::Failed { status, error, .. } => format!("answered {status}: {error}"),
    }
}

/// Where and why a login failed.
struct Failure {
    at: &'static str,
    cause: String,
    hint: Option<String>,
}

/// The failure that a step is, after the step `last`.
fn failure(last: Option<&Event>, event: &Event) -> Option<Failure> {
    match (&event.step, last) {
        (Step::Failed { error, hint, .. }, _) => Some(Failure {
            at: match last.map(|last| &last.step) {
                None => "the request",
                Some(Step::NoSession { .. }) => "the start of the login",
                Some(Step::CodeExchanged { .. }) => "storing the session",
                Some(Step::SignedIn { .. }) => "the first request with the session",
                Some(_) => "the callback",
            },
            cause: error.clone(),
            hint: hint.clone(),
        }),
        (Step::NoSession { cookie, .. }, Some(before)) => {
            let Step::SignedIn { secure, domain } = &before.step else {
                return None;
            };
            let (cause, hint) = match cookie {
                SessionCookie::Missing => (
                    "the browser did not send the session cookie back",
                    not_sent(*secure, domain.as_deref(), event),
                ),
                SessionCookie::Invalid => (
                    "the session cookie that came back is not this server's",
                    "the requests reach outposts with different secrets: all behind one host must be the same outpost of authentik".to_owned(),
                ),
                SessionCookie::Ended => (
                    "the new session is not in the store",
                    "replicas share no sessions in memory: set AUTHENTIK_REDIS__HOST, or session.store to cookie; otherwise the log says why the session ended".to_owned(),
                ),
            };
            Some(Failure {
                at: "the first request with the session",
                cause: cause.to_owned(),
                hint: Some(hint),
            })
        }
        _ => None,
    }
}

/// What to do about a session cookie that does not come back with the navigation `event`.
fn not_sent(secure: bool, domain: Option<&str>, event: &Event) -> String {
    let host = event.host.split(':').next().unwrap_or_default();
    if secure && event.scheme == "http" {
        return "the cookie is Secure and the page was opened over http: open it over https, and have the reverse proxy send X-Forwarded-Proto; or correct the scheme of the provider's external host".to_owned();
    }
    if let Some(domain) = domain {
        let below = host.strip_suffix(domain.trim_start_matches('.'));
        if below.is_none_or(|below| !below.is_empty() && !below.ends_with('.')) {
            return format!(
                "the cookie is for {domain}, which {host} is not below: correct the provider's cookie domain"
            );
        }
    }
    "check that the reverse proxy passes Set-Cookie of /outpost.goauthentik.io/callback to the browser and Cookie to the outpost, and that the browser allows cookies of this site".to_owned()
}

/// What has to come after a step: within how many seconds, and what to look at if it does not.
fn next(step: &Step) -> Option<(i64, &'static str)> {
    match step {
        Step::NoSession {
            response: StepResponse::Start,
            ..
        } => Some((
            10,
            "the browser did not open /outpost.goauthentik.io/start here: what is in front must pass /outpost.goauthentik.io/ to the outpost",
        )),
        Step::NoSession {
            response: StepResponse::Unauthorized,
            ..
        } => Some((
            10,
            "no login started after the 401: nginx must redirect to /outpost.goauthentik.io/start (error_page 401, or auth-signin) and pass that path to the outpost",
        )),
        Step::Redirected { .. } => Some((
            60,
            "the user may still be at authentik's page; if that shows an error, look at authentik's events (redirect URI, policies); if not, what is in front must pass /outpost.goauthentik.io/callback to the outpost",
        )),
        Step::Callback { problem: None } => Some((
            5,
            "authentik has not answered the code exchange: check that the server reaches it, with authentik-proxy doctor",
        )),
        Step::SignedIn { .. } => Some((
            10,
            "no request with the session reached this server: another replica may have answered it, or the reverse proxy does not ask for this host",
        )),
        _ => None,
    }
}

/// The application and the client of a step.
fn party(event: &Event) -> String {
    let application = event.application.as_deref();
    let application = application.map_or_else(String::new, |slug| format!("{slug}, "));
    let login = event.login.as_deref();
    let login = login.map_or_else(String::new, |login| format!(", login {login}"));
    let client: IpAddr = event.client;
    format!(" ({application}{client}{login})")
}

/// `hh:mm:ss` of a time in Unix seconds.
fn time(seconds: i64) -> String {
    let day = seconds.rem_euclid(24 * 60 * 60);
    format!("{:02}:{:02}:{:02}", day / 3600, day / 60 % 60, day % 60)
}

/// Without control characters but line breaks: some texts are a client's.
fn printable(text: &str) -> String {
    let is_control = |c: char| c.is_control() && c != '\n';
    text.replace(is_control, " ")
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
