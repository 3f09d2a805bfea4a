#!/usr/bin/env python3
"""Does to the snapshots of target/release/kvcache what a host can do, and measures what they cost.

`full` needs root, mkfs.ext4 and loop devices. What is missing is said, and skipped.
KILLS (200) and DAMAGES (2000) set how often; SEED repeats a run.
"""

import contextlib
import glob
import http.client
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import bench
from bench import ADMIN_PORT, PORT, ROUNDS, bound, table

KILLS = int(os.environ.get("KILLS", "200"))
DAMAGES = int(os.environ.get("DAMAGES", "2000"))
SEED = int(os.environ.get("SEED", str(random.randrange(1 << 30))))
ENTRIES = 1_000_000


def skip(why):
    print(f"skipped: {why}")
    return True


@contextlib.contextmanager
def place():
    """The path of a snapshot in a directory of its own, on a disk."""
    target = os.path.join(bench.ROOT, "target")
    with tempfile.TemporaryDirectory(prefix="snapshots-", dir=target) as directory:
        yield os.path.join(directory, "kvcache.snapshot")


def ask(method, path, body=None, port=PORT):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def snapshot():
    return ask("POST", "/snapshot", port=ADMIN_PORT)


def counted():
    return bench.stats()["totals"]["snapshots"]


# kills: every value tells its key and how often the key was written, so that a torn or a wrong one
# shows.


def value_of(key, count):
    return f"{key} {count} ".ljust(64 + count % 64, str(count % 10))


def write_on(key_range, counts, done):
    """Writes keys of its own, over and over, until the server is gone."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    with contextlib.suppress(OSError, http.client.HTTPException):
        while not done.is_set():
            keys = random.sample(key_range, 50)
            entries = []
            for key in keys:
                counts[key] += 1
                entries.append({"key": f"key-{key}", "value": value_of(key, counts[key])})
            connection.request("POST", "/mput", json.dumps({"entries": entries}))
            connection.getresponse().read()
    connection.close()


def check_all(counts):
    """How many keys are held, and how many of those with a value that was never written."""
    held = wrong = 0
    for first in range(0, len(counts), 1000):
        keys = [f"key-{key}" for key in range(first, min(first + 1000, len(counts)))]
        _, answer = ask("POST", "/mget", json.dumps({"keys": keys}))
        for name, value in answer["values"].items():
            if value is None:
                continue
            held += 1
            key = int(name.removeprefix("key-"))
            count = int(value.split()[1])
            wrong += value != value_of(key, count) or not 1 <= count <= counts[key]
    return held, wrong


def kills():
    """kill -9 at any moment of a snapshot, under load: the start after it has a whole one."""
    keys, writers = 20_000, 4
    rng = random.Random(SEED)
    counts = [0] * keys
    restored, wrong, failed_starts, drafts, inside, longest = [], 0, 0, 0, 0, 0
    with place() as file:
        flags = ["--shards=2", f"--snapshot-path={file}"]
        for cycle in range(KILLS):
            done = threading.Event()
            with contextlib.ExitStack() as stack:
                try:
                    server = stack.enter_context(bench.kvcache(*flags, budget="64MiB"))
                except SystemExit:
                    failed_starts += 1
                    break
                held, bad = check_all(counts)
                restored.append(held)
                wrong += bad
                threads = [
                    threading.Thread(
                        target=write_on,
                        args=(range(n * keys // writers, (n + 1) * keys // writers), counts, done),
                    )
                    for n in range(writers)
                ]
                for thread in threads:
                    thread.start()
                time.sleep(0.05)
                # The first has to come through. Of the others, one is on its way or just there.
                if cycle == 0:
                    longest = snapshot()[1]["duration_ms"] / 1000 * 1.5
                asker = threading.Thread(target=asked_for_one)
                asker.start()
                time.sleep(rng.uniform(0, longest))
                inside += os.path.exists(file + ".tmp")
                server.send_signal(signal.SIGKILL)
                server.wait()
                asker.join()
                done.set()
                for thread in threads:
                    thread.join()
                drafts += os.path.exists(file + ".tmp")
    table(
        ("kills", "while a draft lay there", "drafts left", "fewest restored", "most", "seed"),
        (KILLS, inside, drafts, min(restored[1:], default=0), max(restored), SEED),
    )
    kept = [
        bound("starts that failed", failed_starts, most=0),
        bound("torn or wrong values", wrong, most=0),
        bound("starts with nothing restored", sum(1 for held in restored[1:] if held == 0), most=0),
        bound("kills in the middle of a snapshot, of all", inside / KILLS, least=0.25),
    ]
    return all(kept)


def asked_for_one():
    with contextlib.suppress(OSError, http.client.HTTPException):
        snapshot()


def damages():
    """Random damage to a file: refused with a place, each time, and never a crash."""
    rng = random.Random(SEED)
    kinds = {}
    accepted = crashed = silent = 0
    with place() as file:
        with bench.kvcache("--shards=2", f"--snapshot-path={file}"):
            bench.put_many(20_000, 16, 128)
            bench.put_many(2_000, 16, 200, ttl=3600, prefix="t")
        with open(file, "rb") as whole:
            whole = whole.read()
        for number in range(DAMAGES):
            kind, damaged = damage(rng, whole)
            if damaged == whole:
                continue
            with open(file, "wb") as out:
                out.write(damaged)
            found = subprocess.run(
                [bench.BINARY, "snapshot", "inspect", file], capture_output=True, text=True
            )
            kinds[kind] = kinds.get(kind, 0) + 1
            accepted += found.returncode == 0
            crashed += found.returncode not in (0, 1)
            silent += "cannot be restored: " not in found.stdout
            # Every so often a start itself: it refuses, and sets aside where it is told to.
            if number % 100 == 0:
                refused = subprocess.run(
                    bench.command_line(f"--snapshot-path={file}"), capture_output=True, text=True
                )
                crashed += refused.returncode != 78 or refused.stderr.count("\n") != 1
                flags = (f"--snapshot-path={file}", "--restore=best-effort")
                with bench.kvcache(*flags):
                    accepted += counted()["restored"] > 0
                aside = glob.glob(f"{glob.escape(file)}.damaged-*")
                crashed += len(aside) != 1
                for path in aside:
                    with open(path, "rb") as kept:
                        crashed += kept.read() != damaged
                    os.remove(path)
    table(("bytes of the file", *kinds, "seed"), (len(whole), *kinds.values(), SEED))
    kept = [
        bound("damaged files that were accepted", accepted, most=0),
        bound("crashes, and damaged files lost", crashed, most=0),
        bound("refusals without a reason", silent, most=0),
    ]
    return all(kept)


def damage(rng, whole):
    """What was done, and what is left."""
    kind = rng.choice(("bit", "two bytes", "cut", "run", "lost", "doubled", "moved", "zeroed"))
    data = bytearray(whole)
    at, length = rng.randrange(len(data)), rng.randint(1, 5000)
    if kind == "bit":
        data[at] ^= 1 << rng.randrange(8)
    elif kind == "two bytes":
        for place in (at, rng.randrange(len(data))):
            data[place] ^= rng.randint(1, 255)
    elif kind == "cut":
        del data[at:]
    elif kind == "run":
        run = rng.randbytes(min(length, len(data) - at))
        data[at : at + len(run)] = run
    elif kind == "lost":
        del data[at : at + length]
    elif kind == "doubled":
        data[at:at] = data[at : at + length]
    elif kind == "moved":
        piece = data[at : at + length]
        del data[at : at + length]
        to = rng.randrange(len(data) + 1)
        data[to:to] = piece
    else:
        data[at : at + length] = bytes(min(length, len(data) - at))
    return kind, bytes(data)


def full():
    """A disk without room: the snapshot before stays whole, and serving goes on."""
    if os.getuid() != 0 or not shutil.which("mkfs.ext4"):
        return skip("needs root and mkfs.ext4")
    with place() as file:
        image, mount = file + ".image", file + ".mount"
        with open(image, "wb") as out:
            out.truncate(16 << 20)
        os.mkdir(mount)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
        if subprocess.run(["mount", "-o", "loop", image, mount], capture_output=True).returncode:
            return skip("no loop device can be mounted")
        try:
            return fill_the_disk(os.path.join(mount, "kvcache.snapshot"))
        finally:
            subprocess.run(["umount", "-l", mount], check=True)


def fill_the_disk(file):
    with bench.kvcache("--shards=2", f"--snapshot-path={file}"):
        bench.put_many(10_000, 16, 128)
        first, _ = snapshot()
        with open(file, "rb") as held:
            before = held.read()
        bench.put_many(200_000, 16, 128)
        second, reason = snapshot()
        with open(file, "rb") as held:
            same = held.read() == before
        draft = os.path.exists(file + ".tmp")
        serves = bench.healthy(PORT)
        failed = counted()["failed"]
        # Room again: entries go, and so does the failure.
        ask("POST", "/flush", port=ADMIN_PORT)
        bench.put_many(1_000, 16, 128)
        third, _ = snapshot()
    table(("before", "without room", "with room again"), (first, second, third))
    print(reason.get("message"))
    kept = [
        bound("status without room", second, least=507),
        bound("the snapshot before is as it was", same, least=1),
        bound("drafts left", draft, most=0),
        bound("serving, and counted", serves and failed, least=1),
        bound("status with room again", third, most=200),
    ]
    return all(kept)


def cost():
    """What a snapshot of 1M entries costs those who are served meanwhile, and how long a start takes."""
    rates, grown, took, restores = [], [], [], []
    with place() as file:
        flags = ("--shards=2", f"--snapshot-path={file}")
        options = {"budget": "1000MiB"}
        with bench.kvcache(*flags, **options) as server:
            bench.put_many(ENTRIES, 16, 128)
            bench.fill()
            # Both settle before they are compared.
            bench.wrk(server.pid, "mixed.lua", 32)
            for _ in range(ROUNDS):
                rates.append(rate_beside(server.pid, None))
                before = bench.resident_bytes(server.pid)
                most, times, stop = [before], [], threading.Event()
                watcher = threading.Thread(target=watch, args=(server.pid, most, stop))
                watcher.start()
                rates.append(rate_beside(server.pid, times))
                stop.set()
                watcher.join()
                grown.append(max(most) / before)
                took.extend(times)
        for _ in range(ROUNDS):
            restores.append(start_seconds(flags, options))
    plain, beside = rates[0::2], rates[1::2]
    ratio = statistics.median(beside) / statistics.median(plain)
    rows = [("round", "requests/s", "beside snapshots", "RSS grown to", "restored in s")]
    for number, (a, b, c, d) in enumerate(zip(plain, beside, grown, restores)):
        rows.append((number + 1, f"{a:.0f}", f"{b:.0f}", f"{c:.3f}", f"{d:.2f}"))
    table(*rows)
    print(f"snapshots: {len(took)}, of a median of {statistics.median(took):.0f} ms under load")
    kept = [
        bound("rate while snapshots are written / normal", ratio, least=0.9),
        bound("resident memory meanwhile / before", max(grown), most=1.05),
        bound("seconds to restore 1M entries", statistics.median(restores), most=1.5),
    ]
    return all(kept)


def rate_beside(pid, times):
    """Requests per second under load; with `times`, snapshots are written all the while."""
    stop = threading.Event()

    def ask_on():
        while not stop.is_set():
            status, told = snapshot()
            if status != 200:
                sys.exit(f"a snapshot failed: {told}")
            times.append(told["duration_ms"])

    asker = threading.Thread(target=ask_on)
    if times is not None:
        asker.start()
    run = bench.wrk(pid, "mixed.lua", 32)
    stop.set()
    if times is not None:
        asker.join()
    return run.answers / run.seconds


def watch(pid, most, stop):
    while not stop.is_set():
        most.append(bench.resident_bytes(pid))
        time.sleep(0.005)


def start_seconds(flags, options):
    """Of the restore, as the server says."""
    command = bench.command_line(*flags, **options) + ["--log-format=json"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for line in child.stderr:
            told = json.loads(line)
            if told["message"] == "snapshot restored":
                if int(told["entries"]) < ENTRIES:
                    sys.exit(f"not all is restored: {line}")
                return int(told["ms"]) / 1000
        sys.exit("nothing was restored")
    finally:
        child.kill()
        child.wait()


if __name__ == "__main__":
    bench.main(__doc__, [kills, damages, full, cost])
