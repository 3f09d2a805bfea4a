#!/usr/bin/env python3
"""Sets target/release/kvcache beside its peers under one generator, `kvcache load`, and prints ratios.

Peers are those found on PATH of redis-server (or valkey-server) and memcached; besides, benches/floor.rs,
which is what HTTP costs here at least. Every server has one thread on the first core, the generator
has the second. Runs are interleaved, in turns that change direction; ROUNDS (5) and SECONDS (5) say
how many and how long. Needs two cores and nothing else running.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import bench
from bench import PORT, REDIS_PORT, ROUNDS, SECONDS, on_core, process, resident_bytes, table

MEMCACHED_PORT, FLOOR_PORT = 17180, 17181
KEYS = 5000


class Server:
    """One that runs, and how it is asked."""

    def __init__(self, name, command, port, protocol, stores=True):
        self.name, self.command, self.port = name, on_core(0) + command, port
        self.protocol, self.stores, self.child = protocol, stores, None

    def listens(self):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def load(self, *flags, keys=KEYS, seconds=SECONDS):
        """Loads it; what `run.json` says of that, and the CPU time that it took the server."""
        # What stores nothing knows one value.
        keys = keys if self.stores else 1
        with tempfile.TemporaryDirectory() as directory:
            command = on_core(1) + [bench.BINARY, "load", f"--address=127.0.0.1:{self.port}"]
            command += [f"--protocol={self.protocol}", f"--duration={seconds}s", "--warmup=0s"]
            command += [f"--out={directory}", f"--keys={keys}", *flags]
            before = bench.running_seconds(self.child.pid)
            done = subprocess.run(command, capture_output=True, text=True)
            spent = bench.running_seconds(self.child.pid) - before
            if done.returncode:
                sys.exit(f"{self.name}: {done.stdout}{done.stderr[-2000:]}")
            with open(os.path.join(directory, "run.json")) as run:
                return json.load(run)["results"], spent

    def fill(self, keys=KEYS):
        if self.stores:
            self.load("--mix=get=1", keys=keys, seconds=1)


def servers():
    """Ours first."""
    ours = bench.command_line("--shards=1", budget="1GiB")
    yield Server("kvcache", ours, PORT, "http")
    build = ["cargo", "bench", "--bench", "floor", "--no-run"]
    built = subprocess.run(build, cwd=bench.ROOT, check=True, capture_output=True, text=True).stderr
    floor = os.path.join(bench.ROOT, re.search(r"\((target/\S*floor\S*)\)", built)[1])
    yield Server("floor", [floor, str(FLOOR_PORT)], FLOOR_PORT, "http", stores=False)
    redis = shutil.which("redis-server") or shutil.which("valkey-server")
    if redis:
        command = [redis, "--port", str(REDIS_PORT), "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "no", "--daemonize", "no"]
        yield Server(os.path.basename(redis), command, REDIS_PORT, "redis")
    if shutil.which("memcached"):
        command = ["memcached", "-l", "127.0.0.1", "-p", str(MEMCACHED_PORT), "-t", "1", "-m", "1024"]
        command += ["-u", "root"] if os.geteuid() == 0 else []
        yield Server("memcached", command, MEMCACHED_PORT, "memcached")


@contextlib.contextmanager
def running(chosen):
    with contextlib.ExitStack() as stack:
        for server in chosen:
            server.child = stack.enter_context(process(server.command, server.listens))
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
    rows = [("mix", "connections", "depth", "server", "CPU us/request", "requests/s", "CPU to kvcache's")]
    for mix, connections, depth in shapes:
        cpu, rate = {}, {}
        asked = [server for server in chosen if server.stores or mix == "get=1"]
        flags = [f"--mix={mix}", f"--connections={connections}", f"--depth={depth}", "--fill=off"]
        for server in rounds(asked):
            found, spent = server.load(*flags)
            cpu.setdefault(server.name, []).append(spent / found["requests"] * 1e6)
            rate.setdefault(server.name, []).append(found["rate"])
        for server in asked:
            ratio = statistics.median(cpu[server.name]) / statistics.median(cpu["kvcache"])
            if (mix, connections, depth) == ("get=1", 32, 1):
                peaks[server.name] = statistics.median(rate[server.name])
            rows.append((mix, connections, depth, server.name, spread(cpu[server.name], ".2f"))
                        + (spread(rate[server.name], ".0f"), f"{ratio:.2f}"))
    table(*rows)
    return peaks


def opened(chosen, peaks):
    """Latency at parts of the rate that the slowest can do, requests sent on a schedule."""
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


def memory(chosen, count=1_000_000):
    """Resident bytes when idle and per entry of (16, 128); milliseconds from start to listening, in steps of 20."""
    rows = [("server", "idle MB", "bytes per entry", "start ms")]
    for server in chosen:
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
    subprocess.run(["cargo", "build", "--quiet", "--release"], cwd=bench.ROOT, check=True)
    chosen = list(servers())
    print("one thread each:", ", ".join(server.name for server in chosen), flush=True)
    with running(chosen):
        for server in chosen:
            server.fill()
        print(f"== {closed.__doc__}", flush=True)
        peaks = closed(chosen)
        print(f"== {opened.__doc__}", flush=True)
        opened(chosen, peaks)
    print(f"== {memory.__doc__}", flush=True)
    memory(chosen)


if __name__ == "__main__":
    main()
