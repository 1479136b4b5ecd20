"""A control plane on loopback: etcd, the API server, the controller manager, and what stands in for nodes."""

import atexit
import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

from programs import TOOLS, Failure, run

ADMIN = "administrator-of-the-test-cluster"
# Where everything is that names no namespace.
NAMESPACE = "authentik-proxy"
ISSUER = "https://kubernetes.default.svc.cluster.local"
PATIENCE = 120
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
running = []


def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(holds, what, patience=PATIENCE):
    """Waits until something is true, and returns it."""
    end = time.monotonic() + patience
    while True:
        answer = holds()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failure(f"not within {patience} s: {what}")
        time.sleep(0.1)


def empty(rest, patience=PATIENCE):
    """Waits until nothing is left."""
    end = time.monotonic() + patience
    while things := rest():
        if time.monotonic() > end:
            raise Failure(f"left after {patience} s: {things}")
        time.sleep(0.1)


class Process:
    """A program that ends with this one at the latest."""

    def __init__(self, command, log, **options):
        self.name, self.log = os.path.basename(command[0]), log
        with open(log, "a") as file:
            self.child = subprocess.Popen(command, stderr=file, text=True, preexec_fn=self._prepare,
                                          **{"stdout": file, "stdin": subprocess.DEVNULL, **options})
        running.append(self)

    @staticmethod
    def _prepare():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    def check(self):
        if self.child.poll() is not None:
            raise Failure(f"{self.name} ended with {self.child.returncode}: {self.said()[-2000:]}")

    def said(self):
        with open(self.log) as file:
            return file.read()

    def stop(self):
        if self in running:
            running.remove(self)
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


def stop_all():
    for process in reversed(running[:]):
        process.stop()


atexit.register(stop_all)


class Cluster:
    """A control plane of its own, in a directory that is removed at the end."""

    def __init__(self, etcd):
        self.directory = tempfile.mkdtemp(prefix="kubernetes-")
        atexit.register(shutil.rmtree, self.directory, ignore_errors=True)
        # Handlers run in the opposite order: processes first.
        atexit.register(stop_all)
        self.connections = threading.local()
        self.key = self.path("service-account.key")
        run("openssl", "genrsa", "-out", self.key, "2048")
        with open(self.path("tokens"), "w") as file:
            file.write(f"{ADMIN},admin,admin,system:masters\n")
        peer, self.etcd_port, self.port = port(), port(), port()
        Process([etcd, "--data-dir", self.path("etcd"), "--unsafe-no-fsync", "--log-level", "error",
                 "--listen-client-urls", f"http://127.0.0.1:{self.etcd_port}",
                 "--advertise-client-urls", f"http://127.0.0.1:{self.etcd_port}",
                 "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                 "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                 "--initial-cluster", f"default=http://127.0.0.1:{peer}"], self.path("etcd.log"))
        self.start()
        self.kubeconfig = self.credentials("admin", {"token": ADMIN})
        Process([os.path.join(TOOLS, "kube-controller-manager"), f"--kubeconfig={self.kubeconfig}",
                 f"--service-account-private-key-file={self.key}", f"--root-ca-file={self.authority}",
                 "--leader-elect=false", "--bind-address=127.0.0.1", f"--secure-port={port()}",
                 f"--cert-dir={self.path('controller-manager')}"], self.path("controller-manager.log"))
        threading.Thread(target=self._stand_in_for_nodes, daemon=True).start()

    def path(self, name):
        return os.path.join(self.directory, name)

    @property
    def authority(self):
        return self.path("certificates/apiserver.crt")

    def start(self):
        """The API server, with its defaults for admission and all that was stored before."""
        self.server = Process(
            [os.path.join(TOOLS, "kube-apiserver"), f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
             "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self.port}",
             "--endpoint-reconciler-type=none", f"--cert-dir={self.path('certificates')}",
             "--authorization-mode=RBAC", f"--token-auth-file={self.path('tokens')}",
             f"--service-account-issuer={ISSUER}", f"--service-account-key-file={self.key}",
             f"--service-account-signing-key-file={self.key}", "--service-cluster-ip-range=10.96.0.0/12"],
            self.path("apiserver.log"))

        def ready():
            self.server.check()
            try:
                return self.request("GET", "/readyz")[0] == 200
            except (OSError, http.client.HTTPException):
                return False

        until(ready, "the API server is ready")

    def request(self, method, path, body=None, kind="application/json"):
        """A request of the administrator: status, and body as JSON if it is that."""
        connection = self._connection()
        headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": kind}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            # It connects again with the next request.
            connection.close()
            raise
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text.decode()

    def _connection(self):
        """One for each thread. The API server closes it after a minute and a half without requests."""
        mine = self.connections
        if not hasattr(mine, "connection"):
            context = ssl.create_default_context(cafile=self.authority)
            mine.connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=60)
            mine.used = 0
        if time.monotonic() - mine.used > 10:
            mine.connection.close()
        mine.used = time.monotonic()
        return mine.connection

    def credentials(self, name, user):
        """A kubeconfig."""
        path = self.path(f"{name}.kubeconfig")
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": f"https://127.0.0.1:{self.port}",
                                                      "certificate-authority": self.authority}}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name, "namespace": NAMESPACE}}],
        }
        with open(path, "w") as file:
            json.dump(config, file)
        return path

    def command(self, *command, stdin=None):
        """Status, output and complaints of a program that talks to the API server."""
        env = {"PATH": os.environ["PATH"], "HOME": self.directory, "KUBECONFIG": self.kubeconfig, "LANG": "C.UTF-8"}
        result = subprocess.run(command, input=stdin, capture_output=True, text=True, env=env, timeout=600)
        return result.returncode, result.stdout, result.stderr

    def kubectl(self, *arguments, stdin=None):
        """Output of kubectl. A warning of the API server is a failure."""
        program = os.path.join(TOOLS, "kubectl")
        status, out, complaints = self.command(program, "--warnings-as-errors", *arguments, stdin=stdin)
        if status:
            raise Failure(f"kubectl {' '.join(arguments)}: {(complaints or out).strip()[-2000:]}")
        return out

    def diff(self, text, *arguments):
        """Fails unless the cluster has what a text of manifests says, to the last field."""
        program = os.path.join(TOOLS, "kubectl")
        status, out, complaints = self.command(program, "diff", *arguments, "-f", "-", stdin=text)
        if status or out:
            raise Failure(f"kubectl diff {' '.join(arguments)}: {(out or complaints).strip()[-3000:]}")

    def namespace(self, name):
        """A namespace where Pod Security enforces "restricted"; nothing where it is there already."""
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
        body = {"metadata": {"name": name, "labels": labels}}
        status, answer = self.request("POST", "/api/v1/namespaces", body)
        if status not in (201, 409):
            raise Failure(f"namespace {name}: {answer}")
        until(lambda: self.request("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default")[0] == 200,
              f"the account of {name}")

    def _stand_in_for_nodes(self):
        """Says of each new pod that it runs, or has run if it is to run once. Nothing is run."""
        while True:
            try:
                _, pods = self.request("GET", "/api/v1/pods?fieldSelector=status.phase%3DPending")
                for pod in pods["items"]:
                    self._run(pod)
            except (OSError, KeyError, TypeError, http.client.HTTPException):
                # The API server starts again.
                pass
            time.sleep(0.2)

    def _run(self, pod):
        once = pod["spec"].get("restartPolicy") == "Never"
        state = {"terminated": {"exitCode": 0, "reason": "Completed"}} if once else {"running": {}}
        conditions = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Initialized")]
        if not once:
            conditions += [{"type": kind, "status": "True"} for kind in ("ContainersReady", "Ready")]
        containers = [{"name": container["name"], "image": container["image"], "imageID": "", "ready": not once,
                       "restartCount": 0, "state": state} for container in pod["spec"]["containers"]]
        status = {"phase": "Succeeded" if once else "Running", "podIP": "192.0.2.1", "podIPs": [{"ip": "192.0.2.1"}],
                  "conditions": conditions, "containerStatuses": containers}
        metadata = pod["metadata"]
        self.request("PATCH", f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status",
                     {"status": status}, "application/merge-patch+json")
