#!/usr/bin/env python3
"""Writes the inputs that a fuzz target starts from.

Usage: scripts/seeds.py TARGET DIRECTORY
"""

import os
import random
import struct
import sys

import differential


def store():
    """Programs of random steps, from a few to two thousand; the same ones each time."""
    rng = random.Random(7)
    for size in (16, 64, 256, 1 << 10, 4 << 10, 16 << 10):
        for _ in range(8):
            yield rng.randbytes(size)


def placed(rng, seeds):
    """Each after two bytes that say where to cut it."""
    for seed in seeds:
        yield struct.pack("<H", rng.randrange(len(seed) + 1)) + seed


def head():
    rng = random.Random(7)
    heads = (differential.message(rng).lstrip().partition(b"\r\n\r\n")[0] for _ in range(100))
    return placed(rng, (head + b"\r\n\r\n" for head in heads))


def body():
    rng = random.Random(7)
    return placed(rng, (differential.chunks(rng, body) for body in differential.BODIES * 10))


def connection():
    rng = random.Random(7)
    return placed(rng, (differential.mutated(rng) for _ in range(200)))


def json():
    return [
        b'{"key":"a","value":"b"}',
        b'{"key":"a\\n","value":"\\u0041\\\\"}',
        b' { "value" : "\\ud83d\\ude00\\n\\"", "k\\u0065y" : "\xc3\xa9", "ttl": 1.5e0 } ',
        b'{"x":[{"key":null}],"key":"","value":"b","y":1e999}',
        b'{"key":"a","key":"a","value":"b","ttl":-1}',
        b'["a","b"]',
        b'{"key":"a","value":"b","ttl":1,"stale_ttl":2.5,"tags":["t","\\u00e9",""]}',
        b'{"key":"a","value":"b","tags":["1","2","3","4","5","6","7","8"],"stale_ttl":0.001}',
        b'{"tags":[1],"stale_ttl":null,"key":"a","value":"b"}',
    ]


def query():
    queries = [b"key=a", b"key=a+b%2Bc&x=%C3%A9", b"k%65y=%ff", b"key=&key", b"x&key=%0", b"key=%00"]
    leases = [b"key=a&lease=1.5", b"l%65ase=1e1&key=a", b"key=a&lease=+1", b"key=a&lease=1&lease"]
    return queries + leases + [b"/a", b"/a+%2F%ff", b"/%", b"/a/incr", b"/a/", b"/..%2f.", b"/"]


def snapshot():
    """Files whose checksums the target writes."""

    def entry(key, value, tags=0, content_type=b"", times=()):
        flags = tags | (0x10 if times else 0) | (0x20 if len(times) > 1 else 0)
        fixed = struct.pack("<BBHI", flags, len(content_type), len(key), len(value))
        return fixed + struct.pack(f"<{len(times)}Q", *times) + b"t" * 8 * tags + content_type + key + value

    blocks = [
        [entry(b"a", b"1"), entry(b"b", b"2" * 100, times=(5,))],
        [entry(b"page", b"<p>", 2, b"text/html", (5, 9))],
    ]
    header = b"kvcache\x1a" + struct.pack("<IIQ", 1, 0, 7) + b"s" * 16 + bytes(8)
    for count in range(len(blocks) + 1):
        file = header
        for number, entries in enumerate(blocks[:count]):
            body = b"".join(entries)
            file += struct.pack("<4sIIIII", b"BLOK", number, len(body), len(entries), 0, 0) + body
        held = sum(len(entries) for entries in blocks[:count])
        yield file + struct.pack("<4sIQII", b"DONE", count, held, 0, 0)


SEEDS = {
    seeds.__name__: seeds
    for seeds in (store, head, body, connection, json, query, snapshot)
}


def main():
    target, directory = sys.argv[1:]
    os.makedirs(directory, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]()):
        with open(os.path.join(directory, f"seed-{number}"), "wb") as out:
            out.write(seed)


if __name__ == "__main__":
    main()
