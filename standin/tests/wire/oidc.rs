//! `OpenID` Connect against facts from the recordings.

use crate::recordings::{Recording, text};
use crate::shape::assert_same;
use crate::support::{
    CALLBACK, authorize, browse, claims, dialects, introspect, post_form, server, token,
};
use authentik_standin::{Dialect, Provider, Signing, Standin, User};
use http::StatusCode;
use serde_json::{Value, json};

/// Signs alice in and returns her session cookie.
async fn sign_in(standin: &Standin, provider: &Provider) -> String {
    let to_login = browse(standin, &authorize(provider, &[]), "").await;
    let page = if to_login.location().starts_with("/flows/") {
        browse(standin, to_login.location(), "")
            .await
            .location()
            .to_owned()
    } else {
        to_login.location().to_owned()
    };
    let form = browse(standin, &page, "").await;
    assert!(form.body.contains("authentik stand-in") && form.body.contains("name=\"password\""));
    let wrong = [("username", "alice"), ("password", "wrong")];
    assert!(
        post_form(standin, &page, &wrong)
            .await
            .body
            .contains("role=\"alert\"")
    );
    let right = [("username", "alice"), ("password", "alice-pass")];
    let back = post_form(standin, &page, &right).await;
    assert_eq!(back.location(), authorize(provider, &[]));
    let attributes = back.header("set-cookie").to_owned();
    assert!(
        attributes.ends_with("; HttpOnly; Path=/; SameSite=Lax"),
        "{attributes}"
    );
    back.cookie()
}

/// The code in a successful redirect.
fn code_of(location: &str) -> &str {
    let rest = location.strip_prefix(CALLBACK).expect("the callback");
    let code = rest
        .strip_prefix("&code=")
        .and_then(|rest| rest.strip_suffix("&state=st-1"));
    code.expect("a code and the state")
}

async fn redeem(standin: &Standin, provider: &Provider, code: &str) -> Value {
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
    ];
    token(standin, provider, &fields).await.json()
}

/// The answer and both tokens have the fields of the recorded one.
fn assert_tokens(answer: &Value, recording: &Recording, name: &str) {
    assert_same(answer, &recording.token_answer(name, None)["body"]);
    for token in ["access_token", "id_token"] {
        assert_same(&claims(&answer[token]), &recording.claims(name, token));
    }
}

#[tokio::test]
async fn tokens_have_the_recorded_claims() {
    for (dialect, recording) in dialects() {
        let (standin, provider) = server(dialect).await;
        let cookie = sign_in(&standin, &provider).await;
        let back = browse(&standin, &authorize(&provider, &[]), &cookie).await;
        let answer = redeem(&standin, &provider, code_of(back.location())).await;
        assert_tokens(&answer, &recording, "ada_at_storage");
        let access = claims(&answer["access_token"]);
        let recorded = recording.claims("ada_at_storage", "access_token");
        assert_eq!(access["email_verified"], recorded["email_verified"]);
        assert_eq!(
            standin.sids_of("alice"),
            [access["sid"].as_str().expect("a sid")]
        );
        let token = answer["access_token"].as_str().expect("a token");
        let shown = introspect(&standin, &provider, token).await;
        assert_same(
            &shown,
            &recording.oidc["introspections"]["of_a_login"]["body"],
        );
        let code = standin.issue_code(&provider.client_id, "alice", CALLBACK, Some("n"), None);
        let answer = redeem(&standin, &provider, &code).await;
        assert_tokens(&answer, &recording, "with_nonce");
    }
}

#[tokio::test]
async fn refusals_are_those_of_the_real_server() {
    for (dialect, recording) in dialects() {
        let (standin, provider) = server(dialect).await;
        let wrong = Provider {
            client_secret: "wrong".to_owned(),
            ..provider.clone()
        };
        for (name, client) in [("unknown_code", &provider), ("wrong_secret", &wrong)] {
            let recorded = &recording.oidc["refused_tokens"][name];
            let answer = redeem(&standin, client, "nope").await;
            assert_same(&answer, &recorded["body"]);
            for field in ["error", "error_description"] {
                assert_eq!(answer[field], recorded["body"][field]);
            }
        }
    }
}

#[tokio::test]
async fn errors_come_back_with_a_second_question_mark() {
    let (standin, provider) = server(Dialect::default()).await;
    let bogus = browse(
        &standin,
        &authorize(&provider, &[("response_type", "bogus")]),
        "",
    )
    .await;
    let [_, (_, recording)] = dialects();
    let recorded = |index: usize| {
        let redirect = &recording.oidc["redirects"]["errors"][index];
        let (_, query) = text(&redirect["location"])
            .split_once('?')
            .expect("a query");
        let (query, _) = query.rsplit_once("&state=").expect("a state");
        let (callback, _) = CALLBACK.split_once('?').expect("a query");
        format!("{callback}?{query}&state=st-1")
    };
    assert_eq!(bogus.location(), recorded(1));
    let silent = browse(&standin, &authorize(&provider, &[("prompt", "none")]), "").await;
    assert_eq!(silent.location(), recorded(0));
    for uri in [&CALLBACK.replace("https", "http"), &format!("{CALLBACK}x")] {
        let refused = browse(
            &standin,
            &authorize(&provider, &[("redirect_uri", uri)]),
            "",
        )
        .await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn the_state_comes_back_as_recorded() {
    for (dialect, recording) in dialects() {
        let (standin, provider) = server(dialect).await;
        let cookie = sign_in(&standin, &provider).await;
        let redirects = recording.oidc["redirects"]["codes"].as_array();
        for redirect in redirects.expect("redirects") {
            let state = redirect["state"].as_str().unwrap_or_default();
            let asked = authorize(&provider, &[("state", state)]);
            let back = browse(&standin, &asked, &cookie).await;
            let tail = |location: &str| location.rsplit_once("&state=").map(|(_, s)| s.to_owned());
            assert_eq!(tail(back.location()), tail(text(&redirect["location"])));
        }
    }
}

#[tokio::test]
async fn prompts_and_policies() {
    let (standin, provider) = server(Dialect::default()).await;
    let cookie = sign_in(&standin, &provider).await;
    let none = browse(
        &standin,
        &authorize(&provider, &[("prompt", "none")]),
        &cookie,
    )
    .await;
    code_of(none.location());
    let login = authorize(&provider, &[("prompt", "login")]);
    let page = browse(&standin, &login, &cookie)
        .await
        .location()
        .to_owned();
    assert!(page.starts_with("/if/flow/default-authentication-flow/"));
    let fields = [("username", "alice"), ("password", "alice-pass")];
    let fresh = post_form(&standin, &page, &fields).await;
    let once = browse(&standin, fresh.location(), &fresh.cookie()).await;
    code_of(once.location());
    let again = browse(&standin, fresh.location(), &fresh.cookie()).await;
    assert!(
        again.location().starts_with("/if/flow/"),
        "the login counts once"
    );
    let closed = Provider {
        allowed_groups: Some(vec!["nobody".to_owned()]),
        ..Provider::forward_single("closed", "https://grafana.example.test")
    };
    standin.add_provider(closed.clone());
    let denied = browse(&standin, &authorize(&closed, &[]), &cookie).await;
    assert_eq!(denied.status, StatusCode::OK);
    assert!(denied.body.contains("Permission denied"));
}

#[tokio::test]
async fn codes_are_redeemed_once_by_the_right_client() {
    let (standin, provider) = server(Dialect::default()).await;
    let id = &provider.client_id;
    let code = standin.issue_code(id, "alice", CALLBACK, Some("n-1"), None);
    let attempt = async |secret: &str, uri: &str| {
        let fields = [
            ("client_id", id.as_str()),
            ("client_secret", secret),
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", uri),
        ];
        post_form(&standin, "/application/o/token/", &fields).await
    };
    let secret = &provider.client_secret;
    for (secret, uri) in [("wrong", CALLBACK), (secret, "https://evil.example.test/")] {
        let refused = attempt(secret, uri).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert_eq!(refused.json()["error"], "invalid_client");
    }
    let issued = attempt(secret, CALLBACK).await.json();
    assert_eq!(claims(&issued["access_token"])["nonce"], "n-1");
    assert_eq!(claims(&issued["id_token"])["nonce"], "n-1");
    assert_eq!(
        attempt(secret, CALLBACK).await.json()["error"],
        "invalid_grant"
    );
}

#[tokio::test]
async fn pkce_is_checked() {
    // The example of RFC 7636, appendix B.
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let challenge = Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    let (standin, provider) = server(Dialect::default()).await;
    let code = standin.issue_code(&provider.client_id, "alice", CALLBACK, None, challenge);
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", CALLBACK),
    ];
    assert_eq!(
        token(&standin, &provider, &fields).await.json()["error"],
        "invalid_grant"
    );
    let wrong: Vec<_> = fields
        .iter()
        .copied()
        .chain([("code_verifier", "wrong")])
        .collect();
    assert_eq!(
        token(&standin, &provider, &wrong).await.json()["error"],
        "invalid_grant"
    );
    let right: Vec<_> = fields
        .iter()
        .copied()
        .chain([("code_verifier", verifier)])
        .collect();
    assert_eq!(
        token(&standin, &provider, &right).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn app_passwords_give_tokens_without_a_session() {
    let (standin, provider) = server(Dialect::default()).await;
    let [_, (_, recording)] = dialects();
    let login = async |username: &str, password: &str| {
        let fields = [
            ("client_id", &*provider.client_id),
            ("grant_type", "client_credentials"),
            ("username", username),
            ("password", password),
        ];
        post_form(&standin, "/application/o/token/", &fields)
            .await
            .json()
    };
    let issued = login("alice", "alice-app-pass").await;
    assert_tokens(&issued, &recording, "client_credentials_ada");
    for (username, password) in [("alice", "alice-pass"), ("nobody", "x")] {
        let recorded = &recording.oidc["refused_tokens"]["wrong_app_password"];
        let refused = login(username, password).await;
        assert_eq!(refused["error"], recorded["body"]["error"]);
    }
    let own = token(&standin, &provider, &[("grant_type", "client_credentials")])
        .await
        .json();
    assert_tokens(&own, &recording, "client_credentials_of_the_client");
    assert_eq!(
        claims(&own["id_token"])["preferred_username"],
        "ak-grafana-client_credentials"
    );
}

#[tokio::test]
async fn introspection_tells_only_the_right_client() {
    let (standin, provider) = server(Dialect::default()).await;
    let other = Provider::forward_single("other", "https://other.example.test");
    standin.add_provider(other.clone());
    let code = standin.issue_code(&provider.client_id, "alice", CALLBACK, None, None);
    let issued = redeem(&standin, &provider, &code).await;
    let access = issued["access_token"].as_str().expect("a token");
    let id_token = issued["id_token"].as_str().expect("a token");
    let inactive = json!({"active": false});
    let wrong = Provider {
        client_secret: "wrong".to_owned(),
        ..provider.clone()
    };
    assert_eq!(introspect(&standin, &provider, id_token).await, inactive);
    assert_eq!(introspect(&standin, &provider, "garbage").await, inactive);
    assert_eq!(introspect(&standin, &wrong, access).await, inactive);
    assert_eq!(introspect(&standin, &other, access).await, inactive);
    assert_eq!(
        introspect(&standin, &provider, access).await["active"],
        true
    );
    standin.deactivate("alice");
    assert_eq!(introspect(&standin, &provider, access).await, inactive);
}

#[tokio::test]
async fn end_session_ends_nothing_but_the_invalidation_flow_does() {
    let (standin, provider) = server(Dialect::default()).await;
    let cookie = sign_in(&standin, &provider).await;
    let page = browse(&standin, "/application/o/grafana/end-session/", &cookie).await;
    assert!(
        page.body
            .contains("href=\"/flows/-/default/invalidation/\"")
    );
    assert_eq!(standin.sids_of("alice").len(), 1);
    let out = browse(&standin, "/flows/-/default/invalidation/", &cookie).await;
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    assert!(standin.sids_of("alice").is_empty());
}

#[tokio::test]
async fn refresh_tokens_rotate_where_offline_access_exists() {
    let (standin, _) = server(Dialect::default()).await;
    let mut provider = Provider::forward_single("offline", "https://grafana.example.test");
    provider.scopes.push("offline_access".to_owned());
    standin.add_provider(provider.clone());
    let code = standin.issue_code(&provider.client_id, "alice", CALLBACK, None, None);
    let first = redeem(&standin, &provider, &code).await["refresh_token"].clone();
    let refresh = async |secret: &Value| {
        let secret = secret.as_str().expect("a refresh token");
        let fields = [("grant_type", "refresh_token"), ("refresh_token", secret)];
        token(&standin, &provider, &fields).await.json()
    };
    let second = refresh(&first).await["refresh_token"].clone();
    assert_eq!(refresh(&first).await["error"], "invalid_grant");
    assert!(refresh(&second).await["access_token"].is_string());
}

#[tokio::test]
async fn asymmetric_signatures_verify_with_the_key_set() {
    let (standin, _) = server(Dialect::default()).await;
    let symmetric = browse(&standin, "/application/o/grafana/jwks/", "").await;
    assert_eq!(symmetric.json(), json!({}));
    standin.add_user(User::new("bob", "bob-pass"));
    for (name, signing) in [("rsa", Signing::Rs256), ("ec", Signing::Es256)] {
        let provider = Provider {
            signing,
            ..Provider::forward_single(name, "https://x.test")
        };
        standin.add_provider(provider.clone());
        let token = standin.mint(&provider.client_id, "bob", json!({"email": null, "x": 1}));
        let set = browse(&standin, &format!("/application/o/{name}/jwks/"), "").await;
        let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&set.body).expect("a key set");
        let header = jsonwebtoken::decode_header(&token).expect("a JWT");
        let jwk = set.find(&header.kid.expect("a kid")).expect("the key");
        let key = jsonwebtoken::DecodingKey::from_jwk(jwk).expect("a usable key");
        let mut validation = jsonwebtoken::Validation::new(header.alg);
        validation.set_audience(&[&provider.client_id]);
        let decoded = jsonwebtoken::decode::<Value>(&token, &key, &validation).expect("verified");
        assert_eq!(decoded.claims["x"], 1);
        assert!(decoded.claims.get("email").is_none());
    }
}
