#!/usr/bin/env bash
# Puts every key once, then loads the server with wrk; fails if any answer was an error.
# Usage: scripts/wrk.sh get|put|mixed|pipeline [url]
# Environment: KEYS (5000), CONNECTIONS (32), THREADS (1), DURATION (10s).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
kind=${1:-}
url=${2:-http://127.0.0.1:7171}
case $kind in
    get | put | mixed | pipeline) ;;
    *) sed -n '3,4s/^# //p' "$0" >&2; exit 64 ;;
esac
python3 "$here/bench.py" fill "$url"
out=$(wrk -t "${THREADS:-1}" -c "${CONNECTIONS:-32}" -d "${DURATION:-10s}" --latency \
    -s "$here/load/$kind.lua" "$url")
echo "$out"
grep -q 'errors: 0 ' <<<"$out"
