"""What the user's runs measured, against the published numbers."""

from __future__ import annotations

import math
from typing import Any

from reproduce.audit.checks.registry import check
from reproduce.audit.findings import Finding, Verdict

_FEWEST = 3
"""Runs of different seeds without which nothing is contradicted."""


def _not_run(published: str, run: dict[str, Any]) -> Finding:
    if not run["command"]:
        return Finding(Verdict.NOT_RUN, f"{published}; no command here measures it.")
    flop = f", {run['flop']:.1e} FLOP" if run["flop"] else ""
    return Finding(Verdict.NOT_RUN, f"{published}; to measure it: {run['command']}{flop}.")


def _papers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if not row["mark"]]


@check
def measured_error(*, run: dict[str, Any], tolerance: float) -> Finding:
    """Runs reproduce a published test error, within a tolerance in percentage points.

    Those of the paper's own experiment alone can decide; of a single one, or of another budget,
    the answer is underpowered unless it agrees.
    """
    published, rows = run["published"], run["measured"]
    if not rows:
        return _not_run(f"published {published:g} %", run)
    own = _papers(rows)
    chosen = own or rows
    mean = sum(row["error"] for row in chosen) / len(chosen)
    low = min(row["interval"][0] for row in chosen)
    high = max(row["interval"][1] for row in chosen)
    marks = "" if own else f" [{'; '.join(dict.fromkeys(row['mark'] for row in chosen))}]"
    said = (
        f"published {published:g} %; measured {mean:.2f} %{marks}, n = {len(chosen)}, "
        f"95 % interval {low:.2f} to {high:.2f}."
    )
    numbers = {"published": published, "measured": mean, "runs": len(chosen)}
    if not own:
        return Finding(Verdict.UNDERPOWERED, f"{said} Not the paper's experiment.", numbers)
    if low <= published <= high:
        return Finding(Verdict.HOLDS, said, numbers)
    if abs(mean - published) <= tolerance:
        return Finding(Verdict.WITHIN, said, numbers)
    enough = len(own) >= _FEWEST
    return Finding(Verdict.CONTRADICTED if enough else Verdict.UNDERPOWERED, said, numbers)


@check
def measured_rise(*, search: dict[str, Any], stated: dict[str, Any], tolerance: float) -> Finding:
    """Searches reach the published mean accuracies at the first and last ε, in points."""
    published = f"published {stated['first']:g} % → {stated['last']:g} %"
    rows = search["runs"]
    if not rows:
        return _not_run(published, search)
    own = _papers(rows)
    chosen = own or rows
    ends = []
    for place in (0, -1):
        means = [100 * row["means"][place]["mean"] for row in chosen]
        ends.append(sum(means) / len(means))
    marks = "" if own else f" [{'; '.join(dict.fromkeys(row['mark'] for row in chosen))}]"
    said = f"{published}; measured {ends[0]:.2f} % → {ends[1]:.2f} %{marks}, n = {len(chosen)}."
    numbers = {"first": ends[0], "last": ends[1], "runs": len(chosen)}
    if not own:
        return Finding(Verdict.UNDERPOWERED, f"{said} Not the paper's experiment.", numbers)
    off = max(abs(ends[0] - stated["first"]), abs(ends[1] - stated["last"]))
    if off <= tolerance:
        return Finding(Verdict.WITHIN if off > 0.005 else Verdict.HOLDS, said, numbers)
    enough = len(own) >= _FEWEST
    return Finding(Verdict.CONTRADICTED if enough else Verdict.UNDERPOWERED, said, numbers)


@check
def measured_best(*, search: dict[str, Any], stated: dict[str, Any]) -> Finding:
    """The best models of several searches have the published mean accuracy.

    Judged by Welch's two standard errors; underpowered below three runs.
    """
    spread = f"deviation {stated['deviation']:.2%}, n = {stated['runs']:g}"
    published = f"published {stated['mean']:.2%}, {spread}"
    rows = search["runs"]
    if not rows:
        return _not_run(published, search)
    own = [row["best"] for row in _papers(rows) if row["best"] is not None]
    if len(own) < _FEWEST:
        best = [row["best"] for row in rows if row["best"] is not None]
        shown = ", ".join(f"{one:.2%}" for one in best) or "nothing"
        said = f"{published}; measured {shown}, n = {len(own)} of the paper's experiment."
        return Finding(Verdict.UNDERPOWERED, said, {"runs": len(own)})
    mean = sum(own) / len(own)
    variance = sum((one - mean) ** 2 for one in own) / (len(own) - 1)
    error = math.sqrt(variance / len(own) + stated["deviation"] ** 2 / stated["runs"])
    apart = abs(mean - stated["mean"]) / error
    said = f"{published}; measured {mean:.2%}, n = {len(own)}: {apart:.1f} standard errors apart."
    verdict = Verdict.HOLDS if apart <= 2 else Verdict.CONTRADICTED
    return Finding(verdict, said, {"measured": mean, "standard error": error})
