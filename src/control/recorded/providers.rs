//! The recorded providers as sites.

use super::sites;
use crate::model::{BasicAuth, CookieDomain, Mode, RequestedUrl};
use crate::recordings::{both, text};

#[test]
fn every_recorded_provider_becomes_what_it_says() {
    for recording in both() {
        let sites = sites(&recording, None);
        let mut modes = Vec::new();
        for record in recording.providers() {
            let pk = record["pk"].as_i64().expect("a number");
            let site = sites.iter().find(|site| site.application.id == pk);
            let site = site.unwrap_or_else(|| panic!("{record} is left out"));
            let app = &site.application;
            let registered = &recording.api["redirect_uris"][text(&record["external_host"])];
            let registered = registered.as_array().expect("registered URIs");
            assert!(
                registered.contains(&app.redirect_uri().into()),
                "{registered:?}"
            );
            assert_eq!(
                [&app.name, &app.slug, &app.title],
                [
                    "name",
                    "assigned_application_slug",
                    "assigned_application_name"
                ]
                .map(|field| text(&record[field]))
            );
            let mode = text(&record["mode"]);
            modes.push(mode);
            assert_eq!(
                app.mode,
                match mode {
                    "proxy" => Mode::Proxy,
                    "forward_single" => Mode::ForwardSingle,
                    _ => Mode::ForwardDomain(
                        CookieDomain::parse(text(&record["cookie_domain"])).expect("a domain")
                    ),
                }
            );
            assert_eq!(
                app.basic_auth,
                record["basic_auth_enabled"]
                    .as_bool()
                    .expect("a flag")
                    .then(|| {
                        BasicAuth {
                            user_attribute: text(&record["basic_auth_user_attribute"]).into(),
                            password_attribute: text(&record["basic_auth_password_attribute"])
                                .into(),
                        }
                    })
            );
            let url = site
                .relying_party
                .authorize_url("s".into(), "n".into(), "v".repeat(43));
            let scope = url
                .query_pairs()
                .find(|(name, _)| name == "scope")
                .expect("scopes");
            let scopes: Vec<_> = scope.1.split(' ').collect();
            assert_eq!(serde_json::json!(scopes), record["scopes_to_request"]);
        }
        modes.sort_unstable();
        modes.dedup();
        assert_eq!(modes, ["forward_domain", "forward_single", "proxy"]);
    }
}

#[test]
fn recorded_allow_rules_open_what_they_say() {
    for recording in both() {
        let sites = sites(&recording, None);
        let allows = |name: &str, url: &str| {
            let site = sites.iter().find(|site| site.application.name == name);
            let url = RequestedUrl::parse(url).expect("a URL");
            site.expect(name)
                .application
                .allowlist
                .matching(&url)
                .is_some()
        };
        assert!(allows("network", "https://network.site.test/healthz"));
        assert!(allows("network", "https://network.site.test/static/app.js"));
        assert!(!allows("network", "https://network.site.test/"));
        assert!(allows("house", "https://house.site.test/api/states"));
        assert!(!allows("storage", "https://storage.site.test/healthz"));
    }
}
