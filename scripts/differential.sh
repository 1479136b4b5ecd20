#!/usr/bin/env bash
# Sends random requests through each reverse proxy for MINUTES in all (10 by default) and prints how many
# there were. Fails if one of them shows what its client has no right to.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/programs.sh --require "$(realpath -m "${CARGO_TARGET_DIR:-target}")/tools"
# Eleven targets, one after the other.
export DIFFERENTIAL_SECONDS=$(( ${MINUTES:-10} * 60 / 11 ))
cargo test --test outpost --all-features -- --include-ignored --nocapture --test-threads 1 fronts::random::
