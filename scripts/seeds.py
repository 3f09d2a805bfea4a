#!/usr/bin/env python3
"""Writes the inputs that a fuzz target starts from.

Usage: scripts/seeds.py TARGET DIRECTORY
"""

import os
import random
import sys


def store():
    """Programs of random steps, from a few to two thousand; the same ones each time."""
    rng = random.Random(7)
    for size in (16, 64, 256, 1 << 10, 4 << 10, 16 << 10):
        for _ in range(8):
            yield rng.randbytes(size)


SEEDS = {"store": store}


def main():
    target, directory = sys.argv[1:]
    os.makedirs(directory, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]()):
        with open(os.path.join(directory, f"seed-{number}"), "wb") as out:
            out.write(seed)


if __name__ == "__main__":
    main()
