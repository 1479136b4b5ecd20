#!/usr/bin/env python3
"""Instructions of a signed-in check and of a proxied request, counted by callgrind in the release build.

They depend neither on other load nor on the processor: callgrind runs the program on one virtual
processor, which has no instructions that it does not know. The outpost is pinned to one processor, so
that it has one worker thread on every machine.

usage: instructions.py [--outpost FILE] [--helpers FILE] [--update] [--keep DIRECTORY]

Without --outpost, the program of scripts/image.sh is built first. It fails if a figure is above that in
instructions.txt by more than 3 %; --update writes the file. --keep leaves callgrind's files, for
callgrind_annotate; functions have names there if the program was built with
CARGO_PROFILE_RELEASE_STRIP=none.
"""

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys

from programs import (
    CHECK, Application, Authentik, Outpost, build, check_headers, proxy_headers)
from system import CLIENT, SERVER, Failure, directory, stop_all

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "instructions.txt")
BOUND = 1.03
WARM_UP, REQUESTS = 300, 1000
# Hash tables have random keys, so that a process differs from the next by 1 %; the median of some does not.
ROUNDS = 5


class Connection:
    """A kept connection, on which requests follow each other."""

    def __init__(self, server, path, headers):
        self.stream = socket.create_connection(("127.0.0.1", server.port))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.request = f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()

    def send(self, count):
        for _ in range(count):
            self.stream.sendall(self.request)
            received = b""
            while b"\r\n\r\n" not in received:
                received += self._read()
            head, _, body = received.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise Failure(head.decode())
            length = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head)[1])
            while len(body) < length:
                body += self._read()

    def _read(self):
        part = self.stream.recv(65536)
        if not part:
            raise Failure("the connection was closed")
        return part


def callgrind(file):
    return ["valgrind", "--tool=callgrind", f"--callgrind-out-file={file}", "--instr-atstart=no", "--quiet"]


def counted(server, file, path, headers):
    """Instructions of a request, on the average of many."""
    connection = Connection(server, path, headers)
    connection.send(WARM_UP)
    switch(server, "on")
    connection.send(REQUESTS)
    switch(server, "off")
    server.child.terminate()
    server.child.wait(60)
    with open(file) as text:
        total = re.search(r"^totals: (\d+)", text.read(), re.MULTILINE)
    return int(total[1]) // REQUESTS


def switch(server, state):
    # It looks for the program's pipe in the program's directory for temporary files.
    env = {**os.environ, "TMPDIR": server.work}
    subprocess.run(["callgrind_control", "-i", state, str(server.pid)], env=env, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def measure(work):
    """Figures by name."""
    application = Application(CLIENT)
    authentik = Authentik(application.port)
    figures = {}
    for name, path, host, headers in (
        ("check", CHECK, authentik.hosts["checked"], check_headers),
        ("proxied", "/256B", authentik.hosts["proxied"], proxy_headers),
    ):
        counts = []
        for round_ in range(ROUNDS):
            file = os.path.join(work, f"callgrind.{name}.{round_}")
            server = Outpost(authentik, cores=SERVER, prefix=callgrind(file)).ready()
            cookie = authentik.cookie(server, host)
            counts.append(counted(server, file, path, headers(host, cookie)))
            server.stop()
        figures[name] = statistics.median(counts)
        print(f"instructions: {name}: {min(counts):,} to {max(counts):,} in {ROUNDS} processes", flush=True)
    return figures


def committed():
    with open(FILE) as file:
        lines = [line.split() for line in file if line.strip() and not line.startswith("#")]
    return {name: int(count) for name, count in lines}


def update(figures):
    rust = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    with open(FILE, "w") as file:
        file.write("# Instructions of a request, from instructions.py --update; x86_64, "
                   f"Rust {rust}, the program of scripts/image.sh.\n")
        file.writelines(f"{name} {count}\n" for name, count in figures.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--outpost", help="the program; default: build it as the image has it")
    parser.add_argument("--helpers", help="authentik-proxy-compare; default: build it")
    parser.add_argument("--update", action="store_true", help="write instructions.txt")
    parser.add_argument("--keep", help="directory for callgrind's files")
    arguments = parser.parse_args()
    for program in ("valgrind", "callgrind_control"):
        if not shutil.which(program):
            raise Failure(f"{program} is not installed: scripts/tools.sh --full does that")
    build(arguments.outpost, arguments.helpers)
    work = arguments.keep or directory()
    os.makedirs(work, exist_ok=True)
    figures, grown = measure(work), []
    if arguments.update:
        update(figures)
    known = committed() if os.path.exists(FILE) else {}
    for name, count in figures.items():
        before = known.get(name)
        share = f", {count / before - 1:+.1%} of the committed {before:,}" if before else ""
        print(f"instructions: {name}: {count:,}{share}", flush=True)
        if before and count > before * BOUND:
            grown.append(name)
    if grown:
        raise Failure(f"more instructions than committed, by more than {BOUND - 1:.0%}: {', '.join(grown)}; if "
                      "that is meant, run instructions.py --update and give the reason in the commit")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"instructions: {failure}")
    finally:
        stop_all()
