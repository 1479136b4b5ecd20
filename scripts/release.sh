#!/usr/bin/env bash
# Builds what a release consists of into dist/: the program with all features, its manual pages and
# its completions, which the program itself prints.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --all-features --locked
program=${CARGO_TARGET_DIR:-target}/release/authentik-proxy
mkdir -p dist/completions dist/man
install "$program" dist/authentik-proxy
"$program" man --directory dist/man
"$program" completions bash >dist/completions/authentik-proxy.bash
"$program" completions zsh >dist/completions/_authentik-proxy
"$program" completions fish >dist/completions/authentik-proxy.fish
"$program" config --reference >dist/settings.md
