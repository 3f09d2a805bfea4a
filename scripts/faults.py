#!/usr/bin/env python3
"""Does to target/release/kvcache what a host or a network can do, and fails when it shows.

`network` needs root, ip, tc and nft; `clock` needs libfaketime. What is missing is said, and
skipped.
"""

import contextlib
import glob
import http.client
import json
import multiprocessing
import os
import random
import resource
import select
import shutil
import socket
import subprocess
import sys
import threading
import time

import bench
from bench import ADMIN_PORT, BINARY, KEYS, PORT, ROUNDS, bound, compare_times, table

NAMESPACE, HOST_ADDRESS, GUEST_ADDRESS = "kvcache-faults", "10.171.71.1", "10.171.71.2"


def skip(why):
    print(f"skipped: {why}")
    return True


def descriptors():
    """200 clients and 64 descriptors: no exit, no spinning, and clients again once some are free."""
    count, seconds = 200, 5
    with bench.kvcache() as server:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (64, 64))
        waiting = {}
        for _ in range(count):
            client = bench.Client()
            client.socket.sendall(bench.REQUEST)
            waiting[client.socket] = client
        time.sleep(1)
        served = select.select(waiting, [], [], 0)[0]
        spent = bench.running_seconds(server.pid)
        time.sleep(seconds)
        spent = bench.running_seconds(server.pid) - spent
        alive = server.poll() is None
        begun, longest, at_once = time.monotonic(), 0, len(served)
        while waiting:
            for each in served:
                waiting.pop(each).close()
            freed = time.monotonic()
            if not waiting or freed > begun + 60:
                break
            served = select.select(waiting, [], [], 10)[0]
            longest = max(longest, time.monotonic() - freed)
    table(
        ("clients", "served at once", "CPU ms", "in s"),
        (count, at_once, f"{spent * 1000:.1f}", seconds),
    )
    kept = [
        bound("the server lives", alive, least=1),
        bound("clients that were never served", len(waiting), most=0),
        bound("CPU without descriptors, %", spent / seconds * 100, most=5),
        bound("seconds from free descriptors to an answer", longest, most=1),
    ]
    return all(kept)


def ask(connection, method, path, body=None):
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read()), answer.getheader("Date")


def clock():
    """The wall clock goes a year ahead and a year back: no entry dies, or lives, for that."""
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not found:
        return skip("libfaketime is not here")
    os.makedirs(os.path.join(bench.ROOT, "target"), exist_ok=True)
    offset = os.path.join(bench.ROOT, "target", "faketime")
    settings = {
        "LD_PRELOAD": found[0],
        "FAKETIME_TIMESTAMP_FILE": offset,
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }

    def turn_to(text):
        # Whole at any moment.
        with open(offset + ".new", "w") as out:
            out.write(text + "\n")
        os.replace(offset + ".new", offset)

    turn_to("+0")
    command = ["env", *(f"{name}={value}" for name, value in settings.items())]
    rows, kept = [("clock", "Date", "ttl 1h", "ttl 1s")], True
    with bench.process(command + bench.command_line(), lambda: bench.healthy(PORT)):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
        ask(connection, "POST", "/put", '{"key":"long","value":"v","ttl":3600}')
        for text in ("+365d", "-365d", "+0"):
            ask(connection, "POST", "/put", '{"key":"short","value":"v","ttl":1}')
            turn_to(text)
            # Two beats, after which the date is the new one.
            time.sleep(0.6)
            early = ask(connection, "GET", "/get?key=short")[0]
            long, _, date = ask(connection, "GET", "/get?key=long")
            time.sleep(0.6)
            late = ask(connection, "GET", "/get?key=short")[0]
            year = time.gmtime(time.time() + float(text.rstrip("d")) * 86400).tm_year
            kept = kept and (early, late, long) == (200, 404, 200) and f" {year} " in date
            rows.append((text, date, long, f"{early} then {late}"))
    os.remove(offset)
    table(*rows)
    print(
        f"{'ok' if kept else 'MISSED'}: entries live by the steady clock, Date follows the wall's"
    )
    return kept


def run(*words):
    subprocess.run(words, check=True)


class BadNetwork:
    """A namespace behind a link of 1 Mbit/s that loses every fifth packet each way."""

    RULES = "; ".join(
        [
            "add table inet faults",
            "add chain inet faults in { type filter hook input priority 0; }",
            "add chain inet faults out { type filter hook output priority 0; }",
            "add rule inet faults in numgen random mod 100 < 20 drop",
            "add rule inet faults out numgen random mod 100 < 20 drop",
        ]
    )
    SHAPE = ("root", "tbf", "rate", "1mbit", "burst", "16kb", "latency", "400ms")

    def __enter__(self):
        inside = ("ip", "netns", "exec", NAMESPACE)
        run("ip", "netns", "add", NAMESPACE)
        try:
            run(
                "ip",
                "link",
                "add",
                "kvf0",
                "type",
                "veth",
                "peer",
                "name",
                "kvf1",
                "netns",
                NAMESPACE,
            )
            run("ip", "address", "add", f"{HOST_ADDRESS}/30", "dev", "kvf0")
            run("ip", "link", "set", "kvf0", "up")
            run(*inside, "ip", "address", "add", f"{GUEST_ADDRESS}/30", "dev", "kvf1")
            run(*inside, "ip", "link", "set", "kvf1", "up")
            run(*inside, "nft", self.RULES)
            run("tc", "qdisc", "add", "dev", "kvf0", *self.SHAPE)
            run(*inside, "tc", "qdisc", "add", "dev", "kvf1", *self.SHAPE)
        except BaseException:
            self.__exit__()
            raise
        return inside

    def __exit__(self, *_):
        # The link goes with it.
        run("ip", "netns", "delete", NAMESPACE)


def behind_bad_network(seconds):
    """Puts and gets on 20 connections; prints how many answers came, and how many were wrong."""
    counts, end = {"right": 0, "wrong": 0, "lost": 0}, time.monotonic() + seconds

    def client(number):
        rng, connection, stored, life = random.Random(number), None, {}, 0
        while time.monotonic() < end:
            # A put whose answer is lost may be done late, so its keys are not used again.
            key = f"{os.getpid()}-{number}-{life}-{rng.randrange(5)}"
            value = f"{key} {rng.random()}" if rng.random() < 0.5 else None
            body = value and json.dumps({"key": key, "value": value})
            try:
                connection = connection or http.client.HTTPConnection(HOST_ADDRESS, PORT, timeout=5)
                if value:
                    status, answer, _ = ask(connection, "POST", "/put", body)
                    right = status == 200
                    stored[key] = value
                else:
                    status, answer, _ = ask(connection, "GET", f"/get?key={key}")
                    right = answer.get("value") == stored.get(key)
                # 408: we were too slow.
                lost = status == 408
            except (OSError, http.client.HTTPException):
                lost = True
            counts["lost" if lost else "right" if right else "wrong"] += 1
            if lost:
                connection.close()
                connection, stored, life = None, {}, life + 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(counts))


def network():
    """Clients behind 20 % loss and 1 Mbit/s: no wrong answer, no leak, others as fast as ever."""
    if os.getuid() != 0 or not all(map(shutil.which, ("ip", "tc", "nft"))):
        return skip("this needs root, ip, tc and nft")
    seconds, counts, took, errors = 10, [], ([], []), [0, 0]
    command = [BINARY, f"--listen=0.0.0.0:{PORT}", f"--admin-listen=127.0.0.1:{ADMIN_PORT}"]
    with bench.process([*command, "--memory=256MiB"], lambda: bench.healthy(PORT)) as server:
        bench.fill()
        before = bench.descriptors(server.pid)
        with BadNetwork() as inside:
            for _ in range(ROUNDS):
                theirs = [*inside, sys.executable, __file__, "behind-bad-network", str(seconds)]
                child = subprocess.Popen(theirs, stdout=subprocess.PIPE, text=True)
                beside = bench.paced(50, lambda: child.poll() is not None)
                counts.append(json.loads(child.communicate()[0]))
                end = time.monotonic() + seconds
                alone = bench.paced(50, lambda: time.monotonic() > end)
                for side, (times, wrong) in enumerate((alone, beside)):
                    took[side].extend(times)
                    errors[side] += wrong
        # What the link swallowed is noticed by its time limits.
        deadline = time.monotonic() + 10
        while bench.descriptors(server.pid) > before and time.monotonic() < deadline:
            time.sleep(0.1)
        leaked = bench.descriptors(server.pid) - before
    rows = [("round", "right", "wrong", "lost")]
    rows += [(number + 1, *each.values()) for number, each in enumerate(counts)]
    table(*rows)
    [ratio] = compare_times("50 good clients", ("alone", "beside a bad network"), took, errors)
    kept = [
        bound("wrong answers", sum(each["wrong"] for each in counts), most=0),
        bound("right answers", sum(each["right"] for each in counts), least=100 * ROUNDS),
        bound("descriptors left", leaked, most=0),
        bound("errors of good clients", sum(errors), most=0),
        bound("p99 beside a bad network / alone", ratio, most=1.5),
    ]
    return all(kept)


def hot_shard():
    """All keys in one slot: the memory holds, and answers take as long as for random keys."""
    count, budget = 300_000, 64 << 20
    request = "GET /get?key={}{} HTTP/1.1\r\nHost: bench\r\n\r\n"
    asked = [
        [request.format(prefix, str(key).rjust(16 - len(prefix), "k")).encode() for key in keys]
        for prefix, keys in (("", range(KEYS)), ("{x}", range(count - KEYS, count)))
    ]
    took, errors = ([], []), [0, 0]
    with bench.kvcache("--shards=2", budget="64MiB") as server:
        base = bench.resident_bytes(server.pid)
        bench.put_many(count, 16, 256, prefix="{x}")
        grown = bench.resident_bytes(server.pid) - base
        spread = [shard["store"]["entries"] for shard in bench.stats()["shards"]]
        bench.put_many(KEYS, 16, 256)
        for _ in range(ROUNDS):
            for side, requests in enumerate(asked):
                end = time.monotonic() + bench.SECONDS
                times, wrong = bench.paced(50, lambda: time.monotonic() > end, requests)
                took[side].extend(times)
                errors[side] += wrong
    table(("entries of each shard", "grown by MiB"), (str(spread), f"{grown / 2**20:.1f}"))
    [ratio] = compare_times("50 clients", ("random keys", "keys of one slot"), took, errors)
    kept = [
        bound("entries outside the one shard", min(spread), most=0),
        bound("resident bytes gained / --memory", grown / budget, most=1),
        bound("errors", sum(errors), most=0),
        bound("p99, keys of one slot / random", ratio, most=2),
    ]
    return all(kept)


def flood(connections, request, end, counts):
    """As many clients as that, each with a request under way all the time; counts the answers."""
    waiting = {}

    def begin():
        client = socket.create_connection(("127.0.0.1", PORT), 60)
        client.sendall(request)
        waiting[client.fileno()] = client
        ready.register(client, select.EPOLLIN)

    with select.epoll() as ready:
        for _ in range(connections):
            begin()
        while time.monotonic() < end:
            for number, _ in ready.poll(0.5):
                client = waiting[number]
                try:
                    answer = client.recv(1 << 16)
                    counts[1 if answer.startswith(b"HTTP/1.1 503 ") else 0] += bool(answer)
                    ended = not answer or b"\r\nConnection: close" in answer
                    if not ended:
                        client.sendall(request)
                except OSError:
                    ended = True
                if ended:
                    waiting.pop(number).close()
                    begin()


def unfinished(connections, _, end, counts):
    """As many clients as that send half of a body of 1 MiB, and no more until the end."""
    head = f"PUT /kv/half HTTP/1.1\r\nHost: bench\r\nContent-Length: {1 << 20}\r\n\r\n"
    clients = []
    for _ in range(connections):
        clients.append(socket.create_connection(("127.0.0.1", PORT), 60))
        with contextlib.suppress(OSError):
            clients[-1].sendall(head.encode() + bytes(1 << 19))
    time.sleep(max(0, end - time.monotonic()))
    for client in clients:
        client.setblocking(False)
        with contextlib.suppress(OSError):
            counts[1] += client.recv(1 << 16).startswith(b"HTTP/1.1 503 ")


def look_on(end, seen):
    """Reads and probes on new connections all the while; how long the worst took, what failed."""
    while time.monotonic() < end:
        for path, port in (("/get?key=key-1", PORT), ("/healthz", PORT), ("/readyz", ADMIN_PORT)):
            begun = time.monotonic()
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                seen["failed"] += ask(connection, "GET", path)[0] != 200
                connection.close()
            except (OSError, http.client.HTTPException):
                seen["failed"] += 1
            seen["longest"] = max(seen["longest"], time.monotonic() - begun)
        time.sleep(0.1)


def overload():
    """Floods of batches and of bodies without an end: writes are shed, reads and probes served."""
    entries = [{"key": f"key-{n}", "value": "v" * 100} for n in range(450)]
    batch = json.dumps({"entries": entries})
    head = f"POST /mput HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(batch)}\r\n\r\n"
    rows = [("flood", "taken", "shed", "looks failed", "worst look s", "RSS MiB", "calm after s")]
    kept = []
    for load, connections, most_mib in ((flood, 6000, None), (unfinished, 2000, 160)):
        with bench.kvcache("--shards=1", "--value-bytes-max=1MiB", budget="64MiB") as server:
            bench.fill()
            before, most = bench.resident_bytes(server.pid), 0
            counts, seen = multiprocessing.RawArray("q", 2), {"failed": 0, "longest": 0}
            end = time.monotonic() + 10
            work = (connections, (head + batch).encode(), end, counts)
            crowd = multiprocessing.Process(target=load, args=work)
            watcher = threading.Thread(target=look_on, args=(end, seen))
            crowd.start()
            watcher.start()
            while watcher.is_alive():
                most = max(most, bench.resident_bytes(server.pid))
                time.sleep(0.05)
            crowd.join()
            begun = time.monotonic()
            while bench.stats()["totals"]["step"] != "calm" and time.monotonic() < begun + 20:
                time.sleep(0.05)
            calm = time.monotonic() - begun
            told = bench.stats()["totals"]["overload"]
            shed = told["refused_memory"] + told["refused_delay"]
        grown = (most - before) >> 20
        longest = f"{seen['longest']:.2f}"
        rows.append((load.__name__, counts[0], shed, seen["failed"], longest, grown, f"{calm:.2f}"))
        kept += [
            bound(f"requests shed, {load.__name__}", shed, least=1),
            bound("answers 503", counts[1], least=1),
            bound("reads and probes that failed", seen["failed"], most=0),
            bound("seconds until everything is taken on again", calm, most=5),
        ]
        if most_mib:
            kept.append(bound("resident MiB gained", grown, most=most_mib))
    table(*rows)
    return all(kept)


if __name__ == "__main__":
    if sys.argv[1:2] == ["behind-bad-network"]:
        behind_bad_network(int(sys.argv[2]))
    else:
        bench.main(__doc__, [descriptors, clock, network, hot_shard, overload])
