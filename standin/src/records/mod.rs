//! Provider records as they go over the wire.

pub(crate) mod keys;
pub(crate) mod provider;
pub(crate) mod user;

use serde_json::{Map, Value, json};

use crate::dialect::Dialect;
use crate::records::provider::{Provider, Signing};
use crate::records::user::User;

const CALLBACK: &str = "outpost.goauthentik.io/callback";
const CALLBACK_QUERY: &str = "?X-authentik-auth-callback=true";

/// A provider and its wire record, which patches change.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The name it was added under.
    pub(crate) name: String,
    pub(crate) pk: i64,
    pub(crate) signing: Signing,
    pub(crate) scopes: Vec<String>,
    pub(crate) allowed_groups: Option<Vec<String>>,
    /// Whether it is on the outpost.
    pub(crate) is_attached: bool,
    /// Every field but `oidc_configuration`, which depends on the request.
    record: Map<String, Value>,
    oidc_patch: Value,
}

impl Entry {
    pub(crate) fn new(pk: i64, provider: Provider) -> Self {
        let record = json!({
            "pk": pk,
            "name": provider.name,
            "internal_host": provider.internal_host,
            "external_host": provider.external_host,
            "internal_host_ssl_validation": provider.internal_host_ssl_validation,
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
            "cookie_secret": provider.cookie_secret,
            "certificate": provider.certificate,
            "skip_path_regex": provider.skip_path_regex,
            "basic_auth_enabled": provider.basic_auth_enabled,
            "basic_auth_password_attribute": provider.basic_auth_password_attribute,
            "basic_auth_user_attribute": provider.basic_auth_user_attribute,
            "mode": provider.mode.as_str(),
            "cookie_domain": provider.cookie_domain,
            "access_token_validity": provider.access_token_validity,
            "intercept_header_auth": provider.intercept_header_auth,
            "scopes_to_request": provider.scopes,
            "assigned_application_slug": provider.slug,
            "assigned_application_name": provider.application_name,
        });
        let Value::Object(record) = record else {
            unreachable!("the literal is an object")
        };
        Self {
            name: provider.name,
            pk,
            signing: provider.signing,
            scopes: provider.scopes,
            allowed_groups: provider.allowed_groups,
            is_attached: true,
            record,
            oidc_patch: json!({}),
        }
    }

    /// Applies a JSON merge patch to the record.
    pub(crate) fn patch(&mut self, patch: Value) {
        let Value::Object(patch) = patch else { return };
        for (key, value) in patch {
            if key == "oidc_configuration" {
                merge(&mut self.oidc_patch, value, Nulls::Keep);
            } else if value.is_object() {
                merge(
                    self.record.entry(key).or_insert(Value::Null),
                    value,
                    Nulls::Remove,
                );
            } else {
                // `null` is a value that fields of a provider have, not the removal of the field.
                self.record.insert(key, value);
            }
        }
    }

    /// A field of the record, empty when it is absent or no text.
    pub(crate) fn text(&self, field: &str) -> &str {
        self.record
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    pub(crate) fn slug(&self) -> &str {
        self.text("assigned_application_slug")
    }

    pub(crate) fn application_name(&self) -> &str {
        self.text("assigned_application_name")
    }

    /// How long access tokens live, in whole seconds.
    pub(crate) fn validity_s(&self) -> i64 {
        let seconds = self
            .record
            .get("access_token_validity")
            .and_then(Value::as_f64);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "truncation to seconds is meant"
        )]
        seconds.map_or(3600, |seconds| seconds as i64)
    }

    /// Whether the application's policy admits `user`.
    pub(crate) fn admits(&self, user: &User) -> bool {
        self.allowed_groups
            .as_ref()
            .is_none_or(|allowed| user.groups.iter().any(|group| allowed.contains(group)))
    }

    /// The two redirect URIs that are registered, compared as strings. The first follows the rules
    /// of relative URLs: an external host with a path and no slash at its end loses the path.
    pub(crate) fn redirect_uris(&self) -> [String; 2] {
        let external = self.text("external_host");
        [
            format!("{}{CALLBACK_QUERY}", url_join(external, CALLBACK)),
            format!("{external}{CALLBACK_QUERY}"),
        ]
    }

    /// The record for the list of providers, with URLs below `base`.
    pub(crate) fn wire(&self, dialect: Dialect, base: &str) -> Value {
        let mut record = self.record.clone();
        let mut oidc = self.discovery(dialect, base);
        merge(&mut oidc, self.oidc_patch.clone(), Nulls::Keep);
        record.insert("oidc_configuration".to_owned(), oidc);
        Value::Object(record)
    }

    /// The discovery document, with URLs below `base`.
    pub(crate) fn discovery(&self, dialect: Dialect, base: &str) -> Value {
        let application = self.issuer(base);
        let endpoint = |name: &str| format!("{base}application/o/{name}/");
        let mut document = json!({
            "issuer": application,
            "authorization_endpoint": endpoint("authorize"),
            "token_endpoint": endpoint("token"),
            "userinfo_endpoint": endpoint("userinfo"),
            "end_session_endpoint": format!("{application}end-session/"),
            "introspection_endpoint": endpoint("introspect"),
            "revocation_endpoint": endpoint("revoke"),
            "device_authorization_endpoint": endpoint("device"),
            "response_types_supported": [
                "code", "id_token", "id_token token", "code token", "code id_token",
                "code id_token token",
            ],
            "response_modes_supported": ["query", "fragment", "form_post"],
            "jwks_uri": format!("{application}jwks/"),
            "grant_types_supported": [
                "authorization_code", "refresh_token", "implicit", "client_credentials",
                "password", "urn:ietf:params:oauth:grant-type:device_code",
            ],
            "id_token_signing_alg_values_supported": [self.signing.as_str()],
            "subject_types_supported": ["public"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "acr_values_supported": ["goauthentik.io/providers/oauth2/default"],
            "scopes_supported": self.scopes,
            "request_parameter_supported": false,
            "claims_supported": [
                "sub", "iss", "aud", "exp", "iat", "auth_time", "acr", "amr", "nonce", "ak_proxy",
                "email", "email_verified", "entitlements", "roles", "name", "given_name",
                "preferred_username", "nickname", "groups",
            ],
            "claims_parameter_supported": false,
            "code_challenge_methods_supported": ["plain", "S256"],
        });
        if dialect == Dialect::V2026_2 {
            document["backchannel_logout_supported"] = true.into();
            document["backchannel_logout_session_supported"] = true.into();
        }
        document
    }

    pub(crate) fn issuer(&self, base: &str) -> String {
        format!("{base}application/o/{}/", self.slug())
    }
}

/// What `null` means in a [`merge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// The field goes away, as RFC 7396 says.
    Remove,
    /// The field becomes `null`.
    Keep,
}

/// Merges `patch` into `target`, object by object.
pub(crate) fn merge(target: &mut Value, patch: Value, nulls: Nulls) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let fields = target.as_object_mut().expect("made an object above");
    for (key, value) in patch {
        if value.is_null() && nulls == Nulls::Remove {
            fields.remove(&key);
        } else {
            merge(fields.entry(key).or_insert(Value::Null), value, nulls);
        }
    }
}

/// Joins a relative path to a URL without changing the spelling of the host, as a URL type would.
fn url_join(base: &str, relative: &str) -> String {
    let authority = base.find("://").map_or(0, |at| at + 3);
    match base[authority..].rfind('/') {
        Some(slash) => format!("{}{relative}", &base[..=authority + slash]),
        None => format!("{base}/{relative}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_uris_are_those_that_authentik_registers() {
        let registered =
            |external: &str| Entry::new(1, Provider::forward_single("x", external)).redirect_uris();
        for (external, first) in [
            ("https://h.test/sub", "https://h.test/"),
            ("https://h.test/sub/", "https://h.test/sub/"),
            ("https://h.test:8443", "https://h.test:8443/"),
            ("https://h.test/", "https://h.test/"),
            ("http://h.test", "http://h.test/"),
        ] {
            assert_eq!(
                registered(external),
                [
                    format!("{first}{CALLBACK}{CALLBACK_QUERY}"),
                    format!("{external}{CALLBACK_QUERY}"),
                ]
            );
        }
    }

    #[test]
    fn a_patch_sets_null_and_keeps_other_fields() {
        let mut entry = Entry::new(1, Provider::forward_single("x", "https://x.test"));
        entry.patch(json!({
            "access_token_validity": null,
            "oidc_configuration": {"jwks_uri": null, "issuer": "https://other.test/"},
        }));
        let record = entry.wire(Dialect::V2026_2, "http://a.test/");
        assert!(record["access_token_validity"].is_null());
        assert_eq!(record["external_host"], "https://x.test");
        assert_eq!(
            record["oidc_configuration"]["issuer"],
            "https://other.test/"
        );
        assert!(record["oidc_configuration"]["jwks_uri"].is_null());
        assert_eq!(entry.validity_s(), 3600);
    }
}
