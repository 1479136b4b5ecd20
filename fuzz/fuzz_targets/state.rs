//! No text that we did not sign is a login state.
#![no_main]

use authentik_proxy::oidc::{LoginState, StateError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match LoginState::verify(text, &[7; 32], "client", 1_000) {
        Ok(state) => panic!("accepted: {}", state.redirect),
        Err(StateError::Expired(state)) => panic!("expired: {}", state.redirect),
        Err(StateError::Invalid) => {}
    }
});
