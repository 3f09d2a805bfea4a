#!/usr/bin/env python3
"""What a request costs target/release/kvcache as entries, connections and shards become more.

GETs of values of 128 bytes under uniform keys, each answer checked by `kvcache load`. All sizes of
a table are asked in every round, one way and then the other; ROUNDS (5) and SECONDS (5) say how many
and how long. Needs two cores, 6 GB and nothing else running.
"""

import statistics

import bench
from bench import table
from compare import OTHER_PORT, Server, rounds, running, spread

GET = ("--mix=get=1", "--fill=off")


def server(number, *flags, core=0, budget="256MiB"):
    port = OTHER_PORT + 2 * number
    command = bench.command_line(*flags, port=port, admin=port + 1, budget=budget)
    return Server("kvcache", command, port, "http", core=core)


def across(what, cases, load):
    """Asks each case in turn; the rows tell CPU time and rate, and both to the first case's."""
    told = {case: [] for case in cases}
    for case in rounds(list(cases)):
        found, spent = load(case)
        told[case].append((spent / found["requests"] * 1e6, found["rate"]))
    rows = [(what, "CPU us/request", "to the first", "requests/s", "to the first")]
    medians = [[statistics.median(column) for column in zip(*found)] for found in told.values()]
    for (case, found), (cpu, rate) in zip(told.items(), medians):
        each_cpu, each_rate = zip(*found)
        first_cpu, first_rate = medians[0]
        rows.append((case, spread(each_cpu, ".2f"), f"{cpu / first_cpu:.2f}"))
        rows[-1] += (spread(each_rate, ".0f"), f"{rate / first_rate:.2f}")
    table(*rows)
    return True


def entries():
    """One shard, 32 connections, 1,000 to 10 million entries; alone and with 16 requests in flight."""
    counts = [1_000, 10_000, 100_000, 1_000_000, 10_000_000]
    servers = {count: server(number, "--shards=1", budget="1750MiB") for number, count in enumerate(counts)}
    with running(servers.values()):
        for count, each in servers.items():
            each.load("--mix=get=1", "--depth=16", keys=count, seconds=1)
        for depth in (1, 16):
            print(f"{depth} in flight:")
            shape = [*GET, "--connections=32", f"--depth={depth}"]
            across("entries", counts, lambda count: servers[count].load(*shape, keys=count))
    return True


def connections():
    """One shard, 5,000 keys, 1 to 10,000 connections, each waiting for its answers."""
    one = server(0, "--shards=1", "--connections-max=10100")
    with running([one]):
        one.fill()
        counts = [1, 10, 100, 1000, 10_000]
        return across("connections", counts, lambda count: one.load(*GET, f"--connections={count}"))


def shards():
    """64 connections, one to four shards; they and the two threads of the generator share all cores."""
    servers = {count: server(count, f"--shards={count}", core=None) for count in (1, 2, 3, 4)}
    with running(servers.values()):
        for each in servers.values():
            each.fill()
        shape = [*GET, "--connections=64", "--threads=2"]
        return across("shards", servers, lambda count: servers[count].load(*shape, core=None))


if __name__ == "__main__":
    bench.main(__doc__, [entries, connections, shards])
