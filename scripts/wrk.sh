#!/usr/bin/env bash
# Puts every key once, then loads the server with wrk, each connection in a closed loop; fails if any
# answer was an error. Leaves run.json, wrk-KIND.hgrm and wrk-KIND.hlog in OUT.
# Usage: scripts/wrk.sh get|put|mixed|pipeline [url]
# Environment: KEYS (5000), CONNECTIONS (32), THREADS (1), DURATION (10s), OUT (target/wrk/KIND).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kind=${1:-}
url=${2:-http://127.0.0.1:7171}
case $kind in
    get | put | mixed | pipeline) ;;
    *) sed -n '4,5s/^# //p' "$0" >&2; exit 64 ;;
esac
export KEYS=${KEYS:-5000} CONNECTIONS=${CONNECTIONS:-32} THREADS=${THREADS:-1} DURATION=${DURATION:-10s}
python3 "$here/bench.py" fill "$url"
COUNTS=$(mktemp)
export COUNTS
trap 'rm "$COUNTS"' EXIT
started=$(date -u +%FT%T+00:00)
out=$(wrk -t "$THREADS" -c "$CONNECTIONS" -d "$DURATION" --latency -s "$here/load/$kind.lua" "$url")
echo "$out"
python3 "$here/wrk_run.py" "$kind" "$url" "$started" "${OUT:-$here/../target/wrk/$kind}"
grep -q 'errors: 0 ' <<<"$out"
