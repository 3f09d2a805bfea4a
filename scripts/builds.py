#!/usr/bin/env python3
"""Sets target/release/kvcache beside another build of it, and prints ratios of CPU time per GET.

One shard on the first core and two on both, 32 connections, one request and 16 in flight; keys are
chosen uniformly. ROUNDS (40) rounds are short and neighbours: each ratio is of two that ran one after the
other, in turns that change direction. The generator is this build's, on the
second core, but for two shards, with which it shares both.

scripts/builds.py OTHER_BINARY
"""

import os
import statistics
import sys

os.environ.setdefault("ROUNDS", "40")

import bench
from bench import table
from compare import Server, rounds, running

ROUND_SECONDS = 0.5


def beside(other, shards, depth, port):
    """CPU microseconds per request of each round, by name."""
    core = 0 if shards == 1 else None
    flags = [f"--shards={shards}"]
    ours = bench.command_line(*flags, port=port, admin=port + 1)
    theirs = [other] + bench.command_line(*flags, port=port + 2, admin=port + 3)[1:]
    chosen = [Server("this", ours, port, "http", core=core), Server("other", theirs, port + 2, "http", core=core)]
    spent_us = {server.name: [] for server in chosen}
    with running(chosen):
        for server in chosen:
            server.load("--mix=get=1", seconds=1)
        shape = ["--mix=get=1", "--fill=off", "--connections=32", f"--depth={depth}"]
        for server in rounds(chosen):
            found, spent = server.load(*shape, seconds=ROUND_SECONDS, core=1 if shards == 1 else None)
            spent_us[server.name].append(spent / found["requests"] * 1e6)
    return spent_us


def quotient(one, other):
    """The median of what neighbours differ by, and its standard error."""
    ratios = [mine / theirs for mine, theirs in zip(one, other)]
    return statistics.median(ratios), 1.25 * statistics.stdev(ratios) / len(ratios) ** 0.5


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    rows = [("shards", "in flight", "this, us", "other, us", "this to other")]
    medians = {}
    for number, (shards, depth) in enumerate([(1, 1), (1, 16), (2, 16)]):
        spent_us = beside(sys.argv[1], shards, depth, bench.PORT + 100 + 4 * number)
        ratio, error = quotient(spent_us["this"], spent_us["other"])
        for name in spent_us:
            medians[name, shards, depth] = statistics.median(spent_us[name])
        cells = [f"{medians[name, shards, depth]:.3f}" for name in ("this", "other")]
        rows.append((shards, depth, *cells, f"{ratio:.3f} +- {error:.3f}"))
    table(*rows)
    for name in ("this", "other"):
        hop = medians[name, 2, 16] / medians[name, 1, 16]
        print(f"{name}: two shards cost {hop:.2f} times the CPU of one, 16 in flight")


main()
