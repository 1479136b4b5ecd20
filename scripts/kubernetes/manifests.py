"""The manifests and the recipes: applied twice both ways, scaled, changed, rolled back and deleted."""

import glob
import os
import re
import tempfile

import yaml
from cluster import NAMESPACE, empty
from programs import ROOT, TOOLS, Failure, missing, read, run

KUSTOMIZE = "deploy/kustomize"
DEPLOYMENT = "deployment/authentik-proxy"
WAYS = {"client-side": [], "server-side": ["--server-side"]}


def manifests(cluster):
    """The base, each component on top of it, the complete overlay and the Job of `doctor`."""
    for way in WAYS:
        for name, text in rendered().items():
            _apply_twice(cluster, name, text, way)
    return f"{len(rendered())} renderings, each client-side and server-side"


def life(cluster):
    """What happens to the complete installation: another image, `rollout undo`, another number of pods."""
    for way, options in WAYS.items():
        text = rendered()["overlays/home"]
        _create(cluster, text, options)
        other = text.replace("image: authentik-proxy:", "image: authentik-proxy-other:")
        _require(other != text, "the image has another name")
        _create(cluster, other, options)
        cluster.kubectl("rollout", "undo", DEPLOYMENT)
        _rolled_out(cluster, DEPLOYMENT)
        _require(_image(cluster).startswith("authentik-proxy:"), "undo brings the image back")
        # The file that the former pods have is still there: nothing prunes it here.
        _require(_pods(cluster) == 2, "as many pods as before")
        cluster.kubectl("scale", "--replicas=4", DEPLOYMENT)
        _rolled_out(cluster, DEPLOYMENT)
        _require(_pods(cluster) == 4, "four pods")
        if way == "server-side":
            # `scale` and `rollout undo` own what they changed: the documented way back.
            options = [*options, "--force-conflicts"]
        _create(cluster, text, options)
        _require(_pods(cluster) == 2, "as many pods as the overlay says")
        _delete(cluster, text)
    return "another image, rollout undo, scale and back, client-side and server-side"


def switch(cluster):
    """docs/MIGRATION.md: from a Deployment of another origin, by its image alone, and to the overlay."""
    labels = {"app": "outpost"}
    user = {"runAsUser": 1000, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    containers = [{"name": name, "image": f"{name}:1", "securityContext": confined}
                  for name in ("before", "authentik-proxy", "beside")]
    pod = {"securityContext": user, "initContainers": containers[:1], "containers": containers[1:]}
    other = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "authentik-proxy"},
             "spec": {"replicas": 2, "selector": {"matchLabels": labels},
                      "template": {"metadata": {"labels": labels}, "spec": pod}}}
    _create(cluster, yaml.safe_dump(other), [])
    cluster.kubectl("set", "image", DEPLOYMENT, "authentik-proxy=authentik-proxy:0.1.0")
    _rolled_out(cluster, DEPLOYMENT)
    path = "jsonpath={.spec.template.spec['initContainers','containers'][*].image}"
    images = cluster.kubectl("get", DEPLOYMENT, "-o", path)
    _require(images == "before:1 authentik-proxy:0.1.0 beside:1", f"one image is another: {images}")
    overlay = rendered()["overlays/home"]
    kubectl = os.path.join(TOOLS, "kubectl")
    status, _, complaints = cluster.command(kubectl, "apply", "-f", "-", stdin=overlay)
    _require(status and "field is immutable" in complaints, f"the overlay is refused: {complaints}")
    cluster.kubectl("delete", DEPLOYMENT)
    _create(cluster, overlay, [])
    _delete(cluster, overlay)
    return "one image of three; the overlay after the Deployment is deleted"


def rights(cluster):
    """Pod Security is enforced; `discover` may do what it needs, and the outpost nothing."""
    pod = {"metadata": {"name": "root"}, "spec": {"containers": [{"name": "root", "image": "root"}]}}
    status, answer = cluster.request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", pod)
    _require(status == 403 and "restricted" in answer["message"], f"a pod that may be root is refused: {answer}")
    text = rendered()["components/discover"]
    _create(cluster, text, [])
    for account, verb, resource, allowed in (
        ("authentik-proxy-discover", "list", "services", True),
        ("authentik-proxy-discover", "watch", "ingresses.networking.k8s.io", True),
        ("authentik-proxy-discover", "update", "services", False),
        ("authentik-proxy-discover", "list", "secrets", False),
        ("authentik-proxy", "list", "services", False),
        ("authentik-proxy", "get", "secrets", False),
    ):
        subject = f"system:serviceaccount:{NAMESPACE}:{account}"
        command = [os.path.join(TOOLS, "kubectl"), "auth", "can-i", verb, resource, "-A", f"--as={subject}"]
        _, out, _ = cluster.command(*command)
        _require(out.strip() == ("yes" if allowed else "no"), f"{account} may {verb} {resource}: {out}")
    _delete(cluster, text)
    return "Pod Security, six rights"


def recipes(cluster):
    """Each recipe of which the API server knows all resources."""
    done = 0
    served = _served(cluster)
    for path in sorted(glob.glob(os.path.join(ROOT, "deploy/recipes/*/*.yaml"))):
        name = os.path.relpath(path, ROOT)
        if path.endswith("/kustomization.yaml"):
            text = run(os.path.join(TOOLS, "kubectl"), "kustomize", os.path.dirname(path))
        else:
            text = read(path)
        documents = [document for document in yaml.safe_load_all(text) if document]
        if not all("apiVersion" in document and "kind" in document for document in documents):
            # A file of Compose, Envoy, Traefik or values of a chart.
            continue
        unknown = {document["kind"] for document in documents
                   if (document["apiVersion"], document["kind"]) not in served}
        if unknown:
            missing.append(f"{', '.join(sorted(unknown))} in {name}: no definition")
            documents = [document for document in documents if document["kind"] not in unknown]
            text = yaml.safe_dump_all(documents)
        if documents:
            for way in WAYS:
                _apply_twice(cluster, name, text, way)
            done += 1
    return f"{done} files, each client-side and server-side"


def rendered():
    """Everything that kustomize makes of deploy/kustomize, by path."""
    kubectl = os.path.join(TOOLS, "kubectl")
    found = {"base": f"{KUSTOMIZE}/base", "overlays/home": f"{KUSTOMIZE}/overlays/home",
             "doctor": f"{KUSTOMIZE}/doctor"}
    found = {name: run(kubectl, "kustomize", path, cwd=ROOT) for name, path in found.items()}
    components = sorted(glob.glob(os.path.join(ROOT, KUSTOMIZE, "components/*")))
    for path in [*components, os.path.join(ROOT, "deploy/prometheus"), os.path.join(ROOT, "deploy/grafana")]:
        # kustomize takes relative paths only.
        with tempfile.TemporaryDirectory(dir=TOOLS) as directory:
            relative = [os.path.relpath(one, directory) for one in (os.path.join(ROOT, KUSTOMIZE, "base"), path)]
            overlay = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
                       "namespace": NAMESPACE, "resources": relative[:1], "components": relative[1:]}
            with open(os.path.join(directory, "kustomization.yaml"), "w") as file:
                yaml.safe_dump(overlay, file)
            found[os.path.relpath(path, os.path.join(ROOT, KUSTOMIZE))] = run(kubectl, "kustomize", directory)
    return found


def _apply_twice(cluster, name, text, way):
    options = WAYS[way]
    try:
        _create(cluster, text, options)
        before = _versions(cluster, text)
        cluster.kubectl("apply", *options, "-f", "-", stdin=text)
        after = _versions(cluster, text)
        _require(before == after, f"a second time, something changes: {set(before) ^ set(after)}")
        cluster.diff(text, *options)
        _delete(cluster, text)
    except Failure as failure:
        raise Failure(f"{name}, {way}: {failure}") from failure


def _create(cluster, text, options):
    """Applies; waits until the controllers are through, so that the comparison is with what they made of it."""
    documents = [document for document in yaml.safe_load_all(text) if document]
    for document in documents:
        cluster.namespace(document["metadata"].get("namespace", NAMESPACE))
    cluster.kubectl("apply", *options, "-f", "-", stdin=text)
    for document in documents:
        name = f"{document['kind'].lower()}/{document['metadata']['name']}"
        if document["kind"] == "Deployment":
            _rolled_out(cluster, name)
        elif document["kind"] == "Job":
            cluster.kubectl("wait", "--for=condition=complete", name, "--timeout=60s")
    cluster.diff(text, *options)


def _delete(cluster, text):
    """Deletes all but the namespace, and waits until the garbage collector is through."""
    documents = [document for document in yaml.safe_load_all(text) if document and document["kind"] != "Namespace"]
    cluster.kubectl("delete", "--wait", "--timeout=60s", "-f", "-",
                    stdin=yaml.safe_dump_all(documents))
    empty(lambda: left(cluster))


def left(cluster, kinds="deployments,replicasets,pods,services,networkpolicies,poddisruptionbudgets,jobs"):
    return cluster.kubectl("get", kinds, "-o", "name").split()


def _versions(cluster, text):
    """The generation of each object; of those that have none, and no status, the version."""
    documents = [document for document in yaml.safe_load_all(text) if document]
    out = cluster.kubectl("get", "-f", "-", "-o", "yaml", stdin=yaml.safe_dump_all(documents))
    answer = yaml.safe_load(out)
    found = answer["items"] if answer["kind"] == "List" else [answer]
    return [(item["kind"], item["metadata"]["name"],
             item["metadata"].get("generation", item["metadata"]["resourceVersion"])) for item in found]


def _rolled_out(cluster, name):
    cluster.kubectl("rollout", "status", name, "--timeout=60s")


def _image(cluster):
    path = "jsonpath={.spec.template.spec.containers[0].image}"
    return cluster.kubectl("get", DEPLOYMENT, "-o", path)


def _pods(cluster):
    path = "jsonpath={.status.replicas}"
    return int(cluster.kubectl("get", DEPLOYMENT, "-o", path))


def _served(cluster):
    out = cluster.kubectl("api-resources", "--no-headers", "-o", "wide")
    # NAME, SHORTNAMES, APIVERSION, NAMESPACED, KIND: the second may be empty.
    return {match.groups() for match in re.finditer(r"(\S+)\s+(?:true|false)\s+(\S+)", out)}


def _require(holds, what):
    if not holds:
        raise Failure(what)
