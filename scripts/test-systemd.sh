#!/usr/bin/env bash
# Boots a real systemd and holds the service to what it promises there: scripts/test-systemd.sh [PROGRAM].
# PROGRAM is static, or is built. It installs with systemd/install.sh and sees, under load: a snapshot
# restored after kill -9, a process and a single shard that hang restarted by the watchdog, a reload, and a stop.
# Needs root, systemd-nspawn and debootstrap; CACHE (or ~/.cache/kvcache) keeps the system that it boots, which
# forgets what a run did to it.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kvcache}
release=bookworm
root=$cache/$release
folder=$(mktemp -d)
port=$((17000 + RANDOM % 998))
data=http://127.0.0.1:$port
admin=http://127.0.0.1:$((port + 1))
load=()
boot=

clean_up() {
    if [ "$?" != 0 ] && [ -n "$boot" ]; then
        inside journalctl --no-pager --lines=50 || tail -n 50 "$folder/console"
    fi
    for process in "${load[@]}" $boot; do
        kill "$process" 2>/dev/null || true
    done
    [ -z "$boot" ] || wait "$boot" || true
    rm -r "$folder"
}
trap clean_up EXIT

skip() {
    echo "skipped: $1"
    exit 0
}

# await SECONDS COMMAND...: runs it until it succeeds.
await() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "MISSED: $*"
            exit 1
        fi
        sleep 0.1
    done
}

# inside COMMAND...: runs it in the system that was booted.
inside() {
    nsenter -t "$(pgrep -P "$(pgrep -P "$boot")")" -m -u -i -n -p -- "$@"
}

property() {
    inside systemctl show -P "$1" kvcache
}

# is PROPERTY PATTERN: whether systemd says so of the service.
is() {
    # shellcheck disable=SC2053 # the right side is a pattern
    [[ "$(property "$1")" == $2 ]]
}

# said TEXT: the last line with it of the service, or of systemd about it.
said() {
    journal | grep -F -- "$1" | tail -n 1
}

journal() {
    inside journalctl --no-pager -o cat -u kvcache
}

# The server's process as this machine numbers it.
main_process() {
    local process
    process=$(property MainPID)
    grep -lE "^NSpid:.*[[:space:]]$process$" /proc/[0-9]*/status 2>/dev/null | cut -d/ -f3
}

# bitten COUNT: whether the watchdog has ended the service so often.
bitten() {
    [ "$(journal | grep -cF "Watchdog timeout")" = "$1" ]
}

# restarted COUNT: whether the service was restarted so often and serves.
restarted() {
    is NRestarts "$1" && is ActiveState active
}

# holds: whether the keys from before the snapshot have their values.
holds() {
    [ "$(curl -sf "$data/kv/key[1-500]" | tr -d '\n')" = "$(printf 'value-of-%d' {1..500})" ]
}

# config_says TEXT: whether that is a setting in force.
config_says() {
    [[ "$(curl -sf "$admin/config")" == *"$1"* ]]
}

[ "$(id -u)" = 0 ] || skip "only root boots a system"
command -v systemd-nspawn >/dev/null || skip "there is no systemd-nspawn (Debian: systemd-container)"
if [ ! -d "$root" ]; then
    command -v debootstrap >/dev/null || skip "there is no debootstrap, and no system in $cache"
    # The mirror that this machine uses itself, where it is a Debian.
    mirror=$(apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(REPO_URI)' "Codename: $release" \
        "Created-By: Packages" 2>/dev/null | awk '$1 == "Debian" && $2 == "main" { print $3; exit }')
    mkdir -p "$cache"
    draft=$(mktemp -d -p "$cache")
    if ! debootstrap --variant=minbase --include=systemd,systemd-sysv,procps $release "$draft" $mirror \
        >"$folder/debootstrap" 2>&1; then
        tail -n 5 "$folder/debootstrap"
        rm -r "$draft"
        skip "debootstrap made no system"
    fi
    chmod 755 "$draft"
    mv -T "$draft" "$root"
fi
nspawn() {
    # The time limit is for what hangs; it ends the system in good order first.
    exec timeout --kill-after=20 240 systemd-nspawn --quiet --directory="$root" --volatile=overlay --register=no \
        --keep-unit --machine="kvcache-$$" "$@" </dev/null >"$folder/console" 2>&1
}
(nspawn true) || skip "systemd-nspawn starts nothing here: $(tail -n 1 "$folder/console")"

program=${1:-$(scripts/build-static.sh)}
cp "$program" "$folder/kvcache"
cp -r systemd "$folder"
cat >"$folder/test.conf" <<END
[Service]
Environment=KVCACHE_LISTEN=127.0.0.1:$port
Environment=KVCACHE_ADMIN_LISTEN=127.0.0.1:$((port + 1))
Environment=KVCACHE_MEMORY=64MiB
Environment=KVCACHE_SNAPSHOT_PATH=/var/lib/kvcache/kvcache.snapshot
END

nspawn --boot --bind-ro="$folder:/opt/kvcache" \
    --bind-ro="$folder/test.conf:/etc/systemd/system/kvcache.service.d/test.conf" &
boot=$!
await 60 inside systemctl is-active multi-user.target
echo "ok: $(inside systemctl --version | head -n 1) runs"

inside /opt/kvcache/systemd/install.sh /opt/kvcache/kvcache >"$folder/installed" 2>&1
await 10 is ActiveState active
await 10 is StatusText "listening on 127.0.0.1:$port, admin on *"
echo "ok: installed and started, with the status: $(property StatusText)"

entries=$(seq 500 | sed 's/.*/{"key":"key&","value":"value-of-&"}/' | paste -sd,)
curl -sf -o "$folder/stored" "$data/mput" --json "{\"entries\":[$entries]}"
# These two go on through every restart.
curl -s -o /dev/null "$data/kv/key[1-500]?[1-1000000]" &
load=($!)
curl -s -o /dev/null -X PUT --data-binary load "$data/kv/load[1-1000000000]" &
load+=($!)
await 30 curl -sf "$data/kv/load500"
curl -sf -o "$folder/snapshot" -X POST "$admin/snapshot"

kill -9 "$(main_process)"
await 30 restarted 1
await 10 holds
await 10 said "snapshot restored entries="
echo "ok: kill -9 under load; the restart has the snapshot: $(said "snapshot restored")"

kill -STOP "$(main_process)"
await 30 bitten 1
await 30 restarted 2
await 10 holds
echo "ok: SIGSTOP; restarted: $(said "Watchdog timeout")"

# Where a single thread can be held: strace keeps it from its next system call.
thread=$(grep -lx shard-1 "/proc/$(main_process)/task"/*/comm | cut -d/ -f5 || true)
if strace -o /dev/null true 2>/dev/null && [ -n "$thread" ]; then
    strace -qq -o /dev/null -p "$thread" -e inject=all:delay_enter=60s 2>"$folder/strace" &
    held=$!
    await 30 bitten 2
    # It would keep the process from ending as well.
    kill -9 "$held"
    wait "$held" 2>/dev/null || true
    await 30 restarted 3
    await 10 holds
    echo "ok: one shard held, the others running; restarted as well"
else
    echo "skipped: no strace that may trace, or no second shard to hold"
fi

inside sh -c 'echo "idle-timeout = \"77s\"" >>/etc/kvcache/kvcache.toml'
inside systemctl reload kvcache
await 10 said "were read again"
await 10 config_says '"idle-timeout":"1m 17s"'
await 10 is StatusText "listening on *"
await 10 holds
echo "ok: reloaded, and a timeout has changed: $(said "were read again")"

inside systemctl stop kvcache
await 10 is ActiveState inactive
await 10 is Result success
await 10 is ExecMainStatus 0
await 10 said "snapshot written entries="
echo "ok: stopped with exit code $(property ExecMainStatus): $(said "snapshot written")"
