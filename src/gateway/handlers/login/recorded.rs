//! Redirects to the callback as two real servers sent them.

use super::callback::Callback;
use crate::gateway::request::endpoint::Endpoint;
use crate::recordings::{both, text};

/// The callback when the browser follows the redirect.
fn callback_of(redirect: &serde_json::Value) -> Callback {
    let location = text(&redirect["location"]);
    match Endpoint::of(location, |_| None) {
        Endpoint::Callback(query) => Callback::read(query),
        other => panic!("{location} is {other:?}"),
    }
}

#[test]
fn recorded_error_redirects_are_denials() {
    for recording in both() {
        let redirects = recording.oidc["redirects"]["errors"].as_array();
        let mut codes = Vec::new();
        for redirect in redirects.expect("redirects") {
            assert!(text(&redirect["location"]).contains("=true?error="));
            let callback = callback_of(redirect);
            assert_eq!(callback.state, text(&redirect["state"]));
            assert_eq!(callback.code, "");
            let denied = callback.denied.expect("a denial");
            let (code, description) = (denied.code, denied.description);
            assert!(description.starts_with("The ") && description.contains("uthorization"));
            codes.push(code);
        }
        assert_eq!(codes, ["login_required", "unsupported_response_type"]);
    }
}

#[test]
fn recorded_redirects_bring_code_and_state() {
    for recording in both() {
        let redirects = recording.oidc["redirects"]["codes"].as_array();
        for redirect in redirects.expect("redirects") {
            let callback = callback_of(redirect);
            assert_eq!(
                callback.state,
                redirect["state"].as_str().unwrap_or_default()
            );
            assert_eq!(callback.code.len(), 32, "{redirect}");
            assert!(callback.denied.is_none(), "{redirect}");
        }
    }
}
