//! What `kubectl kustomize` makes of the base, the overlay and the components.

use std::collections::BTreeMap;

use authentik_proxy::config::Config;
use authentik_proxy::config::settings::FILE_VARIABLE;
use serde_json::{Value, json};

use crate::{OURS, files, is_yaml, parse, read, root, run};

#[test]
fn pods_obey_pod_security_restricted() {
    let mut seen = 0;
    for name in [
        "deploy/kustomize/base/deployment.yaml",
        "deploy/kustomize/components/redis/redis.yaml",
        "deploy/kustomize/components/discover/deployment.yaml",
        "deploy/kustomize/doctor/job.yaml",
    ] {
        for document in parse(name, &read(name)) {
            if document["kind"] == "Deployment" || document["kind"] == "Job" {
                seen += 1;
                let pod = &document["spec"]["template"]["spec"];
                restricted(pod);
                // One alone talks to Kubernetes.
                let talks = name.contains("/discover/");
                assert_eq!(pod["automountServiceAccountToken"], talks, "{name}");
            }
        }
    }
    assert_eq!(seen, 4);
}

#[test]
fn no_pod_stops_before_its_successor_is_ready() {
    let name = "deploy/kustomize/base/deployment.yaml";
    let [deployment] = &parse(name, &read(name))[..] else {
        panic!("one in {name}");
    };
    let strategy = &deployment["spec"]["strategy"];
    let rolling = json!({"maxUnavailable": 0, "maxSurge": 1});
    assert_eq!(
        *strategy,
        json!({"type": "RollingUpdate", "rollingUpdate": rolling})
    );
}

#[test]
fn redis_refuses_before_it_is_killed() {
    let name = "deploy/kustomize/components/redis/redis.yaml";
    let deployment = parse(name, &read(name)).remove(0);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().expect("a list");
    let argument = |name: &str| {
        let at = arguments.iter().position(|one| one == name);
        arguments[at.expect("it is set") + 1]
            .as_str()
            .expect("text")
    };
    assert_eq!(argument("--maxmemory-policy"), "noeviction");
    let megabytes = |text: &str, unit| text.strip_suffix(unit)?.parse::<u32>().ok();
    let most = megabytes(argument("--maxmemory"), "mb");
    let limit = container["resources"]["limits"]["memory"].as_str();
    let limit = megabytes(limit.expect("text"), "Mi");
    assert!(most.is_some() && most < limit, "{most:?} of {limit:?}");
}

#[test]
fn discovery_may_read_and_nothing_else() {
    let name = "deploy/kustomize/components/discover/rbac.yaml";
    let documents = parse(name, &read(name));
    let found = documents
        .iter()
        .filter(|document| document["kind"] == "ClusterRole");
    let rules: Vec<&Value> = found
        .flat_map(|role| role["rules"].as_array().expect("rules"))
        .collect();
    for (rule, (group, resource)) in rules
        .iter()
        .zip([("", "services"), ("networking.k8s.io", "ingresses")])
    {
        assert_eq!(rule["apiGroups"], json!([group]));
        assert_eq!(rule["resources"], json!([resource]));
        assert_eq!(rule["verbs"], json!(["list", "watch"]));
    }
    assert_eq!(rules.len(), 2);
}

fn restricted(pod: &Value) {
    let context = &pod["securityContext"];
    assert_eq!(context["runAsNonRoot"], true);
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert!(context["runAsUser"].as_u64() > Some(0));
    for container in pod["containers"].as_array().expect("containers") {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["capabilities"]["drop"][0], "ALL");
        assert!(container["resources"]["limits"]["memory"].is_string());
    }
}

/// The networks of pods, in place of all private addresses, which the program believes by default.
const TRUSTED: &str = "127.0.0.0/8,10.244.0.0/16,10.42.0.0/16";

/// The environment of the first user's Deployment, as the vendor's outpost has it, and our file.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("AUTHENTIK_DISABLE_UPDATE_CHECK", "true"),
    ("AUTHENTIK_ERROR_REPORTING__ENABLED", "false"),
    ("AUTHENTIK_HOST", "from the Secret"),
    ("AUTHENTIK_HOST_BROWSER", "https://authentik.home.example"),
    ("AUTHENTIK_INSECURE", "false"),
    ("AUTHENTIK_LISTEN__HTTP", "0.0.0.0:9000"),
    ("AUTHENTIK_LISTEN__HTTPS", "0.0.0.0:9443"),
    ("AUTHENTIK_LISTEN__METRICS", "0.0.0.0:9300"),
    ("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", TRUSTED),
    ("AUTHENTIK_LOG_LEVEL", "info"),
    (
        "AUTHENTIK_OUTPOST_ID",
        "3f0970c5-d6a3-43b2-9a36-d74665c6b24e",
    ),
    (FILE_VARIABLE, "/etc/authentik-proxy/authentik-proxy.yaml"),
    ("AUTHENTIK_PROXY_SESSION__ECHO_CREDENTIALS", "true"),
    ("AUTHENTIK_REDIS__DB", "0"),
    (
        "AUTHENTIK_REDIS__HOST",
        "redis.authentik-proxy.svc.cluster.local",
    ),
    ("AUTHENTIK_REDIS__PORT", "6379"),
    ("AUTHENTIK_TOKEN", "file:///etc/authentik-proxy-token/token"),
];

fn environment(container: &Value) -> BTreeMap<&str, &str> {
    let variables = container["env"].as_array().expect("a list").iter();
    let variables = variables.map(|variable| {
        let value = variable["value"].as_str().unwrap_or("from the Secret");
        (variable["name"].as_str().expect("a name"), value)
    });
    variables.collect()
}

#[test]
#[ignore = "needs kubectl"]
fn the_overlay_is_what_the_first_user_runs() {
    let overlay = "deploy/kustomize/overlays/home";
    let text = run("kubectl", &["kustomize", overlay]);
    let documents = parse(overlay, &text);
    let find = |kind: &str, name: &str| {
        let is = |d: &&Value| d["kind"] == kind && d["metadata"]["name"] == name;
        let found = documents.iter().find(is);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    let deployment = &find("Deployment", OURS)["spec"];
    assert_eq!(deployment["replicas"], 2);
    let pod = &deployment["template"]["spec"];
    restricted(pod);
    assert_eq!(pod["automountServiceAccountToken"], false);
    let container = &pod["containers"][0];
    let variables = environment(container);
    assert_eq!(variables, ENVIRONMENT.iter().copied().collect());

    let mut vars = variables;
    vars.remove(FILE_VARIABLE);
    vars.insert(
        "AUTHENTIK_HOST",
        "http://authentik-server.authentik.svc.cluster.local:80",
    );
    vars.insert("AUTHENTIK_TOKEN", "token");
    let token = json!({
        "name": "token",
        "secret": {"secretName": OURS, "items": [{"key": "token", "path": "token"}]},
    });
    let volumes = pod["volumes"].as_array().expect("a list");
    assert!(volumes.contains(&token), "{volumes:?}");
    let config = Config::from_pairs(vars).expect("an environment that starts the program");
    let stop = config.shutdown.delay + config.shutdown.drain_timeout;
    let grace = pod["terminationGracePeriodSeconds"].as_u64();
    assert!(
        grace > Some(stop.as_secs()),
        "killed before the end of its own stop"
    );

    // The mounted file is the generated one.
    let file = pod["volumes"][0]["configMap"]["name"]
        .as_str()
        .expect("a name");
    let file = &find("ConfigMap", file)["data"]["authentik-proxy.yaml"];
    assert_eq!(*file, read("deploy/kustomize/base/authentik-proxy.yaml"));
    assert_eq!(
        container["volumeMounts"][0]["mountPath"],
        "/etc/authentik-proxy"
    );
}

#[test]
fn the_doctor_looks_with_the_outposts_eyes() {
    let name = "deploy/kustomize/doctor/job.yaml";
    let job = parse(name, &read(name)).remove(0);
    let template = &job["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    let mut expected: BTreeMap<_, _> = ENVIRONMENT.iter().copied().collect();
    expected.remove(FILE_VARIABLE);
    // It reads the token once.
    expected.insert("AUTHENTIK_TOKEN", "from the Secret");
    assert_eq!(environment(container), expected);
    assert_eq!(container["args"], json!(["doctor"]));

    // No Service sends browsers there, and Redis is open to it.
    let label = &template["metadata"]["labels"]["app.kubernetes.io/name"];
    assert_ne!(*label, OURS);
    let name = "deploy/kustomize/components/redis/redis.yaml";
    let documents = parse(name, &read(name));
    let policy = documents.iter().find(|d| d["kind"] == "NetworkPolicy");
    let from = &policy.expect("a policy")["spec"]["ingress"][0]["from"];
    let labels = from.as_array().expect("a list").iter();
    let labels = labels.map(|one| &one["podSelector"]["matchLabels"]["app.kubernetes.io/name"]);
    assert_eq!(labels.collect::<Vec<_>>(), [&json!(OURS), label]);
}

/// A peer in a network that is believed can name any client and any URL, and every client that reaches the
/// outpost can ask about a request and read the answer.
#[test]
fn ap_2026_05_other_pods_and_clients_in_the_house_are_no_reverse_proxies() {
    let config = Config::from_pairs([
        ("AUTHENTIK_HOST", "http://a"),
        ("AUTHENTIK_TOKEN", "t"),
        ("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS", TRUSTED),
    ]);
    assert!(config.is_ok(), "{config:?}");
    for client in ["192.168.", "172.", "10.0.", "0.0.0.0/0", "10.0.0.0/8"] {
        assert!(!TRUSTED.contains(client), "{client}");
    }
    let name = "deploy/kustomize/base/deployment.yaml";
    let deployment = parse(name, &read(name)).remove(0);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let believed = environment(container)["AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS"];
    assert_eq!(believed, TRUSTED);

    let name = "deploy/kustomize/base/networkpolicy.yaml";
    let policy = parse(name, &read(name)).remove(0);
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    let rules = policy["spec"]["ingress"].as_array().expect("rules");
    let ports = |rule: &Value| -> Vec<Value> {
        let ports = rule["ports"].as_array().expect("ports").iter();
        ports.map(|port| port["port"].clone()).collect()
    };
    let opened: Vec<_> = rules.iter().map(ports).collect();
    assert_eq!(
        opened,
        [vec![json!("http"), json!("https")], vec![json!("metrics")]]
    );
    for rule in rules {
        for source in rule["from"].as_array().expect("sources") {
            // Pods of a kind in a namespace, not all that happen to run there.
            for selector in ["namespaceSelector", "podSelector"] {
                let labels = source[selector]["matchLabels"].as_object();
                assert!(labels.is_some_and(|labels| !labels.is_empty()), "{source}");
            }
        }
    }
}

/// What `kubectl kustomize` makes of an overlay in a directory of its own.
pub(crate) fn rendered(overlay: &str, file: Option<(&str, &str)>) -> Vec<Value> {
    // Below the root, since kustomize takes relative paths only.
    let target = root().join("target");
    std::fs::create_dir_all(&target).expect("a directory");
    let directory = tempfile::tempdir_in(target).expect("a directory");
    for (name, text) in file.into_iter().chain([("kustomization.yaml", overlay)]) {
        std::fs::write(directory.path().join(name), text).expect("a file");
    }
    let path = directory.path().to_str().expect("text");
    let text = run("kubectl", &["kustomize", path]);
    parse(path, &text)
}

/// The YAML blocks of a document.
fn blocks(document: &str) -> Vec<String> {
    let text = read(document);
    let blocks = text.split("```yaml\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap_or_default().to_owned());
    blocks.collect()
}

#[test]
#[ignore = "needs kubectl"]
fn the_file_can_be_given_as_the_documents_say() {
    let base = "resources: [../../deploy/kustomize/base]\n";
    let ours = "applications: {grafana: {send_jwt: false}}\n";
    let given = |documents: &[Value], expected: &str| {
        let files = documents.iter().find(|d| d["kind"] == "ConfigMap");
        let files = files.expect("a ConfigMap");
        let file = files["data"]["authentik-proxy.yaml"].as_str();
        assert_eq!(file.map(str::trim_end), Some(expected.trim_end()));
        // Mounted under its new name.
        let deployment = documents.iter().find(|d| d["kind"] == "Deployment");
        let volume = &deployment.expect("a Deployment")["spec"]["template"]["spec"]["volumes"][0];
        assert_eq!(volume["configMap"]["name"], files["metadata"]["name"]);
        assert_ne!(files["metadata"]["name"], OURS);
    };
    let blocks = blocks("deploy/README.md");
    let find = |part: &str| {
        let mut found = blocks.iter().filter(|block| block.contains(part));
        found.next().unwrap_or_else(|| panic!("{part} is shown"))
    };
    let generator = find("behavior: replace");
    let home = read("deploy/kustomize/overlays/home/kustomization.yaml");
    for line in generator.lines() {
        assert!(home.contains(&format!("# {line}")), "{line}");
    }
    let overlay = format!("{base}{generator}{}", find("op: replace"));
    let documents = rendered(&overlay, Some(("authentik-proxy.yaml", ours)));
    given(&documents, ours);
    let policy = documents.iter().find(|d| d["kind"] == "NetworkPolicy");
    let from = &policy.expect("a policy")["spec"]["ingress"][0]["from"][0];
    let expected = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "traefik"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "traefik"}},
    });
    assert_eq!(*from, expected);

    let name = "deploy/recipes/flux/git.yaml";
    let flux = parse(name, &read(name)).remove(1);
    let overlay = json!({
        "resources": ["../../deploy/kustomize/base"],
        "patches": flux["spec"]["patches"],
    });
    let documents = rendered(&overlay.to_string(), None);
    let patches = flux["spec"]["patches"].as_array().expect("patches");
    let file = patches.iter().find(|p| p["target"]["kind"] == "ConfigMap");
    let patch = file.expect("one of the file")["patch"].as_str();
    let patch = parse(name, patch.expect("text")).remove(0);
    given(&documents, patch[0]["value"].as_str().expect("text"));
}

#[test]
#[ignore = "needs kubectl"]
fn reloader_restarts_the_pods_where_it_is_wanted() {
    let name = "deploy/kustomize/components/external-secret/kustomization.yaml";
    let text = read(name);
    let (_, patch) = text.split_once("# patches:").expect("it is shown");
    let patch = format!("patches:{}", patch.replace("\n# ", "\n"));
    let overlay = format!("resources: [../../deploy/kustomize/base]\n{patch}");
    let documents = rendered(&overlay, None);
    let deployment = documents.iter().find(|d| d["kind"] == "Deployment");
    let annotations = &deployment.expect("a Deployment")["metadata"]["annotations"];
    assert_eq!(annotations["reloader.stakater.com/auto"], "true");
}

#[test]
#[ignore = "needs kubectl"]
fn both_reverse_proxies_are_admitted_on_the_way_from_ingress_nginx() {
    let name = "deploy/recipes/from-ingress-nginx";
    let documents = parse(name, &run("kubectl", &["kustomize", name]));
    let policy = documents.iter().find(|d| d["kind"] == "NetworkPolicy");
    let rule = &policy.expect("a policy")["spec"]["ingress"][0];
    let from = rule["from"].as_array().expect("sources").iter();
    let from: Vec<_> = from
        .map(|source| &source["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])
        .collect();
    assert_eq!(from, ["ingress-nginx", "gateway"]);
    let ports = rule["ports"].as_array().expect("ports").iter();
    let ports: Vec<_> = ports.map(|port| &port["port"]).collect();
    assert_eq!(ports, ["http", "https", "ext-authz"]);
}

#[test]
#[ignore = "needs kubectl"]
fn every_component_can_be_rendered() {
    let up = "../../deploy";
    let components = [
        "discover",
        "ext-authz",
        "external-secret",
        "forward-auth",
        "redis",
        "servicemonitor",
    ];
    let components = components.map(|name| format!("  - {up}/kustomize/components/{name}\n"));
    let text = format!(
        "namespace: elsewhere\nresources:\n  - {up}/kustomize/base\ncomponents:\n  - {up}/grafana\n  - {up}/prometheus\n{}",
        components.concat()
    );
    let documents = rendered(&text, None);
    let service = documents.iter().find(|d| d["kind"] == "Service");
    let ports = &service.expect("a Service")["spec"]["ports"];
    assert_eq!(ports[3]["targetPort"], "ext-authz");
    assert_eq!(ports[4]["targetPort"], "forward-auth");
    // A binding to another namespace's account would have no effect.
    let binding = documents.iter().find(|d| d["kind"] == "ClusterRoleBinding");
    let subject = &binding.expect("discovery has rights")["subjects"][0];
    assert_eq!(subject["namespace"], "elsewhere");
}

#[test]
#[ignore = "needs kubectl and kubernetes-validate"]
fn the_schemas_of_kubernetes_accept_every_manifest() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut validated = 0;
    let mut validate = |name: &str, text: &str| {
        let path = directory.path().join("manifest.yaml");
        std::fs::write(&path, text).expect("written");
        let path = path.to_str().expect("text");
        // What is not of Kubernetes itself has no schema there.
        let said = run("kubernetes-validate", &["--strict", "--no-warn", path]);
        assert!(!said.contains("ERROR"), "{name}: {said}");
        validated += said.matches("passed for resource").count();
    };
    for name in ["base", "overlays/home", "doctor"] {
        let name = format!("deploy/kustomize/{name}");
        validate(&name, &run("kubectl", &["kustomize", &name]));
    }
    for (name, text) in files("deploy/recipes") {
        if is_yaml(&name) && text.contains("\nkind: Ingress") {
            validate(&name, &text);
        }
    }
    assert!(validated > 15, "{validated} resources");
}
