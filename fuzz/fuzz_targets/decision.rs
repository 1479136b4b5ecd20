//! Without a session, only paths with one reading, which lies below `/public/`, ever pass.
#![no_main]

use std::sync::LazyLock;

use authentik_proxy::model::{Action, Allowlist, Policy, RequestedUrl, Rule, Verdict};
use http::Method;
use libfuzzer_sys::fuzz_target;

static ALLOWLIST: LazyLock<Allowlist> = LazyLock::new(|| Allowlist::compile("^/public/", false).0);
static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let rule = |path: &str, action| Rule {
        path: Some(regex::Regex::new(path).expect("an expression")),
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

fuzz_target!(|path: &str| {
    let text = format!("https://a.test/{path}");
    let Ok(url) = RequestedUrl::parse(&text) else {
        return;
    };
    let client = Some([192, 0, 2, 1].into());
    let verdict = POLICY.verdict(url.path(), Some(&Method::GET), client);
    let by_rule = matches!(verdict, Some(Verdict::Allow(_)));
    if by_rule || ALLOWLIST.matching(&url).is_some() {
        let path = url.path();
        assert!(path.starts_with("/public/"), "{path}");
        for odd in ["..", "//", ";", "\\", "%2f", "%2F", "%5c", "%5C", "%2e%2e", "%25"] {
            let dots = odd == ".." && !path.split('/').any(|segment| segment == "..");
            assert!(dots || !path.contains(odd) || odd == "%2e%2e", "{path} has {odd}");
        }
    }
});
