#!/usr/bin/env python3
"""Runs target/release/kvcache for long, and reads what it put.

`t3-small` needs root and the memory controller of cgroup v1; where they are missing, that is said,
and it is skipped. `near-peak` needs two cores and nothing else running. MINUTES (30) sets for how
long.
"""

import base64
import contextlib
import json
import multiprocessing
import os
import random
import re
import select
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
import zlib

import bench
import compare
from bench import ADMIN_PORT, BINARY, PORT, bound, table

MINUTES = int(os.environ.get("MINUTES", "30"))
LIMIT = 2 << 30
CGROUPS = "/sys/fs/cgroup/memory"

# What each load counts; the places of its row in the shared table.
COUNTS = ("reads", "hits", "failed reads", "writes", "refused writes", "written bytes", "cut off")

# What values are filled with: text, so that they go as JSON too.
BLOB = base64.b64encode(random.Random(7).randbytes(2 << 20)).decode()


def value_of(key, sequence, length):
    """So many bytes that tell their key, how often it was put, and a checksum of all that."""
    start = f"{key} {sequence} "
    at = sequence * 7919 % (1 << 20)
    text = start + BLOB[at : at + length - len(start) - 8]
    return f"{text}{zlib.crc32(text.encode()):08x}"


def judge(key, sequence, value):
    """What is wrong with a value that was read; `sequence` is that of the last put, if any."""
    text, checksum = value[:-8], value[-8:]
    if f"{zlib.crc32(text.encode()):08x}" != checksum:
        return "torn"
    found, number, _ = text.split(" ", 2)
    if found != key:
        return f"the value of {found}"
    return None if sequence == int(number) else f"put number {number} instead of {sequence}"


class Server:
    """One connection; requests go many at a time."""

    def __init__(self, counts):
        self.counts = counts
        self.socket = None

    def ask(self, requests):
        """The status and body of each answer; 0 where the connection ended before it."""
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", PORT), 30)
            self.arrived = bytearray()
        answers = []
        try:
            self.socket.sendall(b"".join(requests))
            while len(answers) < len(requests):
                status, closes, body = self.answer()
                answers.append((status, body))
                if closes:
                    break
            else:
                return answers
        except OSError as error:
            say(f"a connection was lost: {error}")
        self.socket.close()
        self.socket = None
        self.counts["cut off"] += 1
        return answers + [(0, "")] * (len(requests) - len(answers))

    def answer(self):
        while (end := self.arrived.find(b"\r\n\r\n")) < 0:
            self.receive()
        head = bytes(self.arrived[:end])
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        whole = end + 4 + int(length[1] if length else 0)
        while len(self.arrived) < whole:
            self.receive()
        body = self.arrived[end + 4 : whole].decode()
        del self.arrived[:whole]
        return int(head[9:12]), b"\r\nConnection: close" in head, body

    def receive(self):
        fresh = self.socket.recv(1 << 18)
        if not fresh:
            raise ConnectionResetError("the server closed it")
        self.arrived += fresh


def say(text):
    print(text, file=sys.stderr, flush=True)


def request(method, path, body=""):
    head = f"{method} {path} HTTP/1.1\r\nHost: soak\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


class Keys:
    """Keys that one load alone writes, so that it knows what a read may find."""

    def __init__(self, name, count, lengths, counts):
        self.rng, self.counts, self.lengths = random.Random(name), counts, lengths
        self.names = [f"{name}-{number}" for number in range(count)]
        self.sequence = 0
        # Of each key the number of its last put, and when that is over.
        self.held = {}

    def pick(self, count):
        """Different keys, some far more often than others."""
        spread = (self.rng.random() * self.rng.random() for _ in range(count))
        return list({self.names[int(part * len(self.names))] for part in spread})

    def new_value(self, key):
        self.sequence += 1
        return self.sequence, value_of(key, self.sequence, self.rng.choice(self.lengths))

    def note_put(self, key, sequence, value, done, ttl=None):
        if done:
            self.held[key] = sequence, ttl and time.monotonic() + ttl
            self.counts["writes"] += 1
            self.counts["written bytes"] += len(value)
        else:
            # It may have been done nevertheless, so the key is not used again.
            self.names[self.names.index(key)] = key + "'"
            self.counts["refused writes"] += 1

    def note_read(self, key, status, value, asked):
        """Absent is right at all times, as the memory is short. What is there must be right."""
        self.counts["reads"] += 1
        sequence, over = self.held.get(key, (None, None))
        wrong = None
        if status == 200 and value is not None:
            self.counts["hits"] += 1
            wrong = judge(key, sequence, value)
            # A server looks at its clock once a turn.
            if not wrong and over and asked > over + 1:
                wrong = "its time was over"
        elif status not in (200, 404):
            wrong = f"{status} {value}" if status else "no answer"
        if wrong:
            self.counts["failed reads"] += 1
            say(f"a read of {key} failed: {wrong}")


# The loads: each is a process that does one round after another, so many seconds apart.


def small(name, counts):
    """Short values as JSON, alone and in batches, with times to live and tags."""
    server, lengths = Server(counts), range(60, 257)
    plain, timed, tagged = (
        Keys(f"{name}-{kind}", count, lengths, counts)
        for kind, count in (("p", 400_000), ("t", 50_000), ("g", 20_000))
    )
    tags, rounds = {}, 0

    def put(keys, **more):
        picked = [(key, *keys.new_value(key)) for key in keys.pick(30)]
        bodies = [json.dumps({"key": key, "value": value, **more}) for key, _, value in picked]
        answers = server.ask([request("POST", "/put", body) for body in bodies])
        for (key, sequence, value), (status, _) in zip(picked, answers):
            keys.note_put(key, sequence, value, status == 200, more.get("ttl"))
        return picked

    def put_batch(keys):
        picked = [(key, *keys.new_value(key)) for key in keys.pick(100)]
        body = json.dumps({"entries": [{"key": key, "value": value} for key, _, value in picked]})
        done = [status for status, _ in server.ask([request("POST", "/mput", body)])] == [200]
        for key, sequence, value in picked:
            keys.note_put(key, sequence, value, done)

    def get(keys, count):
        picked, asked = keys.pick(count), time.monotonic()
        answers = server.ask([request("GET", f"/get?key={key}") for key in picked])
        for key, (status, body) in zip(picked, answers):
            value = json.loads(body)["value"] if status == 200 else body
            keys.note_read(key, status, value, asked)

    def get_batch(keys):
        picked, asked = keys.pick(100), time.monotonic()
        for status, body in server.ask([request("POST", "/mget", json.dumps({"keys": picked}))]):
            for key in picked:
                value = json.loads(body)["values"][key] if status == 200 else body
                keys.note_read(key, status, value, asked)

    def invalidate(tag):
        body = json.dumps({"tag": tag})
        if [status for status, _ in server.ask([request("POST", "/invalidate", body)])] == [200]:
            for key in [key for key, of in tags.items() if of == tag]:
                tagged.held.pop(key, None)

    def turn():
        nonlocal rounds
        rounds += 1
        put_batch(plain)
        get_batch(plain)
        put(plain)
        get(plain, 60)
        put(timed, ttl=timed.rng.choice((1, 5, 20)))
        get(timed, 30)
        tag = f"{name}-{rounds % 5}"
        for key, *_ in put(tagged, tags=[tag]):
            tags[key] = tag
        get(tagged, 30)
        if rounds % 50 == 0:
            invalidate(f"{name}-{tagged.rng.randrange(5)}")

    return turn, 0.05


def raw(name, counts, count, lengths, puts, gets, apart):
    """Values of these lengths as raw bytes."""
    server, keys = Server(counts), Keys(name, count, lengths, counts)

    def turn():
        picked = [(key, *keys.new_value(key)) for key in keys.pick(puts)]
        answers = server.ask([request("PUT", f"/kv/{key}", value) for key, _, value in picked])
        for (key, sequence, value), (status, _) in zip(picked, answers):
            keys.note_put(key, sequence, value, status in (201, 204))
        picked, asked = keys.pick(gets), time.monotonic()
        answers = server.ask([request("GET", f"/kv/{key}") for key in picked])
        for key, (status, body) in zip(picked, answers):
            keys.note_read(key, status, body, asked)

    return turn, apart


def middle(name, counts):
    """From 1 to 64 KiB."""
    return raw(name, counts, 30_000, range(1 << 10, 64 << 10), 8, 16, 0.05)


def large(name, counts):
    """Of 1 MiB."""
    return raw(name, counts, 1_500, [1 << 20], 3, 6, 0.25)


def slow(name, counts):
    """100 clients that take a byte a second of a value of 1 MiB, 50 that send one of a head, and 50
    that send 8 KiB a second of a body of 1 MiB."""
    clients = {}

    def begin(number):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", PORT))
        client.setblocking(False)
        if number % 2:
            head = f"PUT /kv/{name} HTTP/1.1\r\nHost: soak\r\nContent-Length: {1 << 20}\r\n\r\n"
            client.send(head[: len(head) if number % 4 == 1 else 20].encode())
        else:
            client.send(request("GET", f"/kv/large-{number}"))
        clients[number] = client

    def turn():
        for number in range(200):
            try:
                if number not in clients:
                    ended = begin(number)
                elif number % 2:
                    clients[number].send(b"v" * (8 << 10 if number % 4 == 1 else 1))
                    # Whatever the server says, it says at the end.
                    ended = select.select([clients[number]], [], [], 0)[0]
                else:
                    ended = not clients[number].recv(1)
            except BlockingIOError:
                ended = False
            except OSError:
                ended = True
            if ended:
                clients.pop(number).close()
                counts["cut off"] += 1

    return turn, 1


LOADS = [small, small, middle, large, slow]


class Counts:
    """A row of the shared table by name."""

    def __init__(self, cells, row):
        self.cells, self.first = cells, row * len(COUNTS)

    def __getitem__(self, name):
        return self.cells[self.first + COUNTS.index(name)]

    def __setitem__(self, name, value):
        self.cells[self.first + COUNTS.index(name)] = value


def run(load, number, cells, end):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    name = load.__name__ if load is not small else f"small{number}"
    turn, apart = load(name, Counts(cells, number))
    due = time.monotonic()
    while due < end:
        turn()
        due = max(due + apart, time.monotonic() - 1)
        time.sleep(max(0, due - time.monotonic()))


# The host, and what it sees.


@contextlib.contextmanager
def cgroup():
    """A group of processes that has as much memory as the host."""
    path = os.path.join(CGROUPS, f"kvcache-soak-{os.getpid()}")
    os.mkdir(path)
    try:
        with open(os.path.join(path, "memory.limit_in_bytes"), "w") as limit:
            limit.write(str(LIMIT))
        yield path
    finally:
        os.rmdir(path)


def told(group, file):
    with open(os.path.join(group, file)) as text:
        return text.read()


def drift(samples):
    """By which part of their mean the line through the samples rises from its start to its end."""
    slope, _ = statistics.linear_regression(range(len(samples)), samples)
    return slope * len(samples) / statistics.mean(samples)


def sums(cells):
    rows = [cells[first : first + len(COUNTS)] for first in range(0, len(cells), len(COUNTS))]
    return dict(zip(COUNTS, map(sum, zip(*rows))))


def t3_small():
    """2 GiB, defaults, mixed load with slow clients and 1 MiB values, a snapshot each minute."""
    if os.getuid() != 0 or not os.path.exists(os.path.join(CGROUPS, "memory.limit_in_bytes")):
        print("skipped: this needs root and cgroup v1")
        return True
    target = os.path.join(bench.ROOT, "target")
    with (
        tempfile.TemporaryDirectory(prefix="soak-", dir=target) as directory,
        cgroup() as group,
    ):
        command = ["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh", BINARY]
        command += [f"--listen=127.0.0.1:{PORT}", f"--admin-listen=127.0.0.1:{ADMIN_PORT}"]
        command += [f"--snapshot-path={directory}/kvcache.snapshot", "--snapshot-interval=60s"]
        with bench.process(
            [*command, "--value-bytes-max=1MiB"], lambda: bench.healthy(PORT)
        ) as server:
            return soak(server, group)


def soak(server, group):
    cells = multiprocessing.RawArray("q", len(LOADS) * len(COUNTS))
    begun = time.monotonic()
    end = begun + MINUTES * 60
    loads = [
        multiprocessing.Process(target=run, args=(load, number, cells, end), daemon=True)
        for number, load in enumerate(LOADS)
    ]
    for load in loads:
        load.start()
    resident, before = [], sums(cells)
    print(
        "minute  RSS MiB  cgroup MiB  most MiB  reads/s  hits  MB/s written  failed  snapshots (ms)"
    )
    while (now := time.monotonic()) < end and server.poll() is None:
        resident.append(bench.resident_bytes(server.pid))
        if len(resident) % 60 == 0:
            counts, snapshots = sums(cells), bench.stats()["totals"]["snapshots"]
            reads = counts["reads"] - before["reads"]
            used, most = (
                int(told(group, f"memory.{kind}usage_in_bytes")) >> 20 for kind in ("", "max_")
            )
            print(
                f"{len(resident) // 60:6}  {resident[-1] >> 20:7}  {used:10}  {most:8}"
                f"  {reads / 60:7.0f}"
                f"  {(counts['hits'] - before['hits']) / max(reads, 1):4.0%}"
                f"  {(counts['written bytes'] - before['written bytes']) / 60e6:12.1f}"
                f"  {counts['failed reads']:6}"
                f"  {snapshots['written']} and {snapshots['failed']} failed"
                f" ({snapshots['duration_ms']})",
                flush=True,
            )
            before = counts
        time.sleep(max(0, begun + len(resident) - now))
    alive = server.poll() is None
    for load in loads:
        load.join(30)
    ended = [load.exitcode for load in loads]
    totals = bench.stats()["totals"] if alive else None
    server.terminate()
    code = server.wait(60)
    counts = sums(cells)
    oom_kills = int(re.search(r"oom_kill (\d+)", told(group, "memory.oom_control"))[1])
    most = int(told(group, "memory.max_usage_in_bytes"))
    print("times that the limit was met:", told(group, "memory.failcnt").strip())
    table(COUNTS, [counts[name] for name in COUNTS])
    if not alive:
        print(f"MISSED: the server ended with {code} after {len(resident)} s")
        return False
    budget = totals["store"]["budget_bytes"]
    kept = [
        bound("exit code", code, most=0),
        bound("loads that ended otherwise than well", sum(map(bool, ended)), most=0),
        bound("kills for want of memory", oom_kills, most=0),
        bound("most memory in use / limit", most / LIMIT, most=0.9),
        bound("failed reads", counts["failed reads"], most=0),
        bound("written bytes / budget", counts["written bytes"] / budget, least=10),
        bound("snapshots", totals["snapshots"]["written"], least=max(1, MINUTES - 2)),
        bound("snapshots that failed", totals["snapshots"]["failed"], most=0),
        bound(
            "drift of RSS over the last two thirds",
            abs(drift(resident[len(resident) // 3 :])),
            most=0.01,
        ),
    ]
    return all(kept)


def near_peak():
    """One shard at 70 % of what it can do, nine reads to a write, 200,000 keys; parts of 5 minutes.

    Where there is memcached, a minute of it at 70 % of what it can do stands before each part and behind
    the last: what those minutes have not in common is the machine's doing. Either can do the median
    of 5 times 10 s.
    """
    ours = compare.Server("kvcache", bench.command_line("--shards=1"), PORT, "http")
    chosen = [ours]
    if shutil.which("memcached"):
        port = compare.MEMCACHED_PORT
        command = compare.memcached_command(1)
        chosen.append(compare.Server("memcached", command, port, "memcached"))
    resident, is_loaded, is_over = [], threading.Event(), threading.Event()

    def watch():
        while not is_over.wait(1):
            # While it rests, nothing could drift.
            if is_loaded.is_set():
                resident.append(bench.resident_bytes(ours.child.pid))

    def load(server, *flags, seconds):
        shape = ["--mix=get=90,put=10", "--value-bytes=32..256", "--connections=32", *flags]
        if server is ours:
            is_loaded.set()
        told = server.load(*shape, keys=200_000, seconds=seconds)[0]
        is_loaded.clear()
        return told

    rows = [("server", "minutes", "requests", "rate", "errors", "p50 us", "p99 us", "p99.9 us", "RSS MiB")]
    found = {server.name: [] for server in chosen}

    def part(server, minute, minutes):
        rate = f"--rate={int(0.7 * peaks[server.name])}"
        one = load(server, "--fill=off", rate, seconds=60 * minutes)
        latency, errors = one["latency_us"], sum(one["errors"].values())
        times = [latency[key] for key in ("p50", "p99", "p99.9")]
        found[server.name].append((errors, times[-1]))
        mib = f"{resident[-1] / 2**20:.2f}" if server is ours else ""
        rows.append((server.name, f"{minute} to {minute + minutes}", one["requests"], f"{one['rate']:.0f}"))
        rows[-1] += (errors, *times, mib)
        print(*rows[-1], flush=True)
        return minute + minutes

    with compare.running(chosen):
        watcher = threading.Thread(target=watch)
        told = []
        for _ in range(5):
            told.append({server.name: load(server, seconds=10)["rate"] for server in chosen})
            if not watcher.is_alive():
                watcher.start()
        peaks = {server.name: statistics.median(each[server.name] for each in told) for server in chosen}
        minute = 0
        for _ in range(max(2, MINUTES // 5)):
            for server in chosen[1:]:
                minute = part(server, minute, 1)
            minute = part(ours, minute, 5)
        for server in chosen[1:]:
            part(server, minute, 1)
        is_over.set()
        watcher.join()
    for name in peaks:
        each = ", ".join(f"{rates[name]:.0f}" for rates in told)
        print(f"{name}: {peaks[name]:.0f} requests/s, the median of {each}")
    table(*rows)
    for server in chosen[1:]:
        worst = [p999 for _, p999 in found[server.name]]
        print(f"p99.9 of {server.name}, most / least: {max(worst) / min(worst):.2f}")
    errors, worst = zip(*found["kvcache"])
    kept = [
        bound("errors", sum(errors), most=0),
        bound("drift of RSS", abs(drift(resident)), most=0.01),
        bound("p99.9, last 5 minutes / first", worst[-1] / worst[0], most=1.2),
    ]
    return all(kept)


if __name__ == "__main__":
    bench.main(__doc__, [t3_small, near_peak])
