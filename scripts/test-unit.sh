#!/usr/bin/env bash
# Holds systemd/kvcache.service to what systemd itself says of it: nothing to complain of, and an
# exposure of at most 1.5. Needs systemd-analyze and a built program.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:-$PWD/target/debug/kvcache}
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
sed "s|^ExecStart=/usr/local/bin/kvcache|ExecStart=$program|" systemd/kvcache.service >"$folder/kvcache.service"
said=$(systemd-analyze verify --man=no "$folder/kvcache.service" 2>&1) || true
if [ -n "$said" ]; then
    echo "$said"
    echo "MISSED: systemd-analyze verify has something to say"
    exit 1
fi
echo "ok: systemd-analyze verify says nothing"
systemd-analyze security --offline=true --threshold=15 "$folder/kvcache.service" | tail -1
