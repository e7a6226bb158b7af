"""What sources say, against each other: settings, schedules, listings."""

from __future__ import annotations

import re
from typing import Any

from reproduce.audit.checks.registry import check
from reproduce.audit.findings import Finding, UnfitInputError, Verdict, decided, some


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_shown(one) for one in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


@check
def same_value(
    *, stated: Any, found: Any, by: str, unit: str = "", tolerance: float = 0.0
) -> Finding:
    """Two sources have the same value; numbers within a relative tolerance.

    `by` names the other source, `unit` what the values are.
    """
    said = f"stated {_shown(stated)}{unit}, {by} {_shown(found)}{unit}."
    numbers = {"stated": _shown(stated), by: _shown(found)}
    if stated == found:
        return Finding(Verdict.HOLDS, said, numbers)
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (stated, found))
    within = numeric and tolerance and abs(found - stated) <= tolerance * abs(stated)
    return Finding(Verdict.WITHIN if within else Verdict.CONTRADICTED, said, numbers)


@check
def sources_agree(*, fact: dict[str, Any]) -> Finding:
    """All places of a fact have the same value."""
    places = {name: one["value"] for name, one in fact.items() if isinstance(one, dict)}
    if len(places) < 2:
        raise UnfitInputError("a comparison needs two places")
    values = list(places.values())
    numbers = {_place(name): _shown(value) for name, value in places.items()}
    said = "; ".join(f"{name}: {value}" for name, value in numbers.items())
    return decided(all(value == values[0] for value in values), f"{said}.", numbers)


def _place(name: str) -> str:
    """A place's key as in a sentence: `section_4_3` is section 4.3, `appendix_d_1` appendix D.1."""
    words = name.replace("_", " ")
    words = re.sub(r"\b(appendix|table) [a-e]", lambda m: m[0][:-1] + m[0][-1].upper(), words)
    return re.sub(r"(?<=[\dA-E]) (?=\d)", ".", words)


@check
def schedule_sums_to(*, schedule: list[Any], stated: dict[str, Any]) -> Finding:
    """The ε schedule trains the stated number of models in all."""
    some(schedule, "stages")
    total = sum(models for _, models in schedule)
    return decided(
        total == stated["count"],
        f"{' + '.join(_shown(models) for _, models in schedule)} = {total:,}; stated "
        f"{stated['count']:,}.",
        {"sum": total, "stated": stated["count"]},
    )


@check
def schedule_ends_at(*, schedule: list[Any], stated: dict[str, Any]) -> Finding:
    """ε falls from and to the stated values."""
    some(schedule, "stages")
    first, last = schedule[0][0], schedule[-1][0]
    return decided(
        first == stated["first"] and last == stated["last"],
        f"stated {stated['first']:g} → {stated['last']:g}; the table has {first:g} → {last:g}.",
        {"first": first, "last": last},
    )


@check
def explores_most(*, schedule: list[Any]) -> Finding:
    """More models are trained at ε = 1 than at any other ε."""
    some(schedule, "stages")
    random = sum(models for epsilon, models in schedule if epsilon == 1)
    total = sum(models for _, models in schedule)
    most = max((models for epsilon, models in schedule if epsilon != 1), default=0)
    return decided(
        random > most,
        f"{random:,} of {total:,} models ({random / total:.0%}) at ε = 1, at most {most:,} at "
        "any other.",
        {"at ε = 1": random, "most at another ε": most},
    )


@check
def samples_cover_schedule(*, schedule: list[Any], bars: list[dict[str, Any]]) -> Finding:
    """Each stage of the figure has at least as many samples as the schedule trains models.

    A model that is sampled again is not trained again, so that samples may only exceed it.
    """
    samples = {bar["epsilon"]: bar["samples"] for bar in bars}
    if set(samples) != {epsilon for epsilon, _ in schedule}:
        raise UnfitInputError("the figure and the schedule have other ε")
    short = [e for e, models in schedule if samples[e] < models]
    total = sum(samples.values())
    wanted = sum(models for _, models in schedule)
    return decided(
        not short,
        f"{total:,.0f} samples for {wanted:,} models"
        f"{f'; too few at ε {short}' if short else ', enough at every ε'}.",
        {"samples": total, "models": wanted},
    )


@check
def parts_sum_to(*, parts: list[float], stated: float) -> Finding:
    """Numbers of images add up to the stated one."""
    some(parts, "parts")
    total = sum(parts)
    return decided(
        total == stated,
        f"{' + '.join(f'{part:,.0f}' for part in parts)} = {total:,.0f}; stated {stated:,.0f}.",
        {"sum": total, "stated": stated},
    )


@check
def limit_is_read_as(*, below: float, stated: float) -> Finding:
    """A table's "< n" layers are the stated most: n - 1, literally.

    Ambiguous if they are n, which "< 12" must mean where published nets have 12 layers.
    """
    said = f"“< {below:g}” is at most {below - 1:g}, or {below:g} read as Table 1’s “< 12”"
    verdict = {below - 1: Verdict.HOLDS, below: Verdict.AMBIGUOUS}.get(stated, Verdict.CONTRADICTED)
    return Finding(verdict, f"{said}; stated {stated:g}.", {"below": below, "stated": stated})
