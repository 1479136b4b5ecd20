use super::*;
use crate::gateway::StepResponse;

fn event(time: i64, step: Step) -> Event {
    Event {
        time,
        request_id: "r".into(),
        client: [192, 0, 2, 7].into(),
        scheme: "https".into(),
        host: "grafana.test".into(),
        application: Some("grafana".into()),
        login: None,
        step,
    }
}

fn no_session(cookie: SessionCookie) -> Step {
    Step::NoSession {
        mode: "traefik".into(),
        cookie,
        response: StepResponse::Authentik,
    }
}

fn redirected() -> Step {
    Step::Redirected {
        to: "https://authentik.test".into(),
        attempt: 1,
    }
}

fn signed_in(secure: bool, domain: Option<&str>) -> Step {
    Step::SignedIn {
        secure,
        domain: domain.map(str::to_owned),
    }
}

fn failed(error: &str) -> Step {
    Step::Failed {
        status: 500,
        error: error.into(),
        hint: Some("mend it".into()),
    }
}

/// The last text, and the outcomes.
fn follow(steps: Vec<Step>) -> (String, Vec<Outcome>) {
    let mut follower = Follower::new(false);
    let told = steps.into_iter().zip(43_384..);
    let told: Vec<_> = told
        .map(|(step, time)| follower.observe(event(time, step)))
        .collect();
    let outcomes = told.iter().map(|(_, outcome)| *outcome).collect();
    (told.last().expect("a step").0.clone(), outcomes)
}

#[test]
fn a_login_ends_with_its_first_request_or_with_a_failure() {
    use Outcome::{Failed, Open, SignedIn};
    let exchanged = || Step::CodeExchanged { milliseconds: 84 };
    let back = || Step::Callback { problem: None };
    let reason = || "the code was used before or is too old".to_owned();
    let begun = || vec![no_session(SessionCookie::Missing), redirected()];
    let with = |steps: Vec<Step>| [begun(), steps].concat();
    for (steps, outcomes, text) in [
        (
            with(vec![
                back(),
                exchanged(),
                signed_in(true, None),
                Step::Accepted,
            ]),
            vec![Open, Open, Open, Open, Open, SignedIn],
            "6. 12:03:09 grafana.test (grafana, 192.0.2.7): first request with the new session: accepted\n\
             signed in: every step worked",
        ),
        (
            with(vec![back(), failed("authentik refuses it")]),
            vec![Open, Open, Open, Failed],
            "4. 12:03:07 grafana.test (grafana, 192.0.2.7): answered 500: authentik refuses it\n\
             FAILED at step 4, the callback: authentik refuses it\n   -> mend it",
        ),
        (
            with(vec![back(), exchanged(), failed("a\x1b[2Jb")]),
            vec![Open, Open, Open, Open, Failed],
            "5. 12:03:08 grafana.test (grafana, 192.0.2.7): answered 500: a [2Jb\n\
             FAILED at step 5, storing the session: a [2Jb\n   -> mend it",
        ),
        (
            with(vec![
                back(),
                Step::StartedOver { reason: reason() },
                redirected(),
            ]),
            vec![Open; 5],
            "5. 12:03:08 grafana.test (grafana, 192.0.2.7): sent to authentik at https://authentik.test",
        ),
        (
            vec![Step::AlreadySignedIn { reason: reason() }],
            vec![SignedIn],
            "1. 12:03:04 grafana.test (grafana, 192.0.2.7): the browser has a session already; sent back to the application (the code was used before or is too old)\n\
             signed in: every step worked",
        ),
        (
            vec![no_session(SessionCookie::Missing); 2],
            vec![Open; 2],
            "2. 12:03:05 grafana.test (grafana, 192.0.2.7): no session (traefik): the browser sent no session cookie; a login starts",
        ),
    ] {
        assert_eq!(follow(steps), (text.to_owned(), outcomes));
    }
}

#[test]
fn a_new_session_that_does_not_come_back_is_explained() {
    let elsewhere = |event: &mut Event| event.host = "grafana.other.test:8443".into();
    for (cookie, secure, domain, change, at, hint) in [
        (
            SessionCookie::Missing,
            true,
            None,
            Some((|event: &mut Event| event.scheme = "http".into()) as fn(&mut Event)),
            "did not send the session cookie back",
            "the cookie is Secure and the page was opened over http",
        ),
        (
            SessionCookie::Missing,
            false,
            Some("example.test"),
            Some(elsewhere),
            "did not send the session cookie back",
            "the cookie is for example.test, which grafana.other.test is not below",
        ),
        (
            SessionCookie::Missing,
            true,
            Some("other.test"),
            Some(elsewhere),
            "did not send the session cookie back",
            "passes Set-Cookie",
        ),
        (
            SessionCookie::Missing,
            false,
            Some("ther.test"),
            Some(elsewhere),
            "did not send the session cookie back",
            "the cookie is for ther.test",
        ),
        (
            SessionCookie::Missing,
            true,
            None,
            None,
            "did not send",
            "passes Set-Cookie",
        ),
        (
            SessionCookie::Invalid,
            true,
            None,
            None,
            "is not this server's",
            "the same outpost",
        ),
        (
            SessionCookie::Ended,
            true,
            None,
            None,
            "not in the store",
            "AUTHENTIK_REDIS__HOST",
        ),
    ] {
        let mut follower = Follower::new(false);
        follower.observe(event(0, signed_in(secure, domain)));
        let mut back = event(1, no_session(cookie));
        if let Some(change) = change {
            change(&mut back);
        }
        let (text, outcome) = follower.observe(back);
        assert_eq!(outcome, Outcome::Failed, "{text}");
        assert!(text.contains(at) && text.contains(hint), "{hint}: {text}");
    }
}

#[test]
fn clients_are_followed_apart_and_their_number_is_limited() {
    let mut follower = Follower::new(false);
    let of = |number: u8, step| Event {
        client: [192, 0, 2, number].into(),
        ..event(0, step)
    };
    follower.observe(of(0, signed_in(true, None)));
    let (text, outcome) = follower.observe(of(1, no_session(SessionCookie::Missing)));
    assert_eq!((outcome, &text[..2]), (Outcome::Open, "1."));
    for number in 0..200 {
        follower.observe(of(number, redirected()));
    }
    assert_eq!(follower.logins.len(), MAX_LOGINS);
}

#[test]
fn a_request_for_an_unknown_host_ends_the_watch_of_that_host_only() {
    for (is_host_wanted, expected) in [(false, Outcome::Open), (true, Outcome::Failed)] {
        let mut follower = Follower::new(is_host_wanted);
        let event = Event {
            application: None,
            ..event(0, failed("no app for hostname"))
        };
        assert_eq!(follower.observe(event).1, expected);
    }
}

#[test]
fn a_step_that_does_not_come_is_told_once() {
    for (step, seconds, text) in [
        (redirected(), 60, "authentik's page"),
        (signed_in(true, None), 10, "another replica"),
        (Step::Callback { problem: None }, 5, "code exchange"),
    ] {
        let mut follower = Follower::new(false);
        follower.observe(event(100, step));
        assert_eq!(follower.overdue(100 + seconds - 1), Vec::<String>::new());
        let told = follower.overdue(100 + seconds);
        assert!(told.len() == 1 && told[0].contains(text), "{told:?}");
        assert_eq!(follower.overdue(1000), Vec::<String>::new());
    }
}
