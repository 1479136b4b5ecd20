#!/usr/bin/env bash
# Installs what the tests run besides the program: Debian's packages where they are missing (as root),
# all else below a directory. Whatever cannot be had is an error: the tests would fail for want of it.
#
# usage: tools.sh DIRECTORY [--full]
set -euo pipefail
tools=$(realpath -m "${1:?usage: tools.sh DIRECTORY [--full]}") full=${2:-}
cd "$(dirname "$0")/.."
mkdir -p "$tools"

# The programs that are asked for are looked for where administrators' programs are, too.
export PATH="$PATH:/usr/sbin"
need=()
while read -r program package; do
  command -v "$program" >/dev/null || need+=("$package")
done <<'PROGRAMS'
nginx nginx-light
redis-server redis-server
caddy caddy
haproxy haproxy
chromium chromium
chromedriver chromium-driver
wrk wrk
PROGRAMS
# Its callgrind counts instructions.
[ "$full" != --full ] || command -v valgrind >/dev/null || need+=(valgrind)
# Prometheus' pages and AlertManager's templates have to lie where the programs look for them.
[ -d /usr/share/prometheus ] || [ "$(id -u)" = 0 ] || need+=(prometheus prometheus-alertmanager)
if [ "${#need[@]}" -gt 0 ]; then
  if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "missing: ${need[*]}; install them with your package manager" >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi

# promtool tests the alerts; Prometheus and AlertManager run behind the outpost. Their packages would
# start services, so they are unpacked and not installed.
unpacked() {
  for program in promtool prometheus prometheus-alertmanager amtool; do
    command -v "$program" >/dev/null || [ -x "$tools/usr/bin/$program" ] || return
  done
  [ -d /usr/share/prometheus ]
}
if ! unpacked; then
  (
    cd "$tools"
    fetch() { apt-get download -qq -o APT::Sandbox::User=root prometheus prometheus-alertmanager; }
    fetch 2>/dev/null || { apt-get update -qq && fetch; }
    for package in ./*.deb; do
      dpkg-deb --fsys-tarfile "$package" | tar -x ./usr/bin
      [ "$(id -u)" != 0 ] || dpkg-deb --fsys-tarfile "$package" | tar -x -C / ./usr/share/prometheus
    done
    rm ./*.deb
  )
fi

# The schemas of Kubernetes, and Helm as a library: see tests/deploy/helm.py.
python="$tools/python" helm=helm-python-sdk==0.2.2
if [ "$(cat "$python/fetched" 2>/dev/null)" != "$helm" ]; then
  python3 -m pip install --quiet --root-user-action ignore --upgrade --target "$python" kubernetes-validate "$helm"
  printf '#!/bin/sh\nexec python3 "%s/tests/deploy/helm.py" "$@"\n' "$PWD" >"$python/bin/helm"
  chmod +x "$python/bin/helm"
  echo "$helm" >"$python/fetched"
fi

# The custom resources of others. They are complete if the copy of what was asked for is there.
models="$tools/models" wanted=tests/deploy/models/package.json
if ! cmp -s "$wanted" "$models/fetched.json"; then
  mkdir -p "$models"
  cp "$wanted" "$models/package.json"
  npm install --prefix "$models" --no-package-lock --no-audit --no-fund --ignore-scripts --silent
  cp "$wanted" "$models/fetched.json"
fi

# The command `helm` itself. Its package is its source, which takes minutes to compile, once.
if [ "$full" = --full ] && [ ! -x "$tools/helm/helm" ]; then
  GOBIN="$tools/helm" go install helm.sh/helm/v4/cmd/helm@v4.3.1
fi

# Reverse proxies in versions that Debian does not have.
scripts/programs.sh --require "$tools"
