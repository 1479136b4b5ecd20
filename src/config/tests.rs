//! Whole configurations: what an operator writes, and what comes of it.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::*;
use crate::model::Hint;

const REQUIRED: [(&str, &str); 2] = [
    ("AUTHENTIK_HOST", "https://authentik.company"),
    ("AUTHENTIK_TOKEN", "hunter2"),
];

fn with(more: &[(&str, &str)]) -> Vars {
    REQUIRED.iter().chain(more).copied().collect()
}

fn load(more: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::load(None, &with(more))
}

fn problems(result: Result<Config, ConfigErrors>) -> Vec<String> {
    result
        .expect_err("not usable")
        .iter()
        .map(Hint::with_hint)
        .collect()
}

fn file(suffix: &str, text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new()
        .suffix(suffix)
        .tempfile()
        .expect("a temporary file");
    file.write_all(text.as_bytes()).expect("it can be written");
    file
}

#[test]
fn a_replica_that_is_alone_does_not_wait_before_an_update() {
    let jitter = |more| load(more).expect("valid").refresh_jitter().as_secs();
    let redis = ("AUTHENTIK_REDIS__HOST", "redis");
    let set = ("AUTHENTIK_PROXY_CONTROL__REFRESH_JITTER", "5s");
    assert_eq!([jitter(&[]), jitter(&[redis]), jitter(&[set])], [0, 1, 5]);
}

#[test]
fn two_variables_are_enough() {
    let config = Config::from_pairs(REQUIRED).expect("usable");
    assert_eq!(config.authentik.host.as_str(), "https://authentik.company/");
    assert_eq!(config.authentik.token.expose_secret(), "hunter2");
    assert_eq!(
        config.listen.http,
        ["[::]:9000".parse().expect("an address")]
    );
    assert_eq!(
        config.listen.https,
        ["[::]:9443".parse().expect("an address")]
    );
    assert_eq!(
        config.listen.metrics,
        ["[::]:9300".parse().expect("an address")]
    );
    assert_eq!(config.listen.trusted_proxies.len(), 6);
    assert_eq!(config.listen.max_connections, 10_240);
    assert_eq!(config.listen.max_connections_per_client, 512);
    assert_eq!(config.listen.max_connections_per_proxy, 8192);
    assert_eq!(config.listen.idle_timeout, Duration::from_mins(1));
    assert_eq!(config.listen.max_header_bytes, 65_536);
    assert_eq!(config.log.level, LogLevel::Info);
    assert_eq!(config.control.refresh_interval, None);
    assert_eq!(config.control.refresh_jitter, None);
    assert_eq!(config.session.cache_bytes, 67_108_864);
    assert_eq!(
        config.session.introspection_interval,
        Duration::from_mins(10)
    );
    assert_eq!(config.session.introspections_per_second, 10);
    assert_eq!(config.session.login_ttl, Duration::from_hours(1));
    assert_eq!(config.shutdown.delay, Duration::from_secs(2));
    assert_eq!(config.shutdown.drain_timeout, Duration::from_secs(25));
    assert!(config.redis.is_none() && config.tls.ca_file.is_none());
    assert_eq!(config.warnings, []);
}

#[test]
fn the_environment_of_a_go_outpost_works_unchanged() {
    let config = Config::from_pairs([
        (
            "AUTHENTIK_HOST",
            "http://authentik-server.authentik.svc.cluster.local:80",
        ),
        ("AUTHENTIK_TOKEN", "hunter2"),
        ("AUTHENTIK_INSECURE", "false"),
        ("AUTHENTIK_HOST_BROWSER", "https://authentik.home.example"),
        (
            "AUTHENTIK_OUTPOST_ID",
            "3f0970c5-d6a3-43b2-9a36-d74665c6b24e",
        ),
        ("AUTHENTIK_LOG_LEVEL", "info"),
        ("AUTHENTIK_ERROR_REPORTING__ENABLED", "false"),
        ("AUTHENTIK_DISABLE_UPDATE_CHECK", "true"),
        ("AUTHENTIK_LISTEN__HTTP", "0.0.0.0:9000"),
        ("AUTHENTIK_LISTEN__HTTPS", "0.0.0.0:9443"),
        ("AUTHENTIK_LISTEN__METRICS", "0.0.0.0:9300"),
        (
            "AUTHENTIK_REDIS__HOST",
            "redis.authentik-proxy.svc.cluster.local",
        ),
        ("AUTHENTIK_REDIS__PORT", "6379"),
        ("AUTHENTIK_REDIS__DB", "0"),
        // What Kubernetes adds for the Service in front of it.
        ("AUTHENTIK_PROXY_PORT", "tcp://10.96.0.9:9000"),
        ("AUTHENTIK_PROXY_PORT_9000_TCP_ADDR", "10.96.0.9"),
        ("AUTHENTIK_PROXY_SERVICE_HOST", "10.96.0.9"),
    ])
    .expect("usable");
    assert_eq!(
        config.authentik.host.as_str(),
        "http://authentik-server.authentik.svc.cluster.local/"
    );
    assert!(config.authentik.outpost_id.is_some());
    let redis = config.redis.expect("a host is set");
    let RedisTopology::Single(node) = &redis.topology else {
        panic!("one server: {:?}", redis.topology)
    };
    assert_eq!(
        (node.to_string().as_str(), redis.options.db),
        ("redis.authentik-proxy.svc.cluster.local:6379", 0)
    );
    assert_eq!(redis.options.tls_reqs, TlsReqs::Required);
    assert_eq!(config.warnings, []);
}

#[test]
fn all_errors_are_reported_at_once() {
    let found = problems(Config::from_pairs([
        ("AUTHENTIK_HOST", "authentik"),
        ("AUTHENTIK_TOKN", "hunter2"),
        ("AUTHENTIK_INSECURE", "maybe"),
        ("AUTHENTIK_LISTEN__HTTP", "0.0.0.0:9000,localhost:9001"),
        ("AUTHENTIK_PROXY_SHUTDOWN__DRAIN_TIMEOUT", "25 seconds"),
        ("AUTHENTIK_PROXY_SESSION__CACHE_BYTES", "5"),
        ("AUTHENTIK_PROXY_BANANA", "5"),
        ("AUTHENTIK_LOG_LEVEL", "env://NOWHERE"),
        // Without a host, and still looked at.
        ("AUTHENTIK_REDIS__PORT", "0"),
    ]));
    assert_eq!(
        found,
        [
            "AUTHENTIK_PROXY_BANANA: unknown variable",
            "AUTHENTIK_HOST: \"authentik\" is not a URL; expected http:// or https:// with a host, \
             for example https://authentik.company, or a socket such as unix:///run/authentik.sock",
            "AUTHENTIK_TOKEN: is not set (AUTHENTIK_TOKN is set; is it misspelled?); expected the \
             key of a token at authentik, without spaces and line breaks (in the file: \
             authentik.token)",
            "AUTHENTIK_INSECURE: \"maybe\" is neither yes nor no; expected true or false (also \
             yes, no, 1 and 0)",
            "AUTHENTIK_LISTEN__HTTP: \"localhost:9001\" has a name where an IP address must stand \
             (127.0.0.1 for localhost); expected addresses such as 0.0.0.0:9000 or [::]:9000, \
             separated by commas, or \"none\"",
            "AUTHENTIK_LOG_LEVEL: env://NOWHERE: the variable is not set; set it, or give a \
             default as in env://NOWHERE?default",
            "AUTHENTIK_PROXY_SESSION__CACHE_BYTES: \"5\" is less than 1048576 bytes; expected a \
             size such as 64KiB or 64MiB, or a number of bytes",
            "AUTHENTIK_PROXY_SHUTDOWN__DRAIN_TIMEOUT: \"25 seconds\" is not a duration; expected a \
             duration such as 500ms, 25s, 10m or 1h30m, or a number of seconds",
            "AUTHENTIK_REDIS__PORT: \"0\" is less than 1; expected a whole number",
        ]
    );
}

#[test]
fn errors_are_a_list() {
    let errors = Config::from_pairs([("AUTHENTIK_TOKEN", " "), ("AUTHENTIK_INSECURE", "x")])
        .expect_err("not usable");
    let text = errors.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!(lines[0], "the configuration has 3 problems:");
    assert!(
        lines[1].starts_with("  - AUTHENTIK_HOST: is not set; expected http://"),
        "{text}"
    );
    assert!(
        lines[2].starts_with("  - AUTHENTIK_TOKEN: is empty; expected the key"),
        "{text}"
    );
}

#[test]
fn the_environment_overrides_the_file_and_the_file_the_defaults() {
    let file = file(
        ".yaml",
        "{log: {level: debug}, shutdown: {delay: 5s, drain_timeout: 7s}}",
    );
    let vars = with(&[
        ("AUTHENTIK_LOG_LEVEL", "error"),
        // As good as not set.
        ("AUTHENTIK_PROXY_SHUTDOWN__DELAY", ""),
        ("AUTHENTIK_PROXY_SHUTDOWN__DRAIN_TIMEOUT", "env://NOWHERE?"),
    ]);
    let config = Config::load(Some(file.path()), &vars).expect("usable");
    assert_eq!(config.log.level, LogLevel::Error);
    assert_eq!(config.shutdown.delay, Duration::from_secs(5));
    assert_eq!(config.shutdown.drain_timeout, Duration::from_secs(7));
    assert_eq!(config.session.introspections_per_second, 10);
}

#[test]
fn the_command_line_names_the_file_before_the_environment_does() {
    let one = file(".toml", "log.level = 'debug'");
    let other = file(".toml", "log.level = 'error'");
    let vars = with(&[("AUTHENTIK_PROXY_CONFIG", one.path().to_str().expect("text"))]);
    let config = Config::load(None, &vars).expect("usable");
    assert_eq!(config.log.level, LogLevel::Debug);
    let config = Config::load(Some(other.path()), &vars).expect("usable");
    assert_eq!(config.log.level, LogLevel::Error);
    let found = problems(Config::load(Some(Path::new("/nowhere/a.yaml")), &vars));
    assert!(
        found[0].starts_with("/nowhere/a.yaml: cannot read"),
        "{found:?}"
    );
}

#[test]
fn values_can_stand_elsewhere() {
    let token = file("", "  hunter3\n");
    let reference = format!("file://{}", token.path().display());
    let config = load(&[
        ("AUTHENTIK_TOKEN", &reference),
        ("AUTHENTIK_INSECURE", "env://VERIFY?no"),
        ("AUTHENTIK_LISTEN__HTTP", "env://ADDRESS"),
        ("ADDRESS", ":1"),
    ])
    .expect("usable");
    assert_eq!(config.authentik.token.expose_secret(), "hunter3");
    assert_eq!(config.listen.http, ["[::]:1".parse().expect("an address")]);

    let in_file = file(
        ".yaml",
        &format!("authentik: {{token: '{reference}'}}\nlisten: {{http: ['env://ADDRESS', ':2']}}"),
    );
    let vars = [
        ("AUTHENTIK_HOST", "https://authentik.company"),
        ("ADDRESS", ":1"),
    ];
    let config = Config::load(Some(in_file.path()), &vars.into_iter().collect()).expect("usable");
    assert_eq!(config.authentik.token.expose_secret(), "hunter3");
    assert_eq!(config.listen.http.len(), 2);
}

#[test]
fn an_absent_file_is_named_with_its_variable() {
    let found = problems(load(&[("AUTHENTIK_TOKEN", "file:///nowhere/token")]));
    assert_eq!(
        found.len(),
        1,
        "not reported as missing once more: {found:?}"
    );
    let expected = "AUTHENTIK_TOKEN: file:///nowhere/token: cannot read the file: ";
    assert!(found[0].starts_with(expected), "{found:?}");
}

#[test]
fn secrets_are_never_shown() {
    let secret = "hunter2 secret";
    let in_file = file(".yaml", "{authentik: {token: 77}, redis: {password: 77.5}}");
    let cases = [
        with(&[("AUTHENTIK_TOKEN", secret)]),
        with(&[
            ("AUTHENTIK_REDIS__PASSWORD", "hunter2"),
            ("AUTHENTIK_REDIS__HOST", "a b"),
        ]),
        with(&[(
            "AUTHENTIK_HOST",
            "https://hunter2:hunter2@authentik.company",
        )]),
        with(&[("AUTHENTIK_HOST", "hunter2:hunter2@authentik.company")]),
        with(&[("AUTHENTIK_HOST", "https://a.test/?token=hunter2")]),
        with(&[("AUTHENTIK_HOST", "https://a.test/#hunter2")]),
        // Referred to by mistake.
        with(&[("AUTHENTIK_LOG_LEVEL", "env://AUTHENTIK_TOKEN")]),
        with(&[("AUTHENTIK_LISTEN__HTTP", "env://AUTHENTIK_TOKEN")]),
        with(&[("AUTHENTIK_LOG_LEVEL", "env://NOWHERE?hunter2")]),
        with(&[("AUTHENTIK_TOKEN", "file://relative?hunter2")]),
        with(&[("AUTHENTIK_PROXY_BANANA", "hunter2")]),
    ];
    for vars in &cases {
        let errors = Config::load(None, vars).expect_err("not usable");
        let shown = format!("{errors} {errors:?} {vars:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let vars = [("AUTHENTIK_HOST", "https://authentik.company")]
        .into_iter()
        .collect();
    let found = problems(Config::load(Some(in_file.path()), &vars));
    assert!(
        found
            .iter()
            .any(|problem| problem == "authentik.token: must be quoted")
    );
    assert!(!found.concat().contains("77"), "{found:?}");

    let config = load(&[
        ("AUTHENTIK_REDIS__HOST", "a"),
        ("AUTHENTIK_REDIS__PASSWORD", "hunter2"),
    ])
    .expect("usable");
    let shown = format!("{config:?} {config:#?}");
    assert!(
        !shown.contains("hunter2") && shown.contains("authentik.company"),
        "{shown}"
    );
}

#[test]
fn listeners_must_differ_and_one_must_serve() {
    let same = problems(load(&[("AUTHENTIK_LISTEN__HTTPS", ":9000")]));
    assert_eq!(same, ["listen: [::]:9000 is given more than once"]);
    let none = problems(load(&[
        ("AUTHENTIK_LISTEN__HTTP", "none"),
        ("AUTHENTIK_LISTEN__HTTPS", "none"),
    ]));
    assert_eq!(
        none,
        ["listen.http, listen.https: both are \"none\"; at least one must listen"]
    );
    let any = "127.0.0.1:0";
    load(&[
        ("AUTHENTIK_LISTEN__HTTP", any),
        ("AUTHENTIK_LISTEN__HTTPS", any),
    ])
    .expect("usable");
}

#[test]
fn redis_is_in_one_place() {
    let sentinels = "AUTHENTIK_PROXY_REDIS__SENTINELS";
    let cluster = "AUTHENTIK_PROXY_REDIS__CLUSTER";
    let config = load(&[(sentinels, "a:1, [::1]:2")]).expect("usable");
    let Some(RedisTopology::Sentinel { nodes, master, .. }) =
        config.redis.map(|redis| redis.topology)
    else {
        panic!("Sentinels")
    };
    let nodes: Vec<_> = nodes.iter().map(ToString::to_string).collect();
    assert_eq!(
        (nodes.join(" ").as_str(), master.as_str()),
        ("a:1 [::1]:2", "mymaster")
    );
    let found = problems(load(&[(sentinels, "a:1"), (cluster, "b:1")]));
    let expected = "redis.host, redis.sentinels, redis.cluster: only one of them can be set";
    assert_eq!(found, [expected]);
    let found = problems(load(&[(cluster, "b:1"), ("AUTHENTIK_REDIS__DB", "1")]));
    assert_eq!(found, ["redis.db: a cluster has database 0 only"]);
    for (wrong, reason) in [
        ("b", "has no port"),
        ("b:0", "is not a host with a port"),
        ("none", "names none"),
    ] {
        let found = problems(load(&[(cluster, wrong)]));
        assert!(found[0].contains(reason), "{found:?}");
    }
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    for (vars, expected) in [
        (
            &[("AUTHENTIK_HOST", "http://authentik-server.authentik.svc")][..],
            "AUTHENTIK_HOST is",
        ),
        (
            &[("AUTHENTIK_HOST", "http://server:9000")],
            "AUTHENTIK_HOST is",
        ),
        (
            &[("AUTHENTIK_INSECURE", "true")],
            "AUTHENTIK_INSECURE is on",
        ),
        (
            &[("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", "::/0")],
            "AUTHENTIK_LISTEN__TRUSTED_PROXY",
        ),
        (
            &[("AUTHENTIK_REDIS__DB", "1")],
            "AUTHENTIK_REDIS__DB is set but AUTHENTIK_REDIS__HOST",
        ),
        (
            &[("AUTHENTIK_LISTEN_HTTP", ":1")],
            "AUTHENTIK_LISTEN_HTTP is not a setting",
        ),
        (
            &[
                ("AUTHENTIK_REDIS__HOST", "redis"),
                ("AUTHENTIK_REDIS__TLS", "yes"),
                ("AUTHENTIK_REDIS__TLS_REQS", "none"),
            ],
            "AUTHENTIK_REDIS__TLS_REQS is none",
        ),
    ] {
        let warnings = load(vars).expect("usable").warnings;
        assert_eq!(warnings.len(), 1, "{vars:?}: {warnings:?}");
        assert!(
            warnings[0].with_hint().starts_with(expected),
            "{warnings:?}"
        );
    }
}

#[test]
fn discovery_needs_its_own_token_and_no_outposts() {
    let host = ("AUTHENTIK_HOST", "https://authentik.company");
    let discovery = |more: &[(&str, &str)]| {
        let vars = [&[host], more].concat().into_iter().collect();
        Config::discovery(None, &vars).map_err(|errors| errors.to_string())
    };
    let token = ("AUTHENTIK_PROXY_DISCOVER__TOKEN", "hunter2");
    let usable = discovery(&[token]).expect("usable");
    assert_eq!(usable.token.expose_secret(), "hunter2");
    assert_eq!(usable.discover.owner, "authentik-proxy");
    for (more, expected) in [
        (vec![], "AUTHENTIK_PROXY_DISCOVER__TOKEN: is not set"),
        (
            vec![token, ("AUTHENTIK_PROXY_DISCOVER__OWNER", "a b")],
            "discover.owner: may have",
        ),
        (
            vec![token, ("AUTHENTIK_PROXY_DISCOVER__INTERVAL", "1s")],
            "AUTHENTIK_PROXY_DISCOVER__INTERVAL",
        ),
    ] {
        let problem = discovery(&more).expect_err("not usable");
        assert!(problem.contains(expected), "{problem}");
    }
    for malformed in ["two words", "file:///nowhere/token"] {
        let problem = discovery(&[(token.0, malformed)]).expect_err("not usable");
        assert_eq!(problem.matches(token.0).count(), 1, "{problem}");
    }
}
