"""Arithmetic of the text on the paper's own tables: who beats whom, and by how much."""

from __future__ import annotations

from typing import Any

from reproduce.audit.checks.registry import check
from reproduce.audit.findings import (
    Finding,
    UnfitInputError,
    Verdict,
    compared,
    decided,
    listed,
    some,
)


@check
def beats_all(*, ours: dict[str, Any], others: list[dict[str, Any]]) -> Finding:
    """Our error is below every other method's in a column."""
    rest = [row for row in others if not row["ours"]]
    some(rest, "other methods")
    ahead = [row for row in rest if row["error"] <= ours["error"]]
    best = min(row["error"] for row in rest)
    by = listed(f"{row['what']} ({row['error']:g} %)" for row in ahead)
    return decided(
        not ahead,
        f"{ours['error']:g} % against at best {best:g} %"
        f"{f'; it does not beat {by}' if ahead else ''}.",
        {"ours": ours["error"], "best of the others": best, "not beaten": len(ahead)},
    )


@check
def is_competitive(*, ours: dict[str, Any], others: list[dict[str, Any]]) -> Finding:
    """Our error is below all others of a column: one reading of "competitive".

    Ambiguous where it is below some of them alone, contradicted where it is below none.
    """
    rest = [row["error"] for row in others if not row["ours"]]
    some(rest, "other methods")
    rank = 1 + sum(error < ours["error"] for error in rest)
    behind = ours["error"] / min(rest) - 1
    said = (
        f"rank {rank} of {len(rest) + 1}, with {behind:+.0%} of the best one's error "
        f"({ours['error']:g} % against {min(rest):g} %)"
    )
    numbers = {"rank": rank, "of": len(rest) + 1, "relative to the best": behind}
    if rank == 1:
        return Finding(Verdict.HOLDS, f"{said}.", numbers)
    if rank <= len(rest):
        return Finding(Verdict.AMBIGUOUS, f"{said}: it beats some, not the best.", numbers)
    return Finding(Verdict.CONTRADICTED, f"{said}: it beats none.", numbers)


@check
def lower_error(*, ours: dict[str, Any], theirs: dict[str, Any]) -> Finding:
    """Our error is below another."""
    return decided(
        ours["error"] < theirs["error"],
        f"{ours['what']} {ours['error']:g} %, {theirs['what']} {theirs['error']:g} %.",
        {"ours": ours["error"], "theirs": theirs["error"]},
    )


@check
def same_number(*, first: dict[str, Any], second: dict[str, Any], tolerance: float = 0) -> Finding:
    """Two places print the same error, within a tolerance in percentage points."""
    difference = second["error"] - first["error"]
    return compared(
        difference,
        0.0,
        tolerance,
        f"{first['error']:g} % and {second['error']:g} %.",
        {"first": first["error"], "second": second["error"]},
    )


@check
def is_best_of(*, stated: dict[str, Any], others: list[dict[str, Any]]) -> Finding:
    """A stated best error is the least of a column, others' methods alone."""
    rest = [row for row in others if not row["ours"]]
    some(rest, "methods")
    best = min(rest, key=lambda row: row["error"])
    return decided(
        abs(best["error"] - stated["error"]) < 1e-9,
        f"stated {stated['error']:g} %; the least is {best['error']:g} % ({best['what']}).",
        {"stated": stated["error"], "least": best["error"]},
    )


@check
def counts_methods(*, rows: list[dict[str, Any]], stated: dict[str, Any]) -> Finding:
    """A table has as many other methods as the text says."""
    names = {row["what"].partition(", ")[0] for row in rows if not row["ours"]}
    return decided(
        len(names) == stated["count"],
        f"stated {stated['count']:g}; the table has {len(names)}: {listed(sorted(names))}.",
        {"stated": stated["count"], "in the table": len(names)},
    )


@check
def gaps_to_best(*, nets: list[dict[str, Any]], stated: dict[str, Any]) -> Finding:
    """The best net is ahead of each other by a number of points in the stated range."""
    errors = sorted(net["error"] for net in nets)
    if len(errors) < 2:
        raise UnfitInputError("there are no two rows")
    gaps = [round(error - errors[0], 4) for error in errors[1:]]
    inside = [gap for gap in gaps if stated["low"] <= gap <= stated["high"]]
    numbers = {f"gap {place}": gap for place, gap in enumerate(gaps, 1)}
    return decided(
        len(inside) == len(gaps),
        f"stated {stated['low']:g} to {stated['high']:g} points; the gaps are "
        f"{', '.join(f'{gap:.2f}' for gap in gaps)}.",
        numbers,
    )


@check
def small_costs_little(*, nets: list[dict[str, Any]], stated: dict[str, Any]) -> Finding:
    """From the largest to the smallest net the error rises by the stated number of points.

    Ambiguous where the table's extreme rows are others than the stated numbers of parameters.
    """
    some(nets, "rows")
    large = max(nets, key=lambda net: net["parameters"])
    small = min(nets, key=lambda net: net["parameters"])
    rise = round(small["error"] - large["error"], 4)
    relative = small["error"] / large["error"] - 1
    said = (
        f"{large['parameters']:g} to {small['parameters']:g} million parameters: the error rises "
        f"by {rise:.2f} points, which are {relative:.0%} of it; stated {stated['points']:g}, from "
        f"{stated['most']:g} to {stated['least']:g} million"
    )
    numbers = {"points": rise, "relative": relative, "largest": large["parameters"]}
    same = large["parameters"] == stated["most"] and small["parameters"] == stated["least"]
    if rise == stated["points"] and same:
        return Finding(Verdict.HOLDS, f"{said}.", numbers)
    if rise == stated["points"]:
        return Finding(Verdict.AMBIGUOUS, f"{said}: two versions' counts are mixed.", numbers)
    return Finding(Verdict.CONTRADICTED, f"{said}.", numbers)


@check
def reported_is_not_best_on_test(
    *, nets: list[dict[str, Any]], reported: dict[str, Any]
) -> Finding:
    """The reported error is a row's, and not the least: so it was not chosen on the test set.

    Ambiguous where several rows have it.
    """
    some(nets, "rows")
    errors = [net["error"] for net in nets]
    same = [net["id"] for net in nets if net["error"] == reported["error"]]
    said = (
        f"reported {reported['error']:g} %, least {min(errors):g} %; rows with it: {listed(same)}."
    )
    numbers = {"reported": reported["error"], "least": min(errors), "rows": len(same)}
    if not same or reported["error"] <= min(errors):
        return Finding(Verdict.CONTRADICTED, said, numbers)
    return Finding(Verdict.HOLDS if len(same) == 1 else Verdict.AMBIGUOUS, said, numbers)


@check
def reported_is_best(*, nets: list[dict[str, Any]], reported: dict[str, Any]) -> Finding:
    """The reported error of the top model is the least of its table."""
    some(nets, "rows")
    least = min(net["error"] for net in nets)
    return decided(
        reported["error"] == least,
        f"reported {reported['error']:g} %; the least of the table is {least:g} %.",
        {"reported": reported["error"], "least": least},
    )


@check
def ensemble_helps(*, ensemble: dict[str, Any], single: dict[str, Any]) -> Finding:
    """Ensembling lowers the error of the top model."""
    gain = single["error"] - ensemble["error"]
    return decided(
        gain > 0,
        f"ensemble {ensemble['error']:g} %, top model {single['error']:g} %: {gain:+.2f} points.",
        {"points gained": gain},
    )


@check
def error_is_complement(*, accuracy: dict[str, Any], error: dict[str, Any]) -> Finding:
    """An accuracy and an error of one result add up to 100 %."""
    total = accuracy["percent"] + error["percent"]
    return decided(
        abs(total - 100) < 0.005,
        f"accuracy {accuracy['percent']:g} %, error {error['percent']:g} %: together {total:g} %.",
        {"together": total, "error that belongs to the accuracy": 100 - accuracy["percent"]},
    )


@check
def search_ranks_as_the_end(*, first: dict[str, Any], second: dict[str, Any]) -> Finding:
    """Of two nets the one of the higher accuracy in the search has the higher one in the end."""
    before = first["after_20_epochs"] - second["after_20_epochs"]
    after = first["in_the_end"] - second["in_the_end"]
    return decided(
        before * after > 0,
        f"{first['name']}: {first['after_20_epochs']:g} % after 20 epochs, {first['in_the_end']:g} "
        f"% in the end; {second['name']}: {second['after_20_epochs']:g} % and "
        f"{second['in_the_end']:g} %.",
        {"difference after 20 epochs": before, "difference in the end": after},
    )
