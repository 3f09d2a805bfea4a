#!/usr/bin/env python3
"""Holds the eviction rules to an independent implementation: misses of both, side by side.

Usage: scripts/referee.py [REQUESTS [RULE ...]]    default 1000000 requests, all rules

FIFO and LRU must miss equally often; SIEVE and S3-FIFO within 0.3 points. Exit 1 if they do not.
Our S3-FIFO differs from the referee's in two ways on purpose: a search for a victim passes over 64
entries at most, where the referee's passes over the whole main queue of a loop; and while the store
fills, the small queue gets a tenth of what is there, not the first tenth of a size that we do not
know. A loop carries both on for many rounds, so on short traces its misses swing about the
referee's: 0.67 points at 300000 requests, 0.02 at 1000000.
The referee is installed into a virtual environment below target/. Short traces run on a debug build.
"""

import os
import random
import struct
import subprocess
import sys
from itertools import accumulate
from bisect import bisect

import environment

ROOT = environment.ROOT
WORK = os.path.join(ROOT, "target", "referee")
REFEREE = "libcachesim==0.3.5"
IDS = 20_000
ENTRIES = 2_000
DEBUG_REQUESTS_MAX = 100_000
POINTS_MAX = {"lru": 0.0, "fifo": 0.0, "sieve": 0.3, "s3fifo": 0.3}


def zipf(rng, skew):
    """Numbers below IDS, the n-th with a probability of 1 / n ** skew."""
    sums = list(accumulate(1 / n**skew for n in range(1, IDS + 1)))
    while True:
        yield bisect(sums, rng.random() * sums[-1])


def with_scans(rng):
    popular, fresh = zipf(rng, 0.99), IDS
    while True:
        for _ in range(5 * ENTRIES):
            yield next(popular)
        for _ in range(ENTRIES):
            yield (fresh := fresh + 1)


def loop(_rng):
    while True:
        yield from range(ENTRIES * 12 // 10)


def reshuffled(rng):
    popular = zipf(rng, 0.99)
    while True:
        names = list(range(IDS))
        rng.shuffle(names)
        for _ in range(50 * ENTRIES):
            yield names[next(popular)]


def moving(rng):
    at = 0
    while True:
        at += 1
        yield at // 10 + rng.randrange(ENTRIES * 3 // 2)


LOADS = {
    "zipf 0.99": lambda rng: zipf(rng, 0.99),
    "zipf 0.7": lambda rng: zipf(rng, 0.7),
    "zipf and scans": with_scans,
    "loop of 1.2": loop,
    "reshuffled zipf": reshuffled,
    "moving set": moving,
}


def write_trace(path, ids):
    with open(path, "wb") as out:
        for time, number in enumerate(ids):
            out.write(struct.pack("<IQIq", time, number + 1, 1, -2))


def their_misses(path, requests):
    import libcachesim as them

    rules = {"lru": them.LRU, "fifo": them.FIFO, "sieve": them.Sieve, "s3fifo": them.S3FIFO}
    misses = {}
    for name, rule in rules.items():
        reader = them.TraceReader(path, them.TraceType.ORACLE_GENERAL_TRACE)
        ratio, _ = rule(cache_size=ENTRIES).process_trace(reader)
        misses[name] = round(ratio * requests)
    return misses


def our_misses(path, requests):
    profile = "dev" if requests <= DEBUG_REQUESTS_MAX else "bench"
    command = ["cargo", "bench", "-q", "--locked", "--profile", profile, "--bench", "referee"]
    command += ["--", path, str(ENTRIES)]
    lines = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    return {name: int(count) for name, count in map(str.split, lines.splitlines())}


def main():
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rules = sys.argv[2:]
    failed = False
    print(f"{requests} requests, {ENTRIES} entries of one size\n")
    print(f"{'load':<16} {'rule':<9} {'misses':>9} {'referee':>9} {'points':>7}")
    for load, make in LOADS.items():
        path = os.path.join(WORK, "trace.bin")
        ids = make(random.Random(7))
        write_trace(path, (next(ids) for _ in range(requests)))
        theirs, ours = their_misses(path, requests), our_misses(path, requests)
        for rule, misses in ours.items():
            if rules and rule not in rules:
                continue
            if rule not in theirs:
                print(f"{load:<16} {rule:<9} {misses:>9}")
                continue
            points = 100 * (misses - theirs[rule]) / requests
            # The referee's count comes from a ratio: one miss is its last digit.
            over = abs(points) > max(POINTS_MAX[rule], 100 / requests)
            failed |= over
            mark = "  <- too far" if over else ""
            print(f"{load:<16} {rule:<9} {misses:>9} {theirs[rule]:>9} {points:>7.2f}{mark}")
    return failed


if __name__ == "__main__":
    environment.enter("referee", REFEREE)
    sys.exit(main())
