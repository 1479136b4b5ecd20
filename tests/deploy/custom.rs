//! Custom resources of others, against the types and validators that are generated from their
//! definitions. A compiler of TypeScript refuses fields that do not exist, which Kubernetes drops
//! without a word; the validators know patterns and values.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{documents, read, run};

/// Which package has the models of an API group.
const PACKAGES: &[(&str, &str)] = &[
    ("argoproj.io", "argo-cd"),
    ("cilium.io", "cilium"),
    ("external-secrets.io", "external-secrets"),
    ("gateway.envoyproxy.io", "envoy-gateway"),
    ("gateway.networking.k8s.io", "gateway-api"),
    ("helm.toolkit.fluxcd.io", "flux-cd"),
    ("kustomize.toolkit.fluxcd.io", "flux-cd"),
    ("monitoring.coreos.com", "prometheus-operator"),
    ("networking.istio.io", "istio"),
    ("security.istio.io", "istio"),
    ("source.toolkit.fluxcd.io", "flux-cd"),
    ("traefik.io", "traefik"),
];

/// Groups that are not looked at here: Kubernetes' own are validated elsewhere, kustomize and Helm
/// (`v2`) read their own.
const ELSEWHERE: &[&str] = &[
    "",
    "v1",
    "v2",
    "apps",
    "batch",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "kustomize.config.k8s.io",
];

/// Groups that no package has models of: these resources are written after the documentation, which
/// the pages about them say.
const WITHOUT_MODELS: &[&str] = &["gateway.kgateway.dev", "gateway.nginx.org"];

/// What the validators may say: they know the standard channel of the Gateway API, and that filter
/// is of the experimental one.
const EXPERIMENTAL: &str = "\
deploy/recipes/cilium/grpc.yaml: data/spec/rules/0/filters/0/type must be equal to one of the allowed values
deploy/recipes/gateway-api/external-auth.yaml: data/spec/rules/0/filters/0/type must be equal to one of the allowed values
";

/// A custom resource and where its model is.
struct Resource {
    file: String,
    kind: String,
    module: String,
    document: Value,
}

fn resources() -> Vec<Resource> {
    let mut found = Vec::new();
    for (file, mut document) in documents() {
        // Envoy Gateway has it since 1.9; the models are of an earlier version.
        if let Some(Value::Object(settings)) = document.pointer_mut("/spec/extAuth") {
            settings.remove("statusOnError");
        }
        let version = document["apiVersion"].as_str().unwrap_or_default();
        let group = version.split('/').next().unwrap_or_default();
        if ELSEWHERE.contains(&group) || WITHOUT_MODELS.contains(&group) {
            continue;
        }
        let package = PACKAGES.iter().find(|(known, _)| *known == group);
        let (_, package) = package.unwrap_or_else(|| panic!("{file}: who has models of {group}?"));
        let kind = document["kind"].as_str().expect("a kind").to_owned();
        found.push(Resource {
            module: format!("@kubernetes-models/{package}/{version}/{kind}"),
            kind,
            file,
            document,
        });
    }
    found
}

/// The directory that the programs of the models are in. They are installed completely if the copy of
/// what was asked for is there, which is written last.
fn models() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let wanted = read("tests/deploy/models/package.json");
    std::env::split_paths(&path)
        .filter_map(|bin| Some(bin.parent()?.to_owned()))
        .find(|modules| {
            let fetched = modules.with_file_name("fetched.json");
            std::fs::read_to_string(fetched).is_ok_and(|fetched| fetched == wanted)
        })
        .expect("models of custom resources are there: scripts/test.sh fetches them")
}

impl Resource {
    /// A constant of the type that the resource should have; and its copy with a field that does
    /// not exist, which has to be refused: a type that is not found would accept everything.
    fn typed(&self) -> String {
        let Self {
            kind,
            module,
            document,
            ..
        } = self;
        let mut misspelt = document.clone();
        misspelt["spec"]["misspelt"] = json!(true);
        format!(
            "import type {{ I{kind} }} from \"{module}\";\n\
             export const right: I{kind} = {document};\n\
             // @ts-expect-error\n\
             export const wrong: I{kind} = {misspelt};\n"
        )
    }
}

/// A program that says what the validators find.
fn validating(resources: &[Resource]) -> String {
    let mut program = String::from(
        "const check = (file, resource) => {\n\
         \x20 try { resource.validate(); } catch (e) { console.log(`${file}: ${e.message}`); }\n\
         };\n",
    );
    for (number, resource) in resources.iter().enumerate() {
        let Resource {
            file,
            kind,
            module,
            document,
        } = resource;
        let _ = writeln!(
            program,
            "import {{ {kind} as Model{number} }} from \"{module}\";\n\
             check(\"{file}\", new Model{number}({document}));"
        );
    }
    program
}

#[test]
fn pages_say_which_resources_are_not_checked() {
    for (file, document) in documents() {
        let version = document["apiVersion"].as_str().unwrap_or_default();
        let group = version.split('/').next().unwrap_or_default();
        if WITHOUT_MODELS.contains(&group) {
            let recipe = file.strip_prefix("deploy/recipes/").expect("a recipe");
            let (recipe, _) = recipe.split_once('/').expect("a file of a recipe");
            let page = format!("docs/reverse-proxies/{recipe}.md");
            let said = format!("No package has the definitions of `{group}`");
            assert!(read(&page).contains(&said), "{page}: {said}");
        }
    }
}

#[test]
#[ignore = "needs npm and the packages in tests/deploy/models"]
fn custom_resources_are_what_their_definitions_say() {
    let resources = resources();
    let kinds: BTreeSet<_> = resources.iter().map(|r| r.kind.as_str()).collect();
    assert!(kinds.len() > 7 && resources.len() > 15, "{kinds:?}");
    let models = models();
    let compiler = models.join(".bin/tsc");
    let directory = tempfile::tempdir().expect("a directory");
    symlink(models, directory.path().join("node_modules")).expect("a link");
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    };

    let mut arguments = ["--noEmit", "--strict", "--module", "nodenext"]
        .map(str::to_owned)
        .to_vec();
    for (number, resource) in resources.iter().enumerate() {
        // The compiler's errors name it.
        let name = format!("{}.{number}.ts", resource.file.replace('/', "-"));
        arguments.push(write(&name, resource.typed()));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run(compiler.to_str().expect("text"), &arguments);
    let path = write("validate.mjs", validating(&resources));
    assert_eq!(run("node", &[&path]), EXPERIMENTAL);
}
