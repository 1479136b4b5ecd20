//! What values of the chart change beyond the base.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::helm::{CHART, template};
use crate::{OURS, parse, read};

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let all = documents.iter();
    all.filter(|document| document["kind"] == kind).collect()
}

#[test]
#[ignore = "needs Helm"]
fn a_service_that_is_open_outside_has_the_ports_for_browsers_alone() {
    for kind in ["LoadBalancer", "NodePort"] {
        let open = format!("service.type={kind},service.annotations.team=home");
        let all = "extAuthz.enabled=true,forwardAuth.enabled=true";
        let documents = template(OURS, &["--set", &open, "--set", all]);
        let services = of_kind(&documents, "Service");
        let ports = |index: usize| -> Vec<&str> {
            let ports = services[index]["spec"]["ports"].as_array().expect("ports");
            ports
                .iter()
                .filter_map(|port| port["name"].as_str())
                .collect()
        };
        assert_eq!(services.len(), 2);
        assert_eq!(services[0]["spec"]["type"], kind);
        assert_eq!(
            services[0]["metadata"]["annotations"],
            json!({"team": "home"})
        );
        assert_eq!(ports(0), ["http", "https"]);
        assert_eq!(services[1]["metadata"]["name"], format!("{OURS}-internal"));
        assert_eq!(services[1]["spec"]["type"], "ClusterIP");
        assert_eq!(ports(1), ["ext-authz", "forward-auth", "metrics"]);
        let annotations = &services[1]["metadata"]["annotations"];
        assert_eq!(annotations["prometheus.io/scrape"], "true");
    }
}

#[test]
#[ignore = "needs Helm"]
fn what_scales_the_deployment_is_left_alone() {
    for values in ["replicas=null", "autoscaling.enabled=true"] {
        let documents = template(OURS, &["--set", values]);
        let spec = &of_kind(&documents, "Deployment")[0]["spec"];
        assert_eq!(spec.get("replicas"), None, "{values}");
    }
    let documents = template(
        OURS,
        &["--set=autoscaling.enabled=true,autoscaling.maxReplicas=6"],
    );
    let spec = &of_kind(&documents, "HorizontalPodAutoscaler")[0]["spec"];
    assert_eq!(spec["scaleTargetRef"]["name"], OURS);
    assert_eq!(
        (&spec["maxReplicas"], spec.get("enabled")),
        (&json!(6), None)
    );
}

#[test]
#[ignore = "needs Helm"]
fn openshift_chooses_the_ids() {
    let ids =
        ["runAsUser", "runAsGroup", "fsGroup"].map(|id| format!("podSecurityContext.{id}=null"));
    let documents = template(OURS, &["--set", &ids.join(",")]);
    let pod = &of_kind(&documents, "Deployment")[0]["spec"]["template"]["spec"];
    let expected = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    assert_eq!(pod["securityContext"], expected);
}

#[test]
#[ignore = "needs Helm"]
fn its_examples_are_the_components() {
    for (example, files) in [
        ("redis", &["redis/redis.yaml"][..]),
        (
            "discover",
            &["discover/rbac.yaml", "discover/deployment.yaml"],
        ),
    ] {
        let name = format!("{CHART}/examples/{example}.yaml");
        let values = parse(&name, &read(&name)).remove(0);
        let values = values.as_object().expect("values").iter();
        let values: Vec<_> = values
            .map(|(key, value)| format!("--set-json={key}={value}"))
            .collect();
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        let mut documents = template(OURS, &values);
        documents.retain(|document| {
            let name = document["metadata"]["labels"]["app.kubernetes.io/name"].as_str();
            name.is_some_and(|name| ["redis", "authentik-proxy-discover"].contains(&name))
        });
        for document in &mut documents {
            if let Some(subject) = document.pointer_mut("/subjects/0") {
                assert_eq!(subject["namespace"].take(), "default");
                subject.as_object_mut().expect("one").remove("namespace");
            }
        }
        let component = files.iter().flat_map(|file| {
            let file = format!("deploy/kustomize/components/{file}");
            parse(&file, &read(&file))
        });
        let mut component: Vec<_> = component.collect();
        // The command sorts by kind, in the order of installation.
        for list in [&mut documents, &mut component] {
            list.sort_by_key(|document| document["kind"].to_string());
        }
        assert_eq!(documents, component, "{example}");
    }
}

/// The lines around the table of values in the chart's README.
const TABLE: [&str; 2] = ["<!-- values -->\n", "<!-- /values -->\n"];

/// A row for each value, from the schema and its default.
fn rows(schema: &Value, defaults: &Value, prefix: &str) -> String {
    let mut text = String::new();
    for (name, schema) in schema["properties"].as_object().expect("properties") {
        let (key, default) = (format!("{prefix}{name}"), &defaults[name]);
        let leaf = schema["properties"].as_object().is_none() || name == "config";
        let description = schema["description"]
            .as_str()
            .unwrap_or_else(|| match name.as_str() {
                "config" => "The configuration file; docs/CONFIGURATION.md has every key",
                _ => panic!("{key} has no description"),
            });
        let shown = match default {
            Value::Null => String::new(),
            Value::Object(_) | Value::Array(_) if !leaf => String::new(),
            // Long ones are in values.yaml.
            default if default.to_string().len() > 60 => "see values.yaml".to_owned(),
            default => format!("`{default}`"),
        };
        if name != "global" {
            let _ = writeln!(text, "| `{key}` | {shown} | {description} |");
        }
        if !leaf {
            text += &rows(schema, default, &format!("{key}."));
        }
    }
    text
}

#[test]
fn the_table_of_values_is_that_of_the_schema() {
    let schema = format!("{CHART}/values.schema.json");
    let schema: Value = serde_json::from_str(&read(&schema)).expect("JSON");
    let values = format!("{CHART}/values.yaml");
    let values = parse(&values, &read(&values)).remove(0);
    let known = schema["properties"].as_object().expect("properties");
    for name in values.as_object().expect("values").keys() {
        assert!(known.contains_key(name), "{name} is not in the schema");
    }
    let name = format!("{CHART}/README.md");
    let readme = read(&name);
    let start = readme.find(TABLE[0]).expect("the table begins") + TABLE[0].len();
    let end = readme.find(TABLE[1]).expect("the table ends");
    let header = "| value | default | meaning |\n| --- | --- | --- |\n";
    let table = header.to_owned() + &rows(&schema, &values, "");
    if readme[start..end] != table && std::env::var_os("UPDATE").is_some() {
        let updated = readme[..start].to_owned() + &table + &readme[end..];
        std::fs::write(crate::root().join(&name), updated).expect("written");
        return;
    }
    assert_eq!(readme[start..end], table, "UPDATE=1 regenerates it");
}
