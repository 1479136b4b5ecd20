"""What is measured: each function starts what it needs, and returns rows of a table."""

import os
import statistics
import subprocess
import time
from dataclasses import dataclass, field

import load
from programs import (
    CHECK, PATHS, Application, Authentik, Nginx, OAuth2Proxy, Outpost, Proxy, Redis, Server, added, check_headers,
    get, missing, proxy_headers)
from system import APPLICATION, CLIENT, SERVER, Failure, Process, directory, until

OURS, BARE, NGINX, LOGGING = "authentik-proxy", "bare hyper server", "nginx", "nginx, access log"
WARNING, TO_FILE = f"{OURS}, log level warning", f"{OURS}, log in a file"
NGINX_FILE = f"{NGINX}, access log in a file"
BARE_PROXY, OAUTH2_PROXY, OTHER = "bare hyper proxy", "oauth2-proxy", "other outpost"


@dataclass
class Plan:
    """How much is measured."""

    full: bool = False
    rounds: int = 5
    seconds: int = 1
    # Of one measurement of latency.
    steady: int = 4
    checks: dict = field(default_factory=lambda: {"pinned": (1, 32, 128, 1000), "unpinned": (32, 128)})
    latency: tuple = (1, 32, 128)
    transfers: dict = field(default_factory=lambda: {
        "pinned": {"256 B": (32, 128), "64 KiB": (32,), "16 MiB": (1,), "websocket": (1, 16)},
    })
    transfer_latency: tuple = (32,)
    sessions: dict = field(default_factory=lambda: {"memory": (10, 10_000), "Redis": (10, 10_000)})
    starts: int = 5
    sign_ins: int = 1000
    idle: int = 1000


FULL = Plan(
    full=True, seconds=2, steady=10, starts=15, sign_ins=3000, latency=(1, 32, 128, 1000),
    checks={"pinned": (1, 32, 128, 1000), "unpinned": (1, 32, 128, 1000)},
    transfers={place: {"256 B": (1, 32, 128, 1000), "64 KiB": (1, 32, 128), "16 MiB": (1, 16), "websocket": (1, 16)}
               for place in ("pinned", "unpinned")},
    transfer_latency=(1, 32, 128),
    sessions={"memory": (10, 10_000, 100_000), "Redis": (10, 10_000, 100_000)},
)
# Whether all of it runs; the figures mean nothing.
SMOKE = Plan(
    rounds=1, steady=1, checks={"pinned": (1, 32), "unpinned": (32,)}, latency=(32,),
    transfers={"pinned": {"256 B": (32,), "64 KiB": (1,), "16 MiB": (1,), "websocket": (1, 16)}},
    sessions={"memory": (10, 200), "Redis": (10, 200)}, starts=1, sign_ins=5, idle=20,
)


@dataclass
class Target:
    """A server, and the request that is sent to it."""

    process: Process
    path: str
    headers: dict
    cookie: str = ""


class Running:
    """Processes of one scenario, which end with it."""

    def __init__(self):
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.stop()

    def add(self, process):
        self.processes.append(process)
        return process

    def outpost(self, application=9, level="info", **options):
        authentik = self.add(Authentik(application, level))
        return self.add(Outpost(authentik, **options)).ready()


def file():
    return open(os.path.join(directory(), "log"), "w")


def other_outpost():
    """Another outpost to compare with, if there is one."""
    path = os.environ.get("COMPARE_OUTPOST")
    if path and not os.access(path, os.X_OK):
        raise Failure(f"COMPARE_OUTPOST: {path} is no program")
    return path


def check(outpost):
    """The authorization request of a signed-in user."""
    host = outpost.authentik.hosts["checked"]
    cookie = outpost.authentik.cookie(outpost, host)
    return Target(outpost, CHECK, check_headers(host, cookie), cookie)


def checkers(running, plan, cores):
    """Everything that answers checks, and a bare server that answers the same."""
    ours = check(running.outpost(cores=cores))
    status, answer, _ = get(ours.process.port, CHECK, ours.headers)
    if status != 200:
        raise Failure(f"a signed-in check is answered with {status}")
    found = {OURS: ours, BARE: Target(running.add(Server(answer, cores)), CHECK, ours.headers)}
    if plan.full:
        found[WARNING] = check(running.outpost(level="warning", cores=cores))
        found[TO_FILE] = check(running.outpost(cores=cores, log=file()))
    if other_outpost():
        found[OTHER] = check(running.outpost(path=other_outpost(), cores=cores))
    if "oauth2-proxy" in PATHS:
        authentik = ours.process.authentik
        proxy, host = running.add(OAuth2Proxy(authentik, cores)), authentik.hosts["other"]
        headers = check_headers(host, authentik.cookie(proxy, host))
        found[OAUTH2_PROXY] = Target(proxy, "/outpost.goauthentik.io/auth", headers)
    return found


def measure(plan, targets, where, transfer, connections, base, latency):
    """Rows of all targets for one transfer and one number of connections."""
    cores = CLIENT if where == "pinned" else None

    def once(target):
        if transfer == "websocket":
            host = target.headers["Host"]
            return load.websockets(target.process, host, target.cookie, connections, plan.seconds, cores)
        size = 16 << 20 if transfer == "16 MiB" else None
        return load.wrk(target.process, target.path, target.headers, connections, plan.seconds, cores, size=size)

    for target in targets.values():
        once(target)
    results = load.interleaved(targets, plan.rounds, once)
    rows = []
    for name, (rate, cpu) in results.items():
        row = {"where": where, "transfer": transfer, "connections": connections, "name": name, "rate": rate,
               "cpu": cpu, "share": rate / results[base][0] if base in results else None}
        if latency:
            target = targets[name]
            what = f"{name}, {transfer}, {where}, {connections} connections"
            row |= load.latency(what, target.process, target.path, target.headers, connections, rate / 2, plan.steady,
                                cores)
        rows.append(row)
        print(f"  {where}, {transfer}, {connections}: {name}: {rate:,.0f}/s, {cpu:.1f} µs"
              + (f", p99 {row['p99']:.0f} µs" if "p99" in row else ""), flush=True)
    return rows


def checks(plan):
    rows = []
    for where, connections in plan.checks.items():
        with Running() as running:
            targets = checkers(running, plan, SERVER if where == "pinned" else None)
            for count in connections:
                latency = (where == "pinned" or plan.full) and count in plan.latency
                rows += measure(plan, targets, where, "check", count, BARE, latency)
    return rows


def proxied(outpost):
    host = outpost.authentik.hosts["proxied"]
    cookie = outpost.authentik.cookie(outpost, host)
    return Target(outpost, "", proxy_headers(host, cookie), cookie)


def proxies(running, plan, application, cores):
    """Everything that passes requests on. All of them add the headers that the outpost adds."""
    ours = proxied(running.outpost(application.port, cores=cores))
    headers = added(ours.process, ours.headers["Host"], ours.cookie)
    found = {OURS: ours, WARNING: proxied(running.outpost(application.port, "warning", cores=cores))}

    def plain(name, process):
        found[name] = Target(running.add(process), "", ours.headers, ours.cookie)

    plain(BARE_PROXY, Proxy(application, headers, cores))
    if "nginx" in PATHS:
        plain(NGINX, Nginx(application, headers, cores=cores))
        plain(LOGGING, Nginx(application, headers, "/dev/null", cores))
        if plan.full:
            plain(NGINX_FILE, Nginx(application, headers, os.path.join(directory(), "access.log"), cores))
    if plan.full:
        found[TO_FILE] = proxied(running.outpost(application.port, cores=cores, log=file()))
    if other_outpost():
        found[OTHER] = proxied(running.outpost(application.port, path=other_outpost(), cores=cores))
    return found


def transfers(plan):
    rows = []
    for where, transfers_ in plan.transfers.items():
        with Running() as running:
            pinned = where == "pinned"
            application = running.add(Application(APPLICATION if pinned else None))
            targets = proxies(running, plan, application, SERVER if pinned else None)
            for transfer, connections in transfers_.items():
                for target in targets.values():
                    target.path = "/" + transfer.replace(" ", "")
                for count in connections:
                    latency = ((pinned or plan.full) and transfer in ("256 B", "64 KiB")
                               and count in plan.transfer_latency)
                    rows += measure(plan, targets, where, transfer, count, LOGGING, latency)
    return rows


def make(outpost, first, count):
    """Makes sessions; returns their cookies and the size of a token."""
    path = os.path.join(directory(), "cookies")
    told = outpost.authentik.tell("sessions", outpost=f"127.0.0.1:{outpost.port}", first=first, count=count, file=path)
    with open(path) as lines:
        return lines.read().split("\n"), told["token_bytes"]


def sessions(plan):
    """Memory of a session, and rates with many of them, each asked for in turns."""
    rows = []
    kinds = [(OURS, None, store) for store in plan.sessions]
    if other_outpost():
        kinds.append((OTHER, other_outpost(), "memory"))
    for name, path, store in kinds:
        if store == "Redis" and "redis-server" not in PATHS:
            missing.append("sessions in Redis: redis-server is not installed")
            continue
        with Running() as running:
            redis = running.add(Redis()) if store == "Redis" else None
            outpost = running.outpost(path=path, redis=redis, cores=SERVER)
            headers = check_headers(outpost.authentik.hosts["checked"], "")
            cookies, before = [], None
            for count in plan.sessions[store]:
                begun = time.monotonic()
                more, token = make(outpost, len(cookies), count - len(cookies))
                took = time.monotonic() - begun
                cookies += more
                script = load.rotating(cookies, headers)

                def once(process):
                    return load.wrk(process, CHECK, {}, 32, plan.seconds, CLIENT, script)

                once(outpost)
                rate, cpu = load.interleaved({name: outpost}, plan.rounds, once)[name]
                resident = (outpost.resident(), redis.resident() if redis else 0)
                before = before or (count, resident)
                more = count - before[0]
                each = [(now - then) / more if more else None for now, then in zip(resident, before[1])]
                rows.append({"name": name, "store": store, "sessions": count, "rate": rate, "cpu": cpu,
                             "resident": resident[0], "each": each[0], "each_redis": each[1] if redis else None,
                             "token": token})
                print(f"  {name}, {store}, {count} sessions in {took:.1f} s: {resident[0] / 2**20:.1f} MiB, "
                      f"{rate:,.0f}/s, {cpu:.1f} µs", flush=True)
    return rows


def single(plan):
    """Start, memory when idle, and processor time of a sign-in."""
    rows = []
    kinds = {OURS: lambda authentik: Outpost(authentik)}
    if other_outpost():
        kinds[OTHER] = lambda authentik: Outpost(authentik, path=other_outpost())
    if "oauth2-proxy" in PATHS:
        kinds[OAUTH2_PROXY] = OAuth2Proxy
    for name, start in kinds.items():
        with Running() as running:
            authentik = running.add(Authentik())
            host = authentik.hosts["other" if name == OAUTH2_PROXY else "checked"]
            path = "/outpost.goauthentik.io/auth" if name == OAUTH2_PROXY else CHECK
            headers = check_headers(host, "")
            times = []

            def started():
                server = start(authentik)
                until(lambda: (get(server.port, path, headers) or [0])[0] == 401, server, "401", 0.001)
                return server

            for _ in range(plan.starts):
                server = started()
                times.append((time.monotonic() - server.started) * 1e3)
                idle = server.resident()
                server.stop()
            server = running.add(started())
            sign_in(authentik, server, host, 5)
            before = server.cpu()
            sign_in(authentik, server, host, plan.sign_ins)
            cpu = (server.cpu() - before) / plan.sign_ins * 1e6
            rows.append({"name": name, "start": statistics.median(times), "idle": idle, "sign_in": cpu})
            print(f"  {name}: start {rows[-1]['start']:.0f} ms, {idle / 2**20:.1f} MiB, sign-in {cpu:.0f} µs",
                  flush=True)
    return rows


def sign_in(authentik, server, host, count):
    authentik.tell("sign_in", outpost=f"127.0.0.1:{server.port}", host=host, count=count)


def idle_websockets(plan):
    """Memory of an open websocket without messages."""
    rows = []
    with Running() as running:
        application = running.add(Application())
        targets = proxies(running, plan, application, None)
        for name in (OURS, BARE_PROXY, NGINX, OTHER):
            if name not in targets:
                continue
            target, sizes = targets[name], []
            # A few come first, to warm up.
            for count in (50, plan.idle):
                sizes.append(target.process.resident())
                command = [PATHS["helpers"], "idle", f"127.0.0.1:{target.process.port}", target.headers["Host"],
                           target.cookie, count]
                client = running.add(Process(command, stdout=subprocess.PIPE))
                if not client.child.stdout.readline():
                    raise Failure(f"websockets: {client.complaint()}")
            each = (target.process.resident() - sizes[1]) / plan.idle
            rows.append({"name": name, "each": each})
            print(f"  {name}: {each / 1000:.1f} KB for each of {plan.idle}", flush=True)
    return rows
