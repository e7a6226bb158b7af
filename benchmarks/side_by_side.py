"""Variants measured side by side: interleaved runs, medians, a table or JSON, the machine.

A benchmark prints what it measured and asserts nothing: how fast a machine is is no property of
this package, how two variants compare on it, in the same run, is.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

Seconds = dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """What one comparison gave.

    Attributes:
        name: what was done, and how much of it.
        ratio: the median of the ratios of single runs, as `ratio_of` words it; None where
            nothing was beside it.
        ratio_of: the ratio in words, `slower / faster`.
        medians: median seconds of each variant or part.
        runs: how often each was run.
        machine: see `machine`.
        details: other numbers, e.g. bytes or images per second.
    """

    name: str
    ratio: float | None
    ratio_of: str
    medians: Seconds
    runs: int
    machine: dict[str, str | int | None]
    details: dict[str, float] = field(default_factory=dict)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def machine() -> dict[str, str | int | None]:
    """CPU model, usable cores, Python, NumPy and PyTorch (None where it is not installed)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_model(),
        "cores": cores,
        "python": platform.python_version(),
        "numpy": _version("numpy"),
        "torch": _version("torch"),
    }


def summarize(
    name: str,
    measured: Sequence[Seconds],
    ratio_of: tuple[str, str] | None = None,
    details: Mapping[str, float] | None = None,
) -> Comparison:
    """Medians over runs, and the median of the runs' ratios `first / second` of `ratio_of`.

    Args:
        name: what was done.
        measured: for each run, seconds by variant.
        ratio_of: two variants.
        details: other numbers to report.
    """
    medians = {key: statistics.median(run[key] for run in measured) for key in measured[0]}
    ratio, words = None, ""
    if ratio_of is not None:
        top, bottom = ratio_of
        ratio = statistics.median(run[top] / run[bottom] for run in measured)
        words = f"{top} / {bottom}"
    return Comparison(name, ratio, words, medians, len(measured), machine(), dict(details or {}))


def interleave(variants: Mapping[str, Callable[[], float]], runs: int) -> list[Seconds]:
    """Run every variant once, then every one again, `runs` times; each returns its seconds.

    The order turns round from run to run, so that neither variant always comes after the other.
    """
    measured: list[Seconds] = []
    for run in range(runs):
        names = list(variants)[:: -1 if run % 2 else 1]
        seconds = {name: variants[name]() for name in names}
        measured.append({name: seconds[name] for name in variants})
    return measured


def parser(description: str | None, runs: int) -> argparse.ArgumentParser:
    """The options that all benchmarks have: --runs and --json."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--runs", type=positive, default=runs, help=f"default {runs}")
    options.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return options


def positive(text: str) -> int:
    """A number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def show(comparisons: Sequence[Comparison], as_json: bool) -> None:
    """Print comparisons on stdout, as a JSON list or as tables."""
    if as_json:
        print(json.dumps([asdict(c) for c in comparisons], indent=2, ensure_ascii=False))
        return
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    for comparison in comparisons:
        print(f"\n{comparison.name} (median of {comparison.runs})")
        rows = [(key, f"{value:.4g} s") for key, value in comparison.medians.items()]
        rows += [(key, f"{value:,.6g}") for key, value in comparison.details.items()]
        if comparison.ratio is not None:
            rows.append((comparison.ratio_of, f"{comparison.ratio:.3g}"))
        width = max(len(key) for key, _ in rows)
        for key, value in rows:
            print(f"  {key:<{width}}  {value}")
