"""Runs of one experiment with several seeds: of each row their mean, and an interval over seeds.

The interval is Efron's percentile bootstrap over the seeds; of fewer than three, their range, since
so few say little of a spread. Either tells how training varies, not how other test images would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from reproduce.results.intervals import FEWEST_FOR_BOOTSTRAP, RESAMPLES, bootstrap_interval
from reproduce.results.labels import NOT_RUN
from reproduce.results.summary import Row

DIFFERS = "another for each seed"
_WORST_DATA = ("none", "verified", "unverified")


def merged(rows: Sequence[Row], without: Sequence[int] = ()) -> Row:
    """One row of the same measurement by runs that differ in their seeds alone.

    Seeds whose training failed, or that are `without` the measurement, are named in the status;
    the mean is of the others. Equal rows give equal intervals, in whatever order they come.
    """
    rows = sorted(rows, key=lambda row: row.seeds)
    measured = [row for row in rows if row.measured is not None]
    row = (measured or rows)[0]
    lacking = [(seed, one.status) for one in rows if one.measured is None for seed in one.seeds]
    lacking += [(seed, NOT_RUN) for seed in without]
    if not measured:
        if len({status for _, status in lacking}) > 1:
            row = replace(row, status=_by_seed(lacking))
        return replace(row, seeds=tuple(sorted(seed for seed, _ in lacking)))
    if lacking:
        row = replace(row, status=f"{row.status}; {_by_seed(lacking)}")
    if len(measured) == 1:
        return row
    seeds = tuple(seed for one in measured for seed in one.seeds)
    errors = tuple(error for one in measured for error in one.errors)
    interval, interval_is = (min(errors), max(errors)), f"range of {len(errors)} seeds"
    if len(errors) >= FEWEST_FOR_BOOTSTRAP:
        interval = bootstrap_interval(errors, np.random.default_rng(seeds))
        interval_is = f"bootstrap over {len(errors)} seeds"
    one_net = len({one.architecture for one in measured}) == 1
    return replace(
        row,
        architecture=row.architecture if one_net else DIFFERS,
        parameters=row.parameters if one_net else None,
        measured=fmean(errors),
        interval=interval,
        interval_is=interval_is,
        seeds=seeds,
        errors=errors,
        data=max((one.data for one in measured), key=_WORST_DATA.index),
        mark=max((one.mark for one in measured), key=len),
    )


def merged_tables(tables: Sequence[Sequence[Row]]) -> list[Row]:
    """The tables of such runs as one: rows of the same name are merged."""
    rows: dict[tuple[str, str, str], list[Row]] = {}
    for row in (row for table in tables for row in table):
        rows.setdefault((row.what, row.dataset, row.published_in), []).append(row)
    return [merged(of_name) for of_name in rows.values()]


def note_on(seeds: Sequence[int]) -> str:
    """What a reader must know of a table of several seeds."""
    count = len(seeds)
    said = ", ".join(map(str, seeds))
    if count < FEWEST_FOR_BOOTSTRAP:
        return (
            f"Means over {count} seeds ({said}), too few for an interval: what stands in its place "
            "is their range."
        )
    return (
        f"Means over {count} seeds ({said}); the interval is of the mean, the percentile bootstrap "
        f"of {RESAMPLES:,} resamples of the seeds. It is Wilson's where one seed alone was run."
    )


def _by_seed(lacking: Sequence[tuple[int, str]]) -> str:
    return "; ".join(f"seed {seed}: {status}" for seed, status in lacking)
