"""The tables, and the section of docs/PERFORMANCE.md that has them."""

import os
import platform
import re
import subprocess
import time

from programs import PATHS, ROOT, missing
from system import CORES, Failure

BEGIN, END = "<!-- compare: begin; written by `python3 benches/compare --write` -->", "<!-- compare: end -->"
DOCUMENT = os.path.join(ROOT, "docs", "PERFORMANCE.md")


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def version(*command, pattern=r"v?(\d+\.\d+[.\d]*)"):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    except OSError:
        return None
    found = re.search(pattern, done.stdout)
    return found and found[1]


def machine(load):
    with open("/proc/cpuinfo") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    parts = [f"{len(CORES)} processors ({model[1] if model else platform.machine()})", f"Linux {platform.release()}"]
    for name, command in {
        "Rust": ("rustc", "--version"), "nginx": (PATHS.get("nginx", "nginx"), "-v"),
        "wrk": (PATHS["wrk"], "-v"), "Redis": (PATHS.get("redis-server", "redis-server"), "--version"),
    }.items():
        if found := version(*command):
            parts.append(f"{name} {found}")
    if path := PATHS.get("oauth2-proxy"):
        # Its own version is set by its makefile only.
        built = version("go", "version", "-m", path, pattern=r"mod\s+\S*/oauth2-proxy/v7\s+v([0-9.]+)")
        parts.append(f"oauth2-proxy {built or ''}".rstrip())
    if path := os.environ.get("COMPARE_OUTPOST"):
        parts.append(f"the other outpost is {os.environ.get('COMPARE_OUTPOST_NAME') or os.path.basename(path)}")
    return (f"{', '.join(parts)}. {time.strftime('%Y-%m-%d')}; {load:.1f} processes ran on average in the minute "
            "before the measurement.\n")


def comparison(rows, base, what):
    """One table for each transfer: a row for each server and number of connections."""
    groups = {}
    for row in rows:
        groups.setdefault(row["transfer"], []).append(row)
    text = ""
    for transfer, own in groups.items():
        with_latency = any("p50" in row for row in own)
        header = ["processors", "connections", "server", f"{what} per second", f"share of {base}", "CPU µs each"]
        header += ["p50", "p99", "p99.9"] if with_latency else []
        lines = []
        for row in own:
            line = [row["where"], str(row["connections"]), row["name"], number(row["rate"]),
                    number(row["share"], 2), number(row["cpu"], 1)]
            if with_latency:
                line += [number(row.get(name)) for name in ("p50", "p99", "p99.9")]
            lines.append(line)
        title = "" if transfer == "check" else f"\n{transfer}:\n\n"
        text += title + table(header, lines)
    return text


def mebibytes(count):
    return f"{count / 2**20:.1f}"


def markdown(results, instructions, load, full, took):
    """The section; parts that were not measured are left out."""
    text = machine(load)
    text += (f"\nMeasured by `python3 benches/compare{' --full' if full else ''}` in {took / 60:.0f} minutes. "
             "CPU is the server's processor time for a request, from the system's accounting. Latencies are in "
             "microseconds, at half of the highest rate.\n")
    if rows := results.get("checks"):
        text += "\n### Check of a signed-in user\n\n" + comparison(rows, "the bare server", "checks")
    if rows := results.get("transfers"):
        text += "\n### Mode `proxy`\n" + comparison(rows, "nginx with access log", "requests")
    if rows := results.get("websockets"):
        text += "\n### Memory of an idle websocket\n\n" + table(
            ["proxy", "KB each"], [[row["name"], f"{row['each'] / 1000:.1f}"] for row in rows])
    if rows := results.get("sessions"):
        sizes = {row["token"] for row in rows}
        text += (f"\n### Sessions\n\nAccess tokens have {max(sizes):,} bytes and five groups; a user has 100 sessions. "
                 "Checks come on 32 connections, for one session after the other. Memory is the process's (RSS).\n\n")
        text += table(
            ["server", "store", "sessions", "RSS (MiB)", "KB per session", "KB per session in Redis",
             "checks per second", "CPU µs each"],
            [[row["name"], row["store"], f"{row['sessions']:,}", mebibytes(row["resident"]),
              *(number(each / 1000 if each else None, 1) for each in (row["each"], row["each_redis"])),
              number(row["rate"]), number(row["cpu"], 1)] for row in rows])
    if rows := results.get("single"):
        text += "\n### Start and sign-in\n\n" + table(
            ["server", "start to the first 401 (ms)", "RSS when idle (MiB)", "CPU of a sign-in (µs)"],
            [[row["name"], number(row["start"]), mebibytes(row["idle"]), number(row["sign_in"])] for row in rows])
    if instructions:
        text += "\n### Instructions\n\n" + table(
            ["request", "instructions"], [[name, f"{count:,}"] for name, count in instructions.items()])
    if missing:
        text += "\nNot measured, or with a reservation:\n\n" + "".join(f"- {line}\n" for line in dict.fromkeys(missing))
    return text


def write(text):
    """Replaces the section of the document."""
    with open(DOCUMENT) as file:
        before = file.read()
    begin, end = before.find(BEGIN), before.find(END)
    if begin < 0 or end < begin:
        raise Failure(f"{DOCUMENT} has no section between {BEGIN} and {END}")
    with open(DOCUMENT, "w") as file:
        file.write(f"{before[:begin]}{BEGIN}\n\n{text}\n{before[end:]}")
