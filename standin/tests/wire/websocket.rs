//! The outpost websocket against facts from the recordings.

use crate::recordings::{Recording, text};
use crate::shape::assert_same;
use crate::support::{dialects, get_api, server, websocket};
use authentik_standin::{Dialect, Standin};
use futures_util::{SinkExt as _, StreamExt as _};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

const ACK: &str = r#"{"instruction": 0, "args": {}}"#;
const UPDATE: &str = r#"{"instruction": 2, "args": {}}"#;

type Socket = WebSocketStream<TcpStream>;

async fn connected(standin: &Standin) -> Socket {
    let outpost = standin.outpost_id().to_string();
    websocket(standin, &standin.token(), &outpost)
        .await
        .expect("accepted")
}

async fn say(socket: &mut Socket, text: &str) {
    socket
        .send(Message::text(text))
        .await
        .expect("the server reads");
}

async fn heard(socket: &mut Socket) -> String {
    match socket.next().await {
        Some(Ok(Message::Text(text))) => text.to_string(),
        other => panic!("not a text frame: {other:?}"),
    }
}

async fn close_code(socket: &mut Socket) -> u16 {
    let code = match socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => frame.code.into(),
        other => panic!("not a close frame: {other:?}"),
    };
    // The next read sends the answer that the server waits for.
    assert!(
        !matches!(socket.next().await, Some(Ok(_))),
        "nothing follows a close frame"
    );
    code
}

fn hello(version: &str) -> String {
    json!({"instruction": 1, "args": {"version": version, "hostname": "h", "buildHash": ""}})
        .to_string()
}

/// The text frames that the real server sent.
fn recorded_frames(recording: &Recording) -> Vec<&str> {
    let frames = recording.api["websocket"]["frames"].as_array();
    let frames = frames.expect("frames").iter();
    let frames = frames.filter(|frame| frame["opcode"] == "text");
    frames.map(|frame| text(&frame["text"])).collect()
}

#[tokio::test]
async fn frames_are_acknowledged_but_acks_are_not() {
    let (standin, _) = server(Dialect::default()).await;
    let mut socket = connected(&standin).await;
    // Were the ack acknowledged, the pong would not come first.
    say(&mut socket, r#"{"instruction":0,"args":{}}"#).await;
    socket
        .send(Message::Ping("hi".into()))
        .await
        .expect("the server reads");
    assert_eq!(
        socket.next().await.expect("a frame").expect("open"),
        Message::Pong("hi".into())
    );
    for frame in [r#"{"instruction":9,"args":{}}"#, r#"{"instruction":1}"#] {
        say(&mut socket, frame).await;
        assert_eq!(heard(&mut socket).await, ACK);
    }
}

#[tokio::test]
async fn frames_that_are_no_instruction_close_with_1000() {
    let (standin, _) = server(Dialect::default()).await;
    for frame in [
        Message::text("not json"),
        Message::text(r#"{"instruction":"hello","args":{}}"#),
        Message::binary(hello("2026.2.2")),
    ] {
        let mut socket = connected(&standin).await;
        socket.send(frame).await.expect("the server reads");
        assert_eq!(close_code(&mut socket).await, 1000);
    }
}

#[tokio::test]
async fn handshakes_are_refused_with_403() {
    let (standin, _) = server(Dialect::default()).await;
    let (id, token) = (standin.outpost_id().to_string(), standin.token());
    let unknown = "679e35d7-d5b1-4da2-8be6-bc295eceebd0";
    let [_, (_, recording)] = dialects();
    for (name, token, outpost) in [
        ("wrong token", "nope", id.as_str()),
        ("unknown outpost uuid", &token, unknown),
    ] {
        let refused = websocket(&standin, token, outpost)
            .await
            .expect_err("refused");
        let recorded = &recording.api["websocket"]["refused_handshakes"][name];
        assert_eq!(refused.as_u16(), recorded["status"]);
    }
    standin.refuse_websockets(true);
    assert!(websocket(&standin, &token, &id).await.is_err());
}

#[tokio::test]
async fn hellos_make_the_health() {
    for (dialect, recording) in dialects() {
        let recorded = &recording.api["api"];
        let (standin, _) = server(dialect).await;
        let path = format!(
            "/api/v3/outposts/instances/{}/health/",
            standin.outpost_id()
        );
        let health = async || get_api(&standin, &path).await.json();
        assert_eq!(health().await, recorded["no_health"]["body"]);
        let mut socket = connected(&standin).await;
        for name in ["health", "health_of_an_outdated_instance"] {
            let expected = &recorded[name]["body"];
            let version = text(&expected[0]["version"]);
            say(&mut socket, &hello(version)).await;
            assert_eq!(heard(&mut socket).await, ACK);
            let health = health().await;
            assert_same(&health, expected);
            assert_eq!(health[0]["version"], version);
            let outdated = "version_outdated";
            assert_eq!(health[0][outdated], expected[0][outdated]);
            assert_eq!(health[0]["uid"], "instance-1");
        }
    }
}

#[tokio::test]
async fn a_version_that_is_none_breaks_the_health() {
    let (standin, _) = server(Dialect::default()).await;
    let path = format!(
        "/api/v3/outposts/instances/{}/health/",
        standin.outpost_id()
    );
    let mut socket = connected(&standin).await;
    say(&mut socket, &hello("rust-outpost/1.0")).await;
    standin.wait_hellos(1).await;
    standin.wait_websocket().await;
    let broken = get_api(&standin, &path).await;
    assert_eq!(broken.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn changes_are_announced_twice_and_renames_not() {
    let (standin, _) = server(Dialect::default()).await;
    let mut socket = connected(&standin).await;
    say(&mut socket, &hello("2026.2.2")).await;
    assert_eq!(heard(&mut socket).await, ACK);
    standin.patch_provider_silently("grafana", json!({"assigned_application_name": "G"}));
    standin.patch_provider("grafana", json!({"skip_path_regex": "^/x"}));
    standin.send_frame("mark");
    for expected in [UPDATE, UPDATE, "mark"] {
        assert_eq!(heard(&mut socket).await, expected);
    }
}

#[tokio::test]
async fn session_ends_are_told_in_the_dialect() {
    for ((dialect, recording), told_of_sign_out) in dialects().into_iter().zip([2, 1]) {
        let frames = recorded_frames(&recording);
        let [ACK, UPDATE, session_end] = frames[..] else {
            panic!("other frames: {frames:?}");
        };
        let recorded: Value = serde_json::from_str(session_end).expect("JSON");
        let recorded_sid = text(&recorded["args"]["session_id"]);
        let (standin, provider) = server(dialect).await;
        let mut socket = connected(&standin).await;
        say(&mut socket, &hello("x")).await;
        assert_eq!(heard(&mut socket).await, ACK);
        let sign_in = || {
            let _ = standin.mint(&provider.client_id, "alice", json!({}));
            standin.sids_of("alice").remove(0)
        };
        let signed_out = sign_in();
        standin.end_session(&signed_out);
        let deleted = sign_in();
        standin.end_sessions_of("alice");
        for (sid, times) in [(signed_out, told_of_sign_out), (deleted, 1)] {
            for _ in 0..times {
                let expected = session_end.replace(recorded_sid, &sid);
                assert_eq!(heard(&mut socket).await, expected);
            }
        }
    }
}

#[tokio::test]
async fn a_restart_closes_with_1012_and_replays_nothing() {
    let (standin, provider) = server(Dialect::default()).await;
    let mut socket = connected(&standin).await;
    say(&mut socket, &hello("2026.2.2")).await;
    assert_eq!(heard(&mut socket).await, ACK);
    let (code, ()) = tokio::join!(close_code(&mut socket), standin.stop());
    assert_eq!(code, 1012);
    TcpStream::connect(standin.addr())
        .await
        .expect_err("refused while stopped");
    let _ = standin.mint(&provider.client_id, "alice", json!({}));
    standin.end_sessions_of("alice");
    standin.start_again().await.expect("the port is free");
    let mut socket = connected(&standin).await;
    say(&mut socket, &hello("2026.2.2")).await;
    assert_eq!(heard(&mut socket).await, ACK);
    standin.drop_websockets();
    assert!(
        !matches!(socket.next().await, Some(Ok(_))),
        "dropped without a frame"
    );
}

#[tokio::test]
async fn the_code_of_a_clients_close_frame_is_remembered() {
    let (standin, _) = server(Dialect::default()).await;
    let mut socket = connected(&standin).await;
    socket
        .close(Some(CloseFrame {
            code: CloseCode::Away,
            reason: "".into(),
        }))
        .await
        .expect("the server reads");
    standin.wait_no_websocket().await;
    assert_eq!(standin.closes(), [Some(1001)]);
}
