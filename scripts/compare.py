#!/usr/bin/env python3
"""Sets target/release/kvcache beside its peers under one generator, `kvcache load`, and prints ratios.

Peers are those found on PATH of redis-server (or valkey-server), memcached, and nginx with memcached
behind it; besides, benches/floor.rs, which is what HTTP costs here at least. Every server has one
thread on the first core, the generator has the second, but where it is said that all share both.
Runs are interleaved, in turns that change direction; ROUNDS (5) and SECONDS (5) say how many and how
long. Needs two cores and nothing else running.

scripts/compare.py [PART...]: which of closed, opened, evicting, two_threads, hop and memory; all where
none is named.
"""

import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import bench
from bench import FLOOR_PORT, PORT, REDIS_PORT, ROUNDS, SECONDS
from bench import listens, on_core, process, resident_bytes, table

MEMCACHED_PORT, NGINX_PORT, OTHER_PORT = 17180, 17182, 17190
KEYS = 5000


class Server:
    """One that runs, and how it is asked."""

    def __init__(self, name, command, port, protocol, stores=True, core=0, behind=None):
        self.name, self.command, self.port = name, on_core(core) + command, port
        self.protocol, self.stores, self.child = protocol, stores, None
        # What holds its entries, where it does not itself.
        self.behind = behind

    def running_seconds(self):
        parts = [self] if self.behind is None else [self, self.behind]
        return sum(bench.running_seconds(part.child.pid) for part in parts)

    def load(self, *flags, keys=KEYS, seconds=SECONDS, core=1):
        """Loads it; what `run.json` says of that, and the CPU time that it took the server."""
        # What stores nothing knows one value.
        keys = keys if self.stores else 1
        with tempfile.TemporaryDirectory() as directory:
            command = on_core(core) + [bench.BINARY, "load", f"--address=127.0.0.1:{self.port}"]
            command += [f"--protocol={self.protocol}", f"--duration={seconds}s", "--warmup=0s"]
            command += [f"--out={directory}", f"--keys={keys}", *flags]
            before = self.running_seconds()
            done = subprocess.run(command, capture_output=True, text=True)
            spent = self.running_seconds() - before
            if done.returncode:
                sys.exit(f"{self.name}: {done.stdout}{done.stderr[-2000:]}")
            with open(os.path.join(directory, "run.json")) as run:
                return json.load(run)["results"], spent

    def fill(self, keys=KEYS):
        if self.stores and self.behind is None:
            self.load("--mix=get=1", keys=keys, seconds=1)


def servers():
    """Ours first."""
    ours = bench.command_line("--shards=1", budget="1GiB")
    yield Server("kvcache", ours, PORT, "http")
    command = [bench.bench_binary("floor"), str(FLOOR_PORT)]
    yield Server("floor", command, FLOOR_PORT, "http", stores=False)
    redis = shutil.which("redis-server") or shutil.which("valkey-server")
    if redis:
        command = [redis, "--port", str(REDIS_PORT), "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "no", "--daemonize", "no"]
        yield Server(os.path.basename(redis), command, REDIS_PORT, "redis")
    if shutil.which("memcached"):
        memcached = Server("memcached", memcached_command(1), MEMCACHED_PORT, "memcached")
        yield memcached
        if shutil.which("nginx"):
            yield Server("nginx", nginx_command(), NGINX_PORT, "rest", behind=memcached)


def memcached_command(threads, port=MEMCACHED_PORT):
    command = ["memcached", "-l", "127.0.0.1", "-p", str(port), "-t", str(threads), "-m", "1024"]
    return command + (["-u", "root"] if os.geteuid() == 0 else [])


def nginx_command():
    """One process that takes what is asked for below /kv/ from memcached."""
    directory = os.path.join(bench.ROOT, "target/nginx")
    os.makedirs(directory, exist_ok=True)
    paths = "".join(f"{kind}_temp_path {directory}/{kind};\n"
                    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(os.path.join(directory, "nginx.conf"), "w") as config:
        config.write(f"""\
daemon off; master_process off; pid {directory}/pid; error_log {directory}/log crit;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000; {paths}
    upstream entries {{ server 127.0.0.1:{MEMCACHED_PORT}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{NGINX_PORT};
        location ~ ^/kv/(.*)$ {{ set $memcached_key $1; memcached_pass entries; }}
    }}
}}
""")
    return ["nginx", "-p", directory, "-c", os.path.join(directory, "nginx.conf")]


@contextlib.contextmanager
def running(chosen):
    with contextlib.ExitStack() as stack:
        for server in chosen:
            server.child = stack.enter_context(process(server.command, lambda: listens(server.port)))
        yield


def rounds(chosen):
    """Every server in every round, one way and then the other."""
    for number in range(ROUNDS):
        yield from chosen if number % 2 == 0 else reversed(chosen)


def spread(values, form):
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def closed(chosen):
    """CPU time per request and rate, each connection waiting for its answers."""
    peaks = {}
    shapes = [("get=1", 1, 1), ("get=1", 32, 1), ("get=1", 256, 1), ("get=1", 32, 16), ("put=1", 32, 1)]
    rows = [("mix", "connections", "depth", "server", "CPU us/request", "requests/s", "CPU to kvcache's", "of each round")]
    for mix, connections, depth in shapes:
        cpu, rate = {}, {}
        reads = mix == "get=1"
        asked = [server for server in chosen if reads or server.stores and server.behind is None]
        flags = [f"--mix={mix}", f"--connections={connections}", f"--depth={depth}", "--fill=off"]
        for server in rounds(asked):
            found, spent = server.load(*flags)
            cpu.setdefault(server.name, []).append(spent / found["requests"] * 1e6)
            rate.setdefault(server.name, []).append(found["rate"])
        for server in asked:
            ratio = statistics.median(cpu[server.name]) / statistics.median(cpu["kvcache"])
            # A round sees one state of the machine.
            ratios = [theirs / ours for theirs, ours in zip(cpu[server.name], cpu["kvcache"])]
            if (mix, connections, depth) == ("get=1", 32, 1):
                peaks[server.name] = statistics.median(rate[server.name])
            rows.append((mix, connections, depth, server.name, spread(cpu[server.name], ".2f"))
                        + (spread(rate[server.name], ".0f"), f"{ratio:.2f}", spread(ratios, ".2f")))
    table(*rows)
    return peaks


def opened(chosen, peaks):
    """Latency at parts of the rate that the slowest (but nginx) can do, requests sent on a schedule."""
    chosen = [server for server in chosen if server.behind is None]
    peak = min(peaks[server.name] for server in chosen)
    rows = [("of the peak", "requests/s", "server", "p50 us", "p99 us", "p99.9 us")]
    for part in (0.3, 0.5, 0.7):
        told = {server.name: [] for server in chosen}
        rate = int(peak * part)
        flags = ["--mix=get=1", "--connections=32", "--fill=off", f"--rate={rate}"]
        for server in rounds(chosen):
            told[server.name].append(server.load(*flags)[0]["latency_us"])
        for name, found in told.items():
            cells = [spread([each[key] for each in found], ".0f") for key in ("p50", "p99", "p99.9")]
            rows.append((f"{part:.0%}", rate, name, *cells))
    table(*rows)


def evicting(ours, seconds=SECONDS):
    """CPU time of a put into a full store, which mostly evicts, beside that of a get that finds its key."""
    command = bench.command_line("--shards=1", port=OTHER_PORT, admin=OTHER_PORT + 1, budget="64MiB")
    full = Server("full", command, OTHER_PORT, "http")
    count = 1_000_000
    told, puts = {"get": [], "put, evicting": []}, 0
    with running([full]):
        full.fill(count)
        before = bench.stats(OTHER_PORT + 1)["totals"]["store"]
        for number in range(ROUNDS):
            found, spent = ours.load("--mix=get=1", "--fill=off", seconds=seconds)
            told["get"].append(spent / found["requests"] * 1e6)
            # Other keys than in the round before, most of which were evicted since.
            flags = ["--mix=put=1", "--fill=off", f"--seed={number + 2}"]
            found, spent = full.load(*flags, keys=count, seconds=seconds)
            told["put, evicting"].append(spent / found["requests"] * 1e6)
            puts += found["requests"]
        after = bench.stats(OTHER_PORT + 1)["totals"]["store"]
    medians = [statistics.median(cpu) for cpu in told.values()]
    rows = [(name, spread(cpu, ".2f"), f"{statistics.median(cpu) / medians[0]:.2f}") for name, cpu in told.items()]
    table(("of kvcache", "CPU us/request", "to a get's"), *rows)
    print(f"evicted by the {puts} puts: {after['evictions'] - before['evictions']}")


def two_threads(_):
    """64 connections, uniform keys, two threads of each and of the generator, all on both cores."""
    ours = [Server(f"kvcache, {shards} shard{'s' * (shards > 1)}", core=None, protocol="http", port=port,
                   command=bench.command_line(f"--shards={shards}", port=port, admin=port + 1))
            for shards, port in ((2, OTHER_PORT), (1, OTHER_PORT + 2))]
    chosen = ours
    if shutil.which("memcached"):
        command = memcached_command(2, OTHER_PORT + 4)
        chosen = [*ours, Server("memcached", command, OTHER_PORT + 4, "memcached", core=None)]
    told = {server.name: [] for server in chosen}
    with running(chosen):
        for server in chosen:
            server.fill()
        for server in rounds(chosen):
            flags = ["--mix=get=1", "--connections=64", "--threads=2", "--fill=off"]
            found, spent = server.load(*flags, core=None)
            each = (seconds / found["requests"] * 1e6 for seconds in (spent, found["cpu_seconds"]))
            told[server.name].append((*each, found["rate"]))
    rows = [("server", "CPU us/request", "generator's", "requests/s")]
    for name, found in told.items():
        cpu, generators, rate = zip(*found)
        rows.append((name, spread(cpu, ".2f"), spread(generators, ".2f"), spread(rate, ".0f")))
    table(*rows)


def hop(_):
    """One connection to an idle server of two shards, and to one that polls before it sleeps: keys of either shard."""
    chosen = [
        Server(name, bench.command_line("--shards=2", *flags, port=port, admin=port + 1), port, "http", core=None)
        for name, flags, port in (("kvcache", [], OTHER_PORT), ("--spin-us=50", ["--spin-us=50"], OTHER_PORT + 2))
    ]
    told = {(server.name, keys): [] for server in chosen for keys in ("local", "foreign")}

    def hops(server):
        return bench.stats(server.port + 1)["totals"]["hops"]["calls"]

    with running(chosen):
        # One key each, of another length and so of another hash.
        for key_bytes in itertools.cycle(range(16, 48)):
            flags = ["--mix=get=1", "--connections=1", f"--key-bytes={key_bytes}"]
            for server in chosen:
                before = hops(server)
                found, spent = server.load(*flags, keys=1, seconds=1, core=None)
                keys = "foreign" if hops(server) - before >= found["requests"] else "local"
                latency = found["latency_us"]
                told[server.name, keys].append((latency["p50"], latency["p99"], spent / found["requests"] * 1e6))
            if min(len(found) for found in told.values()) >= ROUNDS:
                break
    rows = [("server", "keys", "p50 us", "p99 us", "CPU us/request", "p50 to local's")]
    for (name, keys), found in told.items():
        p50, p99, cpu = zip(*found)
        local = statistics.median(each[0] for each in told[name, "local"])
        rows.append((name, keys, spread(p50, ".0f"), spread(p99, ".0f"), spread(cpu, ".1f")))
        rows[-1] += (f"{statistics.median(p50) / local:.2f}",)
    table(*rows)


def memory(chosen, count=1_000_000):
    """Resident bytes when idle and per entry of (16, 128); milliseconds from start to listening, in steps of 20."""
    rows = [("server", "idle MB", "bytes per entry", "start ms")]
    for server in (server for server in chosen if server.behind is None):
        begun = time.monotonic()
        with running([server]):
            started = time.monotonic() - begun
            server.load("--mix=get=1", "--fill=off", "--connections=1", seconds=1)
            idle = resident_bytes(server.child.pid)
            each = "-"
            if server.stores:
                server.fill(count)
                each = f"{(resident_bytes(server.child.pid) - idle) / count:.1f}"
            rows.append((server.name, f"{idle / 1e6:.1f}", each, f"{started * 1e3:.0f}"))
    table(*rows)


def main():
    parts = sys.argv[1:] or ["closed", "opened", "evicting", "two_threads", "hop", "memory"]
    known = {part.__name__: part for part in (closed, opened, evicting, two_threads, hop, memory)}
    if unknown := set(parts) - set(known):
        sys.exit(f"there is no part {', '.join(unknown)}\n{__doc__}")
    bench.build_release()
    chosen = list(servers())
    print("one thread each:", ", ".join(server.name for server in chosen), flush=True)

    def run(part, *arguments):
        print(f"== {part}: {known[part].__doc__}", flush=True)
        return known[part](*arguments)

    if {"closed", "opened", "evicting"} & set(parts):
        with running(chosen):
            for server in chosen:
                server.fill()
            if {"closed", "opened"} & set(parts):
                peaks = run("closed", chosen)
            if "opened" in parts:
                run("opened", chosen, peaks)
            if "evicting" in parts:
                run("evicting", chosen[0])
    for part in ("two_threads", "hop", "memory"):
        if part in parts:
            run(part, chosen)


if __name__ == "__main__":
    main()
