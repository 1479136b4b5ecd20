//! What two real servers answered to token and introspection requests.

mod answers;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use url::Url;

use super::{OidcError, TokenError, Verifier};
use crate::control::recorded::sites;
use crate::model::Claims;
use crate::recordings::{Recording, both, text};
use crate::replay::Replay;
use crate::route::Site;

fn answers(recording: &Recording) -> impl Iterator<Item = (&String, &Value)> {
    recording.oidc["tokens"]
        .as_object()
        .expect("answers")
        .iter()
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("a number")
}

/// Every claim that is used.
const USED: [&str; 12] = [
    "iss",
    "sub",
    "exp",
    "iat",
    "sid",
    "nonce",
    "email",
    "name",
    "preferred_username",
    "groups",
    "entitlements",
    "ak_proxy",
];

/// Claims are read as the token has them, and are empty where it has none.
fn assert_read(claims: &Claims, recorded: &Value) {
    let none = serde_json::to_value(Claims::default()).expect("JSON");
    let read = serde_json::to_value(claims).expect("JSON");
    for name in USED {
        assert_eq!(
            read[name],
            *recorded.get(name).unwrap_or(&none[name]),
            "{name}"
        );
    }
}

fn site(recording: &Recording, answer: &Value) -> Arc<Site> {
    let request = &answer["request"];
    let browser = request.get("x-forwarded-proto").map(|scheme| {
        let url = format!("{}://{}", text(scheme), text(&request["host"]));
        Url::parse(&url).expect("a URL")
    });
    let mut sites = sites(recording, browser).into_iter();
    let site = sites.find(|site| request["form"]["client_id"] == *site.application.client.id);
    site.expect("a recorded client")
}

#[test]
fn recorded_tokens_are_verified_and_read() {
    for recording in both() {
        for (name, _) in answers(&recording) {
            let answer = recording.token_answer(name, None);
            for token in ["access_token", "id_token"] {
                let claims = recording.claims(name, token);
                let (secret, algorithms) = (recording.secret_of(&claims["aud"]), ["HS256".into()]);
                let verifier = |issuer: &Value, secret| {
                    let issuers = vec![text(issuer).to_owned()];
                    Verifier::new(issuers, text(&claims["aud"]), secret, &algorithms)
                };
                let verify =
                    |verifier: Verifier, now| verifier.verify(text(&answer["body"][token]), now);
                let (begin, end) = (number(&claims["iat"]), number(&claims["exp"]));
                let right = || verifier(&claims["iss"], secret);
                assert_read(&verify(right(), begin).expect(name), &claims);
                assert!(verify(right(), end - 1).is_ok(), "{name}");
                assert_eq!(verify(right(), end), Err(TokenError::Expired), "{name}");
                assert!(matches!(
                    verify(verifier(&recording.oidc["public"], secret), begin),
                    Err(TokenError::Issuer { .. })
                ));
                assert!(matches!(
                    verify(verifier(&claims["iss"], "other"), begin),
                    Err(TokenError::Signature(_))
                ));
                let password = name.starts_with("client_credentials");
                assert_eq!(claims.get("sid").is_none(), password, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn recorded_codes_are_redeemed_as_recorded() {
    for recording in both() {
        let replay = Replay::start().await;
        let recording = recording.moved_to(&replay.base);
        for (name, answer) in answers(&recording) {
            let recorded = &answer["request"];
            if recorded["form"]["grant_type"] != "authorization_code" {
                continue;
            }
            let claims = recording.claims(name, "access_token");
            let site = site(&recording, answer);
            let redeem = async |sent: Option<&str>, expected: &str| {
                replay.plays([&recording.token_answer(name, sent)]);
                let (code, now) = (text(&recorded["form"]["code"]), number(&claims["iat"]));
                let party = &site.relying_party;
                party.redeem(code, "verifier".into(), expected, now).await
            };
            let tokens = redeem(Some("ours"), "ours").await.expect(name);
            assert_eq!(tokens.claims.sid.as_deref(), claims["sid"].as_str());

            let asked = replay.asked().pop().expect("a request");
            assert_eq!(asked.uri().path(), text(&answer["path"]));
            for header in ["host", "x-forwarded-proto"] {
                if let Some(value) = recorded.get(header) {
                    assert_eq!(asked.headers()[header], text(value), "{name}");
                }
            }
            let form = url::form_urlencoded::parse(asked.body().as_bytes()).into_owned();
            let mut form: BTreeMap<_, _> = form.collect();
            assert_eq!(form.remove("code_verifier").as_deref(), Some("verifier"));
            assert_eq!(serde_json::json!(form), recorded["form"], "{name}");

            if let Some(nonce) = claims["nonce"].as_str() {
                redeem(None, nonce).await.expect(name);
            }
            for (sent, expected) in [(Some("theirs"), "ours"), (None, "ours")] {
                let refused = redeem(sent, expected).await.map(drop);
                assert!(
                    matches!(refused, Err(OidcError::Nonce)),
                    "{name}: {refused:?}"
                );
            }
        }
    }
}
