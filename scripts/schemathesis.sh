#!/usr/bin/env bash
# Sends a server what src/http/admin/openapi.json allows and what it forbids, and holds the answers to it.
#
#   scripts/schemathesis.sh [PROGRAM]      # target/debug/kvcache; EXAMPLES (200) of each operation
set -euo pipefail
cd "$(dirname "$0")/.."

program=${1:-target/debug/kvcache}
port=${PORT:-17671}
admin=$((port + 1))
venv=target/schemathesis
version=4.32.5

if [ "$(cat "$venv/version" 2>/dev/null)" != "$version" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet "schemathesis==$version"
    echo "$version" >"$venv/version"
fi

tokens=$(mktemp)
echo schemathesis >"$tokens"
"$program" --auth-token-file "$tokens" --listen "127.0.0.1:$port" --admin-listen "127.0.0.1:$admin" --shards 2 --memory 64MiB &
server=$!
trap 'kill "$server"; wait "$server" || true; rm "$tokens"' EXIT
for _ in $(seq 100); do
    curl --silent --fail --output /dev/null "http://127.0.0.1:$admin/readyz" && break
    sleep 0.1
done

# run PORT PHASES FILTER...: all checks on the operations that the filters leave.
run() {
    local at="http://127.0.0.1:$1" phases=$2
    shift 2
    "$venv/bin/schemathesis" --config-file scripts/schemathesis.toml run "http://127.0.0.1:$admin/openapi.json" --url "$at" "$@" \
        --header "Authorization: Bearer schemathesis" --checks all --phases "$phases" --max-examples "${EXAMPLES:-200}" \
        --seed 20261121 --generation-codec ascii \
        --suppress-health-check all --no-color
}
of_admin='^/(|readyz|stats|metrics|latency|latency/reset|config|openapi.json|delete-prefix|flush|snapshot)$'
# An answer of /events has no end.
run "$port" examples,coverage,fuzzing,stateful --exclude-path-regex "$of_admin|^/events\$"
# No answer of this port leads to another.
run "$admin" examples,coverage,fuzzing --include-path-regex "$of_admin"
