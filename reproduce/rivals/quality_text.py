"""How good the surrogate is, as Markdown: tables, and sentences made of their numbers."""

from __future__ import annotations

from collections.abc import Iterator

from reproduce.published_results import NAMES
from reproduce.rivals.surrogate.quality import Compared, Estimate, FailureQuality, Quality


def sections(quality: Quality) -> Iterator[str]:
    """A heading of third level and what was measured on nets held out."""
    yield f"### The surrogate of {NAMES.get(quality.data_set, quality.data_set)}"
    yield _sentences(quality)
    yield _scores(quality)
    yield _depths(quality)
    if quality.failure is not None:
        yield _calibration(quality.failure)


def _sentences(quality: Quality) -> str:
    more = quality.also_learned_from
    also = f"; {more:,} more are learned from" if more else ""
    said = [
        f"{quality.nets:,} nets, each held out once in {quality.folds} folds{also}.",
        _better("The rank correlation", quality.rank_correlation),
        f"A curve's epochs have a mean absolute error of {100 * quality.curve_error:.2f} points, "
        f"and best accuracies are predicted with {quality.spread:.0%} of their true spread.",
    ]
    if quality.failure is not None:
        said.append(_better("The area under the curve of failure to learn", quality.failure.area))
    return " ".join(said)


def _better(what: str, found: Compared) -> str:
    gain = found.difference
    interval = f"({gain.low:+.3f} to {gain.high:+.3f}, paired)"
    if gain.low > 0:
        return f"{what} is better than plain gradient boosting's by {gain.value:+.3f} {interval}."
    if gain.high < 0:
        return f"{what} is worse than plain gradient boosting's by {gain.value:+.3f} {interval}."
    return (
        f"{what} is not shown better than plain gradient boosting's: {gain.value:+.3f} {interval}."
    )


def _scores(quality: Quality) -> str:
    rows = [
        "| held out | surrogate | gradient boosting as it comes | difference |",
        "| --- | --- | --- | --- |",
        _row("rank correlation (Spearman)", quality.rank_correlation),
        _row("mean absolute error, accuracy", quality.error),
    ]
    if quality.failure is not None:
        rows.append(_row("failure: area under the curve", quality.failure.area))
    return "\n".join(rows)


def _row(what: str, found: Compared) -> str:
    cells = (found.surrogate, found.baseline, found.difference)
    return f"| {what} | {' | '.join(map(_estimate, cells))} |"


def _estimate(one: Estimate) -> str:
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


def _depths(quality: Quality) -> str:
    rows = [
        "| depth left out | nets | error, points | bias, points | rank correlation |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in quality.depths:
        rank = "" if one.rank_correlation is None else f"{one.rank_correlation:.2f}"
        rows.append(
            f"| {one.depth} | {one.nets} | {100 * one.error:.2f} | {100 * one.bias:+.2f} | {rank} |"
        )
    return "\n".join(rows)


def _calibration(failure: FailureQuality) -> str:
    rows = [
        f"Failure to learn, of {failure.nets:,} nets of which {failure.failed:,} failed: Brier "
        f"score {failure.brier:.3f} (the share alone: {failure.brier_of_share:.3f}), calibration "
        f"error {100 * failure.calibration_error:.1f} points.",
        "",
        "| nets | probability predicted | share that failed |",
        "| --- | --- | --- |",
    ]
    rows += [f"| {x.nets} | {x.predicted:.2f} | {x.observed:.2f} |" for x in failure.bins]
    return "\n".join(rows)
