#!/usr/bin/env bash
# Lays out below a directory all that the image consists of: the program, which needs no library of
# its surroundings, the authorities for an authentik behind https, and where names are looked up.
# There is no shell.
#
# usage: image.sh DIRECTORY [PROFILE]
set -euo pipefail
root=$(realpath -m "${1:?usage: image.sh DIRECTORY [PROFILE]}") profile=${2:-release}
cd "$(dirname "$0")/.."

# With --target, the flags are not for the programs that run while building.
host=$(rustc --print host-tuple)
RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile "$profile" --locked --all-features \
  --package authentik-proxy --bin authentik-proxy --target "$host"
# Cargo's directory for the profile `dev` has another name.
install -D -t "$root/usr/local/bin" "${CARGO_TARGET_DIR:-target}/$host/${profile/#dev/debug}/authentik-proxy"
# authentik's Docker integration runs `/authentik healthcheck proxy`, before 2026.8 `/proxy healthcheck`.
for name in authentik proxy; do ln -sfn usr/local/bin/authentik-proxy "$root/$name"; done
install -D -m 644 -t "$root/etc/ssl/certs" /etc/ssl/certs/ca-certificates.crt
# Those two are in the C library itself; it would look for the others on disk.
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
install -D -m 644 -t "$root/usr/share/doc/authentik-proxy" LICENSE-MIT LICENSE-APACHE
