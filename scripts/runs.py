"""The files of a run of any load generator, as `kvcache load --out` writes them: run.json, NAME.hgrm
(milliseconds) and NAME.hlog (microseconds).

Needs the package hdrhistogram, which whoever imports this brings.
"""

import collections
import datetime
import json
import os
import platform

from hdrh.histogram import HdrHistogram

QUANTILES = {"p50": 50, "p90": 90, "p99": 99, "p99.9": 99.9, "p99.99": 99.99}

# `percentiles` are rows of milliseconds and percentile, `intervals` of seconds since the start and
# histogram.
Run = collections.namedtuple("Run", "name about percentiles intervals")


def histogram():
    """Microseconds from 1 to 60 seconds, to three digits."""
    return HdrHistogram(1, 60_000_000, 3)


def write(directory, about, intervals):
    """`about` is what run.json says, but for host and latency; `intervals` are rows of seconds since
    the start, their length, and a histogram."""
    total = histogram()
    for _, _, each in intervals:
        total.add(each)
    name, measured = about["name"], about["measured"]
    os.makedirs(directory, exist_ok=True)
    results = {**about["results"], "latency_us": summary(total)}
    with open(os.path.join(directory, "run.json"), "w") as file:
        json.dump({**about, "host": host(), "results": results}, file, indent=2, sort_keys=True)
        file.write("\n")
    with open(os.path.join(directory, f"{name}.hgrm"), "wb") as file:
        file.write(f"#[Measured {measured}, in milliseconds]\n".encode())
        total.output_percentile_distribution(file, 1000)
    started = datetime.datetime.fromisoformat(about["started"]).timestamp()
    with open(os.path.join(directory, f"{name}.hlog"), "w") as file:
        file.write("#[Histogram log format version 1.3]\n")
        file.write(f"#[Measured {measured}, in microseconds]\n")
        for when in ("StartTime", "BaseTime"):
            file.write(f"#[{when}: {started:.3f} (seconds since epoch)]\n")
        file.write('"StartTimestamp","Interval_Length","Interval_Max",')
        file.write('"Interval_Compressed_Histogram"\n')
        for began, length, each in intervals:
            text = each.encode().decode()
            file.write(f"{began:.3f},{length:.3f},{each.get_max_value():.3f},{text}\n")


def summary(found):
    """The figures that run.json has of a histogram."""
    some = found.get_total_count() > 0
    figures = {name: found.get_value_at_percentile(at) for name, at in QUANTILES.items()}
    return {
        "count": found.get_total_count(),
        "min": found.get_min_value() if some else 0,
        "mean": found.get_mean_value() if some else 0,
        "max": found.get_max_value() if some else 0,
        **figures,
    }


def host():
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return {
        "kernel": platform.release(),
        "cpu": models[0] if models else "unknown",
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
    }


def read(directory):
    with open(os.path.join(directory, "run.json")) as file:
        about = json.load(file)
    name = about["name"]
    with open(os.path.join(directory, f"{name}.hgrm")) as file:
        rows = [line.split() for line in file if line.strip() and not line.startswith("#")]
    percentiles = [(float(row[0]), float(row[1])) for row in rows if row[0] != "Value"]
    with open(os.path.join(directory, f"{name}.hlog")) as file:
        rows = [line.strip().split(",") for line in file if line[0].isdigit()]
    intervals = [(float(row[0]), HdrHistogram.decode(row[-1])) for row in rows]
    return Run(name, about, percentiles, intervals)
