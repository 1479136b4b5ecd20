"""`authentik-proxy discover` between the API server and a stand-in for authentik, with 2,000 Services."""

import base64
import concurrent.futures
import functools
import http.client
import json
import os
import resource
import subprocess
import time
import urllib.parse

from cluster import ISSUER, NAMESPACE, Process, until
from manifests import rendered
from programs import Failure

SERVICES = 2000
RENAMED = 100
PRUNED = 200
NAMESPACES = 20
ACCOUNT = "authentik-proxy-discover"
TOKEN = "administrator-of-the-stand-in"
INTERVAL_S = 10
# What a watch may log of one outage: more would be once per attempt.
MAX_COMPLAINTS = 12


class Authentik:
    """The stand-in; it stops when its standard input is closed."""

    def __init__(self, cluster, program):
        self.process = Process([program, TOKEN], cluster.path("authentik.log"), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
        self.url = self.process.child.stdout.readline().strip()
        self.process.check()

    def list(self, path):
        """All records of a kind."""
        address, records, page = urllib.parse.urlsplit(self.url), [], 1
        while page:
            connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
            connection.request("GET", f"/api/v3/{path}/?page_size=100&page={page}&superuser_full_list=true",
                               headers={"Authorization": f"Bearer {TOKEN}"})
            answer = json.loads(connection.getresponse().read())
            connection.close()
            records += answer["results"]
            page = answer["pagination"]["next"]
        return records

    def state(self):
        """Providers by name, applications by slug, and numbers of the providers that are assigned."""
        providers = {record["name"]: record["pk"] for record in self.list("providers/proxy")}
        applications = {record["slug"]: record["provider"] for record in self.list("core/applications")}
        assigned = {number for outpost in self.list("outposts/instances") for number in outpost["providers"]}
        return providers, applications, assigned

    def check(self, slugs):
        """Fails unless there is exactly one complete application for each slug."""
        providers, applications, assigned = self.state()
        numbers = set(providers.values())
        _require(set(applications) == set(slugs), f"{len(applications)} applications, not {len(slugs)}")
        _require(set(applications.values()) == numbers, "each provider has its application, and the other way round")
        _require(len(numbers) == len(slugs), f"{len(numbers)} providers, not {len(slugs)}")
        _require(assigned == numbers, f"{len(assigned)} providers are assigned, not {len(numbers)}")

    def stop(self):
        self.process.child.stdin.close()
        self.process.stop()


class Discovery:
    """The command, with the rights that deploy/kustomize/components/discover gives."""

    def __init__(self, cluster, outpost, standin):
        self.cluster, self.outpost = cluster, outpost
        self.authentik = Authentik(cluster, standin)
        self.services = {}
        self.standin = standin
        cluster.namespace(NAMESPACE)
        cluster.kubectl("apply", "-f", "-", stdin=rendered()["components/discover"])
        self.kubeconfig = cluster.credentials("discover", {"token": self.request_token()})

    def request_token(self):
        return self.cluster.kubectl("create", "token", ACCOUNT, "--duration=2h").strip()

    def token_until(self, end):
        """A token of the account that ends then. The API server itself issues none for less than ten minutes."""
        header, claims, _ = self.request_token().split(".")
        claims = json.loads(base64.urlsafe_b64decode(claims + "=="))
        _require(claims["iss"] == ISSUER, "the issuer")
        claims |= {"exp": int(end), "iat": int(end) - 3600, "nbf": int(end) - 3600}
        signed = f"{header}.{_encode(json.dumps(claims).encode())}"
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.cluster.key], input=signed.encode(),
                                   capture_output=True, check=True).stdout
        return f"{signed}.{_encode(signature)}"

    def environment(self, kubeconfig):
        return {"HOME": self.cluster.directory, "KUBECONFIG": kubeconfig or self.kubeconfig,
                "AUTHENTIK_HOST": self.authentik.url, "AUTHENTIK_PROXY_DISCOVER__TOKEN": TOKEN,
                "AUTHENTIK_PROXY_DISCOVER__INTERVAL": f"{INTERVAL_S}s"}

    def run(self, *options, kubeconfig=None, code=0):
        """Output and complaints of one run."""
        result = subprocess.run([self.outpost, "discover", *options], env=self.environment(kubeconfig),
                                capture_output=True, text=True, timeout=600)
        if result.returncode != code:
            said = (result.stderr or result.stdout).strip()[-2000:]
            raise Failure(f"discover {' '.join(options)} ended with {result.returncode}, not {code}: {said}")
        _require(TOKEN not in result.stdout + result.stderr, "no token is shown")
        return result.stdout, result.stderr

    def start(self, *options, kubeconfig=None, log="discover.log"):
        path = self.cluster.path(log)
        return Process([self.outpost, "discover", *options], path, env=self.environment(kubeconfig))

    def plan(self, *options):
        """Items of the plan by what is to be done."""
        out, _ = self.run("--json", *options)
        kinds = {}
        for item in json.loads(out)["items"]:
            (kind, what), = item["verdict"].items()
            kind = "unchanged" if kind == "change" and not what else kind
            kinds.setdefault(kind, []).append(item["slug"])
        return {kind: len(slugs) for kind, slugs in kinds.items()}

    def create(self, slugs):
        """A labelled Service for each slug; those with a name of their own have an annotation for the slug."""

        def one(slug):
            name, namespace = self.services[slug]
            annotations = {"authentik.io/external-host": f"https://{slug}.home.example",
                           "authentik.io/service-name": f"Application {slug}"}
            if name != slug:
                annotations["authentik.io/slug"] = slug
            body = {"metadata": {"name": name, "labels": {"authentik.io/proxy": "enabled"},
                                 "annotations": annotations}, "spec": {"ports": [{"port": 80}]}}
            status, answer = self.cluster.request("POST", f"/api/v1/namespaces/{namespace}/services", body)
            _require(status == 201, f"Service {name}: {answer}")

        _each(one, slugs)

    def delete(self, slugs):
        def one(slug):
            name, namespace = self.services[slug]
            status, answer = self.cluster.request("DELETE", f"/api/v1/namespaces/{namespace}/services/{name}")
            _require(status == 200, f"Service {name}: {answer}")

        _each(one, slugs)

    def add(self, slugs):
        for number, slug in enumerate(slugs):
            self.services[slug] = (slug, f"apps-{number % NAMESPACES}")
        self.create(slugs)

    def remove(self, slugs):
        self.delete(slugs)
        for slug in slugs:
            del self.services[slug]

    def rename(self, slugs):
        """Other objects with the same slugs."""
        self.delete(slugs)
        for slug in slugs:
            name, namespace = self.services[slug]
            self.services[slug] = (f"{name}-renamed", namespace)
        self.create(slugs)

    def clear(self):
        """Everything that was labelled is gone, and authentik is empty."""
        self.remove(list(self.services))
        self.authentik.stop()
        self.authentik = Authentik(self.cluster, self.standin)


def life(discovery):
    """Plan, apply, idempotence, rename, prune."""
    cluster, authentik = discovery.cluster, discovery.authentik
    for number in range(NAMESPACES):
        cluster.namespace(f"apps-{number}")
    discovery.add([f"app-{number}" for number in range(SERVICES)])
    used = _cpu()
    _require(discovery.plan() == {"change": SERVICES}, "a plan of everything")
    planned = f"{_cpu() - used:.1f} s of processor time"
    _require(authentik.state() == ({}, {}, set()), "a plan changes nothing")
    begun = time.monotonic()
    discovery.run("--apply")
    applied = f"{time.monotonic() - begun:.0f} s"
    authentik.check(discovery.services)
    before = authentik.list("providers/proxy"), authentik.list("core/applications"), authentik.list("outposts/instances")
    out, _ = discovery.run("--apply")
    _require(f"0 to change, {SERVICES} up to date" in out, f"a second run changes nothing: {out[-300:]}")
    after = authentik.list("providers/proxy"), authentik.list("core/applications"), authentik.list("outposts/instances")
    _require(before == after, "the records are the same after a second run")

    renamed = list(discovery.services)[:RENAMED]
    numbers = authentik.state()[1]
    discovery.rename(renamed)
    discovery.run("--apply")
    authentik.check(discovery.services)
    _require(authentik.state()[1] == numbers, "renamed objects keep their providers")
    names = authentik.state()[0]
    _require(sum("-renamed)" in name for name in names) == RENAMED, "the marker names the new object")

    kept, gone = dict(discovery.services), list(discovery.services)[-PRUNED:]
    discovery.remove(gone)
    discovery.run("--apply")
    authentik.check(kept)
    _require(discovery.plan() == {"unchanged": SERVICES - PRUNED, "orphan": PRUNED}, "orphans stay")
    discovery.run("--apply", "--prune")
    authentik.check(discovery.services)
    return f"{SERVICES:,} Services; plan {planned}, apply {applied} (without optimizations)"


def together(discovery):
    """Two runs at once: to create, and to prune and adopt."""
    discovery.clear()
    discovery.add([f"app-{number}" for number in range(SERVICES)])
    first = _both(discovery, "--apply")
    discovery.run("--apply")
    discovery.authentik.check(discovery.services)
    discovery.remove(list(discovery.services)[-PRUNED:])
    discovery.rename(list(discovery.services)[:RENAMED])
    discovery.add([f"more-{number}" for number in range(PRUNED)])
    second = _both(discovery, "--apply", "--prune")
    discovery.run("--apply", "--prune")
    discovery.authentik.check(discovery.services)
    _require(discovery.plan() == {"unchanged": SERVICES}, "nothing is left to be done")
    return f"create: {first}; prune, adopt and create: {second}; a third run leaves nothing half done"


def credentials(discovery):
    """A token that has expired is named as the cause; a new one in the same file is used."""
    cluster = discovery.cluster
    expired = cluster.credentials("expired", {"token": discovery.token_until(time.time() - 60)})
    _, complaints = discovery.run("--apply", kubeconfig=expired, code=1)
    _require("rejects the credentials (401" in complaints, f"the cause: {complaints}")
    discovery.authentik.check(discovery.services)

    path = cluster.path("token")
    _write(path, discovery.token_until(time.time() + 20))
    watching = discovery.start("--watch", "--apply", kubeconfig=cluster.credentials("file", {"tokenFile": path}),
                               log="expiring.log")
    _serves(discovery, watching, "before-it-expires")
    until(lambda: "rejects the credentials (401" in watching.said(), "the token has expired")
    _write(path, discovery.request_token())
    begun = time.monotonic()
    _serves(discovery, watching, "after-it-expired")
    took = time.monotonic() - begun
    complaints = _complaints(watching)
    watching.stop()
    return f"the new token is in use {took:.0f} s after it was written; {complaints} log lines"


def restarts(discovery):
    """The API server stops and starts during `--watch`."""
    watching = discovery.start("--watch", "--apply", log="restarts.log")
    _serves(discovery, watching, "before-the-restart")
    discovery.cluster.server.stop()
    until(lambda: "cannot be reached" in watching.said(), "the API server is missed")
    time.sleep(INTERVAL_S)
    discovery.cluster.start()
    begun = time.monotonic()
    _serves(discovery, watching, "after-the-restart")
    took = time.monotonic() - begun
    complaints = _complaints(watching)
    watching.stop()
    discovery.authentik.check(discovery.services)
    return f"a new Service is served {took:.0f} s after the start; {complaints} log lines about the outage"


def discover(cluster, outpost, standin):
    """The parts by name, each a function without arguments; the first prepares what all need."""
    discovery = functools.cache(lambda: Discovery(cluster, outpost, standin))
    parts = {"discover: plan, apply, rename, prune": life, "discover: two runs at once": together,
             "discover: expired token": credentials, "discover: restart of the API server": restarts}
    return {name: lambda part=part: part(discovery()) for name, part in parts.items()}


def _serves(discovery, watching, slug):
    """A new Service becomes an application."""
    discovery.add([slug])

    def there():
        watching.check()
        return slug in discovery.authentik.state()[1]

    until(there, f"{slug}: {watching.said()[-1000:]}")


def _complaints(watching):
    lines = [json.loads(line) for line in watching.said().splitlines()]
    count = sum(line["level"] in ("warning", "error") for line in lines)
    _require(0 < count <= MAX_COMPLAINTS, f"{count} complaints: {watching.said()[-2000:]}")
    return count


def _both(discovery, *options):
    """How two runs that are started together ended."""
    runs = [discovery.start(*options, log=f"run-{number}.log") for number in (1, 2)]
    codes = [one.child.wait(600) for one in runs]
    for one, code in zip(runs, codes):
        one.stop()
        _require(code in (0, 1), f"ended with {code}: {one.said()[-1000:]}")
    return f"exit codes {codes[0]} and {codes[1]}"


def _each(do, items):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(do, items))


def _cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _write(path, text):
    with open(f"{path}.new", "w") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


def _require(holds, what):
    if not holds:
        raise Failure(what)
