//! No bytes that we did not sign make a session id, and reading cookies never fails.
#![no_main]

use authentik_proxy::web::cookie;
use aws_lc_rs::hmac;
use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
    if let Some(id) = cookie::verify(&key, bytes) {
        assert_eq!(cookie::sign(&key, &id).as_bytes(), bytes, "only one text per id");
    }
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        headers.append(header::COOKIE, value);
        for value in cookie::values(&headers, "authentik_proxy_00000000") {
            let _ = cookie::verify(&key, value);
        }
    }
});
