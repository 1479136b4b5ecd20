//! Refusals, introspections, and what authentik says of itself.

use url::Url;

use super::site;
use crate::oidc::{Endpoints, OidcError, Origin, ProviderUrls};
use crate::recordings::{both, text};
use crate::replay::Replay;

#[tokio::test]
async fn recorded_refusals_of_a_code_are_told_apart() {
    for recording in both() {
        let replay = Replay::start().await;
        let recording = recording.moved_to(&replay.base);
        let site = site(&recording, &recording.oidc["tokens"]["ben"]);
        let refused = async |name: &str| {
            replay.plays([&recording.oidc["refused_tokens"][name]]);
            let redeemed = site.relying_party.redeem("c", "v".into(), "n", 0).await;
            redeemed.map(drop).expect_err(name)
        };
        for name in ["unknown_code", "used_code"] {
            let error = refused(name).await;
            assert!(matches!(error, OidcError::CodeRefused), "{name}: {error}");
        }
        for name in ["wrong_secret", "wrong_redirect_uri"] {
            let error = refused(name).await;
            assert!(
                matches!(&error, OidcError::Refused { code } if code == "invalid_client"),
                "{name}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn recorded_introspections_tell_who_is_still_in() {
    for recording in both() {
        let replay = Replay::start().await;
        let recording = recording.moved_to(&replay.base);
        let site = site(&recording, &recording.oidc["tokens"]["ben"]);
        let mut found = Vec::new();
        let recorded = recording.oidc["introspections"].as_object();
        for (name, answer) in recorded.expect("answers") {
            replay.plays([answer]);
            let active = site
                .relying_party
                .is_active(&"token".into())
                .await
                .expect(name);
            assert_eq!(answer["body"]["active"], active, "{name}");
            found.push(active);
            let asked = replay.asked().pop().expect("a request");
            assert_eq!(asked.uri().path(), text(&answer["path"]));
            let form = url::form_urlencoded::parse(asked.body().as_bytes());
            let fields: Vec<_> = form.map(|(field, _)| field.into_owned()).collect();
            if name != "with_basic_authentication" {
                assert_eq!(serde_json::json!(fields), answer["form_fields"], "{name}");
            }
        }
        assert!(found.contains(&true) && found.contains(&false));
    }
}

/// One provider was recorded under the host for the outpost and under the host for browsers.
#[test]
fn the_front_channel_is_what_authentik_itself_would_say_there() {
    for recording in both() {
        let public = Url::parse(text(&recording.api["public"])).expect("a URL");
        for (name, expected) in recording.api["public_urls"].as_object().expect("providers") {
            let record = recording.providers().find(|p| p["name"] == *name);
            let urls = &record.expect("a recorded provider")["oidc_configuration"];
            let read: ProviderUrls = serde_json::from_value(urls.clone()).expect("URLs");
            let found = Endpoints::new(&read, Some(&public), None, false).expect("endpoints");
            assert_eq!(
                found.authorization.as_str(),
                expected["authorization_endpoint"]
            );
            let end_session = found.end_session.map(String::from);
            assert_eq!(
                end_session.as_deref(),
                expected["end_session_endpoint"].as_str()
            );
            assert_eq!(
                serde_json::json!(found.issuers),
                serde_json::json!([expected["issuer"]])
            );
            assert_eq!(found.token.as_str(), urls["token_endpoint"]);
            let introspection = found.introspection.map(String::from);
            assert_eq!(
                introspection.as_deref(),
                urls["introspection_endpoint"].as_str()
            );
            assert_eq!(
                found.jwks.map(String::from).as_deref(),
                urls["jwks_uri"].as_str()
            );
            assert_eq!(found.host, Some(Origin::of(&public)));
        }
    }
}
