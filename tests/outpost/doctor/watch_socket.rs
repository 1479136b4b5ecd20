//! The socket of `doctor --watch`: what readers get, and who may read.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use authentik_standin::{Provider, Standin};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::Command;

use super::watch::{HOST, PAGE, SOCKET, Scene};
use crate::operations::process::run;
use crate::support::upstream::Upstream;
use crate::support::{Browser, NAVIGATION, Outpost as _, World, get, location, within};

/// A reader of the socket: lines as they are.
struct Reader {
    lines: Lines<BufReader<UnixStream>>,
}

impl Reader {
    async fn connect(socket: &Path) -> (Self, Value) {
        let stream = UnixStream::connect(socket).await.expect("a connection");
        let lines = BufReader::new(stream).lines();
        let mut reader = Self { lines };
        let first = reader.next().await;
        (reader, serde_json::from_str(&first).expect("JSON"))
    }

    async fn next(&mut self) -> String {
        let line = within(self.lines.next_line()).await;
        line.expect("text").expect("a line")
    }

    /// The lines up to the first with this step.
    async fn until(&mut self, step: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.next().await;
            let event: Value = serde_json::from_str(&line).expect("JSON");
            lines.push(line);
            if event["event"]["step"] == step {
                return lines;
            }
        }
    }
}

#[tokio::test]
async fn readers_get_no_token_cookie_code_state_path_or_query() {
    let scene = Scene::start().await;
    let (mut reader, first) = Reader::connect(&scene.socket()).await;
    assert!(first["watching"]["version"].is_string(), "{first}");
    scene.navigate("").await;
    let mut browser = Browser::default();
    let start = format!("/outpost.goauthentik.io/start?rd={PAGE}");
    let started = browser.open(&scene.world, HOST, &start).await;
    let authorize = location(&started);
    let callback = Browser::authorize(&scene.world, &authorize);
    let mut secrets = vec![browser.cookies(HOST)];
    browser.open(&scene.world, HOST, &callback).await;
    secrets.push(browser.cookies(HOST));
    let passed = scene
        .world
        .nginx(PAGE, &browser.cookies(HOST), &NAVIGATION)
        .await;
    secrets.push(
        passed.headers()["x-authentik-jwt"]
            .to_str()
            .expect("text")
            .to_owned(),
    );
    let mut lines = reader.until("accepted").await;
    // The same code again, without the session.
    let denied = callback.replace("code=", "error=access_denied&error_description=x&code=");
    let answer = Browser::default().open(&scene.world, HOST, &denied).await;
    assert_eq!(answer.status(), 403);
    lines.extend(reader.until("failed").await);
    assert_eq!(lines.len(), 8, "{lines:#?}");
    let url = url::Url::parse(&format!("http://x{callback}")).expect("a URL");
    secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    let url = url::Url::parse(&authorize).expect("a URL");
    let sent = url
        .query_pairs()
        .filter(|(name, _)| ["state", "nonce", "code_challenge"].contains(&&**name));
    secrets.extend(sent.map(|(_, value)| value.into_owned()));
    let parts = secrets
        .iter()
        .flat_map(|secret| secret.split(['=', '.', ';', ' ']));
    // The login cookie has the time, as each line does.
    let is_time = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<_> = parts
        .filter(|part| part.len() > 8 && !is_time(part))
        .collect();
    assert!(parts.len() > 10, "{parts:?}");
    let all = lines.concat();
    for part in parts
        .into_iter()
        .chain(["secret-path", "secret-query", "alice"])
    {
        let is_name = part.starts_with("authentik_proxy_");
        assert!(is_name || !all.contains(part), "{part} in {all}");
    }
    for page in ["/metrics", "/status"] {
        let page = get(scene.world.outpost.metrics(), page, "x", &[]).await;
        let page = String::from_utf8_lossy(page.body()).into_owned();
        let line: Value = serde_json::from_str(&lines[1]).expect("JSON");
        let login = line["event"]["login"].as_str().expect("an id");
        assert!(
            !page.contains(login) && !page.contains("redirected"),
            "{page}"
        );
    }
}

#[tokio::test]
async fn the_socket_is_the_servers_users_and_has_few_readers() {
    let mut scene = Scene::start().await;
    let socket = scene.socket();
    let mode = |path: &Path| {
        let found = std::fs::metadata(path).expect("it exists");
        found.permissions().mode() & 0o777
    };
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(socket.parent().expect("a directory")), 0o700);
    let mut readers = Vec::new();
    for _ in 0..4 {
        let (reader, first) = Reader::connect(&socket).await;
        assert!(first["watching"].is_object(), "{first}");
        readers.push(reader);
    }
    let (_, refused) = Reader::connect(&socket).await;
    assert_eq!(
        refused,
        json!({"refused": "4 readers watch logins already"})
    );
    let (status, _, complaint) = run(
        &["doctor", "--watch"],
        &[(SOCKET, socket.to_str().expect("text"))],
    )
    .await;
    assert_eq!(status.code(), Some(1));
    assert!(
        complaint.contains("4 readers watch logins already"),
        "{complaint}"
    );
    // No event announces that the server has seen the end.
    readers.pop();
    within(async { while Reader::connect(&socket).await.1["watching"].is_null() {} }).await;
    scene.world.outpost.stop().await;
    assert!(!socket.exists());
}

#[tokio::test]
#[ignore = "needs root and setpriv"]
async fn another_users_process_is_refused_even_where_the_modes_let_it() {
    let scene = Scene::start().await;
    let socket = scene.socket();
    for path in [
        scene.directory.path(),
        socket.parent().expect("a directory"),
        &socket,
    ] {
        let all = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(path, all).expect("it is ours");
    }
    // A copy, for the directory of the build may not be readable.
    let program = scene.directory.path().join("program");
    std::fs::copy(env!("CARGO_BIN_EXE_authentik-proxy"), &program).expect("copied");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=1000", "--regid=1000", "--clear-groups"])
        .arg(&program)
        .args(["doctor", "--watch"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env(SOCKET, &socket);
    let output = within(command.output()).await.expect("it runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        complaint.contains("only the user that the server runs as"),
        "{complaint}"
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    scene
        .world
        .outpost
        .wait_line("a reader of logins was refused")
        .await;
}

#[tokio::test]
async fn in_proxy_mode_the_steps_are_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("watch.sock");
    let authentik = Standin::builder().start().await.expect("started");
    let upstream = Upstream::start().await;
    let internal = format!("http://{}", upstream.address);
    let grafana = Provider::proxy("grafana", "http://grafana.test", &internal);
    let socket_setting = [(SOCKET, socket.to_str().expect("text"))];
    let world = World::beside(authentik, vec![grafana], &socket_setting).await;
    let (mut reader, _) = Reader::connect(&socket).await;
    let mut browser = Browser::default();
    let navigate = async |cookies: &str| {
        let headers = [&NAVIGATION[..], &[("cookie", cookies)]].concat();
        get(world.outpost.address(), "/", HOST, &headers)
            .await
            .status()
    };
    assert_eq!(navigate("").await, 302);
    let first = reader.until("no_session").await.concat();
    assert!(first.contains("\"mode\":\"proxy\"") && first.contains("\"response\":\"start\""));
    browser.log_in(&world, HOST, "/").await;
    navigate(&browser.cookies(HOST)).await;
    assert_eq!(reader.until("accepted").await.len(), 5);
}

#[tokio::test]
async fn where_browsers_see_the_response_a_login_starts_with_the_first_request() {
    let scene = Scene::start().await;
    let (mut reader, _) = Reader::connect(&scene.socket()).await;
    let forwarded = [
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", HOST),
        ("x-forwarded-uri", "/"),
        ("x-forwarded-method", "GET"),
    ];
    let headers = [&NAVIGATION[..], &forwarded].concat();
    let path = "/outpost.goauthentik.io/auth/traefik";
    let answer = scene.world.get(path, "outpost:9000", &headers).await;
    assert_eq!(answer.status(), 302);
    let lines = reader.until("redirected").await;
    let [first, second] = lines.as_slice() else {
        panic!("{lines:#?}");
    };
    for part in ["\"mode\":\"traefik\"", "\"response\":\"authentik\"", HOST] {
        assert!(first.contains(part), "{part} in {first}");
    }
    let id = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["event"]["request_id"].clone()
    };
    assert_eq!(id(first), id(second));
}
