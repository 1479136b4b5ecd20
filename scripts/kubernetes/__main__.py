"""What operators do with deploy/ and `discover`, against a real API server.

usage: python3 scripts/kubernetes [--only PART]… [--write]

Builds Kubernetes and Helm from their modules of Go, once, which takes 6 to 25 minutes of two processors; fetches
etcd and the definitions of custom resources. Everything listens on loopback and is removed at the end. There are
no nodes: a loop says of each pod that it runs. The result goes to standard output, and with --write into
deploy/README.md.

Needs Go, a C compiler with Rust, OpenSSL, and the Python package PyYAML (scripts/tools.sh).
"""

import argparse
import datetime
import os
import signal
import sys
import time
import traceback

import chart
import discovery
import manifests
import programs
from cluster import Cluster, stop_all
from programs import Failure

DOCUMENT = os.path.join(programs.ROOT, "deploy/README.md")
MARKS = "<!-- kubernetes -->\n", "<!-- /kubernetes -->\n"


def arguments():
    parser = argparse.ArgumentParser(prog="python3 scripts/kubernetes", description=__doc__, usage=argparse.SUPPRESS,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=["manifests", "recipes", "chart", "discover"], default=[],
                        help="run this part")
    parser.add_argument("--write", action="store_true", help="write the result into deploy/README.md")
    return parser.parse_args()


def main():
    options = arguments()
    wanted = options.only or ["manifests", "recipes", "chart", "discover"]
    version = programs.kubernetes()
    cluster = Cluster(programs.etcd())
    parts = {"definitions of custom resources": lambda: define(cluster)}
    if "manifests" in wanted:
        parts |= {"manifests: apply twice, delete": lambda: manifests.manifests(cluster),
                  "manifests: image, undo, scale": lambda: manifests.life(cluster),
                  "manifests: from another Deployment": lambda: manifests.switch(cluster),
                  "manifests: Pod Security and rights": lambda: manifests.rights(cluster)}
    if "recipes" in wanted:
        parts["recipes: apply twice, delete"] = lambda: manifests.recipes(cluster)
    if "chart" in wanted:
        helm = programs.helm()
        parts |= {"chart: install, upgrade, rollback, test, uninstall": lambda: chart.chart(cluster, helm),
                  "chart: scaled beside Helm": lambda: chart.replicas(cluster, helm),
                  "chart: from kustomize": lambda: chart.from_kustomize(cluster, helm)}
    if "discover" in wanted:
        parts |= discovery.discover(cluster, *programs.cargo())
    rows, failed = [], False
    for name, part in parts.items():
        begun = time.monotonic()
        try:
            result = part()
        except Exception as failure:
            failed, result = True, "FAILED"
            if not isinstance(failure, Failure):
                traceback.print_exc()
            print(f"{name}: {failure}", file=sys.stderr)
        rows.append((name, result, time.monotonic() - begun))
        print(f"{rows[-1][2]:5.0f} s  {name}: {result}", flush=True)
    for line in programs.missing:
        print(f"left out: {line}")
    if options.write and not failed and not options.only:
        write(version, rows)
    return failed


def define(cluster):
    """Creates the definitions, and waits until the API server serves what they define."""
    files = programs.definitions()
    for path in files:
        # With warnings, which are about the definitions of others.
        status, _, complaints = cluster.command(os.path.join(programs.TOOLS, "kubectl"), "create", "-f", path)
        if status:
            raise Failure(complaints)
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    return f"{len(files)} files"


def write(version, rows):
    """Replaces the result in the document."""
    today = datetime.date.today().isoformat()
    lines = [f"Last result, {today}, Kubernetes {version}:", "", "| part | result |", "| --- | --- |"]
    lines += [f"| {name} | {result} |" for name, result, _ in rows]
    if programs.missing:
        lines += ["", "Left out:", "", *(f"- {line}" for line in programs.missing)]
    text = programs.read(DOCUMENT)
    before, rest = text.split(MARKS[0])
    with open(DOCUMENT, "w") as file:
        file.write(before + MARKS[0] + "\n".join(lines) + "\n" + MARKS[1] + rest.split(MARKS[1])[1])


if __name__ == "__main__":
    # By default the process would end at once, without handlers that stop programs and remove files.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"{failure}")
    finally:
        stop_all()
