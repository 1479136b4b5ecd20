//! The cryptography of a login, and of the session cookie on every request.

#![allow(
    missing_docs,
    reason = "criterion_group! generates an undocumented item"
)]

use std::hint::black_box;

use authentik_proxy::model::SessionId;
use authentik_proxy::oidc::{Keys, LoginState, Verifier};
use authentik_proxy::web::cookie::{self, Form};
use criterion::{Criterion, criterion_group, criterion_main};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

const NOW: i64 = 1_795_492_000;
const CLIENT_ID: &str = "tMbCRrtzo7iSV1Slo6nOUBMGqrCVmHTvrVVkJw7Q";
const ISSUER: &str = "https://authentik.home.test/application/o/grafana/";

fn keys() -> Keys {
    Keys::derive("a-cookie-secret-of-an-application-at-authentik", CLIENT_ID)
}

fn state(criterion: &mut Criterion) {
    let keys = keys();
    let state = LoginState {
        iss: LoginState::issuer(CLIENT_ID),
        sid: SessionId::random().key().to_text(),
        state: SessionId::random().to_text(),
        redirect: "https://grafana.home.test/d/abc/overview?orgId=1&from=now-6h".into(),
        target_hash: String::new(),
        exp: NOW + 3600,
        attempt: 1,
    };
    let text = state.sign(&keys.state);
    assert_eq!(
        LoginState::verify(&text, &keys.state, CLIENT_ID, NOW),
        Ok(state.clone())
    );
    criterion.bench_function("login/state_sign", |bencher| {
        bencher.iter(|| black_box(&state).sign(&keys.state));
    });
    criterion.bench_function("login/state_verify", |bencher| {
        bencher.iter(|| LoginState::verify(black_box(&text), &keys.state, CLIENT_ID, NOW));
    });
}

fn token(criterion: &mut Criterion) {
    let secret = "s".repeat(128);
    let claims = json!({
        "iss": ISSUER,
        "sub": "6dc2d2d3a1a2f7a6cbf5cdd0b0ad7f1d6a58fc4b1d2e8b6c6a9c4b3f2e1d0c9b",
        "aud": CLIENT_ID,
        "exp": NOW + 3600,
        "iat": NOW,
        "auth_time": NOW,
        "acr": "goauthentik.io/providers/oauth2/default",
        "amr": ["pwd", "mfa"],
        "sid": "0f4b1d2e8b6c6a9c4b3f2e1d0c9b6dc2d2d3a1a2f7a6cbf5cdd0b0ad7f1d6a58",
        "nonce": SessionId::random().to_text(),
        "email": "alice@home.test",
        "email_verified": true,
        "name": "Alice Example",
        "given_name": "Alice",
        "preferred_username": "alice",
        "nickname": "alice",
        "groups": ["authentik Admins", "grafana-admins", "editors", "staff"],
        "entitlements": ["edit"],
        "ak_proxy": {
            "user_attributes": {"locale": "de", "additionalHeaders": {"X-Team": "platform"}},
            "is_superuser": false,
        },
        "azp": CLIENT_ID,
        "uid": "sSzCQkNbA1cFLpGzdqZ3lYtCxHq0YV5nX0fV4mCl",
    });
    let key = EncodingKey::from_secret(secret.as_bytes());
    let token =
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).expect("a token");
    let verifier = Verifier::new(vec![ISSUER.into()], CLIENT_ID, &secret, &["HS256".into()]);
    let claims = verifier.verify(&token, NOW).expect("a good token");
    assert_eq!(claims.preferred_username, "alice");
    criterion.bench_function("login/token_verify", |bencher| {
        bencher.iter(|| verifier.verify(black_box(&token), NOW));
    });
}

fn cookies(criterion: &mut Criterion) {
    let keys = keys();
    let id = SessionId::random();
    let good = cookie::sign(&keys.session, &id, Form::Plain);
    let mut forged = good.clone().into_bytes();
    forged[0] = if forged[0] == b'A' { b'B' } else { b'A' };
    assert_eq!(
        cookie::verify(&keys.session, good.as_bytes(), Form::Plain),
        Some(id)
    );
    assert_eq!(cookie::verify(&keys.session, &forged, Form::Plain), None);
    for (name, value) in [
        ("login/cookie_verify", good.as_bytes()),
        ("login/cookie_verify_forged", forged.as_slice()),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| cookie::verify(&keys.session, black_box(value), Form::Plain));
        });
    }
}

criterion_group!(benches, state, token, cookies);
criterion_main!(benches);
