#!/usr/bin/env bash
# Builds what a release consists of into dist/: the program as it is in the image, for any Linux of
# this architecture, its manual pages and its completions, which the program itself prints.
set -euo pipefail
cd "$(dirname "$0")/.."

image=${CARGO_TARGET_DIR:-target}/image
scripts/image.sh "$image"
program=$image/usr/local/bin/authentik-proxy
mkdir -p dist/completions dist/man
install "$program" dist/authentik-proxy
"$program" man --directory dist/man
"$program" completions bash >dist/completions/authentik-proxy.bash
"$program" completions zsh >dist/completions/_authentik-proxy
"$program" completions fish >dist/completions/authentik-proxy.fish
"$program" config --reference >dist/settings.md
