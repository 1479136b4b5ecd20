"""Load: the highest rate by wrk, latency at a fixed rate by an open-loop generator, websockets."""

import json
import os
import re
import statistics
import subprocess
import time

from programs import PATHS, missing
from system import CORES, Failure, directory, pin

# Microseconds.
MAX_LATE = 100
WRK_THREADS = max(1, len(CORES) // 2)


def run(command, cores, seconds, stdin=None):
    """Output of a client. It has twice the time that it should need."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, input=stdin, preexec_fn=pin(cores), timeout=60 + 2 * seconds)
    if done.returncode:
        raise Failure(f"{command[0]}: {done.stdout}{done.stderr}")
    return done.stdout


def wrk(server, path, headers, connections, seconds, cores=None, script=None, size=None):
    """Requests per second, and processor time of the server per request in microseconds. Bodies of a large
    `size` are counted by bytes: few are complete within the time."""
    threads = min(connections, 1 if cores else WRK_THREADS)
    command = [PATHS["wrk"], f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout=20s"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    if script:
        command += ["-s", script]
    before = server.cpu()
    text = run([*command, f"http://127.0.0.1:{server.port}{path}"], cores, seconds)
    cpu = server.cpu() - before
    server.check()
    for wrong in ("Non-2xx", "Socket errors"):
        if wrong in text:
            raise Failure(f"{server.command[0]}: {text}")
    requests, took, read, unit = re.search(r"(\d+) requests in ([\d.]+)s, ([\d.]+)([KMG]?)B read", text).groups()
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
    requests = int(requests)
    if size:
        requests = float(read) * 1024 ** " KMG".index(unit or " ") / size
        rate = requests / float(took)
    if not requests:
        raise Failure(f"{server.command[0]}: no response: {text}")
    return rate, cpu / requests * 1e6


def websockets(server, host, cookie, connections, seconds, cores=None):
    """Messages per second that came back, and processor time of the server per message."""
    before = server.cpu()
    text = run([PATHS["helpers"], "websockets", f"127.0.0.1:{server.port}", host, cookie, connections, seconds],
               cores, seconds)
    cpu = server.cpu() - before
    result = json.loads(text)
    return result["requests"] / result["seconds"], cpu / result["requests"] * 1e6


def rotating(cookies, headers):
    """A script for wrk whose requests have one cookie after the other."""
    work = directory()
    table, script = os.path.join(work, "cookies"), os.path.join(work, "rotate.lua")
    with open(table, "w") as file:
        file.write("\n".join(cookies))
    fixed = ", ".join(f"['{name}'] = '{value}'" for name, value in headers.items() if name != "Cookie")
    with open(script, "w") as file:
        file.write(f"""local requests, number = {{}}, 0
function init()
  for cookie in io.lines('{table}') do
    requests[#requests + 1] = wrk.format('GET', nil, {{{fixed}, ['Cookie'] = 'theme=dark; ' .. cookie}})
  end
end
function request()
  number = number % #requests + 1
  return requests[number]
end
""")
    return script


def interleaved(servers, rounds, once):
    """Medians of what `once` returns for each server, measured in turns; each comes first as often."""
    names, results = list(servers), {name: [] for name in servers}
    for round_ in range(rounds):
        for place in range(len(names)):
            name = names[(round_ + place) % len(names)]
            results[name].append(once(servers[name]))
            time.sleep(0.05)
    return {name: tuple(map(statistics.median, zip(*rows))) for name, rows in results.items()}


def latency(what, server, path, headers, connections, rate, seconds, cores=None):
    """Latencies in microseconds at a rate, from the time at which each request was due; `what` is for reservations."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    text = run([PATHS["helpers"], "load", f"127.0.0.1:{server.port}", connections, f"{rate:.1f}", seconds], cores,
               seconds, f"GET {path} HTTP/1.1\r\n{head}\r\n")
    result = json.loads(text)
    if result["rate"] < 0.95 * rate:
        missing.append(f"latency of {what}: the machine reached {result['rate']:.0f} of {rate:.0f} requests per second")
        return {}
    if result["late_p99"] > MAX_LATE:
        missing.append(f"latency of {what}: the generator waited for a processor itself, "
                       f"{result['late_p99']:.0f} µs (p99), which is part of the figures")
    return {name: result[name] for name in ("p50", "p99", "p99.9")}
