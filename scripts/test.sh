#!/usr/bin/env bash
# Everything that must pass: installs what the tests need where it is missing (Debian, as root),
# then checks format, lints, tests, documents and, in their quick mode, the benchmarks.
set -euo pipefail
cd "$(dirname "$0")/.."

need=()
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || need+=(nginx-light)
command -v redis-server >/dev/null || need+=(redis-server)
command -v caddy >/dev/null || need+=(caddy)
command -v haproxy >/dev/null || [ -x /usr/sbin/haproxy ] || need+=(haproxy)
command -v cmake >/dev/null || need+=(cmake)
command -v chromium >/dev/null || need+=(chromium)
command -v chromedriver >/dev/null || need+=(chromium-driver)
if [ "${#need[@]}" -gt 0 ]; then
  if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
  else
    echo "missing: ${need[*]}; install them with your package manager" >&2
    exit 1
  fi
fi

# promtool tests the alerts; Prometheus and AlertManager run behind the outpost. Their packages would
# start services, so they are unpacked and not installed. Pages and templates have to lie where the
# programs look for them. Where that fails, the tests say what was left out.
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}")/tools
export PATH="$PATH:$tools/usr/bin"
unpacked() {
  for program in promtool prometheus prometheus-alertmanager amtool; do
    command -v "$program" >/dev/null || return
  done
  [ -d /usr/share/prometheus ]
}
if ! unpacked && command -v apt-get >/dev/null; then
  mkdir -p "$tools"
  (
    cd "$tools"
    fetch() { apt-get download -qq -o APT::Sandbox::User=root prometheus prometheus-alertmanager; }
    fetch 2>/dev/null || { apt-get update -qq && fetch; }
    for package in ./*.deb; do
      dpkg-deb --fsys-tarfile "$package" | tar -x ./usr/bin
      [ "$(id -u)" != 0 ] || dpkg-deb --fsys-tarfile "$package" | tar -x -C / ./usr/share/prometheus
    done
    rm ./*.deb
  ) || echo "Prometheus and AlertManager could not be fetched" >&2
fi

# Knows the schemas of Kubernetes.
export PYTHONPATH="$tools/python${PYTHONPATH:+:$PYTHONPATH}" PATH="$PATH:$tools/python/bin"
if ! command -v kubernetes-validate >/dev/null; then
  python3 -m pip install --quiet --root-user-action ignore --target "$tools/python" kubernetes-validate ||
    echo "kubernetes-validate could not be fetched" >&2
fi

# Renders the chart. Its package is its source, which takes minutes to compile, once.
helm="$tools/helm/v4.3.1"
export PATH="$PATH:$helm"
if ! command -v helm >/dev/null && command -v go >/dev/null; then
  mkdir -p "$tools"
  GOBIN="$helm" go install "helm.sh/helm/v4/cmd/helm@${helm##*/}" >"$tools/helm.log" 2>&1 ||
    echo "helm could not be built: $tools/helm.log" >&2
fi

# Know the custom resources of others. They are complete if the copy of what was asked for is there.
models="$tools/models" wanted=tests/deploy/models/package.json
export PATH="$PATH:$models/node_modules/.bin"
if command -v npm >/dev/null && ! cmp -s "$wanted" "$models/fetched.json"; then
  mkdir -p "$models"
  cp "$wanted" "$models/package.json"
  if npm install --prefix "$models" --no-package-lock --no-audit --no-fund --ignore-scripts --silent; then
    cp "$wanted" "$models/fetched.json"
  else
    echo "the models of custom resources could not be fetched" >&2
  fi
fi

step() { printf '\n== %s\n' "$*"; }
step format;     cargo fmt --all --check
step lints;      cargo clippy --workspace --all-targets --all-features -- -D warnings
# The tests run the program with nothing of this machine but what the image will have.
export IMAGE_ROOT="${tools%/tools}/image"
step image;      scripts/image.sh "$IMAGE_ROOT"
step tests;      cargo test --workspace --all-features
step documents;  RUSTDOCFLAGS="-D warnings" cargo doc --workspace --all-features --no-deps --quiet
step benchmarks; cargo bench --bench auth_check --bench routing --bench login --bench upstream --bench store -- --quick
