//! The command that explains what would become of a request.

use authentik_standin::{Provider, Standin};

#[tokio::test]
async fn rules_are_explained() {
    let authentik = Standin::builder().start().await.expect("started");
    let mut grafana = Provider::forward_single("grafana", "https://grafana.test");
    grafana.skip_path_regex = "^/open".into();
    authentik.add_provider(grafana);
    authentik.add_provider(Provider::forward_single("sub", "https://grafana.test/sub"));
    authentik.add_provider(Provider::forward_single("alone", "https://alone.test"));
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("config.yaml");
    let rules = "applications:\n  grafana: &same\n    rules:\n      - {path: ^/admin, action: require, groups: [admins]}\n  alone: *same\n";
    std::fs::write(&config, rules).expect("written");
    let explain = async |arguments: &[&str]| {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_authentik-proxy"))
            .arg("rules")
            .args(arguments)
            .arg("--config")
            .arg(&config)
            .env_clear()
            .env("AUTHENTIK_HOST", authentik.url().as_str())
            .env("AUTHENTIK_TOKEN", authentik.token())
            .output()
            .await
            .expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    };
    for (arguments, code, expected) in [
        (
            &["grafana", "https://grafana.test/"][..],
            0,
            "login required",
        ),
        (
            &["grafana", "https://grafana.test/open/x"],
            0,
            "authentik's unauthenticated path \"^/open\" matches",
        ),
        (
            &["grafana", "https://grafana.test/admin", "--group", "users"],
            0,
            "rule 1 requires one of the groups admins",
        ),
        (
            &["grafana", "https://grafana.test/admin", "--group", "admins"],
            0,
            "decision     allowed",
        ),
        (
            &["grafna", "https://grafana.test/"],
            1,
            "has no application with the slug \"grafna\", but alone, grafana, sub",
        ),
        (&["grafana", "/admin"], 1, "is not usable as a URL"),
        (
            &["grafana", "https://grafana.test/sub/x"],
            1,
            "goes to \"sub\", not to \"grafana\"",
        ),
        (
            &["grafana", "https://other.test/"],
            1,
            "goes to no application of this outpost",
        ),
        (
            &[
                "grafana",
                "https://grafana.test/x/%2e%2e/sub",
                "--signed-in",
            ],
            0,
            "denied\nreason       ambiguous path: servers normalize it differently, and some would take it for another application's",
        ),
        (
            &[
                "grafana",
                "https://grafana.test/%61dmin",
                "--group",
                "users",
            ],
            0,
            "rule 1 requires one of the groups admins",
        ),
        (
            &["alone", "https://alone.test/a%2Fb//c", "--signed-in"],
            0,
            "denied\nreason       ambiguous path: servers normalize it differently, and a rule may restrict",
        ),
        (
            &["alone", "https://alone.test/a%2Fb", "--signed-in"],
            0,
            "decision     allowed",
        ),
    ] {
        let (found, text) = explain(arguments).await;
        assert_eq!(found, Some(code), "{text}");
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
}
