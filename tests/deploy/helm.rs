//! The chart: what it renders is what kustomize does.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use crate::kubernetes::rendered;
use crate::{OURS, VERSION, parse, read, root, run};

pub(crate) const CHART: &str = "deploy/helm/authentik-proxy";

/// Further objects and every value that has an effect.
const EVERYTHING: &[&str] = &[
    "--set=serviceMonitor.enabled=true,prometheusRule.enabled=true,dashboard.enabled=true",
    "--set=extAuthz.enabled=true,replicas=2,priorityClassName=high",
    "--set-string=image.tag=1",
    "--set-json=env={\"AUTHENTIK_REDIS__HOST\":\"redis\",\"AUTHENTIK_INSECURE\":true,\"AUTHENTIK_REDIS__PORT\":67108864}",
    "--set-json=extraEnv=[{\"name\":\"AUTHENTIK_REDIS__PASSWORD\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"redis\",\"key\":\"password\"}}}]",
    "--set-json=extraVolumes=[{\"name\":\"dashboard-token\",\"projected\":{\"sources\":[{\"serviceAccountToken\":{\"path\":\"token\"}}]}}]",
    "--set-json=extraVolumeMounts=[{\"name\":\"dashboard-token\",\"mountPath\":\"/run/secrets/dashboard\",\"readOnly\":true}]",
    "--set-json=image.pullSecrets=[{\"name\":\"registry\"}]",
    "--set-json=podLabels={\"team\":\"home\"}",
    "--set-json=podAnnotations={\"linkerd.io/inject\":\"enabled\"}",
    "--set-json=nodeSelector={\"kubernetes.io/arch\":\"amd64\"}",
    "--set-json=tolerations=[{\"key\":\"edge\",\"operator\":\"Exists\"}]",
    "--set-json=topologySpreadConstraints=[{\"maxSkew\":1,\"topologyKey\":\"zone\",\"whenUnsatisfiable\":\"ScheduleAnyway\"}]",
    "--set-json=affinity={\"nodeAffinity\":{}}",
    "--set-json=envFrom=[{\"secretRef\":{\"name\":\"more\"}}]",
    "--set-json=initContainers=[{\"name\":\"wait\",\"image\":\"busybox\"}]",
    "--set-json=extraContainers=[{\"name\":\"beside\",\"image\":\"busybox\"}]",
    "--set-json=dnsConfig={\"searches\":[\"home.example\"]}",
    "--set-json=hostAliases=[{\"ip\":\"192.0.2.1\",\"hostnames\":[\"authentik.home.example\"]}]",
    "--set-json=lifecycle={\"preStop\":{\"sleep\":{\"seconds\":3}}}",
    "--set-json=commonLabels={\"owner\":\"platform\"}",
    "--set-json=commonAnnotations={\"home.example/by\":\"helm\"}",
    "--set-json=serviceMonitor.relabelings=[{\"action\":\"labeldrop\",\"regex\":\"pod\"}]",
    "--set=dnsPolicy=ClusterFirst,runtimeClassName=gvisor,revisionHistoryLimit=3",
    "--set=serviceAccount.annotations.team=home,deploymentAnnotations.keel=off",
    "--set=ingress.enabled=true,ingress.className=nginx,ingress.hosts[0]=grafana.home.example",
    "--set=httpRoute.enabled=true,httpRoute.parentRefs[0].name=home",
    "--set=httpRoute.hostnames[0]=wiki.home.example",
];

pub(crate) fn template(release: &str, values: &[&str]) -> Vec<Value> {
    let text = run("helm", &[&["template", release, CHART], values].concat());
    parse(CHART, &text)
}

/// What Helm says when it refuses a value.
pub(crate) fn refusal(option: &str) -> String {
    let output = Command::new("helm")
        .args(["template", OURS, CHART, option])
        .current_dir(root())
        .output()
        .expect("helm runs: scripts/test.sh installs it");
    assert!(!output.status.success(), "{option}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn by_name(list: &mut Value, name: &str) {
    let list = list.as_array_mut().expect("a list");
    list.sort_by_key(|item| item[name].to_string());
}

/// What is left when the marks of the tool that rendered it are gone, by kind.
fn plain(documents: Vec<Value>) -> BTreeMap<String, Value> {
    // The pod of `helm test` is a hook, and nothing that is installed.
    let installed = documents
        .into_iter()
        .filter(|document| document["kind"] != "Pod");
    let plain = installed.map(|mut document| {
        let labels = document["metadata"]["labels"].as_object_mut();
        let labels = labels.expect("everything has labels");
        labels.retain(|label, _| label.starts_with("app.kubernetes.io/name"));
        let kind = document["kind"].as_str().expect("a kind").to_owned();
        match kind.as_str() {
            // One has a hash in its name, the other comments in its file.
            "ConfigMap" => {
                document["metadata"]["name"] = json!(OURS);
                let file = &mut document["data"]["authentik-proxy.yaml"];
                *file = parse("the file", file.as_str().expect("text")).remove(0);
            }
            // Their order has no meaning.
            "Service" => by_name(&mut document["spec"]["ports"], "name"),
            "NetworkPolicy" => by_name(&mut document["spec"]["ingress"][0]["ports"], "port"),
            "Deployment" => {
                let template = &mut document["spec"]["template"];
                template["spec"]["volumes"][0]["configMap"]["name"] = json!(OURS);
                let container = &mut template["spec"]["containers"][0];
                for list in ["env", "ports"] {
                    by_name(&mut container[list], "name");
                }
                if let Some(annotations) = template["metadata"].as_object_mut() {
                    annotations.remove("annotations");
                }
            }
            _ => {}
        }
        (kind, document)
    });
    plain.collect()
}

#[test]
#[ignore = "needs Helm and kubectl"]
fn it_renders_what_the_base_does() {
    let base = "resources: [../../deploy/kustomize/base]";
    let component = "components: [../../deploy/kustomize/components/ext-authz]";
    for (overlay, values) in [
        (base.to_owned(), "extAuthz.enabled=false"),
        (format!("{base}\n{component}"), "extAuthz.enabled=true"),
        (
            format!("{base}\n{}", component.replace("ext-authz", "forward-auth")),
            "forwardAuth.enabled=true",
        ),
    ] {
        let expected = rendered(&overlay, None);
        let documents = template(OURS, &["--set", values]);
        let (base, chart) = (plain(expected), plain(documents));
        assert_eq!(base.len(), 6);
        assert_eq!(base, chart, "{values}");
    }
}

#[test]
fn its_files_are_copies() {
    for original in ["prometheus/alerts.yaml", "grafana/authentik-proxy.json"] {
        let (original, copy) = (
            format!("deploy/{original}"),
            format!(
                "{CHART}/files/{}",
                original.rsplit('/').next().unwrap_or_default()
            ),
        );
        let same = read(&original) == read(&copy);
        assert!(same, "cp {original} {copy}");
    }
}

#[test]
#[ignore = "needs Helm"]
fn an_image_can_be_named_by_its_digest() {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let value = format!("image.digest={digest}");
    let documents = template(OURS, &["--set", &value]);
    let deployment = documents.iter().find(|d| d["kind"] == "Deployment");
    let pod = &deployment.expect("a Deployment")["spec"]["template"]["spec"];
    let expected = format!("{OURS}:{VERSION}@{digest}");
    assert_eq!(pod["containers"][0]["image"], expected);
}

#[test]
#[ignore = "needs Helm and kubernetes-validate"]
fn every_value_has_its_effect_and_the_schemas_accept_it() {
    run("helm", &["lint", "--strict", CHART]);
    let documents = template("edge", EVERYTHING);
    let find = |kind: &str| {
        let found = documents.iter().find(|document| document["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind}"))
    };
    // Named and selected by the release, so that two of them do not meet.
    let name = "edge-authentik-proxy";
    let selector = json!({"app.kubernetes.io/name": name});
    for document in &documents {
        let dashboard = document["metadata"]["labels"]["grafana_dashboard"] == "1";
        let suffix = match document["kind"].as_str() {
            Some("Pod") => "-doctor",
            _ if dashboard => "-dashboard",
            _ => "",
        };
        assert_eq!(document["metadata"]["name"], format!("{name}{suffix}"));
        if suffix != "-doctor" {
            assert_eq!(document["metadata"]["labels"]["owner"], "platform");
            assert_eq!(
                document["metadata"]["annotations"]["home.example/by"],
                "helm"
            );
        }
        if dashboard {
            let file = read("deploy/grafana/authentik-proxy.json");
            assert_eq!(document["data"]["authentik-proxy.json"], file);
        }
    }
    let alerts = read("deploy/prometheus/alerts.yaml");
    assert!(alerts.contains("job=\"authentik-proxy\""));
    let alerts = alerts.replace("job=\"authentik-proxy\"", &format!("job=\"{name}\""));
    let alerts = parse("alerts", &alerts).remove(0);
    assert_eq!(find("PrometheusRule")["spec"], alerts);
    assert_eq!(find("Service")["spec"]["selector"], selector);
    let deployment = find("Deployment");
    let template = &deployment["spec"]["template"];
    for (pointer, expected) in [
        ("/metadata/labels/team", json!("home")),
        ("/metadata/annotations/linkerd.io~1inject", json!("enabled")),
        ("/spec/priorityClassName", json!("high")),
        ("/spec/imagePullSecrets/0/name", json!("registry")),
        ("/spec/nodeSelector/kubernetes.io~1arch", json!("amd64")),
        ("/spec/tolerations/0/key", json!("edge")),
        ("/spec/topologySpreadConstraints/0/maxSkew", json!(1)),
        ("/spec/affinity", json!({"nodeAffinity": {}})),
        ("/spec/containers/0/image", json!(format!("{OURS}:1"))),
        ("/metadata/labels/owner", json!("platform")),
        ("/spec/runtimeClassName", json!("gvisor")),
        ("/spec/dnsPolicy", json!("ClusterFirst")),
        ("/spec/dnsConfig/searches/0", json!("home.example")),
        ("/spec/hostAliases/0/ip", json!("192.0.2.1")),
        ("/spec/initContainers/0/name", json!("wait")),
        ("/spec/containers/1/name", json!("beside")),
        (
            "/spec/containers/0/lifecycle/preStop/sleep/seconds",
            json!(3),
        ),
        ("/spec/containers/0/envFrom/0/secretRef/name", json!("more")),
        ("/spec/volumes/3/name", json!("dashboard-token")),
        (
            "/spec/containers/0/volumeMounts/3/mountPath",
            json!("/run/secrets/dashboard"),
        ),
    ] {
        assert_eq!(template.pointer(pointer), Some(&expected), "{pointer}");
    }
    other_objects(&find, name);

    let monitor = "deploy/kustomize/components/servicemonitor/servicemonitor.yaml";
    let mut expected = parse(monitor, &read(monitor)).remove(0);
    expected["spec"]["selector"]["matchLabels"] = selector;
    let endpoint = &mut expected["spec"]["endpoints"][0];
    endpoint["relabelings"] = json!([{"action": "labeldrop", "regex": "pod"}]);
    endpoint["metricRelabelings"] = json!([]);
    let found = find("ServiceMonitor");
    assert_eq!(found["spec"], expected["spec"]);
    assert_eq!(
        found["metadata"]["labels"]["release"],
        "kube-prometheus-stack"
    );

    let rendered = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file");
    let texts: Vec<_> = documents.iter().map(Value::to_string).collect();
    std::fs::write(rendered.path(), texts.join("\n---\n")).expect("written");
    let path = rendered.path().to_str().expect("text");
    let said = run("kubernetes-validate", &["--strict", "--no-warn", path]);
    assert!(!said.contains("ERROR"), "{said}");
    assert_eq!(said.matches("passed for resource").count(), 9, "{said}");
}

/// What [`EVERYTHING`] makes of other objects than the pods, and the variables of both.
fn other_objects<'a>(find: &dyn Fn(&str) -> &'a Value, name: &str) {
    let deployment = find("Deployment");
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(deployment["spec"]["revisionHistoryLimit"], 3);
    assert_eq!(deployment["metadata"]["annotations"]["keel"], "off");
    assert_eq!(
        find("ServiceAccount")["metadata"]["annotations"]["team"],
        "home"
    );
    let variables = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
    for (name, pointer, expected) in [
        ("AUTHENTIK_PROXY_LISTEN__EXT_AUTHZ", "/value", "[::]:9001"),
        ("AUTHENTIK_INSECURE", "/value", "true"),
        ("AUTHENTIK_REDIS__HOST", "/value", "redis"),
        ("AUTHENTIK_REDIS__PORT", "/value", "67108864"),
        (
            "AUTHENTIK_REDIS__PASSWORD",
            "/valueFrom/secretKeyRef/key",
            "password",
        ),
    ] {
        let found = variable(variables, name);
        assert_eq!(found.pointer(pointer), Some(&json!(expected)), "{name}");
    }
    let doctor = &find("Pod")["spec"]["containers"][0];
    assert_eq!(doctor["args"], json!(["doctor"]));
    assert_eq!(doctor["env"], *variables);
    let paths = &find("Ingress")["spec"]["rules"][0]["http"]["paths"];
    assert_eq!(paths[0]["path"], "/outpost.goauthentik.io");
    assert_eq!(paths[0]["backend"]["service"]["name"], name);
    assert_eq!(
        find("HTTPRoute")["spec"]["rules"][0]["backendRefs"][0]["name"],
        name
    );
}

#[test]
#[ignore = "needs Helm"]
fn a_change_of_the_file_restarts_the_pods() {
    let pods = |values: &[&str]| {
        let documents = template(OURS, values);
        let mut found = documents.into_iter().filter(|d| d["kind"] == "Deployment");
        found.next().expect("a Deployment")["spec"]["template"].take()
    };
    let file = "--set-json=config={\"applications\":{\"grafana\":{}}}";
    let before = pods(&[]);
    assert_eq!(pods(&[]), before);
    assert_ne!(pods(&[file]), before);
}

#[test]
#[ignore = "needs Helm"]
fn a_policy_without_sources_admits_no_user() {
    let no_source = ["--set-json=networkPolicy={\"from\":[],\"metricsFrom\":[]}"];
    let documents = template(OURS, &no_source);
    let mut policies = documents.iter().filter(|d| d["kind"] == "NetworkPolicy");
    let policy = policies.next().expect("a NetworkPolicy");
    assert_eq!(policy["spec"]["ingress"], json!([]));
}

#[test]
#[ignore = "needs Helm"]
fn values_that_do_not_exist_are_refused() {
    for (value, expected) in [
        ("imagee.tag=1", "imagee"),
        ("networkPolicy.form=null", "form"),
        ("replicas=two", "replicas"),
        ("image.digest=0.1.0", "digest"),
        ("env.AUTHENTIK_TOKEN=secret", "AUTHENTIK_TOKEN"),
        ("env.authentik_insecure=x", "authentik_insecure"),
        ("extraVolumes[0].name=tmp", "extraVolumes"),
        ("extraVolumeMounts[0].name=tmp", "mountPath"),
        (
            "env.AUTHENTIK_TOKEN=secret",
            "it follows from the value secret",
        ),
        (
            "env.AUTHENTIK_PROXY_CONFIG=/x",
            "it follows from the value config",
        ),
        (
            "env.AUTHENTIK_LISTEN__HTTP=0.0.0.0:8080",
            "follows from the ports of pods, probes and Services",
        ),
        (
            "extraEnv[0].name=AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS",
            "it follows from the value trustedProxies",
        ),
        (
            "env.A=1,extraEnv[0].name=A",
            "A is set twice, in env and extraEnv",
        ),
        ("extraEnv[0].name=A,extraEnv[1].name=A", "A is set twice"),
        (
            "podLabels.app\\.kubernetes\\.io/name=x",
            "set fullnameOverride",
        ),
        (
            "commonLabels.app\\.kubernetes\\.io/name=x",
            "set fullnameOverride",
        ),
        ("ingress.enabled=true", "ingress.hosts: name the hosts"),
        (
            "httpRoute.enabled=true",
            "httpRoute.parentRefs: name the Gateway",
        ),
    ] {
        let said = refusal(&format!("--set={value}"));
        assert!(said.contains(expected), "{value}: {said}");
    }
}

#[test]
#[ignore = "needs Helm"]
fn unshared_sessions_and_lost_client_addresses_are_warned_of() {
    let dry = ["install", OURS, CHART, "--dry-run=client"];
    for (values, warned) in [
        ("replicas=2", true),
        ("replicas=1", false),
        ("replicas=2,env.AUTHENTIK_REDIS__HOST=redis", false),
        ("autoscaling.enabled=true", true),
        ("service.type=LoadBalancer", true),
        (
            "service.type=NodePort,service.spec.externalTrafficPolicy=Local",
            false,
        ),
    ] {
        let text = run("helm", &[&dry[..], &["--set", values]].concat());
        assert!(text.contains("authentik-proxy doctor"), "{text}");
        assert_eq!(text.contains("WARNING"), warned, "{text}");
    }
}

fn variable<'a>(variables: &'a Value, name: &str) -> &'a Value {
    let mut found = variables.as_array().expect("a list").iter();
    let found = found.find(|variable| variable["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {variables}"))
}

#[test]
fn chart_and_program_have_one_version() {
    let name = format!("{CHART}/Chart.yaml");
    let chart = parse(&name, &read(&name)).remove(0);
    for field in ["version", "appVersion"] {
        assert_eq!(chart[field], VERSION, "{field}");
    }
}
