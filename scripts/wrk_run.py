"""Writes the files of a run that scripts/wrk.sh did: what COUNTS names becomes a run in a directory.

Usage: wrk_run.py KIND URL STARTED DIRECTORY
"""

import os
import sys

import environment

environment.enter("runs", "hdrhistogram>=0.10,<0.11")

import runs

kind, url, started, directory = sys.argv[1:]
latency, found = runs.histogram(), {}
with open(os.environ["COUNTS"]) as file:
    for name, count in (line.split() for line in file):
        if name.isdigit():
            latency.record_value(max(1, int(name)), int(count))
        else:
            found[name] = int(count)
seconds = found.pop("micros") / 1e6
requests = found.pop("requests")
settings = {name.lower(): os.environ[name] for name in ("KEYS", "CONNECTIONS", "THREADS", "DURATION")}
about = {
    "name": f"wrk-{kind}",
    "tool": "wrk",
    "started": started,
    "loop": "closed",
    # What wrk hands out is its own correction of what it measured.
    "measured": "from the request sent to its answer read, with what wrk adds for stalls",
    "settings": {**settings, "url": url, "kind": kind},
    "results": {
        "seconds": seconds,
        "rate_asked": None,
        "rate": requests / seconds,
        "requests": requests,
        "errors": found,
    },
}
runs.write(directory, about, [(0, seconds, latency)])
