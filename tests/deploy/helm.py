#!/usr/bin/env python3
"""The part of the `helm` command that the tests of the chart use, over Helm's own Go code.

PyPI has Helm as a library (`helm-python-sdk`) in seconds; the command itself is to be had as source
only, which takes minutes to compile. `scripts/test.sh --full` runs the same tests with the command.
"""

import argparse
import sys

import helm_python as helm

# The severity from which `helm lint --strict` fails.
WARNING = 2


class Values(argparse.Action):
    """Merges the options that set values, in their order."""

    PARSERS = {
        "--set": helm.parse_set_string,
        "--set-string": helm.parse_set_string_values,
        "--set-json": helm.parse_set_json,
    }

    def __call__(self, parser, options, text, option=None):
        options.values = merged(options.values, self.PARSERS[option](text))


def merged(old, new):
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {**old, **{key: merged(old.get(key), value) for key, value in new.items()}}


def arguments():
    parser = argparse.ArgumentParser(prog="helm", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    lint = commands.add_parser("lint")
    lint.add_argument("--strict", action="store_true")
    lint.add_argument("chart")
    for command in ("template", "install"):
        command = commands.add_parser(command, allow_abbrev=False)
        command.add_argument("release")
        command.add_argument("chart")
        command.add_argument("--dry-run")
        for option in Values.PARSERS:
            command.add_argument(option, dest="values", action=Values, default={})
    return parser.parse_args()


def main():
    options = arguments()
    if options.command == "lint":
        report = helm.lint(options.chart, strict=options.strict)
        faults = report["errors"] + [m for m in report["messages"] if m["severity"] >= WARNING]
        sys.exit(f"Error: {faults}" if faults else 0)
    with helm.Chart.load(options.chart) as chart:
        chart.validate_schema(options.values)
        rendered = chart.render(options.values, name=options.release, namespace="default")
    for name, text in sorted(rendered.items()):
        # `helm template` does not show the notes, `helm install` does.
        notes = name.endswith("NOTES.txt")
        if text.strip() and (not notes or options.command == "install"):
            heading = "NOTES:" if notes else f"---\n# Source: {name}"
            print(heading, text.strip().removeprefix("---\n"), sep="\n")


if __name__ == "__main__":
    try:
        main()
    except helm.HelmError as error:
        sys.exit(f"Error: {error}")
