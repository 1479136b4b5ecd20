#!/usr/bin/env bash
# Everything that must pass before a change is merged: format, lints, documents, the image's program,
# tests and benchmarks. What the tests need is installed first (scripts/tools.sh), and no test is
# skipped for want of it. All that ran is listed at the end, with its time, and all that did not.
#
# usage: test.sh [--full]
#
# --full does as well what takes long and is seldom broken by a change; a release needs it.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  --full) full=--full ;;
  '') full= ;;
  *) echo "usage: test.sh [--full]" >&2 && exit 2 ;;
esac

# rustup downloads the toolchain of rust-toolchain.toml; without a network, that which is there has to do.
rustc --version >/dev/null 2>&1 || export RUSTUP_TOOLCHAIN=stable

target=$(realpath -m "${CARGO_TARGET_DIR:-target}") tools="$target/tools"
mkdir -p "$tools"
export PATH="$tools/helm:$tools/python/bin:$tools/models/node_modules/.bin:$PATH:$tools/usr/bin:/usr/sbin"
export PYTHONPATH="$tools/python${PYTHONPATH:+:$PYTHONPATH}"
# Everything is built once where nothing is kept.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0

ran=() left_out=() begun=$SECONDS
minutes() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }
summary() {
  local status=$?
  kill "${fetching:-}" 2>/dev/null || true
  printf '\n== What ran\n'
  printf '%s\n' "${ran[@]}"
  printf '%7s  all of it\n' "$(minutes $((SECONDS - begun)))"
  for line in "${left_out[@]}"; do printf 'left out: %s\n' "$line"; done
  [ "$status" = 0 ] || printf 'FAILED, with status %s\n' "$status"
}
trap summary EXIT
# The last step in the list is the one that failed.
step() {
  local name=$1 start=$SECONDS status=0
  shift
  printf '\n== %s: %s\n' "$name" "$*"
  "$@" || status=$?
  ran+=("$(printf '%7s  %s: %s' "$(minutes $((SECONDS - start)))" "$name" "$*")")
  return "$status"
}

# Downloads need the network, the compiler needs the processor.
scripts/tools.sh "$tools" "$full" >"$tools/log" 2>&1 &
fetching=$!
tools() { wait "$fetching" || { cat "$tools/log" && return 1; }; }

step format    cargo fmt --all --check
step lints     cargo clippy --workspace --all-targets --all-features -- -D warnings
export RUSTDOCFLAGS="-D warnings"
step documents cargo doc --workspace --all-features --no-deps --quiet

# The tests run the program with nothing of this machine but what the image has.
export IMAGE_ROOT="$target/image"
if [ "$full" ]; then
  step image scripts/image.sh "$IMAGE_ROOT" release
else
  step image scripts/image.sh "$IMAGE_ROOT" dev
  left_out+=("the image with all optimizations: the same program was built without")
fi

# Tests wait most of the time, so that there are more at once than processors.
export RUST_TEST_THREADS=$(($(nproc) * 4))
# Those that need another program are ignored otherwise.
options=(--include-ignored)
if [ "$(id -u)" != 0 ]; then
  options+=(--skip image::)
  left_out+=("the test of the image: it needs root, for chroot(2)")
fi
# A file of /proc has no size.
if ! grep -qs '^0*1 ' /proc/net/if_inet6; then
  options+=(--skip ipv6)
  left_out+=("what needs IPv6: this machine has none")
fi
tests() {
  local log="$target/tests.log" status=0
  cargo test --workspace --all-features --no-fail-fast -- "${options[@]}" 2>&1 | tee "$log" || status=$?
  awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
    END { printf "\n%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$log"
  return "$status"
}
step build cargo test --workspace --all-features --no-run --quiet
step tools tools
benches=(--bench auth_check --bench routing --bench login --bench store)
if [ "$full" ]; then
  step benchmarks cargo bench --workspace --all-features "${benches[@]}" -- --quick
  release=(--outpost "$IMAGE_ROOT/usr/local/bin/authentik-proxy")
  # Not time, which depends on what else the machine does.
  step instructions python3 benches/compare/instructions.py "${release[@]}"
  step compare python3 benches/compare --smoke "${release[@]}"
else
  step benchmarks cargo test --workspace --all-features "${benches[@]}"
  step compare python3 benches/compare --smoke --outpost "$IMAGE_ROOT/usr/local/bin/authentik-proxy" \
    --helpers "$target/debug/authentik-proxy-compare"
  left_out+=("the count of instructions: it needs all optimizations")
  left_out+=("benchmarks that measure: each was run once, without optimizations")
  left_out+=("the command helm: the chart was rendered by Helm's library, see tests/deploy/helm.py")
fi
step tests tests
[ "${#left_out[@]}" = 0 ] || left_out+=("(test.sh --full does all of these)")
