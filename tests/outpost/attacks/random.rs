//! Random requests.

use std::sync::LazyLock;

use authentik_standin::Provider;
use proptest::prelude::*;

use super::{HOST, modes};
use crate::forward_auth::dialects::{ALL, Surface};
use crate::support::World;

/// Worlds in both modes without any path that is open.
struct Shared {
    runtime: tokio::runtime::Runtime,
    worlds: Vec<World>,
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let worlds = modes().map(|provider| {
        let closed = Provider {
            skip_path_regex: String::new(),
            ..provider
        };
        runtime.block_on(World::new(vec![closed]))
    });
    Shared {
        runtime,
        worlds: worlds.into(),
    }
});

/// What may be answered: a login, a refusal, or that the question makes no sense.
fn is_documented(surface: Surface, status: u16) -> bool {
    match surface {
        Surface::Nginx => matches!(status, 401 | 403 | 500),
        _ => matches!(status, 302 | 400 | 401 | 403 | 404 | 500),
    }
}

/// A target that often looks like one of ours, or like a way out of something.
fn targets() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("outpost.goauthentik.io".to_owned()),
        Just("auth".to_owned()),
        Just("callback".to_owned()),
        Just("start".to_owned()),
        Just("sign_out".to_owned()),
        Just("ping".to_owned()),
        Just("..".to_owned()),
        Just("%2e%2e".to_owned()),
        Just("?X-authentik-auth-callback=true".to_owned()),
        Just("?X-authentik-logout=true&code=a&state=b".to_owned()),
        Just("?rd=http://evil.test/".to_owned()),
        "[!-~]{0,20}",
    ];
    proptest::collection::vec(piece, 0..5).prop_map(|pieces| format!("/{}", pieces.join("/")))
}

/// Lines of a head that say nothing of sessions or credentials that exist.
fn lines() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![
        Just("cookie".to_owned()),
        Just("accept".to_owned()),
        Just("sec-fetch-mode".to_owned()),
        Just("x-original-uri".to_owned()),
        Just("x-forwarded-prefix".to_owned()),
        Just("x-forwarded-for".to_owned()),
        Just("x-authentik-username".to_owned()),
        Just("user-agent".to_owned()),
        Just("authorization".to_owned()),
        "x-[a-z_.-]{1,20}",
    ];
    let value = prop_oneof![
        "[ -~]{0,40}",
        "authentik_proxy_[0-9a-f]{8}=[!-~]{0,90}",
        // Credentials that authentik has to be asked about are api_clients.rs's.
        "(Negotiate|Digest|Bearer|Basic)",
    ];
    proptest::collection::vec((name, value), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever a client sends without a session: no 2xx, no panic, no undocumented status, and
    /// nothing is stored.
    #[test]
    fn whatever_is_sent_without_a_session_opens_nothing(target in targets(), lines in lines()) {
        let mut head = String::new();
        for (name, value) in &lines {
            // Only the first word of what could be credentials.
            let value = if name == "authorization" {
                value.split(' ').next().unwrap_or_default()
            } else {
                value
            };
            head = format!("{head}{name}: {value}\r\n");
        }
        for world in &SHARED.worlds {
            for surface in ALL {
                let asked = surface.ask_raw(world, HOST, &target, head.as_bytes());
                let answer = SHARED.runtime.block_on(asked);
                let status = answer.get(9..12).and_then(|status| status.parse().ok());
                let status: u16 = status.expect("an answer");
                let framed = status == 400 && !answer.contains("x-powered-by");
                prop_assert!(
                    framed || is_documented(surface, status),
                    "{surface:?} {target} {head}: {answer}"
                );
            }
            prop_assert!(world.outpost.store().is_empty());
        }
    }
}
