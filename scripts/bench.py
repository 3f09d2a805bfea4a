#!/usr/bin/env python3
"""Measures target/release/kvcache and fails when a promise is not kept.

Needs two cores, wrk, redis-server and redis-benchmark (cpu, pipeline), strace (preflight), and
nothing else running. ROUNDS (5) and SECONDS (5) set how long the comparisons take.
"""

import argparse
import collections
import contextlib
import heapq
import http.client
import itertools
import json
import math
import multiprocessing
import os
import re
import resource
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BINARY = os.path.join(ROOT, "target/release/kvcache")
LOAD = os.path.join(ROOT, "scripts/load")
PORT, ADMIN_PORT, REDIS_PORT, FLOOR_PORT = 17171, 17172, 17179, 17181
URL = f"http://127.0.0.1:{PORT}"
KEYS = int(os.environ.get("KEYS", "5000"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = int(os.environ.get("SECONDS", "5"))
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

Run = collections.namedtuple("Run", "answers seconds cpu_seconds")


def table(*rows):
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows)]
    for row in rows:
        print("  ".join(str(cell).rjust(width) for cell, width in zip(row, widths)))


def bound(what, value, most=None, least=None):
    """Prints whether a promise is kept; returns it."""
    kept = (most is None or value <= most) and (least is None or value >= least)
    limit = f"at most {most}" if most is not None else f"at least {least}"
    print(f"{'ok' if kept else 'MISSED'}: {what}: {value:.3f} ({limit})")
    return kept


# Processes


def cpu_seconds(pid):
    """User and system time of all threads."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def running_seconds(pid):
    """Time on a CPU of all threads, to the nanosecond; of those that live."""
    seconds = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as stat:
            seconds += int(stat.read().split()[0]) / 1e9
    return seconds


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextlib.contextmanager
def process(command, ready):
    """A process that runs until the block ends; `ready` is called until it returns true."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not ready():
            if child.poll() is not None:
                sys.exit(f"{command[0]} ended with {child.returncode} before it was ready")
            if time.monotonic() > deadline:
                sys.exit(f"{' '.join(command)} is not ready after 10 s")
            time.sleep(0.02)
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def on_core(core):
    return [] if core is None else ["taskset", "-c", str(core)]


def command_line(*flags, port=PORT, admin=ADMIN_PORT, budget="256MiB"):
    return [
        BINARY,
        f"--listen=127.0.0.1:{port}",
        f"--admin-listen=127.0.0.1:{admin}",
        f"--memory={budget}",
        *flags,
    ]


def kvcache(*flags, core=None, port=PORT, **options):
    command = on_core(core) + command_line(*flags, port=port, **options)
    return process(command, lambda: healthy(port))


def listens(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def healthy(port):
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
        connection.close()
        return status == 200
    return False


def redis(core=None):
    command = on_core(core) + ["redis-server", "--port", str(REDIS_PORT), "--bind", "127.0.0.1"]
    command += ["--save", "", "--appendonly", "no", "--daemonize", "no"]

    def listening():
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", REDIS_PORT), 1).close()
            return True
        return False

    return process(command, listening)


# Load


def put(connection, key, value):
    body = json.dumps({"key": key, "value": value})
    connection.request("POST", "/put", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        sys.exit(f"put of {key}: {answer.status} {text.decode(errors='replace')}")


def fill(url=URL):
    """Puts every key once, with the value that scripts/load/common.lua gives it."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=10)
    for n in range(KEYS):
        put(connection, f"key-{n}", f"value of key-{n} ".ljust(128, "v"))
    connection.close()


def fill_redis():
    """The same for redis."""
    with socket.create_connection(("127.0.0.1", REDIS_PORT), 10) as connection:
        for n in range(KEYS):
            connection.sendall(f"SET key-{n} {'v' * 128}\r\n".encode())
            if connection.recv(64) != b"+OK\r\n":
                sys.exit(f"redis does not take key-{n}")


def wrk(pid, script, connections, core=None, threads=1, url=URL):
    """Loads the server and returns what it answered and what that cost it."""
    command = on_core(core) + ["wrk", "-t", str(threads), "-c", str(connections)]
    command += ["-d", f"{SECONDS}s", "-s", os.path.join(LOAD, script), url]
    before = cpu_seconds(pid)
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    spent = cpu_seconds(pid) - before
    found = re.search(r"(\d+) requests in ([\d.]+)s", out)
    if not found or "errors: 0 " not in out:
        sys.exit(out)
    return Run(int(found[1]), float(found[2]), spent)


def redis_benchmark(pid, requests, *flags, core=None):
    command = on_core(core) + ["redis-benchmark", "-p", str(REDIS_PORT), "-d", "128", "-r"]
    command += [str(KEYS), "-c", "32", "-n", str(requests), "-q", *flags]
    before, begun = cpu_seconds(pid), time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return Run(requests, time.monotonic() - begun, cpu_seconds(pid) - before)


def stats(port=ADMIN_PORT):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/stats")
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def open_connections():
    """Of each shard."""
    return [shard["connections"]["open"] for shard in stats()["shards"]]


def compare(names, left, right):
    """Runs both in turn and prints medians; returns the ratios of CPU per request and of rate."""
    cpu, rate = ([], []), ([], [])
    rows = [("round", "of", "requests/s", "cpu us/request")]
    for number in range(ROUNDS):
        for side, run in enumerate((left, right)):
            measured = run()
            rate[side].append(measured.answers / measured.seconds)
            cpu[side].append(measured.cpu_seconds / measured.answers * 1e6)
            rows.append((number + 1, names[side], f"{rate[side][-1]:.0f}", f"{cpu[side][-1]:.3f}"))
    rate, cpu = [[statistics.median(side) for side in both] for both in (rate, cpu)]
    for side in (0, 1):
        rows.append(("median", names[side], f"{rate[side]:.0f}", f"{cpu[side]:.3f}"))
    table(*rows)
    return cpu[0] / cpu[1], rate[0] / rate[1]


def build_release():
    """Builds what is measured."""
    subprocess.run(["cargo", "build", "--quiet", "--release"], cwd=ROOT, check=True)


def bench_binary(name):
    """The program of benches/NAME.rs, built where need be."""
    build = ["cargo", "bench", "--bench", name, "--no-run"]
    built = subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True).stderr
    # Beside it `cargo bench` leaves a server that unwinds, which is not what users run.
    build_release()
    return os.path.join(ROOT, re.search(rf"\((target/\S*{name}\S*)\)", built)[1])


def blast(generator, pid, protocol, port, depth):
    """The same for benches/blast.rs, which keeps up with servers that wrk cannot saturate."""
    command = on_core(1) + [generator, protocol, f"127.0.0.1:{port}", "32", str(depth)]
    before = cpu_seconds(pid)
    out = subprocess.run([*command, str(SECONDS)], check=True, capture_output=True, text=True)
    spent = cpu_seconds(pid) - before
    found = re.search(r"requests (\d+) seconds ([\d.]+)", out.stderr)
    return Run(int(found[1]), float(found[2]), spent)


def load(pid, *flags, port=PORT, core=None):
    """The same for `kvcache load`, which must find no error."""
    with tempfile.TemporaryDirectory() as directory:
        command = on_core(core) + [BINARY, "load", f"--address=127.0.0.1:{port}", *flags]
        command += [f"--keys={KEYS}", f"--duration={SECONDS}s", f"--out={directory}"]
        before = cpu_seconds(pid)
        subprocess.run(command, check=True, capture_output=True)
        spent = cpu_seconds(pid) - before
        with open(os.path.join(directory, "run.json")) as run:
            results = json.load(run)["results"]
    return Run(results["requests"], results["seconds"], spent)


def by_client(run):
    """A run with the CPU time that its client took in place of the server's."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    measured = run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return measured._replace(cpu_seconds=spent)


# What can be asked for


def cpu():
    """CPU time of a GET against redis-server's, 32 connections."""
    with kvcache("--shards=1", core=0) as ours, redis(core=0) as theirs:
        fill()
        for _ in range(4):
            redis_benchmark(theirs.pid, KEYS * 10, "-t", "set", core=1)
        trial = redis_benchmark(theirs.pid, 100_000, "-t", "get", core=1)
        requests = max(100_000, int(trial.answers / trial.seconds * SECONDS))
        ratio, _ = compare(
            ("kvcache", "redis"),
            lambda: wrk(ours.pid, "get.lua", 32, core=1),
            lambda: redis_benchmark(theirs.pid, requests, "-t", "get", core=1),
        )
    return bound("CPU per GET, kvcache / redis", ratio, most=1.0)


def pipeline():
    """Rate of pipelined GETs against redis-server's, 16 deep, under the same generator."""
    generator = bench_binary("blast")
    with kvcache("--shards=1", core=0) as ours, redis(core=0) as theirs:
        fill()
        fill_redis()
        cpu_ratio, ratio = compare(
            ("kvcache", "redis"),
            lambda: blast(generator, ours.pid, "http", PORT, 16),
            lambda: blast(generator, theirs.pid, "redis", REDIS_PORT, 16),
        )
    print(f"CPU per GET, kvcache / redis: {cpu_ratio:.3f}")
    return bound("pipelined requests/s, kvcache / redis", ratio, least=1.0)


def generator():
    """Answers per CPU second of `kvcache load`, which checks each, against wrk's; 32 connections."""
    kept = []
    with kvcache("--shards=1", core=0) as ours:
        fill()
        load(ours.pid, "--mix=get=1", "--warmup=0s", core=1)
        for script, depth in (("get.lua", 1), ("pipeline.lua", 16)):
            flags = ["--mix=get=1", "--fill=off", "--warmup=0s", f"--depth={depth}"]
            ratio, _ = compare(
                ("kvcache load", "wrk"),
                lambda: by_client(lambda: load(ours.pid, *flags, core=1)),
                lambda: by_client(lambda: wrk(ours.pid, script, 32, core=1)),
            )
            what = f"answers per CPU second, {depth} in flight, kvcache load / wrk"
            kept.append(bound(what, 1 / ratio, least=0.9))
    return all(kept)


def kv():
    """CPU time of what `/kv` does against `/get` and `/put`; 32 connections. The bound leaves 0.03 to noise."""
    kept = []
    with kvcache("--shards=1", core=0) as ours:
        load(ours.pid, "--mix=get=1", "--warmup=0s", core=1)
        for mix, depth in (("get=1", 1), ("put=1", 1), ("get=1", 16), ("put=1", 16)):
            flags = [f"--mix={mix}", "--fill=off", "--warmup=0s", f"--depth={depth}"]
            names = (f"/kv, {mix}, {depth} in flight", "its twin")
            rest = lambda: load(ours.pid, "--protocol=rest", *flags, core=1)
            json = lambda: load(ours.pid, *flags, core=1)
            ratio, _ = compare(names, rest, json)
            # What is pipelined is told only: the target is of requests that come alone.
            if depth == 1:
                kept.append(bound(f"CPU per request, {names[0]} / its twin", ratio, most=1.03))
            else:
                print(f"CPU per request, {names[0]} / its twin: {ratio:.3f}")
    return all(kept)


def shards():
    """CPU time of a GET on two shards against one, 64 connections."""
    two_ports = {"port": PORT + 100, "admin": ADMIN_PORT + 100}
    two_url = f"http://127.0.0.1:{two_ports['port']}"
    with kvcache("--shards=1") as one, kvcache("--shards=2", **two_ports) as two:
        fill()
        fill(two_url)
        ratio, _ = compare(
            ("two shards", "one shard"),
            lambda: wrk(two.pid, "get.lua", 64, threads=2, url=two_url),
            lambda: wrk(one.pid, "get.lua", 64, threads=2),
        )
    return bound("CPU per GET, two shards / one", ratio, most=1.2)


REQUEST = b"GET /get?key=key-1 HTTP/1.1\r\nHost: bench\r\n\r\n"


class Client:
    """One keep-alive connection that asks one thing at a time."""

    def __init__(self, source=None, request=REQUEST):
        self.request = request
        source = source and (source, 0)
        self.socket = socket.create_connection(("127.0.0.1", PORT), 5, source)
        self.file = self.socket.makefile("rb")

    def ask(self, sent=lambda: None):
        """Whether the answer was complete, and whether the server keeps the connection."""
        self.socket.sendall(self.request)
        sent()
        length, keep = None, True
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.lower().partition(b":")
            if name == b"content-length":
                length = int(value)
            if name == b"connection" and b"close" in value:
                keep = False
        complete = length is not None and len(self.file.read(length)) == length
        return complete, keep and complete

    def close(self):
        self.file.close()
        self.socket.close()


def exchange(connection, request):
    """One request and its answer on a connection that waits for each; returns the body."""
    connection.sendall(request)
    received = b""
    while True:
        received += connection.recv(1 << 16)
        head, end, body = received.partition(b"\r\n\r\n")
        if not end:
            continue
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])
        if len(body) == length:
            if not head.startswith(b"HTTP/1.1 200 "):
                sys.exit(head.decode())
            return body


def batch():
    """CPU time of a /mget of 100 keys against 100 single GETs on one connection."""
    count, repeats = 100, 200
    gets, mgets = [], []
    for repeat in range(repeats):
        keys = [f"key-{(repeat * count + n) % KEYS}" for n in range(count)]
        gets += [f"GET /get?key={key} HTTP/1.1\r\nHost: bench\r\n\r\n".encode() for key in keys]
        body = json.dumps({"keys": keys})
        head = f"POST /mget HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n"
        mgets.append((head + body).encode())
    with kvcache("--shards=1", core=0) as server:
        fill()
        with socket.create_connection(("127.0.0.1", PORT), 5) as connection:

            def run(requests, found):
                before, begun = running_seconds(server.pid), time.monotonic()
                for request in requests:
                    if found not in exchange(connection, request):
                        sys.exit("a value is missing")
                cpu = running_seconds(server.pid) - before
                return Run(count * repeats, time.monotonic() - begun, cpu)

            ratio, _ = compare(
                ("/mget of 100", "single GETs"),
                lambda: run(mgets, b'"value of key-'),
                lambda: run(gets, b'"value of key-'),
            )
    return bound("CPU per key, /mget / GET", ratio, most=0.1)


def idle():
    """What 1,000 idle connections cost."""
    count, seconds = 1000, 10
    with kvcache() as server:
        fill()
        for _ in range(100):
            client = Client()
            client.ask()
            client.close()
        time.sleep(1)
        before = resident_bytes(server.pid)
        clients = [Client() for _ in range(count)]
        for client in clients:
            client.ask()
        time.sleep(1)
        grown = resident_bytes(server.pid) - before
        spent = running_seconds(server.pid)
        time.sleep(seconds)
        spent = running_seconds(server.pid) - spent
        for client in clients:
            client.close()
    table(
        ("connections", "cpu ms", "in s", "bytes each"),
        (count, f"{spent * 1000:.1f}", seconds, grown // count),
    )
    kept = bound("CPU of 1,000 idle connections, %", spent / seconds * 100, most=0.1)
    return bound("resident bytes per idle connection", grown / count, most=4096) and kept


def balance():
    """How few connections are shared out."""
    rows, kept = [("connections", "per shard")], True
    with kvcache("--shards=2"):
        for count in range(2, 17):
            clients = [Client() for _ in range(count)]
            for client in clients:
                client.ask()
            spread = open_connections()
            fair = max(spread) <= count / len(spread) + 1
            kept = kept and fair and sum(spread) == count
            rows.append((count, " ".join(map(str, spread))))
            for client in clients:
                client.close()
            deadline = time.monotonic() + 5
            while any(open_connections()):
                if time.monotonic() > deadline:
                    sys.exit("closed connections are still counted after 5 s")
    table(*rows)
    print(f"{'ok' if kept else 'MISSED'}: no core holds more than one above its share")
    return kept


def churn():
    """Descriptors and memory after 2,000 connections a second for 20 s."""
    rate, seconds = 2000, 20

    def cycles(amount):
        begun = time.monotonic()
        for number in range(amount):
            # Many source addresses, because a closed port rests for a minute.
            client = Client(source=f"127.0.0.{2 + number % 200}")
            if number % 2:
                client.ask()
            client.close()
            ahead = begun + number / rate - time.monotonic()
            if ahead > 0.002:
                time.sleep(ahead)
        return amount / (time.monotonic() - begun)

    with kvcache() as server:
        cycles(rate * 2)
        time.sleep(1)
        before = descriptors(server.pid), resident_bytes(server.pid)
        reached = cycles(rate * seconds)
        time.sleep(1)
        after = descriptors(server.pid), resident_bytes(server.pid)
    table(
        ("", "descriptors", "resident KiB"),
        ("before", before[0], before[1] // 1024),
        ("after", after[0], after[1] // 1024),
    )
    kept = [
        bound("connections per second", reached, least=rate * 0.95),
        bound("descriptors gained", after[0] - before[0], most=0),
        bound("resident KiB gained", (after[1] - before[1]) / 1024, most=256),
    ]
    return all(kept)


def end_under_load():
    """The exit code and the seconds to it of a server under load that is told to end, and how many requests were
    asked, answered, lost though they were sent before the signal, and lost of those sent after it."""
    asked, answered, lost_early, lost_late = [], [], [], []
    told = threading.Event()

    def client():
        connection = Client()
        keep = True
        while keep:
            early = []
            try:
                # `told` is read after the send: what was sent before the signal must be answered.
                complete, keep = connection.ask(lambda: early.append(not told.is_set()))
            except OSError:
                complete, keep = False, False
            if early:
                asked.append(1)
                (answered if complete else lost_early if early[0] else lost_late).append(1)
        connection.close()

    with kvcache() as server:
        fill()
        command = ["wrk", "-t1", "-c32", "-d60s", "-s", os.path.join(LOAD, "mixed.lua"), URL]
        load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        clients = [threading.Thread(target=client) for _ in range(16)]
        for thread in clients:
            thread.start()
        time.sleep(1)
        told.set()
        begun = time.monotonic()
        server.send_signal(signal.SIGTERM)
        try:
            code = server.wait(20)
        except subprocess.TimeoutExpired:
            code = math.inf
        seconds = time.monotonic() - begun
        for thread in clients:
            thread.join(10)
        load.terminate()
        load.wait()
    return (code, seconds, *map(len, (asked, answered, lost_early, lost_late)))


def sigterm(cycles=50):
    """Whether a server under load that is told to end, 50 times, answers what it was asked."""
    columns = list(zip(*(end_under_load() for _ in range(cycles)), strict=True))
    codes, seconds, *counts = columns
    asked, answered, lost_early, lost_late = map(sum, counts)
    table(
        ("cycles", "worst exit", "worst seconds", "asked", "answered", "lost, sent before", "lost, sent after"),
        (cycles, max(map(abs, codes)), f"{max(seconds):.2f}", asked, answered, lost_early, lost_late),
    )
    kept = [
        bound("exit code", max(map(abs, codes)), most=0, least=0),
        bound("seconds to the exit", max(seconds), most=10),
        bound("requests asked in each cycle", min(counts[0]), least=100),
        bound("requests sent before the signal and not answered", lost_early, most=0),
    ]
    return all(kept)


def put_many(count, key_bytes, value_bytes, ttl=None, prefix=""):
    """Puts keys of so many bytes, pipelined, and sees that each is taken."""
    end = f',"ttl":{ttl}}}' if ttl else "}"
    body = '{"key":"%s","value":"' + "v" * value_bytes + '"' + end
    head = "POST /put HTTP/1.1\r\nHost: bench\r\nContent-Length: "
    request = f"{head}{len(body) - 2 + key_bytes}\r\n\r\n{body}"
    depth, answer = 100, None
    with socket.create_connection(("127.0.0.1", PORT), 30) as connection:
        for first in range(0, count, depth):
            keys = range(first, min(first + depth, count))
            rest = key_bytes - len(prefix)
            batch = "".join([request % (prefix + str(key).rjust(rest, "k")) for key in keys])
            connection.sendall(batch.encode())
            if answer is None:
                answer = connection.recv(65536, socket.MSG_PEEK).split(b"}")[0] + b"}"
            left = len(answer) * len(keys)
            while left > 0:
                chunk = connection.recv(min(left, 1 << 18))
                if not chunk or b"ERROR" in chunk:
                    sys.exit(f"a put was refused: {chunk[:200]}")
                left -= len(chunk)


def memory():
    """Resident memory of entries, put over HTTP."""
    # Entries, bytes of key and value, time to live, memory, most resident bytes for each entry.
    cases = [
        (1_000_000, 16, 128, None, "1000MiB", 175),
        (1_000_000, 16, 128, 3600, "1000MiB", 191),
        (10_000_000, 16, 128, None, "1750MiB", None),
        (2_000_000, 256, 256, None, "1750MiB", 1.2e9 / 2_000_000),
    ]
    rows = [("entries", "key", "value", "ttl", "--memory", "resident MB", "bytes each", "evicted")]
    kept = []
    for count, key_bytes, value_bytes, ttl, budget, most in cases:
        with kvcache(budget=budget) as ours:
            before = resident_bytes(ours.pid)
            put_many(count, key_bytes, value_bytes, ttl)
            grown = resident_bytes(ours.pid) - before
            store = stats()["totals"]["store"]
        each, evicted = grown / count, store["evictions"]
        size = f"{grown / 1e6:.0f}"
        row = (count, key_bytes, value_bytes, ttl or "", budget, size, f"{each:.1f}", evicted)
        rows.append(row)
        kept.append(store["entries"] == count and evicted == 0 and (most is None or each <= most))
    table(*rows)
    held = all(kept)
    print("ok: all entries held, within their bytes" if held else "MISSED: see the table")
    return held


def paced(count, done, requests=(REQUEST,), pause=0.02):
    """Asks on `count` connections at once, each after a pause, until `done()`.

    The answers to all `requests` are equally long. Returns the seconds that each answer took, and
    how many were missing or wrong.
    """
    requests = itertools.cycle(requests)
    poll, clients = select.epoll(), {}
    for _ in range(count):
        client = Client()
        client.ask()
        clients[client.socket.fileno()] = client.socket
        poll.register(client.socket, select.EPOLLIN)
    any_socket = next(iter(clients.values()))
    any_socket.sendall(next(requests))
    time.sleep(0.1)
    answer_bytes = len(any_socket.recv(65536))
    start = time.monotonic()
    due = [(start + index * pause / count, fd) for index, fd in enumerate(clients)]
    asked, took, errors = {}, [], 0
    while due or asked:
        now = time.monotonic()
        while due and due[0][0] <= now:
            _, fd = heapq.heappop(due)
            clients[fd].sendall(next(requests))
            asked[fd] = time.monotonic()
        for fd, _ in poll.poll(max(0, due[0][0] - now) if due else 1):
            answer = clients[fd].recv(65536)
            now = time.monotonic()
            took.append(now - asked.pop(fd))
            good = len(answer) == answer_bytes and answer.startswith(b"HTTP/1.1 200")
            errors += not good
            if good and not done():
                heapq.heappush(due, (now + pause, fd))
    for client in clients.values():
        client.close()
    return took, errors


def compare_times(title, names, took, errors):
    """Prints what `paced` has found; returns the 99th percentiles, but the first, to that."""
    p99 = [statistics.quantiles(side, n=100)[98] for side in took]
    rows = [(title, "answers", "errors", "p50 us", "p99 us")]
    for side, name in enumerate(names):
        p50 = statistics.median(took[side])
        times = f"{p50 * 1e6:.0f}", f"{p99[side] * 1e6:.0f}"
        rows.append((name, len(took[side]), errors[side], *times))
    table(*rows)
    return [value / p99[0] for value in p99[1:]]


SLOW = 10_000
Drip = collections.namedtuple("Drip", "most_open gone_seconds before_bytes most_bytes")


def drip(port, evenly, is_over):
    """Sends a byte of a head each second on each of `SLOW` connections, until `is_over(since)`.

    `evenly`: each at its own time of the second, opened one after the other over five; otherwise all
    opened in a row, and all bytes of a second in a row. `since` is how many seconds ago the last of
    them has sent its first byte, or `None`.
    """
    # They would have hosts of their own.
    os.nice(10)
    clients, sent = [], 0
    begun, opened, all_sent = time.monotonic(), math.inf, None
    while not is_over(all_sent and time.monotonic() - all_sent):
        due = (time.monotonic() - begun) / 5 * SLOW if evenly else SLOW
        while len(clients) < min(due, SLOW):
            clients.append(socket.create_connection(("127.0.0.1", port), 30))
            opened = time.monotonic()
        if len(clients) == SLOW:
            seconds = time.monotonic() - opened
            due = seconds * SLOW if evenly else (int(seconds) + 1) * SLOW
            while sent < int(due):
                byte, client = divmod(sent, SLOW)
                with contextlib.suppress(OSError):
                    clients[client].send(REQUEST[byte : byte + 1])
                sent += 1
            if sent >= SLOW and all_sent is None:
                all_sent = time.monotonic()
        time.sleep(0.001)


def drip_ours(server, others, evenly, report):
    """Until we have closed them all, whatever else we say."""
    before, next_look = resident_bytes(server), 0
    most_open = most_bytes = 0

    def is_over(since):
        nonlocal next_look, most_open, most_bytes
        if time.monotonic() < next_look:
            return False
        opened = sum(open_connections())
        next_look = time.monotonic() + 0.05
        most_open = max(most_open, opened)
        most_bytes = max(most_bytes, resident_bytes(server))
        if not since or (opened > others and since < 20):
            return False
        gone = since if opened <= others else math.inf
        report.send(Drip(most_open - others, gone, before, most_bytes))
        return True

    drip(PORT, evenly, is_over)


def drip_floor(seconds, report):
    """In bursts to benches/floor.rs, which closes none of them, for so many seconds."""
    end = time.monotonic() + seconds
    drip(FLOOR_PORT, False, lambda since: time.monotonic() >= end)
    report.send(None)


def slow():
    """What 10,000 connections that send a byte a second do to 50 that work.

    The bytes come evenly, as they do from clients that know nothing of each other. They come once
    more all at once, beside as many that are sent to benches/floor.rs, which does the least that a
    server can: what opens and sends in a row takes CPU time from the 50 whatever it talks to.
    """
    others, read_timeout = 50, 2
    names = (
        "alone",
        "beside bursts to the floor",
        "beside slow clients",
        "beside slow clients in bursts",
    )
    took, errors, drips = [[] for _ in names], [0] * len(names), []

    def beside(side, target, *arguments):
        """Answer times while that goes on; returns its report and for how long it did."""
        ours, theirs = multiprocessing.Pipe()
        child = multiprocessing.Process(target=target, args=(*arguments, theirs))
        begun = time.monotonic()
        child.start()
        keep(side, ours.poll)
        report = ours.recv()
        child.join()
        return report, time.monotonic() - begun

    def keep(side, done):
        times, wrong = paced(others, done)
        took[side].extend(times)
        errors[side] += wrong

    limit = f"--connections-max={SLOW + 2 * others}"
    floor = process([bench_binary("floor"), str(FLOOR_PORT)], lambda: listens(FLOOR_PORT))
    with kvcache(limit) as server, floor:
        fill()
        for _ in range(ROUNDS):
            report, seconds = beside(2, drip_ours, server.pid, others, True)
            drips.append(("evenly", report))
            end = time.monotonic() + seconds
            keep(0, lambda: time.monotonic() > end)
            report, seconds = beside(3, drip_ours, server.pid, others, False)
            drips.append(("bursts", report))
            beside(1, drip_floor, seconds)
    first = drips[0][1].before_bytes
    rows = [("bytes come", "slow at once", "gone after s", "resident KiB", "grown to", "bytes each")]
    for manner, one in drips:
        kib = one.before_bytes // 1024, one.most_bytes // 1024
        each = f"{(one.most_bytes - first) / SLOW:.0f}"
        rows.append((manner, one.most_open, f"{one.gone_seconds:.2f}", *kib, each))
    table(*rows)
    floor_ratio, ratio, bursts_ratio = compare_times("50 good clients", names, took, errors)
    drips = [one for _, one in drips]
    gone, least_open = max(one.gone_seconds for one in drips), min(one.most_open for one in drips)
    each = (max(one.most_bytes for one in drips) - first) / SLOW
    kept = [
        bound("errors of good clients", sum(errors), most=0),
        bound("p99 beside slow clients / alone", ratio, most=2),
        bound("p99 beside slow clients in bursts / alone", bursts_ratio, most=2),
        bound("p99 beside bursts / beside those to the floor", bursts_ratio / floor_ratio, most=2),
        bound("slow at once", least_open, least=SLOW),
        bound("seconds from a first byte to the last one's end", gone, most=read_timeout + 1),
        bound("resident bytes per slow connection", each, most=4096),
    ]
    return all(kept)


def never_reads():
    """A client that pipelines 100,000 GETs of 64 KiB and never reads an answer."""
    write_timeout, value_bytes, gets = 2, 64 << 10, 100_000
    rows, kept = [("key", "sent KiB", "closed after s", "resident KiB", "grown by KiB")], []
    with kvcache("--shards=2", "--value-bytes-max=64KiB") as server:
        # Each shard owns one of the keys.
        for key in ("a", "b"):
            request = f"GET /get?key={key} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
            put(connection, key, "v" * value_bytes)
            connection.close()
            for _ in range(100):
                client = Client(request=request)
                client.ask()
                client.close()
            time.sleep(1)
            before = most = resident_bytes(server.pid)
            begun, end, sent = time.monotonic(), math.inf, 0
            with socket.create_connection(("127.0.0.1", PORT), 10) as connection:
                connection.setblocking(False)
                batch = memoryview(request * gets)
                while time.monotonic() < begun + 10 * write_timeout:
                    try:
                        sent += connection.send(batch[sent:])
                    except BlockingIOError:
                        time.sleep(0.01)
                    except OSError:
                        end = time.monotonic() - begun
                        break
                    most = max(most, resident_bytes(server.pid))
            grown = (most - before) / 1024
            rows.append((key, sent // 1024, f"{end:.2f}", before // 1024, f"{grown:.0f}"))
            kept.append(bound("seconds to the end", end, most=write_timeout + 1))
            kept.append(bound("seconds to the end", end, least=write_timeout))
            kept.append(bound("resident KiB gained", grown, most=256))
    table(*rows)
    return all(kept)


def preflight():
    """What is said on a host or a command line that cannot work."""
    unprivileged = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    kept = True

    def attempt(what, command, **options):
        nonlocal kept
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=5, **options)
            code, text = ended.returncode, ended.stderr
        except subprocess.TimeoutExpired:
            code, text = "running", ""
        good = code == 78 and text.count("\n") == 1
        kept = kept and good
        print(f"{'ok' if good else 'MISSED'}: {what}: exit {code}")
        print("    " + text.rstrip("\n").replace("\n", "\n    "))

    def no_locked_memory():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))

    with tempfile.TemporaryDirectory() as directory:
        # Another user may not reach the build directory.
        os.chmod(directory, 0o755)
        binary = shutil.copy(BINARY, directory)
        flags = command_line()[1:]
        attempt(
            "ulimit -l 0, not root",
            [binary, *flags],
            preexec_fn=no_locked_memory,
            cwd=directory,
            **unprivileged,
        )
    for error in ("EPERM", "ENOSYS"):
        inject = ["strace", "-f", "-o", os.devnull, "-e", "trace=io_uring_setup"]
        inject += ["-e", f"inject=io_uring_setup:error={error}"]
        attempt(f"io_uring_setup: {error}", inject + command_line())
    with socket.create_server(("127.0.0.1", PORT)):
        attempt("port in use", command_line())
    attempt("misspelt flag", [BINARY, "--shard=2"])
    attempt("value out of bounds", [BINARY, "--shards=65"])
    return kept


def slow_readers():
    """What 200 clients cost that do not read the value of 1 MiB that each has asked for."""
    count, keys = 200, ("slow-0", "slow-1", "slow-2", "slow-3")
    values = {key: key[-1] * (1 << 20) for key in keys}
    flags = ("--shards=2", "--value-bytes-max=1MiB", "--write-timeout=60s")

    def ask(key):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(("127.0.0.1", PORT))
        client.sendall(f"GET /get?key={key} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        return client

    def is_whole(client, key):
        with client, client.makefile("rb") as file:
            while file.readline() not in (b"\r\n", b""):
                pass
            body = f'{{"status":"OK","key":"{key}","value":"{values[key]}"}}'.encode()
            return file.read(len(body)) == body

    with kvcache(*flags) as server:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
        for key, value in values.items():
            connection.request("POST", "/put", json.dumps({"key": key, "value": value}))
            if connection.getresponse().read().find(b"OK") < 0:
                sys.exit(f"{key} is not taken")
        connection.close()
        whole = all(is_whole(ask(key), key) for key in keys)
        before = resident_bytes(server.pid)
        clients = [(ask(keys[number % len(keys)]), keys[number % len(keys)]) for number in range(count)]
        time.sleep(1)
        grown = resident_bytes(server.pid) - before
        lent = stats()["totals"]["store"]["lent"]
        whole = whole and all(is_whole(client, key) for client, key in clients)
    table(
        ("slow readers", "values on loan", "resident KiB before", "gained", "each"),
        (count, lent, before // 1024, grown // 1024, f"{grown / count / 1024:.1f}"),
    )
    kept = bound("resident KiB per slow reader", grown / count / 1024, most=64)
    print(f"{'ok' if whole else 'MISSED'}: every value came whole in the end")
    return kept and whole


COMMANDS = [
    cpu,
    pipeline,
    generator,
    kv,
    shards,
    batch,
    idle,
    balance,
    churn,
    sigterm,
    preflight,
    memory,
    slow,
    slow_readers,
    never_reads,
]


def name(command):
    return command.__name__.replace("_", "-")


def main(description, commands):
    """Runs what the command line names."""
    parser = argparse.ArgumentParser(description=description)
    choices = parser.add_subparsers(dest="command", required=True)
    for command in commands:
        choices.add_parser(name(command), help=command.__doc__.replace("%", "%%"))
    choices.add_parser("all", help="All of these, one after the other.")
    choices.add_parser("fill", help=fill.__doc__).add_argument("url", nargs="?", default=URL)
    arguments = parser.parse_args()
    if arguments.command == "fill":
        fill(arguments.url)
        return
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    build_release()
    chosen = [c for c in commands if arguments.command in (name(c), "all")]
    kept = []
    for command in chosen:
        print(f"== {name(command)}: {command.__doc__}", flush=True)
        kept.append(command())
    sys.exit(0 if all(kept) else 1)


if __name__ == "__main__":
    main(__doc__, COMMANDS)
