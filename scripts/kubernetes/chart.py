"""The chart with Helm's own command: installed, upgraded, scaled, rolled back, tested and uninstalled."""

import json
import os

from cluster import NAMESPACE, empty
from manifests import left, rendered
from programs import ROOT, TOOLS, Failure, read, run

CHART = os.path.join(ROOT, "deploy/helm/authentik-proxy")
RELEASE = "authentik-proxy"
DEPLOYMENT = f"deployment/{RELEASE}"
KINDS = ("deployments,replicasets,pods,services,networkpolicies,poddisruptionbudgets,configmaps,serviceaccounts,"
         "horizontalpodautoscalers,ingresses,httproutes,servicemonitors,prometheusrules")
ENABLED = {"enabled": True}
# Values by name; those that are text are a file of the chart.
VALUES = {
    "defaults": {},
    "examples/redis.yaml": "examples/redis.yaml",
    "examples/discover.yaml": "examples/discover.yaml",
    "OpenShift": {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}},
    "load balancer": {"service": {"type": "LoadBalancer", "spec": {"externalTrafficPolicy": "Local"}},
                      "extAuthz": ENABLED, "forwardAuth": ENABLED},
    "node port": {"service": {"type": "NodePort"}, "networkPolicy": {"enabled": False}},
    "autoscaling": {"autoscaling": {**ENABLED, "maxReplicas": 6}, "podDisruptionBudget": {"maxUnavailable": "50%"},
                    "env": {"AUTHENTIK_REDIS__HOST": "redis"}},
    "everything": {
        "serviceMonitor": {**ENABLED, "relabelings": [{"action": "labeldrop", "regex": "pod"}]},
        "prometheusRule": ENABLED, "dashboard": ENABLED, "extAuthz": ENABLED, "forwardAuth": ENABLED,
        "ingress": {**ENABLED, "className": "nginx", "hosts": ["grafana.home.example"],
                    "tls": [{"hosts": ["grafana.home.example"], "secretName": "grafana"}]},
        "httpRoute": {**ENABLED, "parentRefs": [{"name": "home"}], "hostnames": ["wiki.home.example"]},
        "env": {"AUTHENTIK_HOST_BROWSER": "https://authentik.home.example", "AUTHENTIK_REDIS__HOST": "redis",
                "AUTHENTIK_REDIS__PORT": 6379, "AUTHENTIK_INSECURE": True},
        "extraEnv": [{"name": "AUTHENTIK_REDIS__PASSWORD",
                      "valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}}],
        "envFrom": [{"secretRef": {"name": "more", "optional": True}}],
        "extraVolumes": [{"name": "dashboard-token", "projected": {
            "sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}]}}],
        "extraVolumeMounts": [{"name": "dashboard-token", "mountPath": "/run/secrets/dashboard", "readOnly": True}],
        "replicas": 2, "revisionHistoryLimit": 3, "dnsPolicy": "ClusterFirst",
        "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
        "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["authentik.home.example"]}],
        "image": {"tag": "1", "pullSecrets": [{"name": "registry"}]},
        "podLabels": {"team": "home"}, "podAnnotations": {"linkerd.io/inject": "enabled"},
        "commonLabels": {"owner": "platform"}, "commonAnnotations": {"home.example/by": "helm"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"}, "tolerations": [{"key": "edge", "operator": "Exists"}],
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
        "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
        "serviceAccount": {"annotations": {"team": "home"}}, "deploymentAnnotations": {"keel": "off"},
    },
}


class Release:
    """A release of the chart in the cluster."""

    def __init__(self, cluster, program):
        self.cluster, self.program = cluster, program

    def helm(self, *arguments):
        status, out, complaints = self.cluster.command(self.program, *arguments)
        if status:
            raise Failure(f"helm {' '.join(arguments)}: {(complaints or out).strip()[-2000:]}")
        return out

    def install(self, values, *more):
        """Installs or upgrades, waits until it runs, and compares."""
        options = []
        if isinstance(values, str):
            options = ["-f", os.path.join(CHART, values)]
        elif values:
            path = self.cluster.path("values.json")
            with open(path, "w") as file:
                json.dump(values, file)
            options = ["-f", path]
        self.helm("upgrade", "--install", RELEASE, CHART, "--wait", "--timeout", "60s", *options, *more)
        self.compare()

    def compare(self):
        self.cluster.diff(self.helm("get", "manifest", RELEASE))

    def deployment(self):
        return json.loads(self.cluster.kubectl("get", DEPLOYMENT, "-o", "json"))

    def replicas(self):
        return self.deployment()["spec"]["replicas"]

    def generation(self):
        return self.deployment()["metadata"]["generation"]

    def image(self):
        return self.deployment()["spec"]["template"]["spec"]["containers"][0]["image"]

    def scale(self, number):
        self.cluster.kubectl("scale", f"--replicas={number}", DEPLOYMENT)
        self.cluster.kubectl("rollout", "status", DEPLOYMENT, "--timeout=60s")

    def uninstall(self, *hooks):
        """Uninstalls; nothing is left but what hooks made, which is Helm's way."""
        self.helm("uninstall", RELEASE, "--wait", "--timeout", "60s")

        for hook in hooks:
            self.cluster.kubectl("delete", hook)
        # Every namespace has these two.
        standard = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
        empty(lambda: set(left(self.cluster, KINDS)) - standard)


def chart(cluster, program):
    """Each set of values: install, the same again, another image, rollback, `helm test`, uninstall."""
    cluster.namespace(NAMESPACE)
    release = Release(cluster, program)
    for name, values in VALUES.items():
        try:
            _cycle(release, values)
        except Failure as failure:
            raise Failure(f"{name}: {failure}") from failure
    return f"{len(VALUES)} sets of values"


def _cycle(release, values):
    release.install(values)
    generation, image = release.generation(), release.image()
    release.install(values)
    _require(release.generation() == generation, "the same values again change nothing")
    release.install(values, "--set", "image.tag=other")
    _require(release.image().endswith(":other"), "another image")
    release.helm("rollback", RELEASE, "--wait", "--timeout", "60s")
    release.compare()
    _require(release.image() == image, "a rollback brings the image back")
    release.helm("test", RELEASE, "--timeout", "60s")
    release.uninstall(f"pod/{RELEASE}-doctor")


def replicas(cluster, program):
    """What scales the Deployment beside Helm, as the chart's README says."""
    release = Release(cluster, program)
    release.install({"replicas": 2})
    release.install({"replicas": None})
    _require(release.replicas() == 1, "without a change in between, Kubernetes sets its default")
    release.install({"replicas": 2})
    release.scale(3)
    try:
        release.helm("upgrade", RELEASE, CHART, "--set", "replicas=2", "--set", "image.tag=other")
    except Failure as failure:
        _require("conflict" in str(failure) and ".spec.replicas" in str(failure), f"a conflict: {failure}")
        refused = "fails with a conflict"
    else:
        _require(release.replicas() == 2, "the chart's number")
        refused = "takes the number back"
        release.scale(3)
    release.install({"replicas": None})
    _require(release.replicas() == 3, f"replicas: null leaves three pods, there are {release.replicas()}")
    release.scale(4)
    release.install({"replicas": None}, "--set", "image.tag=other")
    _require(release.replicas() == 4, f"replicas: null leaves four pods, there are {release.replicas()}")
    release.helm("rollback", RELEASE, "--wait", "--timeout", "60s")
    release.compare()
    _require(release.replicas() == 4, "so does a rollback")
    release.uninstall()
    return f"helm upgrade after kubectl scale {refused}; with replicas: null it leaves the number"


def from_kustomize(cluster, program):
    """The way from kustomize to Helm, with the command of the chart's README."""
    kubectl = os.path.join(TOOLS, "kubectl")
    text = run(kubectl, "kustomize", "deploy/kustomize/overlays/home", cwd=ROOT)
    _require(text == rendered()["overlays/home"], "the overlay")
    # Of the ServiceMonitor's Prometheus, and where the dashboard is.
    cluster.namespace("monitoring")
    cluster.kubectl("apply", "-f", "-", stdin=text)
    readme = read(os.path.join(CHART, "README.md"))
    _require("kubectl delete -f - \\\n  -l app.kubernetes.io/name=authentik-proxy" in readme, "the README's command")
    cluster.kubectl("delete", "-f", "-", "-l", "app.kubernetes.io/name=authentik-proxy", stdin=text)
    _require("deployment.apps/redis" in left(cluster), "Redis stays")
    status, _ = cluster.request("GET", f"/api/v1/namespaces/{NAMESPACE}")
    _require(status == 200, "the namespace stays")
    release = Release(cluster, program)
    release.install({"env": {"AUTHENTIK_REDIS__HOST": "redis"}, "replicas": 2})
    release.helm("uninstall", RELEASE, "--wait", "--timeout", "60s")
    cluster.kubectl("delete", "--ignore-not-found", "--wait", "-f", "-", stdin=text)
    return "delete by label, then install"


def _require(holds, what):
    if not holds:
        raise Failure(what)
