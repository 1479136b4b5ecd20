//! JSON exactly as authentik sends it. Unknown fields are ignored, absent and `null` ones have
//! defaults, so that no release of authentik stops the outpost.

use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use crate::oidc::ProviderUrls;

/// An outpost.
#[derive(Debug, Deserialize)]
pub(super) struct Outpost {
    pub(super) pk: Uuid,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) managed: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) refresh_interval_s: f64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) config: OutpostConfig,
}

impl Outpost {
    /// Whether it is the one inside of authentik's server.
    pub(super) fn is_embedded(&self) -> bool {
        self.managed == "goauthentik.io/outposts/embedded"
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OutpostConfig {
    #[serde(deserialize_with = "or_default")]
    pub(super) authentik_host: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) log_level: String,
}

/// A proxy provider.
#[derive(Debug, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(super) struct Provider {
    #[serde(deserialize_with = "or_default")]
    pub(super) pk: i64,
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) external_host: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) internal_host: String,
    /// Unset: on.
    #[serde(deserialize_with = "or_default")]
    pub(super) internal_host_ssl_validation: Option<bool>,
    #[serde(deserialize_with = "or_default")]
    pub(super) client_id: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) client_secret: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) cookie_secret: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) oidc_configuration: ProviderUrls,
    #[serde(deserialize_with = "or_default")]
    pub(super) skip_path_regex: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) basic_auth_enabled: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) basic_auth_user_attribute: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) basic_auth_password_attribute: String,
    /// Absent in old releases, where it was on.
    #[serde(deserialize_with = "or_default")]
    pub(super) intercept_header_auth: Option<bool>,
    #[serde(deserialize_with = "or_default")]
    pub(super) mode: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) cookie_domain: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) scopes_to_request: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) assigned_application_slug: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) assigned_application_name: String,
}

/// A certificate and its private key, without either.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyPair {
    #[serde(deserialize_with = "or_default")]
    pub(super) fingerprint_sha256: String,
}

/// Either of them.
#[derive(Deserialize)]
pub(super) struct Pem {
    pub(super) data: String,
}

/// The server's version.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub(super) version_current: String,
}

/// A frame of the outpost websocket.
#[derive(Debug, Deserialize)]
pub(super) struct Frame {
    pub(super) instruction: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) args: FrameArguments,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FrameArguments {
    #[serde(deserialize_with = "or_default")]
    pub(super) sub_type: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) session_id: String,
}

/// The instruction of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The hello was acknowledged.
    Acknowledged,
    /// Fetch everything again.
    Update,
    /// authentik's session with this `sid` is over.
    SessionEnd(String),
    /// An unknown instruction.
    Unknown(i64),
}

impl Frame {
    /// Sorts a frame: up to 2025.8 a logout is instruction 3, from 2025.10 it is 4.
    pub(super) fn event(self) -> Event {
        match (self.instruction, self.args.sub_type.as_str()) {
            (0, _) => Event::Acknowledged,
            (2, _) => Event::Update,
            (3, "logout") | (4, _) if !self.args.session_id.is_empty() => {
                Event::SessionEnd(self.args.session_id)
            }
            (other, _) => Event::Unknown(other),
        }
    }
}

fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_say_nothing_to_us_are_unknown() {
        for (frame, instruction) in [
            (
                r#"{"instruction": 3, "args": {"sub_type": "other", "session_id": "x"}}"#,
                3,
            ),
            (r#"{"instruction": 9}"#, 9),
            (r#"{"instruction": 4, "args": null}"#, 4),
        ] {
            let parsed: Frame = serde_json::from_str(frame).expect(frame);
            assert_eq!(parsed.event(), Event::Unknown(instruction), "{frame}");
        }
    }

    #[test]
    fn issue_19878_absent_null_and_unknown_fields_are_tolerated() {
        let provider: Provider = serde_json::from_str(
            r#"{"name":"n","skip_path_regex":null,"scopes_to_request":null,"oidc_configuration":null,"brand_new":{}}"#,
        )
        .expect("a provider");
        assert_eq!(
            (provider.pk, provider.name.as_str(), provider.mode.as_str()),
            (0, "n", "")
        );
        let outpost: Outpost =
            serde_json::from_str(r#"{"pk":"06792a93-065d-41be-af9a-214d0ff877f7","config":null}"#)
                .expect("an outpost");
        assert!(outpost.managed.is_empty());
    }
}
