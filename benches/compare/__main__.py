"""Compares the outpost with other servers from outside: each server and each client is a process of its own.

usage: python3 benches/compare [--full | --smoke] [--write] [--only PART]… [--outpost FILE] [--helpers FILE]

The core set takes less than ten minutes, --full more than an hour; --smoke runs everything once, to see
that it works. The tables go to target/compare.md, and with --write into docs/PERFORMANCE.md.

Needs wrk and nginx; Redis and Go for parts. COMPARE_OUTPOST names another outpost's program to compare
with, which reads the same environment variables, and COMPARE_OUTPOST_NAME says what it is.
"""

import argparse
import os
import resource
import sys
import time

import instructions
import report
import scenarios
from programs import build, go_install, installed, missing, target
from system import CORES, Failure, stop_all

OAUTH2_PROXY = "github.com/oauth2-proxy/oauth2-proxy/v7@v7.15.6"
PARTS = {
    "checks": scenarios.checks,
    "transfers": scenarios.transfers,
    "websockets": scenarios.idle_websockets,
    "sessions": scenarios.sessions,
    "single": scenarios.single,
}


def arguments():
    parser = argparse.ArgumentParser(prog="python3 benches/compare", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="everything")
    size.add_argument("--smoke", action="store_true", help="whether it works; the figures mean nothing")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/PERFORMANCE.md")
    parser.add_argument("--only", action="append", choices=PARTS, help="measure this part")
    parser.add_argument("--outpost", help="the outpost's program; default: build it as the image has it")
    parser.add_argument("--helpers", help="authentik-proxy-compare; default: build it")
    return parser.parse_args()


def require(smoke):
    """Programs that are measured or measure. What is missing is said in the report."""
    if not installed("wrk"):
        raise Failure("wrk is not installed: scripts/tools.sh does that")
    for name in ("nginx", "redis-server"):
        if not installed(name):
            missing.append(f"{name}: it is not installed")
    go_install("oauth2-proxy", OAUTH2_PROXY, only_if_installed=smoke)
    if not os.environ.get("COMPARE_OUTPOST"):
        missing.append("another outpost: COMPARE_OUTPOST names none")
    if len(CORES) < 2 and not smoke:
        raise Failure("a second processor is needed, for the clients")
    wanted = 16_384
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def main():
    options = arguments()
    plan = scenarios.FULL if options.full else scenarios.SMOKE if options.smoke else scenarios.Plan()
    require(options.smoke)
    build(options.outpost, options.helpers)
    begun, busy = time.monotonic(), os.getloadavg()[0]
    results = {}
    for part in options.only or PARTS:
        print(f"{part} ({time.monotonic() - begun:.0f} s)", flush=True)
        results[part] = PARTS[part](plan)
    took = time.monotonic() - begun
    known = instructions.committed() if os.path.exists(instructions.FILE) else {}
    text = report.markdown(results, known, busy, options.full, took)
    path = os.path.join(target(), "compare.md")
    with open(path, "w") as file:
        file.write(text)
    print(f"\n{text}\n{path}, {took:.0f} s", flush=True)
    if options.write:
        report.write(text)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"compare: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        stop_all()
