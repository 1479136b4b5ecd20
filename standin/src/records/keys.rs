//! Signing keys of providers and certificates of the key-pair API.

use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RsaKeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::random::hex;
use crate::records::provider::Signing;

/// A certificate with its private key, both PEM.
#[derive(Debug, Clone)]
pub(crate) struct KeyPair {
    pub(crate) name: String,
    pub(crate) certificate: String,
    pub(crate) private_key: String,
    /// SHA-256 of the certificate, bytes separated by colons.
    pub(crate) fingerprint: String,
}

impl KeyPair {
    /// A self-signed certificate for the host `name`.
    pub(crate) fn self_signed(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()])
            .expect("the name is one that a certificate can carry");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, made.cert.der());
        let fingerprint: Vec<String> = digest
            .as_ref()
            .iter()
            .map(|byte| hex(std::slice::from_ref(byte)))
            .collect();
        Self {
            name: name.to_owned(),
            certificate: made.cert.pem(),
            private_key: made.signing_key.serialize_pem(),
            fingerprint: fingerprint.join(":"),
        }
    }
}

/// Signs `claims` as a provider with this secret does.
pub(crate) fn sign(signing: Signing, client_secret: &str, claims: &Value) -> String {
    let secret;
    let (header, key) = match signing {
        Signing::Hs256 => {
            secret = EncodingKey::from_secret(client_secret.as_bytes());
            (&Header::new(Algorithm::HS256), &secret)
        }
        Signing::Rs256 => (&rsa_key().header, &rsa_key().key),
        Signing::Es256 => (&ec_key().header, &ec_key().key),
    };
    jsonwebtoken::encode(header, claims, key).expect("claims are JSON and the key fits")
}

/// The key set at a provider's `jwks_uri`: an empty object when it signs with its secret.
pub(crate) fn key_set(signing: Signing) -> Value {
    match signing {
        Signing::Hs256 => json!({}),
        Signing::Rs256 => json!({"keys": [rsa_key().jwk]}),
        Signing::Es256 => json!({"keys": [ec_key().jwk]}),
    }
}

struct SigningKey {
    header: Header,
    key: EncodingKey,
    jwk: Jwk,
}

impl SigningKey {
    fn new(algorithm: Algorithm, key: EncodingKey) -> Self {
        let mut jwk = Jwk::from_encoding_key(&key, algorithm).expect("the key fits its algorithm");
        let kid = Uuid::new_v4().simple().to_string();
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Self {
            header: Header {
                kid: Some(kid),
                ..Header::new(algorithm)
            },
            key,
            jwk,
        }
    }
}

/// One key for all servers of the process, because making one takes a noticeable time.
fn rsa_key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key can be made");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("a fresh key can be encoded");
        // Only the PEM path of the JWT library accepts PKCS#8.
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            BASE64_STANDARD.encode(der.as_ref())
        );
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).expect("the PEM was just made");
        SigningKey::new(Algorithm::RS256, key)
    })
}

fn ec_key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let pair =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key can be made");
        let der = pair.to_pkcs8v1().expect("a fresh key can be encoded");
        SigningKey::new(Algorithm::ES256, EncodingKey::from_ec_der(der.as_ref()))
    })
}
