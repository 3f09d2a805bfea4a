#!/bin/sh
# Installs kvcache as a service: systemd/install.sh [BINARY]. Run it as root. What is installed already is
# replaced, but for /etc/default/kvcache and /etc/kvcache/kvcache.toml. The service is enabled and (re)started.
set -eu
here=$(dirname "$0")
binary=${1:-$here/../target/release/kvcache}
if [ ! -x "$binary" ]; then
    echo "install.sh: there is no program at $binary; build it with: cargo build --release" >&2
    exit 1
fi
install -m 755 "$binary" /usr/local/bin/kvcache
install -m 644 "$here/kvcache.service" /etc/systemd/system/kvcache.service
[ -e /etc/default/kvcache ] || install -D -m 644 "$here/kvcache.default" /etc/default/kvcache
[ -e /etc/kvcache/kvcache.toml ] || install -D -m 644 "$here/kvcache.toml" /etc/kvcache/kvcache.toml
systemctl daemon-reload
systemctl enable kvcache.service
systemctl restart kvcache.service
systemctl --no-pager status kvcache.service
