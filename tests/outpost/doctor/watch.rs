//! `doctor --watch`: logins as they are followed at the running server.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::operations::process::{Process, command, run, with_grafana};
use crate::support::{Browser, NAVIGATION, World, location, within};

pub(super) const SOCKET: &str = "AUTHENTIK_PROXY_LISTEN__WATCH_SOCKET";
pub(super) const HOST: &str = "grafana.test";
pub(super) const PAGE: &str = "http://grafana.test/d/secret-path?q=secret-query";

/// A server with a socket, in a directory that it makes.
pub(super) struct Scene {
    pub(super) world: World<Process>,
    pub(super) directory: TempDir,
}

impl Scene {
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("run/watch.sock");
        let world = with_grafana(&[(SOCKET, socket.to_str().expect("text"))]).await;
        Self { world, directory }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("run/watch.sock")
    }

    /// Opens the page behind nginx, as the browser does.
    pub(super) async fn navigate(&self, cookies: &str) -> u16 {
        let answer = self.world.nginx(PAGE, cookies, &NAVIGATION).await;
        answer.status().as_u16()
    }
}

/// The program, watching.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    /// Returns once steps are shown.
    async fn start(scene: &Scene, arguments: &[&str]) -> Self {
        let arguments = [&["doctor", "--watch"], arguments].concat();
        let mut command = command(&arguments);
        command.env(SOCKET, scene.socket()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let output = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let first = within(lines.next_line()).await.expect("text");
        assert!(first.is_some_and(|line| line.contains("watching")));
        Self { child, lines }
    }

    /// The lines until the program ends, without what varies; and the exit code.
    async fn end(mut self) -> (String, Option<i32>) {
        let mut text = String::new();
        while let Some(line) = within(self.lines.next_line()).await.expect("text") {
            text.push_str(&line);
            text.push('\n');
        }
        let status = within(self.child.wait()).await.expect("it ends");
        let mut text = text.replace("times are in UTC\n", "");
        for (pattern, constant) in [
            (r"\d\d:\d\d:\d\d", "TIME"),
            (r"login [0-9a-f]{8}\)", "login ID)"),
            (r"\d+ ms", "N ms"),
            (r"http://127.0.0.1:\d+", "AUTHENTIK"),
        ] {
            let pattern = regex::Regex::new(pattern).expect("a pattern");
            text = pattern.replace_all(&text, constant).into_owned();
        }
        (text, status.code())
    }
}

#[tokio::test]
async fn a_login_is_followed_from_the_first_request_to_the_first_with_its_session() {
    let scene = Scene::start().await;
    let mut json = Watching::start(&scene, &["--json", "--app", "grafana"]).await;
    let other = Watching::start(&scene, &["--host", "other.test"]).await;
    let watching = Watching::start(&scene, &["--host", HOST]).await;
    assert_eq!(scene.navigate("").await, 401);
    let mut browser = Browser::default();
    browser.log_in(&scene.world, HOST, PAGE).await;
    assert_eq!(scene.navigate(&browser.cookies(HOST)).await, 200);
    let (text, code) = watching.end().await;
    let expected = "\
        1. TIME grafana.test (grafana, 127.0.0.1): no session (nginx): the browser sent no session cookie; answered 401\n\
        2. TIME grafana.test (grafana, 127.0.0.1, login ID): sent to authentik at AUTHENTIK\n\
        3. TIME grafana.test (grafana, 127.0.0.1, login ID): back from authentik: state and login cookie are valid\n\
        4. TIME grafana.test (grafana, 127.0.0.1, login ID): code exchanged in N ms, tokens verified\n\
        5. TIME grafana.test (grafana, 127.0.0.1, login ID): session stored, cookie for this host; sent back to the application\n\
        6. TIME grafana.test (grafana, 127.0.0.1): first request with the new session: accepted\n\
        signed in: every step worked\n";
    assert_eq!((text.as_str(), code), (expected, Some(0)));
    let mut steps = Vec::new();
    while let Some(line) = within(json.lines.next_line()).await.expect("text") {
        let line: Value = serde_json::from_str(&line).expect("every line is JSON");
        steps.push(line["event"]["step"].as_str().expect("a step").to_owned());
    }
    let expected = [
        "no_session",
        "redirected",
        "callback",
        "code_exchanged",
        "signed_in",
        "accepted",
    ];
    assert_eq!(steps, expected);
    assert_eq!(
        within(json.child.wait()).await.expect("it ends").code(),
        Some(0)
    );
    drop(other);
}

/// How a login goes wrong.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    Secret,
    Denied,
    LoginCookie,
    OtherBrowser,
    Code,
    SessionCookie,
}

impl Wrong {
    async fn happen(self, scene: &Scene) {
        let world = &scene.world;
        let mut browser = Browser::default();
        let callback = browser.sign_in(world, HOST, "/").await;
        match self {
            Self::Secret => {
                let other = json!({"client_secret": "other"});
                world.authentik.patch_provider_silently("grafana", other);
                browser.open(world, HOST, &callback).await;
            }
            Self::Denied => {
                let denied = callback.replace("code=", "error=access_denied&x=");
                browser.open(world, HOST, &denied).await;
            }
            Self::LoginCookie => {
                browser.forget();
                let again = browser.open(world, HOST, &callback).await;
                let callback = Browser::authorize(world, &location(&again));
                browser.forget();
                browser.open(world, HOST, &callback).await;
            }
            Self::OtherBrowser => {
                let theirs = Browser::default().sign_in(world, HOST, "/").await;
                let again = browser.open(world, HOST, &theirs).await;
                let callback = Browser::authorize(world, &location(&again));
                Browser::default().open(world, HOST, &callback).await;
            }
            Self::Code => {
                let other = callback.replace("code=", "code=x");
                let again = browser.open(world, HOST, &other).await;
                let callback = Browser::authorize(world, &location(&again));
                let other = callback.replace("code=", "code=x");
                browser.open(world, HOST, &other).await;
            }
            Self::SessionCookie => {
                browser.open(world, HOST, &callback).await;
                scene.navigate("").await;
            }
        }
    }
}

#[tokio::test]
async fn a_login_that_fails_is_told_with_its_step_its_cause_and_a_hint() {
    for (wrong, parts) in [
        (
            Wrong::Secret,
            &[
                "2. TIME grafana.test (grafana, 127.0.0.1, login ID): back from authentik: state and login cookie are valid",
                "FAILED at step 3, the callback: authentik refuses the code exchange with \"invalid_client\"\n   -> check the provider's client secret",
            ][..],
        ),
        (
            Wrong::Denied,
            &["FAILED at step 3, the callback: authentik ended the login with \"access_denied\""],
        ),
        (
            Wrong::LoginCookie,
            &[
                "2. TIME grafana.test (grafana, 127.0.0.1, login ID): back from authentik: the browser sent no login cookie",
                "3. TIME grafana.test (grafana, 127.0.0.1, login ID): the login starts over: the browser's login cookie is missing",
                "4. TIME grafana.test (grafana, 127.0.0.1, login ID): sent to authentik at AUTHENTIK, attempt 2",
                "FAILED at step 6, the callback: the login could not be matched to this browser, even after starting over",
            ],
        ),
        (
            Wrong::OtherBrowser,
            &[
                "back from authentik: the browser's login cookie belongs to another login",
                "the callback: the login could not be matched to this browser",
            ],
        ),
        (
            Wrong::Code,
            &[
                "3. TIME grafana.test (grafana, 127.0.0.1, login ID): the login starts over: the code was used before or is too old",
                "FAILED at step 6, the callback: the login could not be matched",
            ],
        ),
        (
            Wrong::SessionCookie,
            &[
                "FAILED at step 5, the first request with the session: the browser did not send the session cookie back\n   -> check that the reverse proxy passes Set-Cookie",
            ],
        ),
    ] {
        let scene = Scene::start().await;
        let watching = Watching::start(&scene, &[]).await;
        wrong.happen(&scene).await;
        let (text, code) = watching.end().await;
        assert_eq!(code, Some(1), "{wrong:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{wrong:?}: {part} in\n{text}");
        }
    }
}

#[tokio::test]
async fn without_a_socket_the_command_says_what_to_set() {
    let (status, _, complaint) = run(&["doctor", "--watch"], &[]).await;
    assert_eq!(status.code(), Some(1));
    assert!(
        complaint.contains("listen.watch_socket is not set") && complaint.contains(SOCKET),
        "{complaint}"
    );
    let missing = [(SOCKET, "/nonexistent/watch.sock")];
    let (status, _, complaint) = run(&["doctor", "--watch"], &missing).await;
    assert_eq!(status.code(), Some(1));
    assert!(
        complaint.contains("/nonexistent/watch.sock") && complaint.contains("in its container"),
        "{complaint}"
    );
}

#[tokio::test]
async fn a_socket_that_cannot_be_made_is_logged_and_logins_work() {
    let world = with_grafana(&[(SOCKET, "/proc/none/watch.sock")]).await;
    let line = world.outpost.wait_line("logins cannot be watched").await;
    assert!(
        line["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains(SOCKET)),
        "{line}"
    );
    Browser::default().log_in(&world, HOST, "/").await;
}
