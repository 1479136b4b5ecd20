"""Processes, ports, processors and what the system accounts for."""

import atexit
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
START_TIMEOUT = 60
CORES = sorted(os.sched_getaffinity(0))
# Servers have the first processor, clients the second; an application behind a proxy has the third, or
# shares the second.
SERVER, CLIENT, APPLICATION = CORES[:1], CORES[1:2] or CORES[:1], CORES[2:3] or CORES[1:2] or CORES[:1]

_libc = ctypes.CDLL(None, use_errno=True)
_running = []
_ports = iter(range(12_000 + os.getpid() * 97 % 18_000, 32_000))


class Failure(Exception):
    """Something that prevents a measurement."""


def port():
    """A free port of 127.0.0.1, below those that the system gives away by itself."""
    for number in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", number))
                return number
            except OSError:
                continue
    raise Failure("no free port")


def directory():
    """A directory that is removed at the end."""
    kept = tempfile.TemporaryDirectory(prefix="compare-")
    atexit.register(kept.cleanup)
    return kept.name


def pin(cores):
    """A function for the child: pins it, and ends it together with this process."""

    def prepare():
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        os.sched_setaffinity(0, cores or CORES)

    return prepare


class Process:
    """A program that runs until `stop`."""

    def __init__(self, command, cores=None, env=None, stdout=subprocess.DEVNULL, stdin=subprocess.PIPE):
        self.log = tempfile.TemporaryFile(mode="w+")
        self.child = subprocess.Popen(
            [str(part) for part in command], env=env, stdin=stdin, stdout=stdout, stderr=self.log,
            text=True, bufsize=1, preexec_fn=pin(cores),
        )
        self.command = command
        self.started = time.monotonic()
        _running.append(self)

    @property
    def pid(self):
        return self.child.pid

    def pids(self):
        """The process and its descendants."""
        found, rest = [self.pid], [self.pid]
        while rest:
            parent = rest.pop()
            try:
                for task in os.listdir(f"/proc/{parent}/task"):
                    with open(f"/proc/{parent}/task/{task}/children") as file:
                        children = [int(word) for word in file.read().split()]
                    found += children
                    rest += children
            except FileNotFoundError:
                continue
        return found

    def pinned(self, cores):
        """Moves all of its threads to these processors; `None` is all of them."""
        for pid in self.pids():
            for task in os.listdir(f"/proc/{pid}/task"):
                try:
                    os.sched_setaffinity(int(task), cores or CORES)
                except ProcessLookupError:
                    continue

    def cpu(self):
        """Seconds of processor time that all of its threads have used."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def resident(self):
        """Bytes of memory that it has (VmRSS)."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/status") as file:
                total += next(int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS:"))
        return total

    def complaint(self):
        self.log.seek(0)
        return self.log.read()[-2000:]

    def check(self):
        """Fails if it has ended."""
        if self.child.poll() is not None:
            raise Failure(f"{self.command[0]} ended with {self.child.returncode}: {self.complaint()}")

    def stop(self):
        if self in _running:
            _running.remove(self)
        if self.child.stdin:
            self.child.stdin.close()
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        if self.child.stdout:
            self.child.stdout.close()
        self.log.close()


def stop_all():
    """Stops what still runs, the latest first."""
    for process in reversed(list(_running)):
        process.stop()


def until(condition, process, what, pause=0.01):
    """Waits until a condition holds, while the process runs."""
    deadline = time.monotonic() + START_TIMEOUT
    while not (result := condition()):
        process.check()
        if time.monotonic() > deadline:
            raise Failure(f"{process.command[0]}: no {what}: {process.complaint()}")
        time.sleep(pause)
    return result


def listens(number):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", number)) == 0


def get(number, path, headers):
    """Status, headers and body of a response; `None` without one. The connection is not kept."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    try:
        with socket.create_connection(("127.0.0.1", number), timeout=5) as stream:
            stream.sendall(f"GET {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
            received = b""
            while part := stream.recv(65536):
                received += part
    except OSError:
        return None
    if not received:
        return None
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), [tuple(line.split(": ", 1)) for line in lines], body


atexit.register(stop_all)
for number in (signal.SIGTERM, signal.SIGHUP):
    # The functions above run at exit.
    signal.signal(number, lambda *_: sys.exit(1))
