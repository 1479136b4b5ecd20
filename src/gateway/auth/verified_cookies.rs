//! Session cookies whose signature was verified, so that a repeated one costs a look-up and no MAC.
//!
//! A signature that was valid stays valid, so that nothing here has to be revoked: the table says
//! which session a cookie names, and never that there is one. The store decides that each time.

use std::hash::{Hash, Hasher, RandomState};

use aws_lc_rs::constant_time;
use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;

use crate::model::SessionId;
use crate::oidc::Keys;
use crate::web::cookie::{self, Form, VALUE_LENGTH};

/// Cookies that are remembered: 16 MiB at most. Others cost a MAC.
const MAX_COOKIES: u64 = 65_536;

/// See the module.
///
/// The hash (`SipHash`) has a random key, so that no client can choose cookies that collide.
pub(crate) struct VerifiedCookies(Cache<Cookie, SessionId, UnitWeighter, RandomState>);

impl Default for VerifiedCookies {
    fn default() -> Self {
        Self::with_capacity(MAX_COOKIES)
    }
}

impl VerifiedCookies {
    fn with_capacity(cookies: u64) -> Self {
        let expected = usize::try_from(cookies).unwrap_or(usize::MAX);
        Self(Cache::with(
            expected,
            cookies,
            UnitWeighter,
            RandomState::new(),
            quick_cache::sync::DefaultLifecycle::default(),
        ))
    }

    /// The session that a cookie of this form names; `None` unless it was signed with `keys`.
    pub(crate) fn session_id(&self, keys: &Keys, value: &[u8], form: Form) -> Option<SessionId> {
        let cookie = Cookie {
            value: value.try_into().ok()?,
            keys: keys.number,
            form,
        };
        if let Some(id) = self.0.get(&cookie) {
            return Some(id);
        }
        let id = cookie::verify(&keys.session, value, form)?;
        self.0.insert(cookie, id.clone());
        Some(id)
    }
}

/// A cookie as a request has it, and what its signature is valid for.
#[derive(Clone)]
struct Cookie {
    value: [u8; VALUE_LENGTH],
    /// [`Keys::number`].
    keys: u64,
    form: Form,
}

impl Hash for Cookie {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.value);
        (self.keys, self.form).hash(state);
    }
}

impl PartialEq for Cookie {
    /// In constant time, so that answers tell nothing of a remembered cookie.
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.value, &other.value).is_ok()
            && (self.keys, self.form) == (other.keys, other.form)
    }
}

impl Eq for Cookie {}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(client_id: &str) -> Keys {
        Keys::derive("secret", client_id)
    }

    #[test]
    fn cve_2026_25748_a_remembered_cookie_is_valid_for_its_application_and_form_alone() {
        let (cookies, one, other) = (VerifiedCookies::default(), keys("one"), keys("other"));
        let id = SessionId::random();
        let value = cookie::sign(&one.session, &id, Form::Plain);
        let value = value.as_bytes();
        for _ in 0..2 {
            assert_eq!(
                cookies.session_id(&one, value, Form::Plain),
                Some(id.clone())
            );
            assert_eq!(cookies.session_id(&one, value, Form::Host), None);
            assert_eq!(cookies.session_id(&other, value, Form::Plain), None);
        }
        // The application got another secret.
        let changed = Keys::derive("changed", "one");
        assert_eq!(cookies.session_id(&changed, value, Form::Plain), None);
        for position in 0..value.len() {
            let mut bad = value.to_vec();
            bad[position] = if bad[position] == b'A' { b'B' } else { b'A' };
            assert_eq!(cookies.session_id(&one, &bad, Form::Plain), None);
        }
        for length in 0..value.len() {
            assert_eq!(
                cookies.session_id(&one, &value[..length], Form::Plain),
                None
            );
        }
        assert_eq!(cookies.0.len(), 1, "nothing else is remembered");
    }

    #[test]
    fn ap_2026_04_remembered_cookies_are_bounded_and_forgotten_ones_stay_valid() {
        let (cookies, keys) = (VerifiedCookies::with_capacity(64), keys("one"));
        let signed: Vec<_> = std::iter::repeat_with(|| {
            let id = SessionId::random();
            (cookie::sign(&keys.session, &id, Form::Plain), id)
        })
        .take(500)
        .collect();
        for (value, id) in signed.iter().chain(&signed) {
            let found = cookies.session_id(&keys, value.as_bytes(), Form::Plain);
            assert_eq!(found.as_ref(), Some(id));
            assert!(cookies.0.len() <= 64);
        }
    }
}
