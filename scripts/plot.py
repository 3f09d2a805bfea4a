#!/usr/bin/env python3
"""Draws runs of `kvcache load`, scripts/wrk.sh or scripts/locust.sh side by side: latency by
percentile and over time, as latency.svg and latency.png.

Usage: scripts/plot.py RUN_DIRECTORY... [--out DIRECTORY]
"""

import argparse
import os

import environment

environment.enter("plot", "hdrhistogram>=0.10,<0.11", "matplotlib>=3.9,<4")

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

import runs

# Told apart by those who do not tell red from green too (Okabe and Ito).
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]


def millis(value, _=None):
    return f"{value:g} ms"


def label(run):
    results = run.about["results"]
    asked = results.get("rate_asked")
    errors = sum(results["errors"].values())
    text = f"{run.name}: {results['rate']:,.0f}/s"
    text += f" of {asked:,}/s" if asked else ", closed loop"
    return text + (f", {errors:,} errors" if errors else "")


def by_percentile(axes, found, colour):
    """The distance to 100 % halves from step to step, so the tail has room."""
    rows = [(1 / (1 - quantile), value) for value, quantile in found.percentiles if quantile < 1]
    axes.plot(*zip(*rows), color=colour, label=label(found), linewidth=1.8)


def over_time(axes, found, colour):
    rows = [(began, each) for began, each in found.intervals if each.get_total_count()]
    if len(rows) < 2:
        return
    # Each figure is of the second that begins there.
    seconds = [began for began, _ in rows]
    for percentile, style in ((99.9, "-"), (50, ":")):
        values = [each.get_value_at_percentile(percentile) / 1000 for _, each in rows]
        axes.plot(seconds, values, style, color=colour, linewidth=1.6)


def draw(found, directory):
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.8), sharey=True, layout="constrained")
    for at, run in enumerate(found):
        colour = COLOURS[at % len(COLOURS)]
        by_percentile(left, run, colour)
        over_time(right, run, colour)
    for axes in (left, right):
        axes.set_yscale("log")
        axes.grid(True, which="major", color="#dddddd", linewidth=0.8)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(millis))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(which="minor", length=0)
        axes.tick_params(labelleft=True)
    left.set_title("Latency by percentile", loc="left")
    left.set_xscale("log")
    nines = [2, 10, 100, 1000, 10_000, 100_000, 1_000_000]
    left.set_xticks(nines, ["50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"])
    left.minorticks_off()
    most = max((1 / (1 - q) for run in found for _, q in run.percentiles if q < 1), default=100)
    left.set_xlim(1, max(100, most))
    right.set_title("Over time: p99.9 (solid) and p50 (dotted) of each second", loc="left")
    right.set_xlabel("seconds")
    if not right.lines:
        right.text(0.5, 0.5, "one interval only", ha="center", transform=right.transAxes)
    else:
        right.set_xlim(left=0)
        right.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False)
    figure.text(0.995, 0.01, about(found), ha="right", va="bottom", fontsize=8, color="#666666")
    os.makedirs(directory, exist_ok=True)
    for ending in ("svg", "png"):
        path = os.path.join(directory, f"latency.{ending}")
        figure.savefig(path, dpi=150)
        print(path)


def about(found):
    """Where and when."""
    hosts = {(run.about["host"]["cpu"], run.about["host"]["cpus"]) for run in found}
    days = sorted({run.about["started"][:10] for run in found})
    text = "; ".join(f"{cpu}, CPUs: {cpus}" for cpu, cpus in sorted(hosts))
    return f"{text}; {days[0]}" + (f" to {days[-1]}" if len(days) > 1 else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN_DIRECTORY")
    parser.add_argument("--out", default=".", metavar="DIRECTORY")
    arguments = parser.parse_args()
    draw([runs.read(directory) for directory in arguments.runs], arguments.out)


if __name__ == "__main__":
    main()
