//! Forwarded headers, whatever they hold, never make a stranger's claim count.
#![no_main]

use authentik_proxy::web::inbound::{Inbound, TrustedProxies};
use http::{HeaderValue, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8], &[u8])| {
    let mut request = Request::builder().uri("/x").header("host", "own.test");
    for (name, bytes) in [
        ("x-forwarded-for", input.0),
        ("x-forwarded-host", input.1),
        ("x-forwarded-proto", input.2),
    ] {
        if let Ok(value) = HeaderValue::from_bytes(bytes) {
            request = request.header(name, value);
        }
    }
    let Ok(request) = request.body(()) else {
        return;
    };
    let (parts, ()) = request.into_parts();
    let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")]);
    let stranger = "203.0.113.9:1".parse().expect("an address");
    let inbound = Inbound::read(&parts, stranger, &trusted);
    assert_eq!(inbound.host, "own.test");
    assert_eq!(inbound.client, stranger.ip());
    assert!(!inbound.trusted);
    let proxy = "10.0.0.1:1".parse().expect("an address");
    let _ = Inbound::read(&parts, proxy, &trusted);
});
