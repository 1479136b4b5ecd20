//! Metrics, the dashboard and the alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use authentik_proxy::model::Outpost;
use authentik_proxy::telemetry::metrics::Metrics;
use http::Method;
use serde_json::Value;

use crate::{feed, mentions, parse, pattern, read, run, walk};

/// Every metric, as it is exposed.
fn exposition() -> String {
    let metrics = Metrics::new();
    let outpost = Outpost {
        id: uuid::Uuid::nil(),
        name: "home".to_owned(),
        embedded: false,
        authentik_host: None,
        log_level: None,
        refresh_interval_s: 300,
        version: Some("2026.2.0".to_owned()),
    };
    metrics.updated(&outpost, 0);
    metrics.connected(&outpost, true);
    metrics.sources().set([("config", 0, false)].into_iter(), 0);
    let site = metrics.site("home", "app.test");
    site.observe(&Method::GET, Duration::from_millis(1));
    site.observe_identity(1000);
    let upstream = metrics.upstream("home", "app.test", "http", "app:80");
    upstream.observe(&Method::GET, Duration::from_millis(1));
    metrics.render(1)
}

/// The names of all samples, with their labels.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let label = pattern(r#"([a-z_]+)=""#);
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in exposition().lines().filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        let labels = label.captures_iter(&line[end..]);
        let entry = known.entry(line[..end].to_owned()).or_default();
        entry.extend(labels.map(|one| one[1].to_owned()));
        // What scraping adds.
        entry.extend(["job", "instance"].map(str::to_owned));
    }
    known
}

#[test]
fn every_metric_and_label_exists() {
    let mut known = metrics();
    // Documents call histograms by their names.
    let labels: Vec<_> = names()
        .into_iter()
        .filter_map(|name| Some((known.get(&format!("{name}_count"))?.clone(), name)))
        .collect();
    known.extend(labels.into_iter().map(|(labels, name)| (name, labels)));
    let found = mentions(r"\b(authentik_outpost_[a-z_]+(?:\{[^}]*\})?)");
    assert!(found.len() > 100, "the pattern finds too little");
    let label = pattern(r#"([a-z_]+)\s*(?:=~|!~|!=|=)\s*\\?""#);
    for (name, found) in found {
        let (metric, selector) = found.split_once('{').unwrap_or((&found, ""));
        let labels = known.get(metric);
        let labels = labels.unwrap_or_else(|| panic!("{name}: there is no metric {metric}"));
        for one in label.captures_iter(selector) {
            assert!(labels.contains(&one[1]), "{name}: {found}: {}", &one[1]);
        }
    }
}

/// The names of metrics, without what the samples of a histogram have at the end.
fn names() -> BTreeSet<String> {
    let typed = pattern(r"(?m)^# TYPE (\S+) (\S+)$");
    let exposition = exposition();
    let found = typed.captures_iter(&exposition);
    let names = found.map(|one| match &one[2] {
        "counter" => format!("{}_total", &one[1]),
        _ => one[1].to_owned(),
    });
    names.collect()
}

#[test]
fn every_metric_is_in_a_panel() {
    let dashboard = read("deploy/grafana/authentik-proxy.json");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut shown = String::new();
    walk(&dashboard["panels"], "", &mut |key, value| {
        if let ("expr", Some(expression)) = (key, value.as_str()) {
            shown.push_str(expression);
        }
    });
    let names = names();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let sample = pattern(&format!(r"\b{name}(_bucket|_count|_sum)?\{{"));
        assert!(sample.is_match(&shown), "no panel shows {name}");
    }
}

#[test]
fn every_panel_explains_itself() {
    let dashboard: Value =
        serde_json::from_str(&read("deploy/grafana/authentik-proxy.json")).expect("JSON");
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    assert!(variables.iter().any(|v| v["type"] == "datasource"));
    let panels = dashboard["panels"].as_array().expect("a list");
    let ids: BTreeSet<_> = panels
        .iter()
        .filter_map(|panel| panel["id"].as_u64())
        .collect();
    assert_eq!(ids.len(), panels.len(), "ids are unique");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let description = panel["description"].as_str().unwrap_or_default();
        assert!(!description.is_empty(), "{}", panel["title"]);
        assert_eq!(
            panel["datasource"]["uid"], "${datasource}",
            "{}",
            panel["title"]
        );
    }
}

fn alerts() -> Value {
    let name = "deploy/prometheus/alerts.yaml";
    parse(name, &read(name)).remove(0)
}

#[test]
fn the_operators_alerts_are_the_same() {
    let name = "deploy/prometheus/prometheusrule.yaml";
    assert_eq!(parse(name, &read(name))[0]["spec"], alerts());
}

#[test]
fn every_alert_has_its_section_and_its_test() {
    let rules = alerts()["groups"][0]["rules"].take();
    let rules = rules.as_array().expect("a list");
    let runbook = read("docs/RUNBOOK.md");
    let tests = read("deploy/prometheus/alerts.test.yaml");
    let mut sections: BTreeSet<_> = runbook
        .lines()
        .filter_map(|l| l.strip_prefix("## "))
        .collect();
    for rule in rules {
        let alert = rule["alert"].as_str().expect("a name");
        assert!(sections.remove(alert), "docs/RUNBOOK.md lacks {alert}");
        let anchor = format!("docs/RUNBOOK.md#{}", alert.to_lowercase());
        assert_eq!(rule["annotations"]["runbook_url"], anchor);
        let firing = format!("alertname: {alert}\n");
        assert!(tests.contains(&firing), "no test fires {alert}");
    }
    assert!(
        sections.is_empty(),
        "sections without an alert: {sections:?}"
    );
}

#[test]
#[ignore = "needs promtool"]
fn promtool_accepts_the_alerts() {
    run(
        "promtool",
        &["check", "rules", "deploy/prometheus/alerts.yaml"],
    );
    run(
        "promtool",
        &["test", "rules", "deploy/prometheus/alerts.test.yaml"],
    );
}

/// In the older text format, which promtool reads: there a counter is called as its samples are.
fn in_text_format(exposition: &str) -> String {
    let counter = pattern("(?m)^# TYPE (\\S+) counter$");
    let mut text = exposition.to_owned();
    for found in counter.captures_iter(exposition) {
        for keyword in ["HELP", "TYPE"] {
            let head = format!("# {keyword} {}", &found[1]);
            text = text.replace(&format!("{head} "), &format!("{head}_total "));
        }
    }
    text
}

#[test]
#[ignore = "needs promtool"]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    let text = in_text_format(&exposition());
    let said = feed("promtool", &["check", "metrics"], &text);
    assert_eq!(said, "");
}
