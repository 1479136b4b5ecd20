//! What two real servers answered; `tests/recordings/README.md` tells how it was derived. The
//! stand-in's tests include this file, too.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::Value;

/// The recordings of one server.
pub(crate) struct Recording {
    /// REST and websocket.
    pub(crate) api: Value,
    /// Redirects, tokens, introspection.
    pub(crate) oidc: Value,
}

/// The older server, which ends sessions with instruction 3, and the newer one.
pub(crate) fn both() -> [Recording; 2] {
    [
        (
            include_str!("../tests/recordings/authentik-2025.6/api.json"),
            include_str!("../tests/recordings/authentik-2025.6/oidc.json"),
        ),
        (
            include_str!("../tests/recordings/authentik-2026.2/api.json"),
            include_str!("../tests/recordings/authentik-2026.2/oidc.json"),
        ),
    ]
    .map(|(api, oidc)| Recording {
        api: read(api),
        oidc: read(oidc),
    })
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).expect("recordings are JSON")
}

impl Recording {
    /// The same, as if the server had listened at `base`.
    pub(crate) fn moved_to(&self, base: &str) -> Self {
        let old = text(&self.api["base"]);
        let moved = |value: &Value| read(&value.to_string().replace(old, base));
        let authority = |url: &str| url.split("://").last().unwrap_or_default().to_owned();
        let mut oidc = moved(&self.oidc);
        for answer in oidc["tokens"]
            .as_object_mut()
            .expect("an object")
            .values_mut()
        {
            let host = &mut answer["request"]["host"];
            if *host == authority(old) {
                *host = authority(base).into();
            }
        }
        Self {
            api: moved(&self.api),
            oidc,
        }
    }

    /// The records of all providers.
    pub(crate) fn providers(&self) -> impl Iterator<Item = &Value> {
        let pages = self.api["api"]["providers"].as_array().expect("pages");
        pages
            .iter()
            .flat_map(|page| page["body"]["results"].as_array().expect("a page"))
    }

    /// An answer of the token endpoint, its tokens signed. With a nonce, they carry it as those
    /// do that were asked for with one.
    pub(crate) fn token_answer(&self, name: &str, nonce: Option<&str>) -> Value {
        let mut answer = self.oidc["tokens"][name].clone();
        for token in ["access_token", "id_token"] {
            let mut claims = self.claims(name, token);
            if let Some(nonce) = nonce {
                claims["nonce"] = nonce.into();
            }
            let key = EncodingKey::from_secret(self.secret_of(&claims["aud"]).as_bytes());
            let signed = jsonwebtoken::encode(&Header::default(), &claims, &key);
            answer["body"][token] = signed.expect("claims can be signed").into();
        }
        answer
    }

    /// The claims of a token.
    pub(crate) fn claims(&self, name: &str, token: &str) -> Value {
        let body = &self.oidc["tokens"][name]["body"];
        let mut claims = body["access_token"].clone();
        if token == "id_token" {
            let absent = body["id_token"]["access_token_without"].as_array();
            for claim in absent.expect("names of claims") {
                claims.as_object_mut().expect("claims").remove(text(claim));
            }
        }
        claims
    }

    /// The secret of the client with this id.
    pub(crate) fn secret_of(&self, client_id: &Value) -> &str {
        let provider = self.providers().find(|p| p["client_id"] == *client_id);
        text(&provider.expect("a recorded client")["client_secret"])
    }
}

/// The text that a value is.
pub(crate) fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value}"))
}
