#!/usr/bin/env bash
# Loads a running server with Locust and checks every value; fails on any failure or wrong value.
# Leaves run.json, locust.hgrm and locust.hlog in target/locust.
# Usage: scripts/locust.sh [users] [seconds] [url] [requests per second of all users; 0: as many as they can]
set -euo pipefail
cd "$(dirname "$0")/.."
users=${1:-200}
seconds=${2:-60}
url=${3:-http://127.0.0.1:7171}
export USERS=$users RATE=${4:-0}
if ! [ -x .venv/bin/locust ]; then
    python3 -m venv .venv
fi
.venv/bin/pip install --quiet --disable-pip-version-check 'locust>=2.30,<3' 'hdrhistogram>=0.10,<0.11'
mkdir -p target/locust
exec .venv/bin/locust --locustfile scripts/locustfile.py --host "$url" --headless --only-summary \
    --users "$users" --spawn-rate "$users" --run-time "${seconds}s" \
    --csv target/locust/run --html target/locust/run.html --exit-code-on-error 1
