//! What holds for every input; the fuzz targets and `tests/corpus.rs` try it.

use std::sync::{Arc, LazyLock};

use authentik_proxy::gateway;
use authentik_proxy::model::{
    Action, Allowlist, Authority, PathPattern, Policy, RequestedUrl, Rule, Scheme,
};
use authentik_proxy::model::{
    MAX_BYTES, MAX_PATH, MAX_READINGS, Readings, RuleDecision, eager_path,
};
use authentik_proxy::oidc::{LoginState, StateError};
use authentik_proxy::route::Table;
use authentik_proxy::store::Sealer;
use authentik_proxy::web::cookie::{self, Form};
use authentik_proxy::web::cookie_parts::{MAX_READ_BYTES, MAX_TEXT_BYTES, MAX_TEXTS, Sent};
use authentik_proxy::web::request::inbound::{Inbound, TrustedProxies};
use aws_lc_rs::hmac;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use uuid::Uuid;

/// No bytes that we did not sign make a session id, applications see no cookie of ours, and reading
/// cookies never fails.
pub(crate) fn cookie(bytes: &[u8]) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
    for form in [Form::Plain, Form::Host] {
        if let Some(id) = cookie::verify(&key, bytes, form) {
            let text = cookie::sign(&key, &id, form);
            assert_eq!(text.as_bytes(), bytes, "only one text per id");
        }
    }
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        headers.append(header::COOKIE, value);
        for value in cookie::values(&headers, "authentik_proxy_00000000") {
            let _ = cookie::verify(&key, value, Form::Plain);
        }
        if let Some(seen) = cookie::foreign(&headers) {
            let mut cookies = seen.as_bytes().split(|b| matches!(b, b';' | b','));
            assert!(!cookies.any(|cookie| cookie.trim_ascii().starts_with(b"authentik_proxy_")));
        }
    }
}

/// No bytes that we did not seal are a session, whole or in parts, and what is read of a request is
/// bounded.
pub(crate) fn sealed_cookie(bytes: &[u8]) {
    const NAME: &str = "authentik_proxy_00000000";
    let sealer = Sealer::new(&[7; 32], b"secret", "client", Uuid::from_u128(1));
    assert!(sealer.open(NAME, bytes).is_none());
    let mut headers = HeaderMap::new();
    for prefix in [
        &b""[..],
        b"authentik_proxy_00000000=1.1.",
        b"authentik_proxy_00000000=1.2.",
    ] {
        if let Ok(value) = HeaderValue::from_bytes(&[prefix, bytes].concat()) {
            headers.append(header::COOKIE, value);
        }
    }
    let is_sealed = |first: &[u8]| sealer.is_start(NAME, first);
    assert_eq!(Sent::read(&headers, NAME).texts(is_sealed).count(), 0);
    let (mut read, mut texts) = (0, 0);
    for text in Sent::read(&headers, NAME).texts(|_| true) {
        texts += 1;
        let joined = text.joined();
        read += joined.len();
        assert!(joined.len() <= MAX_TEXT_BYTES);
        assert_eq!(
            sealer.id(NAME, text.parts()),
            sealer.id(NAME, [&joined[..]])
        );
        assert!(sealer.open(NAME, &joined).is_none());
    }
    assert!(read <= MAX_READ_BYTES && texts <= MAX_TEXTS);
}

/// No text that we did not sign is a login state.
pub(crate) fn state(text: &str) {
    let decision = LoginState::verify(text, &[7; 32], "client", 1_000);
    assert!(matches!(decision, Err(StateError::Invalid)), "{text}");
}

/// A URL is read as a browser reads it, whole or in parts, or it is refused.
pub(crate) fn requested_url(text: &str, target: &str) {
    if let Ok(url) = RequestedUrl::parse(text) {
        let again = url.to_string();
        let again = RequestedUrl::parse(&again).expect("what was read can be read again");
        assert_eq!((url.path(), url.query()), (again.path(), again.query()));
        assert_eq!(url.authority(), again.authority());
    }
    if let Ok(authority) = Authority::parse(text)
        && let Ok(url) = RequestedUrl::of_parts(Scheme::Https, authority, target)
    {
        let whole = url.to_string();
        let whole = RequestedUrl::parse(&whole).expect("parts and whole agree");
        assert_eq!(
            whole.authority(),
            authority,
            "the target cannot change the host"
        );
        assert_eq!(whole.path(), url.path());
    }
}

static ALLOWLIST: LazyLock<Allowlist> = LazyLock::new(|| Allowlist::compile("^/public/", false));
static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let rule = |path: &str, action| Rule {
        path: Some(PathPattern::new(path).expect("an expression")),
        networks: vec![],
        methods: vec![],
        action,
    };
    Policy {
        rules: vec![
            rule("^/admin", Action::Deny),
            rule("^/public/", Action::Allow),
        ],
        ..Policy::default()
    }
});

/// Without a session, only paths with one reading, which lies below `/public/`, ever pass.
pub(crate) fn decision(path: &str) {
    let text = format!("https://a.test/{path}");
    let Ok(url) = RequestedUrl::parse(&text) else {
        return;
    };
    let client = Some([192, 0, 2, 1].into());
    let decision = POLICY.evaluate(url.path(), Some(&Method::GET), client);
    let by_rule = matches!(decision, Some(RuleDecision::Allow(_)));
    if by_rule || ALLOWLIST.matching(&url).is_some() {
        let path = url.path();
        assert!(path.starts_with("/public/"), "{path}");
        for odd in ["//", ";", "\\", "%2f", "%2F", "%5c", "%5C", "%25"] {
            assert!(!path.contains(odd), "{path} has {odd}");
        }
        assert!(path.split('/').all(|segment| segment != ".."), "{path}");
    }
}

static TABLE: LazyLock<Table<&str>> = LazyLock::new(|| {
    let mut table = Table::default();
    for prefix in ["", "/admin"] {
        table.insert("a.test", None, prefix, None, Arc::new(prefix));
    }
    table
});

/// A request target is sorted, read, and judged by the rules with bounded work, whatever it is; what
/// a server makes of it that decodes once and resolves dots is denied where rules deny that, and in
/// no other application than the one that is asked about.
pub(crate) fn request_target(target: &str) {
    let target = gateway::envoy_target(target).unwrap_or(target);
    let authority = Authority::parse("a.test").expect("a host");
    let Ok(url) = RequestedUrl::of_request(Scheme::Https, authority, target) else {
        return;
    };
    let path = url.path();
    assert!(eager_path(path).len() <= 3 * path.len() + 1, "{path}");
    let readings = Readings::of(path);
    if let Some(readings) = readings.known() {
        let readings: Vec<_> = readings.collect();
        assert!(path.len() <= MAX_PATH && readings.len() <= MAX_READINGS);
        assert!(readings.iter().map(|text| text.len()).sum::<usize>() <= MAX_BYTES);
        assert_eq!(readings[0], path, "the written one is always there");
    }
    let reading = decoded_and_resolved(path);
    let decision = POLICY.evaluate(path, Some(&Method::GET), None);
    let denied = matches!(
        decision,
        Some(RuleDecision::Deny(_) | RuleDecision::Ambiguous)
    );
    let below_admin = |path: &str| path == "/admin" || path.starts_with("/admin/");
    if reading.starts_with("/admin") || path.starts_with("/admin") {
        assert!(denied, "{path} is {reading}");
    }
    if matches!(decision, Some(RuleDecision::Allow(_))) || ALLOWLIST.matching(&url).is_some() {
        assert!(reading.starts_with("/public/"), "{path} is {reading}");
    }
    if below_admin(&reading) != below_admin(path) {
        assert!(
            !TABLE.host(authority).is_certain(path),
            "{path} is {reading}"
        );
    }
}

/// The path as an application reads it that decodes once and resolves dots.
fn decoded_and_resolved(path: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let escaped = behind.get(..2).filter(|_| *byte == b'%');
        let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = escaped.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let value = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(value.unwrap_or(*byte));
        rest = if value.is_some() {
            &behind[2..]
        } else {
            behind
        };
    }
    let decoded = String::from_utf8_lossy(&decoded);
    let mut segments = Vec::new();
    for segment in decoded.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Forwarded headers, whatever they hold, never make an untrusted client's claim count.
pub(crate) fn inbound(forwarded_for: &[u8], host: &[u8], proto: &[u8]) {
    let mut request = Request::builder().uri("/x").header("host", "own.test");
    for (name, bytes) in [
        ("x-forwarded-for", forwarded_for),
        ("x-forwarded-host", host),
        ("x-forwarded-proto", proto),
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
    let untrusted: std::net::SocketAddr = "203.0.113.9:1".parse().expect("an address");
    let inbound = Inbound::read(&parts, untrusted, &trusted);
    assert_eq!(inbound.host, "own.test");
    assert_eq!(inbound.client, untrusted.ip());
    assert!(!inbound.trusted);
    let proxy: std::net::SocketAddr = "10.0.0.1:1".parse().expect("an address");
    let _ = Inbound::read(&parts, proxy, &trusted);
}
