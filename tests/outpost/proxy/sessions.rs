//! What is open lasts as long as its session, and no longer.

use authentik_standin::Provider;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::login::refresh::refreshes;
use crate::proxy::streams::{application, ask, head};
use crate::support::upstream::{HOST, alice, world};
use crate::support::{Browser, get, within};

/// An application whose events begin with a chunk, and have no end. One has to sign in for it.
pub(crate) async fn endless() -> Provider {
    let provider = application(|mut stream| async move {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
        stream.write_all(head.as_bytes()).await?;
        std::future::pending().await
    })
    .await;
    Provider {
        skip_path_regex: String::new(),
        ..provider
    }
}

#[tokio::test]
async fn an_endless_answer_ends_with_its_session_and_with_no_other() {
    let world = world(endless().await, &[]).await;
    let mut streams = Vec::new();
    let mut first = Vec::new();
    for _ in 0..2 {
        let cookie = alice(&world).await;
        let line = format!("GET /events HTTP/1.1\r\nCookie: {cookie}");
        let mut stream = ask(world.address(), &line).await;
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
        let mut chunk = [0; 6];
        within(stream.read_exact(&mut chunk))
            .await
            .expect("a chunk");
        assert_eq!(&chunk, b"1\r\na\r\n");
        streams.push(stream);
        if first.is_empty() {
            first = world.authentik.sids_of("alice");
        }
    }
    world.authentik.end_session(&first[0]);
    let mut rest = Vec::new();
    // A reset breaks it off, too.
    let _ = within(streams[0].read_to_end(&mut rest)).await;
    assert!(rest.is_empty(), "not as if it had ended: {rest:?}");
    // Had it ended with the first, its end would be there.
    let asked = get(world.address(), "/outpost.goauthentik.io/ping", HOST, &[]).await;
    assert_eq!(asked.status(), 204);
    let nothing = streams[1]
        .try_read(&mut [0; 1])
        .map_err(|error| error.kind());
    assert_eq!(nothing, Err(std::io::ErrorKind::WouldBlock));
}

#[tokio::test]
async fn an_answer_that_never_rests_ends_with_its_session() {
    let provider = application(|mut stream| async move {
        let head = "HTTP/1.1 200 OK\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        loop {
            stream.write_all(&[b'x'; 16 << 10]).await?;
        }
    })
    .await;
    let provider = Provider {
        skip_path_regex: String::new(),
        ..provider
    };
    let world = world(provider, &[]).await;
    let cookie = alice(&world).await;
    let line = format!("GET /log HTTP/1.1\r\nCookie: {cookie}");
    let mut stream = ask(world.address(), &line).await;
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let mut block = vec![0; 1 << 20];
    within(stream.read_exact(&mut block)).await.expect("a lot");
    world.authentik.end_sessions_of("alice");
    // Its application would go on for ever.
    within(async { while stream.read(&mut block).await.is_ok_and(|read| read > 0) {} }).await;
}

#[tokio::test]
async fn what_is_open_keeps_its_session_alive() {
    let mut provider = endless().await;
    provider.scopes.push("offline_access".into());
    // It is due ten seconds after it began, and its only request was before that.
    provider.access_token_validity = Some(20.0);
    let world = world(provider, &[]).await;
    let mut browser = Browser::default();
    browser.log_in(&world, HOST, "/").await;
    let line = format!("GET /events HTTP/1.1\r\nCookie: {}", browser.cookies(HOST));
    let mut stream = ask(world.address(), &line).await;
    head(&mut stream).await;
    within(stream.read_exact(&mut [0; 6])).await.expect("open");
    assert_eq!(refreshes(&world.authentik), 0);
    let began = world.outpost.store().sweep()[0].1.expires_at;
    let is_renewed = |store: &authentik_proxy::route::Store| {
        let session = store.sweep().pop();
        session.is_some_and(|(_, session)| session.expires_at > began)
    };
    world.until(|w| is_renewed(w.outpost.store())).await;
    let nothing = stream.try_read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(nothing, Err(std::io::ErrorKind::WouldBlock), "it is open");
    browser.sign_out(&world, HOST).await;
    let mut rest = Vec::new();
    let _ = within(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty(), "not as if it had ended: {rest:?}");
}
